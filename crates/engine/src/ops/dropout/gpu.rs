//! Dropout on the GPU; kernels in dropout.cu, with the same masks as on the CPU.

use super::{Drop, mix};
use crate::cuda::{Buffer, Gpu, Rows, args, eights};

const FILE: &str = "dropout";

impl Drop {
    /// What of it lies on the device, so that a captured step can be run again with another: the bits of seed and stream.
    pub fn base(&self) -> u64 {
        mix(mix(self.seed) ^ self.stream)
    }
}

/// `out` from `x`; `keys` has one a row, `base` is one [`Drop::base`], of which `drop` gives the probability.
pub fn forward(gpu: &Gpu, out: Rows, x: Rows, keys: &Buffer<u64>, base: &Buffer<u64>, drop: Drop) {
    run(gpu, "dropout_forward", out, x, keys, base, drop);
}

/// Adds to `dx` from `g`, the gradient of what [`forward`] made.
pub fn backward(gpu: &Gpu, dx: Rows, g: Rows, keys: &Buffer<u64>, base: &Buffer<u64>, drop: Drop) {
    run(gpu, "dropout_backward", dx, g, keys, base, drop);
}

fn run(gpu: &Gpu, name: &'static str, out: Rows, x: Rows, keys: &Buffer<u64>, base: &Buffer<u64>, drop: Drop) {
    assert!(out.rows == x.rows && out.width == x.width && keys.len() >= x.rows, "{out:?} from {x:?}");
    let (keys, base, sizes) = (keys.address(), base.part(0..1).address(), [x.rows as u32, x.width as u32]);
    let (strides, threshold, scale) = ([out.stride as u32, x.stride as u32], drop.threshold(), drop.scale());
    gpu.launch(
        FILE,
        name,
        eights(x.rows, x.width),
        256,
        0,
        args![out.at, x.at, keys, base, sizes[0], sizes[1], strides[0], strides[1], threshold, scale],
    );
}
