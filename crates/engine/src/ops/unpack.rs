//! Frozen weights of 4 or 8 bits to bf16 on the GPU, for a product to read.
//!
//! Forward    NF4: out = value[q] * scale of the block; a scale of two levels = map[code] * nested scale + offset
//!            int8: out = q * scale of the row / 127
//! Backward   none: these weights are not trained.
//! Shapes     out (rows, width) with a stride; packed (rows * width / 2); a scale for each block of the flat matrix; codes (rows, width)
//! Writes     out overwritten. Every element by itself: same call, same bits.
//! Rounds     scales and products in f32, each once, then to bf16: for a matrix that was bf16, the bits that the CPU decodes.
//! Moves      reads the codes, writes out: 2.5 and 3 bytes an element. Values: Dettmers et al., "QLoRA" (2023). GPU only: on the
//!            CPU a product decodes as it packs.

use crate::cuda::{Buffer, Gpu, Rows, args};

const FILE: &str = "unpack";

/// A matrix in NF4, as bitsandbytes lays it out.
pub struct Nf4 {
    /// Two elements a byte, the first in the upper half.
    pub packed: Buffer<u8>,
    /// Of its blocks.
    pub scales: Scales,
    /// Elements that share a scale: a power of two from 8.
    pub block: usize,
}

/// A scale for each block.
pub enum Scales {
    /// As numbers.
    Single(Buffer<f32>),
    /// Quantised in turn.
    Double {
        /// One a block: a place in the map.
        codes: Buffer<u8>,
        /// One for each `nested` blocks.
        absmax: Buffer<f32>,
        /// 256 values.
        map: Buffer<f32>,
        /// Added to each.
        offset: f32,
        /// Blocks that share a scale of scales: a power of two.
        nested: usize,
    },
}

/// `out` from `w`.
pub fn nf4(gpu: &Gpu, out: Rows, w: &Nf4) {
    let n = out.rows * out.width;
    let blocks = n.div_ceil(w.block);
    assert!(
        w.block.is_power_of_two() && w.block >= 8 && w.packed.len() == n.div_ceil(2) && n < 1 << 32,
        "{out:?} in blocks of {}",
        w.block
    );
    let (absmax, codes, map, offset, nested) = match &w.scales {
        Scales::Single(absmax) => (absmax, 0, 0, 0f32, 1),
        Scales::Double { codes, absmax, map, offset, nested } => {
            assert!(codes.len() == blocks && map.len() == 256 && nested.is_power_of_two());
            (absmax, codes.address(), map.address(), *offset, *nested)
        }
    };
    assert!(absmax.len() == blocks.div_ceil(nested), "{} scales for {blocks} blocks", absmax.len());
    let (shift, nested) = (w.block.trailing_zeros() - 3, nested.trailing_zeros());
    let (packed, sizes) = (w.packed.address(), [out.rows as u32, out.width as u32, out.stride as u32]);
    let args = args![out.at, packed, absmax.address(), codes, map, offset, shift, nested, sizes[0], sizes[1], sizes[2]];
    gpu.launch(FILE, "unpack_nf4", grid(out), 256, 0, args);
}

/// `out` from `codes` (rows, width), two's complement, and a scale for each row: its largest magnitude.
pub fn int8(gpu: &Gpu, out: Rows, codes: &Buffer<u8>, scales: &Buffer<f32>) {
    assert!(codes.len() == out.rows * out.width && scales.len() == out.rows, "{out:?}");
    let args = args![out.at, codes.address(), scales.address(), out.rows as u32, out.width as u32, out.stride as u32];
    gpu.launch(FILE, "unpack_int8", grid(out), 256, 0, args);
}

/// Blocks of 256 threads with four eights each.
fn grid(out: Rows) -> (usize, usize, usize) {
    let tasks = out.rows * out.width.div_ceil(8);
    assert!(tasks < 1 << 31, "{out:?} is too much for one call");
    (tasks.div_ceil(1024), 1, 1)
}

#[cfg(test)]
mod tests;
