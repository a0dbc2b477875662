//! Our files: recipe, pack, events, checkpoints; the run folder.
//!
//! Stages meet here and nowhere else: what one stage writes, the next one reads from disk.
//! This room knows no model, no tokenizer and no network, and it has no clock: times come
//! from the caller.

pub mod atomic;
pub mod checkpoint;
pub mod error;
pub mod event;
pub mod folder;
pub mod hash;
pub mod pack;
pub mod recipe;

pub use checkpoint::{Checkpoint, Draft, Keep, Stage, State};
pub use error::{Error, Result};
pub use event::{Event, Log};
pub use folder::{Lock, RunFolder};
pub use pack::{Example, Meta, Pack};
pub use recipe::Recipe;
