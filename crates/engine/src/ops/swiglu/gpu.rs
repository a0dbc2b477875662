//! SwiGLU on the GPU; kernels in swiglu.cu.

use crate::cuda::{Gpu, Rows, args, eights};

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
