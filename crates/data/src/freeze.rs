//! A dataset that stays as it is: split into training and held-out examples, hashed, with a manifest that names where all came from.

mod content;
mod diff;
mod error;
mod loaded;
mod manifest;
mod page;
mod select;
mod split;
mod steps;
mod units;
mod verify;
mod when;
mod words;

pub use content::{content, row_hash};
pub use diff::{Change, Diff, Moved, Share, diff};
pub use error::{Error, Result};
pub use loaded::{Loaded, Side, load};
pub use manifest::{Frozen, MANIFEST, Settings, freeze, read_manifest};
pub use page::page;
pub use split::{Facts, LabelCount, Size, Split, SplitOptions, split};
pub use steps::{SourceFile, source};
pub use verify::{Verified, verify};
pub use words::{Piece, word_diff};

pub(crate) use select::shares;
pub(crate) use units::{rank, units};
