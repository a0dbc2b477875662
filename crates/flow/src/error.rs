//! One error for work that joins stages: whose room it came from.

/// A failure of one of the stages.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Names and downloads.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// Model, tokenizer, adapter.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// Reading and packing examples.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// Our files.
    #[error(transparent)]
    Record(#[from] record::Error),
    /// Training.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// Evaluation.
    #[error(transparent)]
    Eval(#[from] eval::Error),
    /// Merging.
    #[error(transparent)]
    Export(#[from] export::Error),
    /// Tokenizer or template while rendering a prompt.
    #[error(transparent)]
    Text(#[from] text::Error),
    /// A file of the user's.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Held-out examples that are also trained on.
    #[error("{path}: {count} of {of} held-out examples are also in the training data (first: line {line}); the result would be too good")]
    Leak {
        /// The held-out file.
        path: std::path::PathBuf,
        /// How many.
        count: usize,
        /// Of how many.
        of: usize,
        /// The first one's line.
        line: u32,
    },
    /// Nothing would be left to train on.
    #[error("{path}: {rows} rows with {questions} different questions cannot be held out and trained on as well")]
    NothingToTrain {
        /// The training file.
        path: std::path::PathBuf,
        /// Its rows.
        rows: usize,
        /// Questions among them.
        questions: usize,
    },
    /// The machine refuses threads.
    #[error("{0}")]
    Threads(String),
    /// A run that has no result to work with yet.
    #[error("{path}: the run has no {what}: {why}")]
    NotYet {
        /// The run folder.
        path: std::path::PathBuf,
        /// What is missing.
        what: &'static str,
        /// Why it is missing.
        why: &'static str,
    },
}
