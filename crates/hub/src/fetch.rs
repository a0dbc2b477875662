//! One file over HTTP: taken up where it broke off, and verified before it has its name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::Progress;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::sum::Sum;

/// Failures in a row, without a byte gained, before a download is given up.
const PATIENCE: u32 = 4;
/// Attempts of one file in all, should a far end give a few bytes each time.
const ATTEMPTS: u32 = 100;
/// The longest list of files that is read.
const LIST_BYTES: u64 = 64 << 20;

/// A client of one hub.
pub(crate) struct Web {
    agent: Agent,
    token: Option<String>,
    pause: Duration,
}

/// A file to be had.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    /// The model's name, for messages.
    pub name: &'a str,
    pub url: &'a str,
    pub bytes: u64,
    pub sum: Option<&'a Sum>,
}

/// Why a transfer ended early.
enum Break {
    /// Trying again may help.
    Again(String),
    /// It will not.
    Never(Error),
}

impl Web {
    pub(crate) fn new(options: &Options) -> Web {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let mut config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("tunesmith/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .timeout_resolve(Some(options.connect))
            .timeout_connect(Some(options.connect))
            .timeout_recv_response(Some(options.connect * 3))
            .timeout_per_read(Some(options.silence));
        if !options.proxy {
            config = config.proxy(None);
        }
        Web { agent: config.build().into(), token: options.token.clone(), pause: options.pause }
    }

    /// A JSON answer; `name` is what is asked for.
    pub(crate) fn json(&self, name: &str, url: &str) -> Result<serde_json::Value> {
        let response = self.get(url, None).map_err(|cause| unreachable(url, &cause))?;
        let mut response = self.require_ok(name, url, response)?;
        let text = response.body_mut().with_config().limit(LIST_BYTES).read_to_vec();
        let text = text.map_err(|cause| unreachable(url, &cause))?;
        serde_json::from_slice(&text).map_err(|cause| Error::Answer {
            url: url.to_string(),
            what: "the answer".to_string(),
            found: cause.to_string(),
            expected: "JSON".to_string(),
        })
    }

    /// Size and checksum as the headers of the file itself give them, for mirrors whose list
    /// leaves them out.
    pub(crate) fn facts(&self, name: &str, url: &str) -> Result<(u64, Option<Sum>)> {
        let mut request = self.agent.head(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        // The redirect itself bears the facts; its goal is a store that knows neither.
        let request = request.config().max_redirects(0).max_redirects_will_error(false).build();
        let response = request.call().map_err(|cause| unreachable(url, &cause))?;
        if !response.status().is_redirection() {
            self.status_ok(name, url, &response)?;
        }
        let own = !response.status().is_redirection();
        let header = |linked: &str, plain: &str| {
            let found = response.headers().get(linked).or_else(|| response.headers().get(plain).filter(|_| own));
            found.and_then(|value| value.to_str().ok()).map(str::to_string)
        };
        let bytes = header("x-linked-size", "content-length").and_then(|text| text.parse().ok());
        let bytes = bytes.ok_or_else(|| Error::Answer {
            url: url.to_string(),
            what: "the size in the headers".to_string(),
            found: "missing".to_string(),
            expected: "x-linked-size or content-length".to_string(),
        })?;
        let etag = header("x-linked-etag", "etag").unwrap_or_default();
        Ok((bytes, Sum::of_hex(etag.trim_start_matches("W/").trim_matches('"'))))
    }

    /// Fetches a file to `to`, which then is whole and verified, or not there.
    ///
    /// What came of a broken transfer stays in `TO.incomplete`, which other Hugging Face
    /// tools take up as well.
    pub(crate) fn file(&self, wanted: &Wanted<'_>, to: &Path, progress: &mut dyn Progress) -> Result<()> {
        if is_whole(to, wanted.bytes) {
            progress.advance(wanted.bytes);
            return Ok(());
        }
        let folder = to.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|source| Error::io("make the folder", folder, source))?;
        let mut part_name = to.file_name().unwrap_or_default().to_os_string();
        part_name.push(".incomplete");
        let part = to.with_file_name(part_name);
        let mut file = open_locked(&part)?;
        // Another process may have finished, and renamed the very file that is open here.
        if is_whole(to, wanted.bytes) {
            progress.advance(wanted.bytes);
            return Ok(());
        }
        let mut told = 0;
        let resumed = self.fill(wanted, &part, &mut file, &mut told, progress)?;
        let mut verdict = verify(wanted, &part);
        if resumed && verdict.is_err() {
            // The bytes of the earlier attempt may be the bad ones; they get one more chance.
            progress.message("what an earlier download left does not fit; starting the file again");
            file.set_len(0).map_err(|source| Error::io("truncate", &part, source))?;
            self.fill(wanted, &part, &mut file, &mut told, progress)?;
            verdict = verify(wanted, &part);
        }
        if let Err(error) = verdict {
            std::fs::remove_file(&part).map_err(|source| Error::io("remove", &part, source))?;
            return Err(error);
        }
        let done = file.sync_all().and_then(|()| std::fs::rename(&part, to));
        done.and_then(|()| File::open(folder)?.sync_all()).map_err(|source| Error::io("write", to, source))
    }

    /// Brings the file to its full length; says whether it began with bytes of an earlier call.
    fn fill(&self, wanted: &Wanted<'_>, part: &Path, file: &mut File, told: &mut u64, progress: &mut dyn Progress) -> Result<bool> {
        let mut at = length(file).map_err(|source| Error::io("open", part, source))?;
        let resumed = at > 0;
        let mut failures = 0;
        for attempt in 0.. {
            let before = at;
            let ended = self.transfer(wanted, part, file, told, progress);
            at = length(file).map_err(|source| Error::io("open", part, source))?;
            let cause = match ended {
                Ok(()) => return Ok(resumed),
                Err(Break::Never(error)) => return Err(error),
                Err(Break::Again(cause)) => cause,
            };
            failures = if at > before { 1 } else { failures + 1 };
            if failures >= PATIENCE || attempt >= ATTEMPTS {
                let (url, part) = (wanted.url.to_string(), part.to_path_buf());
                return Err(Error::BrokeOff { url, got: at, total: wanted.bytes, cause, part });
            }
            progress.message(&format!("{cause}; going on at {at} of {} bytes", wanted.bytes));
            std::thread::sleep(self.pause * failures);
        }
        Ok(resumed)
    }

    /// One request for the rest of the file.
    fn transfer(
        &self,
        wanted: &Wanted<'_>,
        part: &Path,
        file: &mut File,
        told: &mut u64,
        progress: &mut dyn Progress,
    ) -> std::result::Result<(), Break> {
        let disk = |source| Break::Never(Error::io("write", part, source));
        let mut at = length(file).map_err(disk)?;
        if at > wanted.bytes {
            file.set_len(0).map_err(disk)?;
            at = 0;
        }
        tell(at, told, progress);
        if at == wanted.bytes {
            return Ok(());
        }
        let response = self.get(wanted.url, (at > 0).then_some(at)).map_err(|cause| Break::Again(cause.to_string()))?;
        match response.status().as_u16() {
            206 if starts_at(&response, at) => {}
            // The whole file, or another part of it: begin again.
            206 | 416 => {
                file.set_len(0).map_err(disk)?;
                return Err(Break::Again("the far end gave another part than was asked for".to_string()));
            }
            200 => {
                file.set_len(0).map_err(disk)?;
                at = 0;
            }
            status @ (408 | 429 | 500..=599) => return Err(Break::Again(format!("HTTP {status}"))),
            _ => {
                self.status_ok(wanted.name, wanted.url, &response).map_err(Break::Never)?;
                return Err(Break::Again(format!("HTTP {}", response.status().as_u16())));
            }
        }
        file.seek(SeekFrom::Start(at)).map_err(disk)?;
        // One byte more than promised shows a file that is too long.
        let mut body = response.into_body().into_reader().take(wanted.bytes - at + 1);
        let mut piece = vec![0u8; 1 << 16];
        loop {
            let got = match body.read(&mut piece) {
                Ok(0) if at < wanted.bytes => return Err(Break::Again("the connection was closed".to_string())),
                Ok(0) => return Ok(()),
                Ok(got) => got,
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(Break::Again(cause.to_string())),
            };
            file.write_all(&piece[..got]).map_err(disk)?;
            at += got as u64;
            tell(at.min(wanted.bytes), told, progress);
        }
    }

    fn get(&self, url: &str, from: Option<u64>) -> std::result::Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(from) = from {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request.call()
    }

    fn require_ok(&self, name: &str, url: &str, response: Response<Body>) -> Result<Response<Body>> {
        self.status_ok(name, url, &response)?;
        Ok(response)
    }

    fn status_ok(&self, name: &str, url: &str, response: &Response<Body>) -> Result<()> {
        let status = response.status().as_u16();
        let (name, url, said) = (name.to_string(), url.to_string(), said(response));
        match status {
            200..=299 => Ok(()),
            401 | 403 => Err(Error::Denied { name, url, status, said, token: self.token.is_some() }),
            404 => Err(Error::NotFound { name, url, said }),
            _ => Err(Error::Status { url, status, said }),
        }
    }
}

/// Tells the bytes that are here and were not told yet: a file that begins again is not
/// counted twice.
fn tell(at: u64, told: &mut u64, progress: &mut dyn Progress) {
    if at > *told {
        progress.advance(at - *told);
        *told = at;
    }
}

fn verify(wanted: &Wanted<'_>, part: &Path) -> Result<()> {
    let damaged = |what, found: String, expected: String| Err(Error::Damaged { url: wanted.url.to_string(), what, found, expected });
    let found = std::fs::metadata(part).map_err(|source| Error::io("open", part, source))?.len();
    if found != wanted.bytes {
        return damaged("size", format!("{found} or more"), wanted.bytes.to_string());
    }
    let Some(sum) = wanted.sum else { return Ok(()) };
    let found = sum.measure(part)?;
    if found != sum.hex() {
        return damaged(sum.kind(), found, sum.hex().to_string());
    }
    Ok(())
}

/// Opens for writing, alone: a second process would mix its bytes in.
fn open_locked(part: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part);
    let file = file.map_err(|source| Error::io("open", part, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Busy { path: part.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", part, source)),
    }
}

fn length(file: &File) -> std::io::Result<u64> {
    Ok(file.metadata()?.len())
}

fn is_whole(path: &Path, bytes: u64) -> bool {
    // It had its name given only after it was verified.
    std::fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.len() == bytes)
}

fn starts_at(response: &Response<Body>, at: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()) == Some(at)
}

/// What the hub says about an error, in its own header.
fn said(response: &Response<Body>) -> String {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    match header("x-error-message").or_else(|| header("x-error-code")) {
        Some(text) => format!(": {}", text.chars().filter(|c| !c.is_control()).take(200).collect::<String>()),
        None => String::new(),
    }
}

fn unreachable(url: &str, cause: &ureq::Error) -> Error {
    Error::Unreachable { url: url.to_string(), cause: cause.to_string() }
}
