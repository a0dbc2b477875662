//! GGUF: the single-file format of llama.cpp, weights with metadata and tokenizer.

pub(crate) mod blocks;
mod cursor;
mod encode;
mod file;
pub(crate) mod names;
mod vocab;

pub use encode::{encode, encodes};
pub use file::{File, Value};
pub use vocab::Vocab;
