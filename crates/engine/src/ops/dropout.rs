//! Inverted dropout: elements set to zero by a mask that is a function of the element, never kept.
//!
//! Forward    out = mask * x / (1 - p)        mask = 0 with probability p, else 1
//! Backward   dx += mask * g / (1 - p)
//! Shapes     x, out, g, dx (rows, width)   keys (rows): what a row is, whatever else is packed with it
//! Writes     out overwritten; dx added to.
//! Rounds     f32; 1 / (1 - p) in f64, rounded once. p is taken as the nearest multiple of 2^-32.
//! Moves      forward 2, backward 3 times rows * width * 4 bytes.
//!
//! The mask of (seed, stream, key, column): 64 bits of a row by SplitMix64's mixer (Steele, Lea and Flood, 2014), once for
//! each of seed, stream and key; then for a column 32 bits, by a mixer of 32 bits (Wellons, "Prospecting for hash functions",
//! 2018) over low half + column * golden ratio, and once more after the high half was joined, so that two rows whose low
//! halves are near each other do not share a shifted mask. The element is dropped where these bits are below p * 2^32.

pub mod gpu;

use crate::cpu::lanes::per_level;
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_rows};

/// What is dropped: the same for forward and backward of one place in the model at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drop {
    /// Seed of the run.
    pub seed: u64,
    /// Which place and step: no two may share one.
    pub stream: u64,
    /// Probability that an element is dropped, in [0, 1).
    pub p: f64,
}

/// Rows that one task does.
const BLOCK: usize = 32;

impl Drop {
    /// Bits below this are dropped.
    fn threshold(&self) -> u32 {
        assert!((0.0..1.0).contains(&self.p), "dropout of {}", self.p);
        (self.p * 4_294_967_296.0).round().min(4_294_967_295.0) as u32
    }

    fn scale(&self) -> f32 {
        (1.0 / (1.0 - self.p)) as f32
    }

    /// The 64 bits of a row.
    fn row(&self, key: u64) -> u64 {
        mix(mix(mix(self.seed) ^ self.stream) ^ key)
    }
}

/// `out` from `x`.
pub fn forward(cx: &Cx, out: &mut [f32], x: &[f32], keys: &[u64], drop: Drop) {
    each_row(cx, out, x, keys, drop, |level, out, x, state| forward_row(level, out, x, state, drop.threshold(), drop.scale()));
}

/// Adds to `dx` from `g`, the gradient of what [`forward`] made.
pub fn backward(cx: &Cx, dx: &mut [f32], g: &[f32], keys: &[u64], drop: Drop) {
    each_row(cx, dx, g, keys, drop, |level, dx, g, state| backward_row(level, dx, g, state, drop.threshold(), drop.scale()));
}

fn each_row(
    cx: &Cx,
    out: &mut [f32],
    x: &[f32],
    keys: &[u64],
    drop: Drop,
    f: impl Fn(crate::cpu::lanes::Level, &mut [f32], &[f32], u64) + Sync + Send,
) {
    let Some(width) = x.len().checked_div(keys.len()) else { return };
    assert!(out.len() == x.len() && width * keys.len() == x.len(), "dropout of {} in {} rows", x.len(), keys.len());
    let out = Shared::new(out);
    for_rows(cx, keys.len(), BLOCK, |row, rows| {
        for (r, &key) in (row..row + rows).zip(&keys[row..]) {
            // SAFETY: each task has its own rows.
            let out = unsafe { out.part(r * width, width) };
            f(cx.level(), out, &x[r * width..][..width], drop.row(key));
        }
    });
}

per_level! {
    fn forward_row(out: &mut [f32], x: &[f32], state: u64, threshold: u32, scale: f32) {
        for (column, (o, v)) in out.iter_mut().zip(x).enumerate() {
            *o = if bits(state, column as u32) < threshold { 0.0 } else { v * scale };
        }
    }
}

per_level! {
    fn backward_row(dx: &mut [f32], g: &[f32], state: u64, threshold: u32, scale: f32) {
        for (column, (d, v)) in dx.iter_mut().zip(g).enumerate() {
            *d += if bits(state, column as u32) < threshold { 0.0 } else { v * scale };
        }
    }
}

/// The 32 bits of a column, from those of its row.
#[inline(always)]
fn bits(state: u64, column: u32) -> u32 {
    mix_half(mix_half((state as u32).wrapping_add(column.wrapping_mul(0x9e37_79b9))) ^ (state >> 32) as u32)
}

#[inline(always)]
fn mix_half(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Scatters 64 bits over 64 bits.
pub(in crate::ops) fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
