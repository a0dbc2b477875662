//! The way of tokens to an expert and back: rows packed for it, weighed by the router, added where they came from.
//!
//! Forward    gather: packed_i = x[row_i]        weigh: h_i = w[pair_i] h_i        scatter: y[row_i] += packed_i
//! Backward   of gather: scatter                 of weigh: swiglu's, of weighted rows          of scatter: gather
//! Shapes     x, y (any rows, width)   packed, h (listed rows, width)   w (pairs); rows and pairs ascend (route::Share)
//! Writes     packed overwritten, y added to, h in place. An expert has a row at most once, so its rows go to threads; experts
//!            follow each other, so a row's sum has the order of experts.
//! Rounds     f32.
//! Moves      gather and weigh 2, scatter 3 times listed rows * width * 4 bytes.
//!
//! Weighing h, the input of an expert's last product, gives the same sum as weighing its output, is linear alike, and needs
//! no output to be kept for the weight's gradient.

pub mod gpu;

use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_rows};

/// Listed rows that one task does.
const BLOCK: usize = 32;

/// `packed` from the listed rows of `x`; rows may be listed in any order and more than once.
pub fn gather(cx: &Cx, packed: &mut [f32], x: &[f32], rows: &[u32], width: usize) {
    assert_eq!(packed.len(), rows.len() * width);
    let packed = Shared::new(packed);
    for_rows(cx, rows.len(), BLOCK, |from, count| {
        // SAFETY: each task has its own listed rows.
        let packed = unsafe { packed.part(from * width, count * width) };
        for (line, &r) in packed.chunks_exact_mut(width).zip(&rows[from..from + count]) {
            line.copy_from_slice(&x[r as usize * width..][..width]);
        }
    });
}

/// Adds `packed` to the listed rows of `y`.
pub fn scatter(cx: &Cx, y: &mut [f32], packed: &[f32], rows: &[u32], width: usize) {
    assert_eq!(packed.len(), rows.len() * width);
    assert!(rows.is_sorted_by(|a, b| a < b), "the rows of an expert ascend");
    let y = Shared::new(y);
    for_rows(cx, rows.len(), BLOCK, |from, count| {
        for (line, &r) in packed[from * width..].chunks_exact(width).zip(&rows[from..from + count]) {
            // SAFETY: rows differ, as checked above, and each is listed in one task.
            let y = unsafe { y.part(r as usize * width, width) };
            y.iter_mut().zip(line).for_each(|(y, v)| *y += v);
        }
    });
}

/// Multiplies each line of `h` by the weight of its pair.
pub fn weigh(cx: &Cx, h: &mut [f32], weights: &[f32], pairs: &[u32], width: usize) {
    assert_eq!(h.len(), pairs.len() * width);
    let h = Shared::new(h);
    for_rows(cx, pairs.len(), BLOCK, |from, count| {
        // SAFETY: each task has its own listed rows.
        let h = unsafe { h.part(from * width, count * width) };
        for (line, &pair) in h.chunks_exact_mut(width).zip(&pairs[from..from + count]) {
            let w = weights[pair as usize];
            line.iter_mut().for_each(|v| *v *= w);
        }
    });
}

#[cfg(test)]
mod tests;
