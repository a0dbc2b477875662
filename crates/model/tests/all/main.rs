//! The decoder as a whole: against PyTorch, against float64, and generation against the training pass.

mod again;
mod cases;
mod float64;
mod generate;
mod matrix;
mod parity;
