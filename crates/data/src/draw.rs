//! A sample for reviewers: some by chance, which tell how many examples are bad, and some by risk, which find bad ones.
//!
//! The two never mix: a rate is told of the first alone. What was drawn is kept in a file of its own, so that a reviewed
//! sheet that was cut, changed or belongs to another sample is noticed.

mod cells;
mod chance;
mod drawn;
mod error;
mod estimate;
mod page;
mod review;
mod risk;
mod sheet;

pub use chance::Cell;
pub use drawn::{DrawOptions, Drawn, DrawnRow, Stratum, draw, read_draw};
pub use error::{Error, Result};
pub use estimate::{Estimate, Rate, estimate};
pub use page::page;
pub use review::{Reviewed, Verdict, read_review, ref_of};
pub use risk::{Noted, read_findings};
pub use sheet::{csv, jsonl};

/// What may be wrong with an example, as reviewers choose it.
pub const KINDS: [&str; 9] =
    ["wrong_answer", "incomplete", "contradicts_policy", "wrong_label", "personal_data", "bad_format", "off_topic", "tone", "other"];
