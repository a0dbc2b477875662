//! What can stop an export.

use std::path::PathBuf;

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model's files.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// Reading or writing tensors.
    #[error(transparent)]
    Formats(#[from] formats::Error),
    /// Our files.
    #[error(transparent)]
    Record(#[from] record::Error),
    /// The tokenizer cannot be written.
    #[error("{path}: cannot write the tokenizer: {source}")]
    Tokenizer {
        /// The base model.
        path: PathBuf,
        /// The cause.
        source: text::Error,
    },
    /// The merged model does not do what base and adapter do.
    #[error("{path}: the merged model was refused: {what}: found {found}, expected {expected}")]
    Differs {
        /// The folder that was not kept.
        path: PathBuf,
        /// The measure.
        what: &'static str,
        /// Its value.
        found: String,
        /// Its bound.
        expected: String,
    },
}
