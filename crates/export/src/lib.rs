//! A trained run to files that others load, and proof that they load.
//!
//! `merge` adds the adapter into the base weights and writes a Hugging Face folder, `gguf` one file for llama.cpp and
//! Ollama; either is announced only after it was opened again and its logits agreed with base and adapter.

mod error;
mod gguf;
mod merge;
mod modelfile;
mod prove;
mod source;

pub use error::Error;
pub use gguf::{Exported, Store, gguf};
pub use merge::{Precision, merge};
pub use prove::{Proof, Tuned};
