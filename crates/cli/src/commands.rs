//! The commands, one file each, all in four beats: resolve, plan, do, say.

pub mod chat;
pub mod cost;
pub mod data;
pub mod demo;
pub mod doctor;
pub mod eval;
pub mod export;
pub mod lr;
pub mod merge;
pub mod plan;
pub mod pull;
pub mod recipe;
pub mod sweep;
pub mod track;
pub mod train;
