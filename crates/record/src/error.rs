//! Everything that can go wrong with our files, as facts.

use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure with the facts needed to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },

    /// The file system is full, or would be before the write ends.
    #[error(
        "cannot write {}: it needs {} and the disk has {} free",
        path.display(), bytes(*need), bytes(*free)
    )]
    NoSpace { path: PathBuf, need: u64, free: u64 },

    /// The recipe is not TOML.
    #[error("cannot read the recipe {place}: {message}")]
    Syntax { place: Place, message: String },

    /// The recipe holds a key that does not exist.
    #[error("{place}: unknown key `{key}`, expected {}", nearest_of(nearest))]
    UnknownKey { place: Place, key: String, nearest: Option<String> },

    /// The recipe holds a value of the wrong kind.
    #[error("{place}: `{key}` is {found}, expected {expected}")]
    WrongType { place: Place, key: String, found: String, expected: String },

    /// The recipe holds a value that cannot work.
    #[error("{place}: `{key}` is {found}, expected {expected}")]
    OutOfRange { place: Place, key: String, found: String, expected: String },

    /// Two settings that cannot both hold.
    #[error("`{}` and `{}` contradict each other: {why}; expected {}", settings[0], settings[1], mends.iter().map(|m| format!("`{m}`")).collect::<Vec<_>>().join(" or "))]
    Contradiction {
        /// The two, as `section.key=value`.
        settings: [String; 2],
        why: &'static str,
        /// Settings that each end the contradiction, as `section.key=value`.
        mends: Vec<String>,
    },

    /// An override is not of the form `section.key=value`.
    #[error("cannot read the setting `{found}`: expected `section.key=value`, as in `train.lr=1e-3`")]
    NotASetting { found: String },

    /// A file of ours is not whole.
    #[error("{} is damaged: {what} is {found}, expected {expected}", path.display())]
    Damaged { path: PathBuf, what: String, found: String, expected: String },

    /// A file of ours was written by another version of the format.
    #[error(
        "{} has {what} version {found}, expected {expected}",
        path.display()
    )]
    Version { path: PathBuf, what: &'static str, found: u64, expected: u64 },

    /// A line of the event log cannot be read.
    #[error("{}:{line}: the event cannot be read: {message}", path.display())]
    BadEvent { path: PathBuf, line: usize, message: String },

    /// The event log is shorter than the checkpoint says.
    #[error(
        "{} holds {found} bytes, expected at least {expected} (the length that the checkpoint noted)",
        path.display()
    )]
    ShortLog { path: PathBuf, found: u64, expected: u64 },

    /// Another process writes this run.
    #[error(
        "the run {} is being written by {}, expected no other writer",
        path.display(), writer(*pid)
    )]
    Locked { path: PathBuf, pid: Option<u32> },

    /// A folder that should be a run is none.
    #[error("{} is not a run: {missing} is missing", path.display())]
    NotARun { path: PathBuf, missing: &'static str },

    /// A name cannot be used as a folder's name.
    #[error("`{found}` cannot name a run: expected letters, digits, `-`, `_` and `.`, not starting with a dot")]
    BadName { found: String },

    /// A value cannot be written in our format.
    #[error("cannot write {}: {what} is {found}, expected {expected}", path.display())]
    Unwritable { path: PathBuf, what: String, found: String, expected: String },

    /// A test asked for a stop at this point of a checkpoint.
    #[error("the writing of the checkpoint {} was stopped at {stage}", path.display())]
    Stopped { path: PathBuf, stage: &'static str },
}

/// Where a setting was read: a line of a file, or the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a recipe; lines count from 1.
    File { path: PathBuf, line: usize },
    /// An override given by the caller.
    Flag,
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::File { path, line } => write!(out, "{}:{line}", path.display()),
            Place::Flag => write!(out, "override"),
        }
    }
}

impl Error {
    /// Wraps an error of the operating system; a full disk gets its own variant.
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::StorageFull {
            let free = crate::atomic::free_bytes(path.parent().unwrap_or(path)).unwrap_or(0);
            // The system does not say how much was missing: one byte more than there is.
            return Error::NoSpace { path: path.to_path_buf(), need: free + 1, free };
        }
        Error::Io { action, path: path.to_path_buf(), source }
    }

    /// A file of ours is not what it should be.
    pub(crate) fn damaged(path: &Path, what: impl Into<String>, found: impl ToString, expected: impl ToString) -> Self {
        Error::Damaged { path: path.to_path_buf(), what: what.into(), found: found.to_string(), expected: expected.to_string() }
    }
}

/// Writes a size for people: `1.5 MiB`, and the plain number below a KiB.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

fn nearest_of(nearest: &Option<String>) -> String {
    match nearest {
        Some(key) => format!("a known one (the nearest is `{key}`)"),
        None => "a known one".to_string(),
    }
}

fn writer(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_string(),
    }
}
