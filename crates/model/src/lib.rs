//! Architectures made of engine ops: load, forward, backward, adapters, generation.
//!
//! The only room where numbers meet files. It never prints, knows no recipe and opens no dataset.

pub mod adapter;
mod apply;
mod attend;
mod balance;
pub mod batch;
pub mod decoder;
pub mod dims;
mod error;
mod experts;
mod feed;
pub mod folder;
pub mod generate;
pub mod gpu;
pub mod modules;
pub mod places;
pub mod preference;
pub mod random;
pub mod room;
pub mod weights;

pub use adapter::Adapter;
pub use batch::MicroBatch;
pub use dims::Dims;
pub use error::Error;
pub use folder::Folder;
pub use places::Places;
pub use room::{Limits, Room};
pub use weights::Weights;
