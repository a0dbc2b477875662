//! Numbers on devices: ops with forward and backward written by hand, and the optimizer step.
//!
//! Owns the threads, the vector kernels and every formula of training. It opens no files, parses no
//! JSON and knows no model: `model` strings these ops together. Every op gives the same bits for the
//! same inputs, whatever the number of threads: work is cut into fixed pieces, each piece is done by
//! one thread from start to end, and sums across pieces are taken in a fixed order.

pub mod cpu;
pub mod cuda;
pub mod layout;
pub mod ops;

pub use cpu::Cx;
pub use cpu::arena::{Arena, Block};
pub use cpu::coded::Coded;
pub use cpu::gemm::{Mat, Weight};
pub use layout::{Layout, Segment};
