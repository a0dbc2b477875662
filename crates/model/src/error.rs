//! What can go wrong between files and numbers.

use std::path::PathBuf;

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the model or adapter.
    #[error(transparent)]
    Formats(#[from] formats::Error),
    /// The GPU, or what it needs.
    #[error(transparent)]
    Gpu(#[from] engine::cuda::Error),
    /// Tokenizer or template.
    #[error("{path}: {source}")]
    Text {
        /// The file it came from.
        path: PathBuf,
        /// What was wrong.
        source: text::Error,
    },
    /// A model that can be read but not run.
    #[error("{what} is not supported: found {found}, supported {supported}")]
    Unsupported {
        /// The setting.
        what: String,
        /// Its value.
        found: String,
        /// What would do.
        supported: String,
    },
    /// An adapter made for another model.
    #[error("{path}: the adapter does not fit this base: {what}: found {found}, expected {expected}")]
    WrongAdapter {
        /// The adapter's file.
        path: PathBuf,
        /// The tensor or module.
        what: String,
        /// Its shape or state.
        found: String,
        /// What the base needs.
        expected: String,
    },
    /// A file that a model folder must have.
    #[error("{path}: {what} is missing: looked for {looked}")]
    Missing {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        what: String,
        /// The names tried.
        looked: String,
    },
    /// Reading or writing.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A prompt that leaves no room.
    #[error("prompt {index} has {tokens} tokens; the model's context holds {context}")]
    TooLong {
        /// Which prompt, from 0.
        index: usize,
        /// Its length.
        tokens: usize,
        /// The limit.
        context: usize,
    },
    /// An adapter or weight with NaN or infinity.
    #[error("{what} holds a value that is not finite")]
    NotFinite {
        /// The tensor.
        what: String,
    },
}
