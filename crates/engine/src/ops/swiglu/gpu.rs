//! SwiGLU on the GPU; kernels in swiglu.cu.

use crate::cuda::{Buffer, Gpu, Rows, args, eights};

const FILE: &str = "swiglu";

/// `h` from `gate_up`, rows of all gates and then all ups.
pub fn forward(gpu: &Gpu, h: Rows, gate_up: Rows) {
    assert!(gate_up.rows == h.rows && gate_up.width == 2 * h.width, "{h:?} of {gate_up:?}");
    gpu.launch(
        FILE,
        "swiglu_forward",
        eights(h.rows, h.width),
        256,
        0,
        args![h.at, gate_up.at, h.rows as u32, h.width as u32, h.stride as u32, gate_up.stride as u32],
    );
}

/// `gate_up` becomes its gradient, and `dh` becomes h.
pub fn backward(gpu: &Gpu, gate_up: Rows, dh: Rows) {
    assert!(gate_up.rows == dh.rows && gate_up.width == 2 * dh.width, "{dh:?} of {gate_up:?}");
    gpu.launch(
        FILE,
        "swiglu_backward",
        eights(dh.rows, dh.width),
        256,
        0,
        args![gate_up.at, dh.at, dh.rows as u32, dh.width as u32, gate_up.stride as u32, dh.stride as u32],
    );
}

/// As [`forward`] for an expert's rows: each times the weight of its pair in `list`; zero where that names none of the `weights`.
pub fn forward_weighted(gpu: &Gpu, h: Rows, gate_up: Rows, list: &Buffer<u32>, weights: &Buffer<f32>) {
    assert!(gate_up.rows == h.rows && gate_up.width == 2 * h.width && list.len() >= h.rows, "{h:?} of {gate_up:?}");
    let [rows, width, to, from, pairs] = [h.rows, h.width, h.stride, gate_up.stride, weights.len()].map(|n| n as u32);
    let args = args![h.at, gate_up.at, list.address(), weights.address(), rows, width, to, from, pairs];
    gpu.launch(FILE, "swiglu_forward_weighted", eights(h.rows, h.width), 256, 0, args);
}

/// As [`super::backward_weighted`]: `gate_up` becomes its gradient and `dh` h, both times the weight; `dw` gets one a pair.
pub fn backward_weighted(gpu: &Gpu, gate_up: Rows, dh: Rows, dw: &Buffer<f32>, list: &Buffer<u32>, weights: &Buffer<f32>) {
    assert!(gate_up.rows == dh.rows && gate_up.width == 2 * dh.width && list.len() >= dh.rows, "{dh:?} of {gate_up:?}");
    assert!(dw.len() >= weights.len());
    let [width, from, to, pairs] = [dh.width, gate_up.stride, dh.stride, weights.len()].map(|n| n as u32);
    let args = args![gate_up.at, dh.at, dw.address(), list.address(), weights.address(), width, from, to, pairs];
    gpu.launch(FILE, "swiglu_backward_weighted", (dh.rows, 1, 1), 256, 0, args);
}
