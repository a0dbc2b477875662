//! The decoder as a whole: against PyTorch, against float64, and generation against the training pass.

mod again;
mod cases;
mod float64;
mod generate;
mod gpu;
mod gpu_answers;
mod gpu_experts;
mod matrix;
mod parity;
mod rounded;
