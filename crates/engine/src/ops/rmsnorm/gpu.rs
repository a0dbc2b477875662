//! RMSNorm on the GPU; kernels in rmsnorm.cu.

use crate::cuda::{Buffer, Gpu, Rows, args};

const FILE: &str = "rmsnorm";

/// Parts of the rows whose sums are taken apart for a weight's gradient.
const PARTS: usize = 64;

/// Elements that [`weight`] needs beside its operands.
pub const fn scratch(width: usize) -> usize {
    PARTS * width
}

/// Which kernel holds a row of `width` in registers: its name's end, its threads a block, its rows a block.
fn shape(width: usize) -> (usize, usize, usize) {
    match width {
        0..=1024 => (0, 256, 8),
        1025..=4096 => (1, 256, 1),
        4097..=8192 => (2, 256, 1),
        8193..=16384 => (3, 512, 1),
        _ => unreachable!("models of more than 16,384 hidden are refused when they are opened"),
    }
}

/// `y` and `r` (one a row) from `x` and `w` (width).
pub fn forward(gpu: &Gpu, y: Rows, r: &Buffer<f32>, x: Rows, w: &Buffer<f32>, eps: f32) {
    assert!(y.rows == x.rows && y.width == x.width && r.len() >= x.rows && w.len() == x.width);
    let (which, threads, rows) = shape(x.width);
    let name = ["rmsnorm_forward_1024", "rmsnorm_forward_4096", "rmsnorm_forward_8192", "rmsnorm_forward_16384"][which];
    gpu.launch(
        FILE,
        name,
        (x.rows.div_ceil(rows), 1, 1),
        threads,
        0,
        args![y.at, r.address(), x.at, w.address(), x.rows as u32, x.width as u32, x.stride as u32, y.stride as u32, eps],
    );
}

/// The widest row that there are kernels for.
pub const WIDTH_MAX: usize = 16_384;

/// Adds to `dx`; `r` as forward left it.
pub fn backward(gpu: &Gpu, dx: Rows, dy: Rows, x: Rows, w: &Buffer<f32>, r: &Buffer<f32>) {
    back(gpu, dx, dy, x, w, r, 1);
}

/// As [`backward`], over what `dx` held; it may be `x`.
pub fn backward_set(gpu: &Gpu, dx: Rows, dy: Rows, x: Rows, w: &Buffer<f32>, r: &Buffer<f32>) {
    back(gpu, dx, dy, x, w, r, 0);
}

fn back(gpu: &Gpu, dx: Rows, dy: Rows, x: Rows, w: &Buffer<f32>, r: &Buffer<f32>, adds: u32) {
    assert!(dx.rows == x.rows && dx.width == x.width && dy.rows == x.rows && dy.width == x.width);
    assert!(r.len() >= x.rows && w.len() == x.width);
    let (which, threads, rows) = shape(x.width);
    let name = ["rmsnorm_backward_1024", "rmsnorm_backward_4096", "rmsnorm_backward_8192", "rmsnorm_backward_16384"][which];
    let (strides, sizes) = ([x.stride as u32, dy.stride as u32, dx.stride as u32], (x.rows as u32, x.width as u32));
    gpu.launch(
        FILE,
        name,
        (x.rows.div_ceil(rows), 1, 1),
        threads,
        0,
        args![dx.at, dy.at, x.at, w.address(), r.address(), sizes.0, sizes.1, strides[0], strides[1], strides[2], adds],
    );
}

/// The norm of each head: `x`, `y` rows of heads side by side, each of `w`'s length; `r` (rows, heads). `y` may be `x`.
pub fn heads_forward(gpu: &Gpu, y: Rows, r: &Buffer<f32>, x: Rows, w: &Buffer<f32>, eps: f32) {
    let (heads, kernel) = heads(x, w, r);
    assert!(y.rows == x.rows && y.width == x.width);
    let (name, threads) = [("rmsnorm_heads_forward_128", 16), ("rmsnorm_heads_forward_256", 32)][kernel];
    let (rows, sizes, strides) = (x.rows as u32, [heads as u32, w.len() as u32], [x.stride as u32, y.stride as u32]);
    gpu.launch(
        FILE,
        name,
        ((x.rows * heads).div_ceil(256 / threads), 1, 1),
        256,
        0,
        args![y.at, r.address(), x.at, w.address(), rows, sizes[0], sizes[1], strides[0], strides[1], eps],
    );
}

/// `dx` from `dy` and the `x` of [`heads_forward`]; overwritten, not added to. `dx` may be `dy`.
pub fn heads_backward(gpu: &Gpu, dx: Rows, dy: Rows, x: Rows, w: &Buffer<f32>, r: &Buffer<f32>) {
    let (heads, kernel) = heads(x, w, r);
    assert!(dx.rows == x.rows && dx.width == x.width && dy.rows == x.rows && dy.width == x.width);
    let (name, threads) = [("rmsnorm_heads_backward_128", 16), ("rmsnorm_heads_backward_256", 32)][kernel];
    let (rows, sizes, strides) = (x.rows as u32, [heads as u32, w.len() as u32], [x.stride as u32, dy.stride as u32, dx.stride as u32]);
    gpu.launch(
        FILE,
        name,
        ((x.rows * heads).div_ceil(256 / threads), 1, 1),
        256,
        0,
        args![dx.at, dy.at, x.at, w.address(), r.address(), rows, sizes[0], sizes[1], strides[0], strides[1], strides[2]],
    );
}

/// Adds to `dw`, whose length is a row's or a head's; `scratch` holds [`scratch`] elements.
pub fn weight(gpu: &Gpu, dw: &Buffer<f32>, dy: Rows, x: Rows, r: &Buffer<f32>, scratch: &Buffer<f32>) {
    let width = dw.len();
    let heads = x.width / width;
    assert!(dy.rows == x.rows && dy.width == x.width && heads * width == x.width && r.len() >= x.rows * heads);
    assert!(scratch.len() >= PARTS * width);
    let (rows, sizes, strides) = (x.rows as u32, [heads as u32, width as u32], [x.stride as u32, dy.stride as u32]);
    gpu.launch(
        FILE,
        "rmsnorm_weight_parts",
        (width.div_ceil(64), PARTS, 1),
        256,
        0,
        args![scratch.address(), dy.at, x.at, r.address(), rows, sizes[0], sizes[1], strides[0], strides[1]],
    );
    gpu.launch(
        FILE,
        "rmsnorm_weight_sums",
        (width.div_ceil(256), 1, 1),
        256,
        0,
        args![dw.address(), scratch.address(), PARTS as u32, width as u32],
    );
}

/// Heads of a row, and which kernel does them.
fn heads(x: Rows, w: &Buffer<f32>, r: &Buffer<f32>) -> (usize, usize) {
    let heads = x.width / w.len();
    assert!(heads * w.len() == x.width && w.len() <= 256 && r.len() >= x.rows * heads, "{x:?} in heads of {}", w.len());
    (heads, usize::from(w.len() > 128))
}
