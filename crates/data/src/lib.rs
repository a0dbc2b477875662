//! Raw files to examples to packed tokens.
//!
//! It never guesses what a field means: a row has one of the known shapes, or an error says what it has instead.

mod error;
mod example;
mod pack;
mod pairs;
mod read;
mod sample;

pub use error::{Error, Fault, Result, RowFault};
pub use example::{Example, Source};
pub use pack::{PackFacts, PackOptions, Packed, TooLong, pack};
pub use pairs::{Pair, pack_pairs, parse_pairs, read_pairs};
pub use read::{ReadOptions, parse, read};
pub use sample::{Sample, Segment, sample};
