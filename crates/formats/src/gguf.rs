//! GGUF: the single-file format of llama.cpp, weights with metadata and tokenizer.

pub(crate) mod blocks;
mod cursor;
mod encode;
mod file;
mod metadata;
pub(crate) mod names;
mod vocab;
mod write;

pub use encode::{encode, encodes};
pub use file::{File, Value};
pub use metadata::Metadata;
pub use vocab::{Vocab, names_phi3};
pub use write::{Writer, bytes_of};

pub use crate::draft::{Entry, Sealed};
