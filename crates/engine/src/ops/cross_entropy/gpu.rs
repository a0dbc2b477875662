//! Cross-entropy on the GPU; kernels in cross_entropy.cu.

use crate::cuda::{Buffer, Gpu, Rows, args};

const FILE: &str = "cross_entropy";

/// Losses, and `x` becomes its gradient: loss = weight * (ln sum e^x - x_target), gradient = scale * weight * (softmax - onehot).
///
/// `targets`, `weights`, `losses` have one a row; `scale` is one number. A row of weight 0 is not read: its loss and gradient
/// are 0. A target past the vocabulary makes the loss NaN.
pub fn forward_backward(gpu: &Gpu, x: Rows, losses: &Buffer<f32>, targets: &Buffer<u32>, weights: &Buffer<f32>, scale: &Buffer<f32>) {
    check(x, losses, targets, weights);
    let scale = scale.part(0..1).address();
    gpu.launch(
        FILE,
        "cross_entropy_both",
        (x.rows, 1, 1),
        1024,
        0,
        args![x.at, losses.address(), targets.address(), weights.address(), scale, x.width as u32, x.stride as u32],
    );
}

/// Losses alone.
pub fn forward(gpu: &Gpu, x: Rows, losses: &Buffer<f32>, targets: &Buffer<u32>, weights: &Buffer<f32>) {
    check(x, losses, targets, weights);
    gpu.launch(
        FILE,
        "cross_entropy_losses",
        (x.rows, 1, 1),
        1024,
        0,
        args![x.at, losses.address(), targets.address(), weights.address(), x.width as u32, x.stride as u32],
    );
}

/// `out` += the sum of `losses`.
pub fn sum(gpu: &Gpu, out: &Buffer<f64>, losses: &Buffer<f32>) {
    assert!(out.len() == 1);
    gpu.launch(FILE, "cross_entropy_sum", (1, 1, 1), 1024, 0, args![out.address(), losses.address(), losses.len() as u32]);
}

fn check(x: Rows, losses: &Buffer<f32>, targets: &Buffer<u32>, weights: &Buffer<f32>) {
    assert!(losses.len() >= x.rows && targets.len() >= x.rows && weights.len() >= x.rows && x.width > 0, "{x:?}");
}
