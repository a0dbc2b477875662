//! The rotary embedding on the GPU; kernels in rope.cu.

use super::Turn;
use crate::cuda::{Buffer, Error, Gpu, Rows, args};
use std::sync::Arc;

const FILE: &str = "rope";

/// A table on the device.
pub struct Table {
    cos: Buffer<f32>,
    sin: Buffer<f32>,
    half: usize,
}

impl Table {
    /// The same table.
    ///
    /// # Errors
    /// When the device has not the memory.
    pub fn new(gpu: &Arc<Gpu>, table: &super::Table) -> Result<Table, Error> {
        Ok(Table { cos: Buffer::of(gpu, &table.cos)?, sin: Buffer::of(gpu, &table.sin)?, half: table.half })
    }
}

/// Turns every head of `x`, rows of heads side by side: those of q and k in one call where they lie so. `angles` has a
/// row of the table for each row of `x`; the host has seen that the table has it.
pub fn turn(gpu: &Gpu, x: Rows, head_dim: usize, table: &Table, angles: &Buffer<u32>, way: Turn) {
    let (heads, half) = (x.width / head_dim, table.half);
    assert!(heads * head_dim == x.width && 2 * half <= head_dim && angles.len() >= x.rows, "{x:?} in heads of {head_dim}");
    if half == 0 {
        return;
    }
    let whole = half.is_multiple_of(8) && head_dim.is_multiple_of(8) && x.stride.is_multiple_of(8) && x.at.is_multiple_of(16);
    let (name, pairs) = if whole { ("rope_eights", 8) } else { ("rope_ones", 1) };
    let tasks = x.rows * heads * (half / pairs);
    assert!(tasks < 1 << 32, "{x:?} is too much for one call");
    let sign = if way == Turn::Forward { 1f32 } else { -1.0 };
    let sizes = [x.rows as u32, heads as u32, head_dim as u32, half as u32, x.stride as u32];
    let (cos, sin, angles) = (table.cos.address(), table.sin.address(), angles.address());
    gpu.launch(
        FILE,
        name,
        (tasks.div_ceil(256), 1, 1),
        256,
        0,
        args![x.at, cos, sin, angles, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sign],
    );
}
