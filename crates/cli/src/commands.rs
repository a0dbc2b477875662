//! The commands, one file each, all in four beats: resolve, plan, do, say.

pub mod chat;
pub mod demo;
pub mod eval;
pub mod export;
pub mod merge;
pub mod pull;
pub mod recipe;
pub mod train;
