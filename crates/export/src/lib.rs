//! A trained run to files that others load, and proof that they load.
//!
//! `merge` adds the adapter into the base weights and writes a Hugging Face folder; it is announced only
//! after the folder was opened again and its logits agreed with base and adapter.

mod error;
mod merge;
mod prove;

pub use error::Error;
pub use merge::{Precision, merge};
pub use prove::Proof;
