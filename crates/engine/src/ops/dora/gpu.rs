//! DoRA on the GPU; kernels in dora.cu.

use crate::cuda::{Buffer, Gpu, Rows, args, eights};
use half::bf16;

const FILE: &str = "dora";

/// Parts of the rows whose sums are taken apart.
const PARTS: usize = 64;

/// Elements that [`magnitudes`] needs beside its operands.
pub const fn scratch(width: usize) -> usize {
    PARTS * width
}

/// |W_j|² of every row of `w`, added up in f64.
pub fn squares(gpu: &Gpu, squares: &Buffer<f32>, w: Rows) {
    assert!(squares.len() == w.rows, "{} of {w:?}", squares.len());
    let grid = (w.rows.div_ceil(8), 1, 1);
    gpu.launch(FILE, "dora_squares", grid, 256, 0, args![squares.address(), w.at, w.rows as u32, w.width as u32, w.stride as u32]);
}

/// What the lengths of some outputs are made of.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// |W_j|² of each, from [`squares`].
    pub squares: &'a Buffer<f32>,
    /// W·Aᵀ: a row for each, from its first rank on.
    pub p: &'a Buffer<f32>,
    /// From row to row of it.
    pub stride: usize,
    /// A·Aᵀ from the first rank's row and column on, its rows as far apart.
    pub gram: &'a Buffer<f32>,
    /// s·B (outputs, rank).
    pub b: Rows,
}

/// The length of every row of W + s·B·A, and the factor that brings it to its magnitude `m`.
pub fn factors(gpu: &Gpu, lengths: &Buffer<f32>, factors: &Buffer<f32>, m: &Buffer<f32>, parts: Parts) {
    let (outputs, rank, stride) = (parts.b.rows, parts.b.width, parts.stride);
    assert!(lengths.len() == outputs && factors.len() == outputs && m.len() == outputs && parts.squares.len() == outputs);
    let needed = |rows: usize| if rows == 0 || rank == 0 { 0 } else { (rows - 1) * stride + rank };
    assert!(rank <= stride && parts.p.len() >= needed(outputs) && parts.gram.len() >= needed(rank), "lengths of {:?}", parts.b);
    let (p, gram) = (parts.p.address(), parts.gram.address());
    let [lengths, factors, m, squares] = [lengths, factors, m, parts.squares].map(Buffer::address);
    let (sizes, strides) = ([outputs as u32, rank as u32], [stride as u32, stride as u32, parts.b.stride as u32]);
    gpu.launch(
        FILE,
        "dora_factors",
        (outputs.div_ceil(256), 1, 1),
        256,
        0,
        args![lengths, factors, m, squares, p, gram, parts.b.at, sizes[0], sizes[1], strides[0], strides[1], strides[2]],
    );
}

/// `out` = `y` times the factors, and more if there is more: `out` may be `y` or `plus`.
pub fn forward(gpu: &Gpu, out: Rows, y: Rows, factors: &Buffer<f32>, plus: Option<Rows>, bias: Option<&Buffer<bf16>>) {
    let fits = |x: Rows| x.rows == out.rows && x.width == out.width;
    assert!(fits(y) && plus.is_none_or(fits) && factors.len() == out.width, "{out:?} from {y:?}");
    assert!(bias.is_none_or(|b| b.len() == out.width));
    let (plus, ldp) = plus.map_or((0, 0), |p| (p.at, p.stride as u32));
    let (bias, sizes) = (bias.map_or(0, Buffer::address), [out.rows as u32, out.width as u32]);
    let strides = [out.stride as u32, y.stride as u32];
    gpu.launch(
        FILE,
        "dora_forward",
        eights(out.rows, out.width),
        256,
        0,
        args![out.at, y.at, plus, factors.address(), bias, sizes[0], sizes[1], strides[0], strides[1], ldp],
    );
}

/// Adds to `dm` from the gradient `dy` of what was scaled, `y0` before it was; `scratch` holds [`scratch`] elements.
pub fn magnitudes(gpu: &Gpu, dm: &Buffer<f32>, dy: Rows, y0: Rows, lengths: &Buffer<f32>, scratch: &Buffer<f32>) {
    let width = dm.len();
    assert!(dy.width == width && y0.width == width && dy.rows == y0.rows && lengths.len() == width, "{dy:?} and {y0:?} into {width}");
    assert!(scratch.len() >= PARTS * width);
    let (sizes, strides) = ([dy.rows as u32, width as u32], [dy.stride as u32, y0.stride as u32]);
    let parts = scratch.address();
    gpu.launch(
        FILE,
        "dora_parts",
        (width.div_ceil(64), PARTS, 1),
        256,
        0,
        args![parts, dy.at, y0.at, sizes[0], sizes[1], strides[0], strides[1]],
    );
    gpu.launch(
        FILE,
        "dora_sums",
        (width.div_ceil(256), 1, 1),
        256,
        0,
        args![dm.address(), parts, lengths.address(), PARTS as u32, width as u32],
    );
}
