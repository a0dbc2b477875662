//! 8-bit floats on the GPU: rows quantised to e4m3 with a scale each, and the transpose that a product backward needs.
//!
//! Forward    scale = max |x * by| / 448 over the row (1 where that is 0)     q = x * by / scale, to the nearest of e4m3
//! Backward   none: what is quantised is a frozen weight, or an operand of a product with one.
//! Shapes     x (rows, width) with a stride   by (width)   q (rows, width) without gaps   scales (rows)   transpose (width, rows)
//! Writes     q, scales, the transpose overwritten. A row by itself, so a result does not depend on its neighbours.
//! Rounds     x * by to bf16, then once to e4m3: 1/16 of a value, 2^-10 of the scale near 0. Micikevicius et al., "FP8 formats for deep
//!            learning" (2022).
//! Moves      reads 2, writes 1 byte an element; the transpose 1 and 1. GPU only: the CPU has no such products.

use crate::cuda::{Buffer, Gpu, Rows, args};

const FILE: &str = "fp8";

/// The widest row that there are kernels for.
pub const WIDTH_MAX: usize = 32_768;

/// Where quantised rows go.
#[derive(Clone, Copy)]
pub struct Quantised<'a> {
    /// (rows, width), without gaps.
    pub q: &'a Buffer<u8>,
    /// One a row.
    pub scales: &'a Buffer<f32>,
}

/// `to` from `x`, each column first times `by` if there is one. Weights are quantised by output channel in the same way:
/// their rows.
pub fn quantise(gpu: &Gpu, to: Quantised, x: Rows, by: Option<&Buffer<f32>>) {
    assert!(by.is_none_or(|b| b.len() == x.width), "{x:?}");
    let names = ["fp8_quantise_1024", "fp8_quantise_4096", "fp8_quantise_8192", "fp8_quantise_16384", "fp8_quantise_32768"];
    let (which, grid, threads) = shape(to, x);
    let by = by.map_or(0, Buffer::address);
    let args = args![to.q.address(), to.scales.address(), x.at, by, x.rows as u32, x.width as u32, x.stride as u32];
    gpu.launch(FILE, names[which], grid, threads, 0, args);
}

/// RMSNorm and then [`quantise`] of its `y`, in one pass: the same bits.
pub fn rmsnorm(gpu: &Gpu, to: Quantised, y: Rows, r: &Buffer<f32>, x: Rows, w: &Buffer<f32>, eps: f32) {
    assert!(y.rows == x.rows && y.width == x.width && r.len() >= x.rows && w.len() == x.width, "{x:?}");
    let names = ["fp8_rmsnorm_1024", "fp8_rmsnorm_4096", "fp8_rmsnorm_8192", "fp8_rmsnorm_16384", "fp8_rmsnorm_32768"];
    let (which, grid, threads) = shape(to, x);
    let (sizes, strides) = ([x.rows as u32, x.width as u32], [x.stride as u32, y.stride as u32]);
    let (q, scales, r, w) = (to.q.address(), to.scales.address(), r.address(), w.address());
    let args = args![q, scales, y.at, r, x.at, w, sizes[0], sizes[1], strides[0], strides[1], eps];
    gpu.launch(FILE, names[which], grid, threads, 0, args);
}

/// SwiGLU of `gate_up` and then [`quantise`] of its `h`, in one pass: the same bits.
pub fn swiglu(gpu: &Gpu, to: Quantised, h: Rows, gate_up: Rows) {
    assert!(gate_up.rows == h.rows && gate_up.width == 2 * h.width, "{h:?} of {gate_up:?}");
    let names = ["fp8_swiglu_1024", "fp8_swiglu_4096", "fp8_swiglu_8192", "fp8_swiglu_16384", "fp8_swiglu_32768"];
    let (which, grid, threads) = shape(to, h);
    let (sizes, strides) = ([h.rows as u32, h.width as u32], [h.stride as u32, gate_up.stride as u32]);
    let args = args![to.q.address(), to.scales.address(), h.at, gate_up.at, sizes[0], sizes[1], strides[0], strides[1]];
    gpu.launch(FILE, names[which], grid, threads, 0, args);
}

/// The backward pass of SwiGLU, where `gate_up` becomes its gradient and `dh` becomes h, and then [`quantise`] of that gradient
/// times `by`, in one pass: the same bits.
pub fn swiglu_backward(gpu: &Gpu, to: Quantised, gate_up: Rows, dh: Rows, by: &Buffer<f32>) {
    assert!(gate_up.rows == dh.rows && gate_up.width == 2 * dh.width && by.len() == gate_up.width, "{dh:?} of {gate_up:?}");
    assert!(to.q.len() >= gate_up.rows * gate_up.width, "{gate_up:?}");
    let names = [
        "fp8_swiglu_backward_1024",
        "fp8_swiglu_backward_4096",
        "fp8_swiglu_backward_8192",
        "fp8_swiglu_backward_16384",
        "fp8_swiglu_backward_32768",
    ];
    let (which, grid, _) = shape(to, dh);
    let threads = [256, 256, 512, 1024, 1024][which]; // a thread holds as much of gates as of ups
    let (sizes, strides) = ([dh.rows as u32, dh.width as u32], [gate_up.stride as u32, dh.stride as u32]);
    let (q, scales, by) = (to.q.address(), to.scales.address(), by.address());
    gpu.launch(FILE, names[which], grid, threads, 0, args![q, scales, gate_up.at, dh.at, by, sizes[0], sizes[1], strides[0], strides[1]]);
}

/// Which kernel holds a row of `x` in registers, its grid and its threads.
fn shape(to: Quantised, x: Rows) -> (usize, (usize, usize, usize), usize) {
    assert!(to.q.len() >= x.rows * x.width && to.scales.len() >= x.rows, "{x:?}");
    assert!(x.width <= WIDTH_MAX, "{x:?} is wider than {WIDTH_MAX}");
    let (which, threads, rows) = match x.width {
        0..=1024 => (0, 256, 8),
        1025..=4096 => (1, 256, 1),
        4097..=8192 => (2, 256, 1),
        8193..=16_384 => (3, 512, 1),
        _ => (4, 512, 1),
    };
    (which, (x.rows.div_ceil(rows), 1, 1), threads)
}

/// `out` (width, rows) = the transpose of `x` (rows, width), both without gaps.
pub fn transpose(gpu: &Gpu, out: &Buffer<u8>, x: &Buffer<u8>, (rows, width): (usize, usize)) {
    assert!(x.len() >= rows * width && out.len() >= rows * width && rows <= 128 * 65_535, "{rows} x {width}");
    let args = args![out.address(), x.address(), rows as u32, width as u32];
    gpu.launch(FILE, "fp8_transpose", (width.div_ceil(128), rows.div_ceil(128), 1), 256, 0, args);
}

#[cfg(test)]
mod tests;
