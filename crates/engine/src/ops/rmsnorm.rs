//! RMSNorm: scale each row to unit root-mean-square, then by a learned weight.
//!
//! Forward    r = 1/sqrt(mean(x*x) + eps)           saved: r, one per row
//!            y = x * r * w
//! Backward   g  = dy * w
//!            dx += r * (g - x*r * mean(g * x*r))
//!            dw += sum over rows of dy * x*r
//! Shapes     x, y, dy, dx (rows, width)   w, dw (width)   r (rows); a norm of each head has rows * heads rows of head_dim
//! Writes     y, r overwritten; dx, dw added to (dx is the gradient of the residual stream). Same call, same bits.
//! Rounds     everything in f32; x*r is rounded, then times w (as transformers); sums of a row in sixteen partial sums, sums over
//!            rows in blocks of 256 that are added in order.
//! Moves      forward reads x, writes y: 2 * rows * width * 4 bytes.

pub mod gpu;

use crate::cpu::columns::add_sums;
use crate::cpu::lanes::per_level;
use crate::cpu::math::sum;
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_rows};

/// Sizes of a call.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    /// Rows (tokens).
    pub rows: usize,
    /// Width (hidden size, or head size).
    pub width: usize,
}

/// Rows that one task does.
const BLOCK: usize = 64;

/// `y` and `r` from `x` and `w`.
pub fn forward(cx: &Cx, y: &mut [f32], r: &mut [f32], x: &[f32], w: &[f32], d: Dims, eps: f32) {
    check(d, y, x, w, r);
    let (y, r) = (Shared::new(y), Shared::new(r));
    for_rows(cx, d.rows, BLOCK, |row, rows| {
        // SAFETY: each task has its own rows.
        let (y, r) = unsafe { (y.part(row * d.width, rows * d.width), r.part(row, rows)) };
        forward_rows(cx.level(), y, r, &x[row * d.width..][..rows * d.width], w, eps);
    });
}

/// `y` again from the saved `r`, so that it need not be kept for the backward pass.
pub fn again(cx: &Cx, y: &mut [f32], x: &[f32], w: &[f32], r: &[f32], d: Dims) {
    check(d, y, x, w, r);
    let y = Shared::new(y);
    for_rows(cx, d.rows, BLOCK, |row, rows| {
        // SAFETY: each task has its own rows.
        let y = unsafe { y.part(row * d.width, rows * d.width) };
        scale_rows(cx.level(), y, &r[row..row + rows], &x[row * d.width..][..rows * d.width], w);
    });
}

/// Adds to `dx`, and to `dw` if the weight is trained.
#[allow(clippy::too_many_arguments)]
pub fn backward(cx: &Cx, dx: &mut [f32], dw: Option<&mut [f32]>, dy: &[f32], x: &[f32], w: &[f32], r: &[f32], d: Dims) {
    check(d, dx, x, w, r);
    assert_eq!(dy.len(), x.len());
    let dx = Shared::new(dx);
    for_rows(cx, d.rows, BLOCK, |row, rows| {
        let at = row * d.width..(row + rows) * d.width;
        // SAFETY: each task has its own rows.
        let dx = unsafe { dx.part(at.start, at.len()) };
        backward_rows(cx.level(), dx, &dy[at.clone()], &x[at], w, &r[row..row + rows]);
    });
    if let Some(dw) = dw {
        assert_eq!(dw.len(), d.width);
        add_sums(cx, dw, d.rows, |sum, rows, columns| {
            weight_rows(cx.level(), sum, &dy[rows.start * d.width..], &x[rows.start * d.width..], &r[rows], d.width, columns.start);
        });
    }
}

fn check(d: Dims, y: &[f32], x: &[f32], w: &[f32], r: &[f32]) {
    let n = d.rows * d.width;
    assert!(y.len() == n && x.len() == n && w.len() == d.width && r.len() == d.rows, "rmsnorm of {d:?}");
}

per_level! {
    fn forward_rows(y: &mut [f32], r: &mut [f32], x: &[f32], w: &[f32], eps: f32) {
        let width = w.len();
        for ((y, x), r) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(r) {
            *r = 1.0 / (sum(width, |i| x[i] * x[i]) / width as f32 + eps).sqrt();
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = (x * *r) * w;
            }
        }
    }
}

per_level! {
    fn scale_rows(y: &mut [f32], r: &[f32], x: &[f32], w: &[f32]) {
        let width = w.len();
        for ((y, x), r) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(r) {
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = (x * r) * w;
            }
        }
    }
}

per_level! {
    fn backward_rows(dx: &mut [f32], dy: &[f32], x: &[f32], w: &[f32], r: &[f32]) {
        let width = w.len();
        for (((dx, dy), x), &r) in dx.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width)).zip(r) {
            let mean = sum(width, |i| (dy[i] * w[i]) * (x[i] * r)) / width as f32;
            for i in 0..width {
                dx[i] += r * (dy[i] * w[i] - (x[i] * r) * mean);
            }
        }
    }
}

per_level! {
    /// Adds dy * x*r of every row, columns from `from` on, to `sum`.
    fn weight_rows(sum: &mut [f32], dy: &[f32], x: &[f32], r: &[f32], width: usize, from: usize) {
        for ((dy, x), &r) in dy.chunks_exact(width).zip(x.chunks_exact(width)).zip(r) {
            let (dy, x) = (&dy[from..][..sum.len()], &x[from..][..sum.len()]);
            for ((s, dy), x) in sum.iter_mut().zip(dy).zip(x) {
                *s += dy * (x * r);
            }
        }
    }
}

#[cfg(test)]
mod tests;
