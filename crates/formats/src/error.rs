//! What can be wrong with a foreign file: facts only, advice belongs to the caller.

use std::io;
use std::path::{Path, PathBuf};

/// A fault in a file that we read, or in writing one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    /// The file ends before something that it promises.
    #[error("{} is cut short: {part} needs {expected} bytes, the file has {found}", path.display())]
    Truncated { path: PathBuf, part: String, found: u64, expected: u64 },
    /// The bytes are not of the format, or contradict one another.
    #[error("{}: {part}: found {found}, expected {expected}", path.display())]
    Malformed { path: PathBuf, part: String, found: String, expected: String },
    /// A text that should be JSON is not.
    #[error("{}: not valid JSON: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    /// A field of a configuration or of GGUF metadata is missing or not usable.
    #[error("{}: field `{field}`: found {found}, expected {expected}", path.display())]
    Field { path: PathBuf, field: String, found: String, expected: String },
    /// The model is of a kind that we do not read.
    #[error("{}: `{field}` is {found}; supported: {supported}", path.display())]
    Architecture { path: PathBuf, field: &'static str, found: String, supported: String },
    /// A tensor is stored in a way that we do not read.
    #[error("{}: tensor `{tensor}` is stored as {found}; supported: {supported}", path.display())]
    StoredType { path: PathBuf, tensor: String, found: String, supported: String },
    /// A tensor has another shape than the configuration implies.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected {expected:?}", path.display())]
    Shape { path: PathBuf, tensor: String, found: Vec<usize>, expected: Vec<usize> },
    /// A tensor that the model needs is not there.
    #[error("{}: tensor `{tensor}` is missing", path.display())]
    MissingTensor { path: PathBuf, tensor: String },
    /// A file that another file names is not there.
    #[error("{} is missing, but {} names it", path.display(), named_by.display())]
    MissingFile { path: PathBuf, named_by: PathBuf },
    /// The path holds no model.
    #[error("{} holds no model: found {found}, expected {expected}", path.display())]
    NoModel { path: PathBuf, found: String, expected: String },
    /// A buffer or range that the caller gave does not fit the tensor.
    #[error("tensor `{tensor}`: {what} is {found}, expected {expected}")]
    Buffer { tensor: String, what: &'static str, found: usize, expected: usize },
    /// A value cannot be stored in the asked type.
    #[error("tensor `{tensor}`: element {index} is {value}, which {dtype} cannot hold")]
    Range { tensor: String, index: usize, value: f32, dtype: &'static str },
}

impl Error {
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Error {
        Error::Io { path: path.to_path_buf(), action, source }
    }

    pub(crate) fn malformed(path: &Path, part: impl Into<String>, found: impl ToString, expected: impl ToString) -> Error {
        Error::Malformed { path: path.to_path_buf(), part: part.into(), found: found.to_string(), expected: expected.to_string() }
    }

    pub(crate) fn field(path: &Path, field: impl Into<String>, found: impl ToString, expected: impl ToString) -> Error {
        Error::Field { path: path.to_path_buf(), field: field.into(), found: found.to_string(), expected: expected.to_string() }
    }

    pub(crate) fn truncated(path: &Path, part: impl Into<String>, found: u64, expected: u64) -> Error {
        Error::Truncated { path: path.to_path_buf(), part: part.into(), found, expected }
    }
}

/// Shortens a value from a file so that a message stays one line of readable length.
pub(crate) fn brief(text: &str) -> String {
    const KEPT: usize = 80;
    let mut out: String = text.chars().take(KEPT).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(KEPT).is_some() {
        out.push('…');
    }
    out
}
