//! Everything that can go wrong between the record and a tracker, as facts.

use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure with the facts needed to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The run's own files.
    #[error(transparent)]
    Record(#[from] record::Error),

    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },

    /// No answer came, or one that asks for patience.
    #[error("cannot reach {url}: {cause}")]
    Away { url: String, cause: String },

    /// The server wants to know who sends, or does not let them.
    #[error(
        "{url} refused: HTTP {status}{said}; {}",
        if *known { "the user, password or token that was sent may not do this" } else { "no user, password or token was sent" }
    )]
    Denied {
        url: String,
        status: u16,
        /// What the server says about it, as `: text`, or nothing.
        said: String,
        /// Whether credentials were sent.
        known: bool,
    },

    /// The server understood and said no.
    #[error("{url} refused: HTTP {status} {code}: {message}")]
    Refused { url: String, status: u16, code: String, message: String },

    /// The answer is not what an MLflow server says.
    #[error("{url} answered {found}, expected {expected}")]
    Answer { url: String, status: u16, found: String, expected: &'static str },

    /// The server keeps files at a place that only its clients with cloud credentials reach.
    #[error(
        "the server keeps files at `{found}`, expected `mlflow-artifacts:/...` (a server that takes files itself); nothing was uploaded"
    )]
    Store { found: String },

    /// The file that notes what was sent cannot be read.
    #[error("{} is damaged: {message}; expected what `tunesmith` wrote", path.display())]
    Position { path: PathBuf, message: String },

    /// Another process sends for this run.
    #[error("another process is sending for the run {}", path.display())]
    Busy { path: PathBuf },

    /// The thread that sends ended by a bug.
    #[error("the thread that follows {} ended early: this is a bug", path.display())]
    Lost { path: PathBuf },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::Io { action, path: path.to_path_buf(), source }
    }

    /// Whether the same call may do better later.
    pub fn passes(&self) -> bool {
        matches!(self, Error::Away { .. } | Error::Busy { .. })
    }
}
