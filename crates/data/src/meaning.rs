//! Checks that look at what rows mean: answers that contradict each other, wrong labels, paraphrases, gaps of coverage.

pub(crate) mod labels;
pub(crate) mod logistic;
pub(crate) mod neighbours;
pub(crate) mod vectors;
pub(crate) mod words;

mod contradiction;
mod coverage;
mod label_error;
mod semantic_duplicate;

pub use contradiction::{ContradictionOptions, contradictions};
pub use coverage::{CoverageOptions, coverage};
pub use label_error::{Doubt, LabelOptions, label_doubts, label_errors};
pub use semantic_duplicate::{DuplicateOptions, semantic_candidates, semantic_duplicates};

/// So many characters of a text are shown as evidence.
const SHOWN: usize = 240;

/// The beginning of a text on one line, in quotes.
pub(crate) fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("“{}…”", &line[..end]),
        None => format!("“{line}”"),
    }
}
