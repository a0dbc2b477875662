//! What can stop a training run.

use std::path::PathBuf;

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The run folder.
    #[error(transparent)]
    Record(#[from] record::Error),
    /// The model or the adapter's files.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// A pack without examples, or without a token to learn.
    #[error("{path}: nothing to train on: found {examples} examples with {supervised} supervised tokens, expected at least one of each")]
    Nothing {
        /// The pack.
        path: PathBuf,
        /// Its examples.
        examples: usize,
        /// Their supervised tokens.
        supervised: usize,
    },
    /// A pack made for another vocabulary.
    #[error("{path}: line {line} of the data holds token {token}, but the model's vocabulary ends at {vocab}")]
    Vocabulary {
        /// The pack.
        path: PathBuf,
        /// The source line.
        line: u32,
        /// The offending token.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A checkpoint of a run with other settings, data or code.
    #[error("{path}: the checkpoint belongs to other {what}: found {found}, expected {expected}")]
    Other {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// Its fingerprint there.
        found: String,
        /// The fingerprint now.
        expected: String,
    },
    /// Loss or gradient is NaN or infinite, again and again.
    #[error("{what} is not finite at step {step}, {times} steps in a row; examples of this step: {}", examples.join(", "))]
    NotFinite {
        /// "the loss" or "the gradient of …".
        what: String,
        /// Which step.
        step: u64,
        /// How many in a row.
        times: u64,
        /// The step's examples.
        examples: Vec<String>,
    },
    /// A pack of another kind than the objective learns from.
    #[error("{path}: the pack holds {found}, expected {expected}")]
    Kind {
        /// The pack.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
        /// What the objective needs.
        expected: &'static str,
    },
    /// A file of the run folder.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}
