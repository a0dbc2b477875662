//! Rows moved on the GPU: copied, gathered, scattered, set to zero, made narrow or wide.
//!
//! Forward    copy, widen: out = x     pick: out_i = x[index_i]     put: out[index_i] = x_i     zero: out = 0     narrow: out = x * scale
//! Backward   of pick: put into rows of zero; of put: pick (no row of `out` is named twice)
//! Shapes     out, x (rows, width) with strides   index (rows)
//! Writes     out overwritten; put leaves the rows that are not named. Every element by itself: same call, same bits.
//! Rounds     narrow rounds x * scale in f32, then to bf16; all else is moved.
//! Moves      reads x once, writes out once. GPU only: on the CPU these are slices.

use crate::cuda::{Buffer, Error, Gpu, Rows, args, eights};
use std::sync::Arc;

const FILE: &str = "rows";

/// `out` = `x`.
pub fn copy(gpu: &Gpu, out: Rows, x: Rows) {
    assert!(out.rows == x.rows, "{out:?} from {x:?}");
    run(gpu, "rows_copy", out, x, 0, x.rows, 0);
}

/// Row i of `out` = row `index[i]` of `x`; NaN where `x` has no such row.
pub fn pick(gpu: &Gpu, out: Rows, x: Rows, index: &Buffer<u32>) {
    assert!(index.len() >= out.rows);
    run(gpu, "rows_pick", out, x, index.address(), out.rows, x.rows);
}

/// Row `index[i]` of `out` = row i of `x`; nothing where `out` has no such row. No row is named twice.
pub fn put(gpu: &Gpu, out: Rows, x: Rows, index: &Buffer<u32>) {
    assert!(index.len() >= x.rows);
    run(gpu, "rows_put", out, x, index.address(), x.rows, out.rows);
}

/// Row i of `out` = the sum of rows `starts[i]..starts[i + 1]` of `x`: back from where several rows were picked from one.
pub fn put_back(gpu: &Gpu, out: Rows, x: Rows, starts: &Buffer<u32>) {
    assert!(out.width == x.width && starts.len() > out.rows, "{out:?} from {x:?}");
    gpu.launch(
        FILE,
        "rows_put_back",
        eights(out.rows, x.width),
        256,
        0,
        args![out.at, x.at, starts.address(), out.rows as u32, x.width as u32, out.stride as u32, x.stride as u32],
    );
}

/// `out` = 0.
pub fn zero(gpu: &Gpu, out: Rows) {
    run(gpu, "rows_zero", out, out, 0, out.rows, 0);
}

fn run(gpu: &Gpu, name: &'static str, out: Rows, x: Rows, index: u64, rows: usize, limit: usize) {
    assert!(out.width == x.width, "{out:?} from {x:?}");
    gpu.launch(
        FILE,
        name,
        eights(rows, x.width),
        256,
        0,
        args![out.at, x.at, index, rows as u32, x.width as u32, out.stride as u32, x.stride as u32, limit as u32],
    );
}

/// `out` = `x` * `scale`, from float32 rows without gaps.
pub fn narrow(gpu: &Gpu, out: Rows, x: &Buffer<f32>, scale: f32) {
    assert!(x.len() == out.rows * out.width, "{out:?} from {}", x.len());
    let width = out.width as u32;
    gpu.launch(
        FILE,
        "rows_narrow",
        eights(out.rows, out.width),
        256,
        0,
        args![out.at, x.address(), out.rows as u32, width, out.stride as u32, width, scale],
    );
}

/// `out` = `x`, to float32 rows without gaps.
pub fn widen(gpu: &Gpu, out: &Buffer<f32>, x: Rows) {
    assert!(out.len() == x.rows * x.width, "{} from {x:?}", out.len());
    let width = x.width as u32;
    gpu.launch(
        FILE,
        "rows_widen",
        eights(x.rows, x.width),
        256,
        0,
        args![out.address(), x.at, x.rows as u32, width, width, x.stride as u32],
    );
}

/// Fills `out` with numbers of mean 0 and standard deviation `size` that depend on `seed` and place alone: for measurements.
pub fn noise(gpu: &Gpu, out: &Buffer<half::bf16>, seed: u64, size: f32) {
    gpu.launch(FILE, "rows_noise", eights(1, out.len()), 256, 0, args![out.address(), out.len() as u32, seed, size]);
}

/// One matrix of a [`Spread`]: `out` = `x` * `scale`.
pub struct Entry {
    /// Where to.
    pub out: Rows,
    /// From where: float32 rows without gaps.
    pub x: Buffer<f32>,
    /// Times this.
    pub scale: f32,
}

/// Many [`narrow`]s in one launch: an adapter's matrices into the weights that they extend.
pub struct Spread {
    list: Buffer<u64>,
    entries: usize,
    blocks: usize,
}

impl Spread {
    /// Keeps the list on the device; what it names must outlive it.
    ///
    /// # Errors
    /// When the device has not the memory.
    pub fn new(gpu: &Arc<Gpu>, entries: &[Entry]) -> Result<Spread, Error> {
        let (mut list, mut most) = (Vec::new(), 1);
        for Entry { out, x, scale } in entries {
            assert!(x.len() == out.rows * out.width, "{out:?} from {}", x.len());
            most = most.max(eights(out.rows, out.width).0);
            let pair = |low: usize, high: u32| low as u64 | u64::from(high) << 32;
            list.extend([out.at, x.address(), pair(out.rows, out.width as u32), pair(out.stride, scale.to_bits())]);
        }
        Ok(Spread { list: Buffer::of(gpu, &list)?, entries: entries.len(), blocks: most.min(64) })
    }

    /// Writes all of them.
    pub fn run(&self, gpu: &Gpu) {
        gpu.launch(FILE, "rows_narrow_all", (self.blocks, self.entries, 1), 256, 0, args![self.list.address()]);
    }
}

#[cfg(test)]
mod tests;
