//! What can go wrong before a score exists, as facts.

/// An evaluation that cannot be scored; advice is the command line's business.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The schema itself is not a JSON Schema that can be used here.
    #[error("cannot use the JSON Schema {name}: {detail}")]
    Schema { name: String, detail: String },

    /// No held-out example was given.
    #[error("no held-out example to score, expected at least 1")]
    NoExamples,

    /// No arm was given.
    #[error("no arm to score, expected at least 1")]
    NoArms,

    /// Two arms of one name cannot be told apart in a table.
    #[error("two arms are named {name:?}, expected different names")]
    SameName { name: String },

    /// An arm answered fewer or more questions than were asked.
    #[error("arm {arm:?} has {found} outputs, expected {expected} (one for each example)")]
    Outputs { arm: String, found: usize, expected: usize },

    /// The field that should hold the label is missing in an expected answer.
    #[error("the expected answer of example {id} has no field {field:?}, which was named as the label")]
    NoLabel { id: String, field: String },

    /// The model cannot answer.
    #[error(transparent)]
    Model(#[from] model::Error),

    /// A question that the chat template or the tokenizer refuses.
    #[error("held-out example {id}: {source}")]
    Render { id: String, source: text::Error },

    /// No training example is left for the few-shot prompt.
    #[error(
        "no example for the few-shot prompt: of {found} training examples {held_out} equal a held-out one and {contradicting} contradict each other, expected at least 1 to be left"
    )]
    NoShots { found: usize, held_out: usize, contradicting: usize },
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
