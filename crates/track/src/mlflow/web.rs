//! Calls of MLflow's REST interface: one request, one answer or one clear error.
//!
//! Facts (checked with MLflow 3.17.2): calls lie below `/api/2.0/mlflow/`; an error is JSON
//! with `error_code` and `message`.

use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::error::{Error, Result};
use crate::{Login, Mlflow, Pace};

/// The longest answer that is read.
const ANSWER_BYTES: u64 = 16 << 20;
/// A slow network still takes a large file at this rate.
const BYTES_A_SECOND: u64 = 1 << 20;

/// A client of one server.
pub(super) struct Web {
    agent: Agent,
    uri: String,
    authorization: Option<String>,
    answer: Duration,
    /// No call may end later.
    pub until: Option<Instant>,
}

impl Web {
    pub fn new(mlflow: &Mlflow, pace: &Pace) -> Web {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("tunesmith/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // A server closes a connection that rests between two steps; a call on it would seem to fail.
            .max_idle_connections(0)
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .timeout_resolve(Some(pace.answer))
            .timeout_connect(Some(pace.answer));
        let authorization = match &mlflow.login {
            Login::Nobody => None,
            Login::Password { user, password } => Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))),
            Login::Token(token) => Some(format!("Bearer {token}")),
        };
        Web { agent: config.build().into(), uri: mlflow.uri.clone(), authorization, answer: pace.answer, until: None }
    }

    /// Asks: `path` and query below `/api/2.0/mlflow/`.
    pub fn get(&self, path: &str) -> Result<Value> {
        let url = self.url(path);
        let time = self.time(&url, self.answer)?;
        let mut request = self.agent.get(&url);
        if let Some(value) = &self.authorization {
            request = request.header("Authorization", value);
        }
        let sent = request.config().timeout_global(Some(time)).build().call();
        self.read(&url, sent)
    }

    /// Tells, by POST.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = self.url(path);
        let time = self.time(&url, self.answer)?;
        let mut request = self.agent.post(&url).content_type("application/json");
        if let Some(value) = &self.authorization {
            request = request.header("Authorization", value);
        }
        let sent = request.config().timeout_global(Some(time)).build().send(body.to_string());
        self.read(&url, sent)
    }

    /// Uploads a file to `path` below the server's address.
    pub fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let url = format!("{}/{path}", self.uri);
        let longest = self.answer + Duration::from_secs(bytes.len() as u64 / BYTES_A_SECOND);
        let time = self.time(&url, longest)?;
        let mut request = self.agent.put(&url).content_type("application/octet-stream");
        if let Some(value) = &self.authorization {
            request = request.header("Authorization", value);
        }
        let sent = request.config().timeout_global(Some(time)).build().send(bytes);
        match self.read(&url, sent) {
            // An upload is answered with nothing at all.
            Err(Error::Answer { status: 200..=299, .. }) => Ok(()),
            answered => answered.map(drop),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/2.0/mlflow/{path}", self.uri)
    }

    /// What is left for a call.
    fn time(&self, url: &str, longest: Duration) -> Result<Duration> {
        let left = self.until.map_or(longest, |until| until.saturating_duration_since(Instant::now()).min(longest));
        if left.is_zero() {
            return Err(Error::Away { url: url.to_string(), cause: "the time for it is over".to_string() });
        }
        Ok(left)
    }

    fn read(&self, url: &str, sent: std::result::Result<Response<Body>, ureq::Error>) -> Result<Value> {
        // The query holds names; the address says enough.
        let url = url.split('?').next().unwrap_or(url).to_string();
        let away = |url: &str, cause: String| Error::Away { url: url.to_string(), cause };
        let mut response = sent.map_err(|cause| away(&url, cause.to_string()))?;
        let status = response.status().as_u16();
        let bytes = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
        let bytes = bytes.map_err(|cause| away(&url, cause.to_string()))?;
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        let text = |field: &str| value.as_ref().and_then(|value| value[field].as_str()).map(short);
        let said = || text("message").map_or(String::new(), |message| format!(": {message}"));
        match status {
            200..=299 => value.ok_or(Error::Answer {
                url,
                status,
                found: "something else than JSON".to_string(),
                expected: "an MLflow server's JSON",
            }),
            401 | 403 => Err(Error::Denied { url, status, said: said(), known: self.authorization.is_some() }),
            408 | 429 | 500..=599 => Err(away(&url, format!("HTTP {status}{}", said()))),
            _ => match text("error_code") {
                Some(code) => Err(Error::Refused { url, status, code, message: text("message").unwrap_or_default() }),
                None => Err(Error::Answer { url, status, found: format!("HTTP {status}"), expected: "an MLflow server's JSON" }),
            },
        }
    }
}

/// The text after `code`, if the server refused with it.
pub(super) fn is_code(error: &Error, wanted: &str) -> bool {
    matches!(error, Error::Refused { code, .. } if code == wanted)
}

/// A name in a query or a path: all but letters, digits and `-._~` as `%XX`.
pub(super) fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// One line that fits a terminal.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standard() {
        // RFC 4648, section 10.
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn names_are_quoted_for_an_address() {
        assert_eq!(quoted("a-b_c.d~1"), "a-b_c.d~1");
        assert_eq!(quoted("Tickets & ä/1"), "Tickets%20%26%20%C3%A4%2F1");
    }
}
