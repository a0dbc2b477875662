//! Architectures made of engine ops: load, forward, backward, adapters, generation.
//!
//! The only room where numbers meet files. It never prints, knows no recipe and opens no dataset.

pub mod adapter;
pub mod batch;
pub mod dims;
mod error;
pub mod folder;
pub mod generate;
pub mod llama;
pub mod random;
pub mod room;
pub mod weights;

pub use adapter::{Adapter, Places};
pub use batch::MicroBatch;
pub use dims::Dims;
pub use error::Error;
pub use folder::Folder;
pub use llama::Limits;
pub use weights::Weights;
