//! The decoder as a whole: against PyTorch, and generation against the training pass.

mod generate;
mod parity;
