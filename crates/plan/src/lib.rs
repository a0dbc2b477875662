//! What a training run needs before it begins: every buffer with its size, its lifetime and its reason, and what it costs.
//!
//! A pure function of configuration, method and machine. It opens no file, reads no clock, and allocates nothing
//! of what it counts; a model whose configuration is built in needs no weights on disk, and a GPU need not be there.
//! It never guesses: a figure without a basis is left out.

mod advice;
mod ask;
mod buffer;
mod catalogue;
mod cost;
pub mod cpu;
mod error;
mod gpu;
mod keep;
mod pass;
mod shape;
mod shard;
mod sizes;
mod storage;

pub use advice::{Change, changes};
pub use ask::{Ask, MAX_TOKENS, Method, Plan, Rebuilt, Recompute, States, plan};
pub use buffer::{Buffer, Life};
pub use catalogue::{NAMES as MODELS, builtin};
pub use cost::Estimate;
pub use error::Error;
pub use gpu::{Gpu, KNOWN as GPUS, Price};
pub use keep::Keep;
pub use shape::{adapted, parameters};
pub use shard::Sharding;
pub use storage::Storage;
