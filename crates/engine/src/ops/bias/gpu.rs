//! A bias's gradient on the GPU; kernels in bias.cu. Forward is done by the product.

use crate::cuda::{Buffer, Gpu, Rows, args};

const FILE: &str = "bias";

/// Parts of the rows whose sums are taken apart.
const PARTS: usize = 64;

/// Elements that [`backward`] needs beside its operands.
pub const fn scratch(width: usize) -> usize {
    PARTS * width
}

/// Adds the column sums of `dy` to `db`; `scratch` holds [`scratch`] elements.
pub fn backward(gpu: &Gpu, db: &Buffer<f32>, dy: Rows, scratch: &Buffer<f32>) {
    assert!(db.len() == dy.width && scratch.len() >= PARTS * dy.width, "{dy:?} into {}", db.len());
    gpu.launch(
        FILE,
        "bias_parts",
        (dy.width.div_ceil(64), PARTS, 1),
        256,
        0,
        args![scratch.address(), dy.at, dy.rows as u32, dy.width as u32, dy.stride as u32],
    );
    gpu.launch(
        FILE,
        "bias_sums",
        (dy.width.div_ceil(256), 1, 1),
        256,
        0,
        args![db.address(), scratch.address(), PARTS as u32, dy.width as u32],
    );
}
