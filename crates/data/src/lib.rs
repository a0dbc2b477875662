//! Raw files to examples to packed tokens.
//!
//! It never guesses what a field means: a row has one of the known shapes, or an error says what it has instead.

pub mod check;
mod clean;
pub mod draw;
pub mod emit;
mod error;
mod example;
mod finding;
pub mod freeze;
pub mod interval;
mod item;
mod labels;
mod meaning;
pub mod near;
mod pack;
mod pairs;
mod private;
mod read;
mod sample;
mod spoken;

pub use clean::{CleanOptions, Cleaned, Hide, Progress, Restored, clean, restore};
pub use error::{Error, Fault, Result, RowFault};
pub use example::{Example, Source};
pub use finding::{Check, Finding, Severity};
pub use item::{Content, Item, items, parse_items};
pub use meaning::{
    ContradictionOptions, CoverageOptions, Doubt, DuplicateOptions, LabelOptions, contradictions, coverage, label_doubts, label_errors,
    semantic_candidates, semantic_duplicates,
};
pub use pack::{PackFacts, PackOptions, Packed, TooLong, pack};
pub use pairs::{Pair, pack_pairs, parse_pairs, read_pairs};
pub use private::{Found, Kind, Talk, masked, private_findings};
pub use read::{ReadOptions, parse, read};
pub use sample::{Sample, Segment, sample};
