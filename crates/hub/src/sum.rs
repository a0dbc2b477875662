//! The two checksums that a hub knows files by.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::Digest;

use crate::error::{Error, Result};

/// What a file's bytes must hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sum {
    /// SHA-256 of the content; files in LFS.
    Sha256(String),
    /// SHA-1 of `blob LENGTH\0` and the content; files in git itself.
    Git(String),
}

impl Sum {
    /// Told apart by length: 64 hex digits or 40.
    pub(crate) fn of_hex(text: &str) -> Option<Sum> {
        let hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        match text.len() {
            64 if hex => Some(Sum::Sha256(text.to_string())),
            40 if hex => Some(Sum::Git(text.to_string())),
            _ => None,
        }
    }

    pub(crate) fn hex(&self) -> &str {
        match self {
            Sum::Sha256(hex) | Sum::Git(hex) => hex,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Sum::Sha256(_) => "sha256",
            Sum::Git(_) => "git sha1",
        }
    }

    /// Hashes a file in the same way.
    pub(crate) fn measure(&self, path: &Path) -> Result<String> {
        let failed = |source| Error::io("read", path, source);
        let mut file = File::open(path).map_err(failed)?;
        match self {
            Sum::Sha256(_) => Ok(hex(&digest(&mut file, sha2::Sha256::new()).map_err(failed)?)),
            Sum::Git(_) => {
                let length = file.metadata().map_err(failed)?.len();
                let start = sha1::Sha1::new_with_prefix(format!("blob {length}\0"));
                Ok(hex(&digest(&mut file, start).map_err(failed)?))
            }
        }
    }
}

fn digest<D: Digest>(file: &mut File, mut digest: D) -> std::io::Result<Vec<u8>> {
    let mut piece = vec![0u8; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest.finalize().to_vec()),
            got => digest.update(&piece[..got]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sums_of_a_known_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "hello\n").unwrap();
        // `printf 'hello\n' | git hash-object --stdin` and `| sha256sum`.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for known in [git, sha] {
            let sum = Sum::of_hex(known).unwrap();
            assert_eq!((sum.measure(&path).unwrap().as_str(), sum.hex()), (known, known));
        }
        for other in ["", "xyz", &git[1..], "../../etc/passwd", &"A".repeat(40)] {
            assert_eq!(Sum::of_hex(other), None);
        }
    }
}
