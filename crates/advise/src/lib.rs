//! What it costs to serve and fine-tune a model, each way, and where the ways meet.
//!
//! It reads no file and no clock: inputs, prices and the day come in, costs come out.

pub mod cost;
