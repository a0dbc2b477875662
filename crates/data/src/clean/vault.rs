//! The key file, and the map back that is sealed with it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::draw::mac;
use crate::error::{Error, Result};

/// The first line of a key file, and of a sealed map.
const KEY: &str = "tunesmith key 1";
const MAP: &[u8] = b"tunesmith map 1\n";
/// Bytes of XChaCha20's nonce.
const NONCE: usize = 24;

/// A secret of 256 bits.
pub(super) struct Key([u8; 32]);

impl Key {
    /// A key that nobody keeps.
    pub(super) fn random() -> Result<Key> {
        let mut bytes = [0; 32];
        fill(&mut bytes)?;
        Ok(Key(bytes))
    }

    /// The key of a file, and whether the file was made now; only its owner may read a new one.
    pub(super) fn open_or_make(path: &Path) -> Result<(Key, bool)> {
        match Key::open(path) {
            Err(Error::Read { why, .. }) if why.kind() == ErrorKind::NotFound => {}
            other => return Ok((other?, false)),
        }
        let key = Key::random()?;
        let failed = |why| Error::MakeKey { path: path.to_path_buf(), why };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        let digits: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        file.write_all(format!("{KEY}\n{digits}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok((key, true))
    }

    /// The key of a file.
    pub(super) fn open(path: &Path) -> Result<Key> {
        let text = std::fs::read(path).map_err(|why| Error::Read { path: path.to_path_buf(), why })?;
        let text = String::from_utf8_lossy(&text);
        let digits = text.strip_prefix(KEY).map(str::trim).filter(|digits| digits.len() == 64 && digits.is_ascii());
        let bytes: Option<Vec<u8>> =
            digits.and_then(|digits| (0..32).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()).collect());
        let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Key).ok_or_else(|| Error::NotAKey { path: path.to_path_buf() })
    }

    /// A key for one purpose.
    pub(super) fn for_use(&self, purpose: &str) -> [u8; 32] {
        mac(&self.0, purpose.as_bytes())
    }

    /// Seals bytes; the nonce is random and lies in front.
    pub(super) fn seal(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE];
        fill(&mut nonce)?;
        let cipher = XChaCha20Poly1305::new(&self.for_use("map").into());
        let sealed =
            cipher.encrypt(&XNonce::from(nonce), plain).map_err(|_| Error::Random { why: "the map is too large to be sealed".into() })?;
        Ok([MAP, &nonce, &sealed].concat())
    }

    /// Opens what [`Key::seal`] sealed.
    pub(super) fn unseal(&self, path: &Path) -> Result<Vec<u8>> {
        let bytes = std::fs::read(path).map_err(|why| Error::Read { path: path.to_path_buf(), why })?;
        let body = bytes.strip_prefix(MAP).filter(|body| body.len() > NONCE).ok_or_else(|| Error::NotAMap { path: path.to_path_buf() })?;
        let (nonce, sealed) = body.split_at(NONCE);
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| Error::NotAMap { path: path.to_path_buf() })?;
        let cipher = XChaCha20Poly1305::new(&self.for_use("map").into());
        cipher.decrypt(&XNonce::from(nonce), sealed).map_err(|_| Error::WrongKey { path: path.to_path_buf() })
    }
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|why| Error::Random { why: why.to_string() })
}
