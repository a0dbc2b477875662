//! What can be wrong with a split, a frozen dataset or a comparison, as facts.

use std::path::PathBuf;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Data(#[from] crate::Error),
    #[error(transparent)]
    Record(#[from] record::Error),
    /// A field that no example has.
    #[error("no example has the field `{field}`, expected it in one at least")]
    NoField { field: String },
    /// Examples without a time, where the split follows it.
    #[error("{} of {rows} examples have no time in `at`, such as {first}; expected RFC 3339: 2026-03-01T12:00:00Z", count)]
    NoTime { count: usize, rows: usize, first: String },
    /// Examples that all belong together.
    #[error("{rows} examples hang together by their group or by nearly the same prompt, so no two sides can be made of them")]
    OneUnit { rows: usize },
    /// More is to be held out than there is.
    #[error("{wanted} examples are to be held out of {rows}, expected fewer than half")]
    TooMany { wanted: usize, rows: usize },
    /// Something else is there already.
    #[error("{} holds another dataset already; what is frozen is not overwritten", path.display())]
    Taken { path: PathBuf },
    /// A folder without a manifest.
    #[error("{} is no frozen dataset: {why}", path.display())]
    NotFrozen { path: PathBuf, why: String },
}
