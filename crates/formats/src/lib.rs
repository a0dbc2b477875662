//! Other people's files: safetensors, GGUF, bitsandbytes, config.json, adapters.
//!
//! Every reader treats its file as possibly cut short, altered or lying: sizes are checked before they are used,
//! nothing is allocated on the word of a header, and an error names the file, the field or tensor, what was found
//! and what was expected. This crate never computes with weights beyond decoding them, never touches the network,
//! and knows none of our own files (those belong to `record`).

pub mod adapter;
mod atomic;
pub mod bnb;
mod coded;
pub mod config;
mod draft;
pub mod dtype;
mod error;
mod fields;
pub mod gguf;
mod map;
pub mod safetensors;
mod tensor;
pub mod weights;

pub use adapter::{AdapterConfig, Targets};
pub use coded::Coded;
pub use config::{Experts, Family, ModelConfig, Quantization, Rope};
pub use dtype::Dtype;
pub use error::Error;
pub use tensor::Tensor;
pub use weights::{RowOrder, Stored, TokenizerSource, Weights};
