//! SwiGLU: the gate of the feed-forward block.
//!
//! Forward    h = silu(g) * u        silu(g) = g * s, s = 1 / (1 + e^-g)
//! Backward   dg = dh * u * s * (1 + g * (1 - s))        du = dh * silu(g)
//!            of rows that count w times: dg, du and h times w        dw = sum of dh * h over the row
//! Shapes     g, u, h, dh, dg, du (n) or (rows, width)   w, dw (rows)
//! Writes     h, dw overwritten. Backward overwrites g with dg, u with du and dh with h: what the next products read.
//! Rounds     everything in f32.
//! Moves      forward reads g, u, writes h: 3 * n * 4 bytes; backward reads and writes three: 6 * n * 4 bytes.

pub mod gpu;

use crate::cpu::lanes::per_level;
use crate::cpu::math::{LANES, exp, fold};
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_rows};

/// Elements that one task does.
const BLOCK: usize = 16 * 1024;

/// `h` from `g` and `u`.
pub fn forward(cx: &Cx, h: &mut [f32], g: &[f32], u: &[f32]) {
    assert!(h.len() == g.len() && g.len() == u.len());
    let h = Shared::new(h);
    for_rows(cx, g.len(), BLOCK, |at, len| {
        // SAFETY: each task has its own elements.
        let h = unsafe { h.part(at, len) };
        forward_part(cx.level(), h, &g[at..at + len], &u[at..at + len]);
    });
}

/// `g` becomes dg, `u` becomes du, `dh` becomes h.
pub fn backward(cx: &Cx, g: &mut [f32], u: &mut [f32], dh: &mut [f32]) {
    assert!(dh.len() == g.len() && g.len() == u.len());
    let n = g.len();
    let (g, u, dh) = (Shared::new(g), Shared::new(u), Shared::new(dh));
    for_rows(cx, n, BLOCK, |at, len| {
        // SAFETY: each task has its own elements.
        let (g, u, dh) = unsafe { (g.part(at, len), u.part(at, len), dh.part(at, len)) };
        backward_part(cx.level(), g, u, dh);
    });
}

/// As [`backward`] for an expert's rows: their outputs were multiplied by `w`, but `dh` was not. What is left in `dh` is
/// h * w, so that products with the unweighted gradient of the output give weighted gradients.
pub fn backward_weighted(cx: &Cx, g: &mut [f32], u: &mut [f32], dh: &mut [f32], w: &[f32], dw: &mut [f32]) {
    let rows = w.len();
    assert!(dh.len() == g.len() && g.len() == u.len() && dw.len() == rows && (rows == 0 || g.len().is_multiple_of(rows)));
    let width = g.len().checked_div(rows).unwrap_or(0);
    let (g, u, dh, dw) = (Shared::new(g), Shared::new(u), Shared::new(dh), Shared::new(dw));
    for_rows(cx, rows, 4, |row, count| {
        for (r, &w) in (row..).zip(&w[row..row + count]) {
            let at = r * width;
            // SAFETY: each task has its own rows.
            let (g, u, dh, dw) = unsafe { (g.part(at, width), u.part(at, width), dh.part(at, width), dw.part(r, 1)) };
            dw[0] = weighted_row(cx.level(), g, u, dh, w);
        }
    });
}

per_level! {
    fn weighted_row(g: &mut [f32], u: &mut [f32], dh: &mut [f32], w: f32) -> f32 {
        let mut lanes = [0f32; LANES];
        for (i, ((g, u), dh)) in g.iter_mut().zip(u).zip(dh).enumerate() {
            let s = 1.0 / (1.0 + exp(-*g));
            let silu = *g * s;
            let (up, d) = (*u, *dh);
            let h = silu * up;
            lanes[i % LANES] += d * h;
            *dh = w * h;
            *u = w * (d * silu);
            *g = w * ((d * up) * (s * (1.0 + *g * (1.0 - s))));
        }
        fold(lanes)
    }
}

per_level! {
    fn forward_part(h: &mut [f32], g: &[f32], u: &[f32]) {
        for ((h, &g), u) in h.iter_mut().zip(g).zip(u) {
            *h = (g / (1.0 + exp(-g))) * u;
        }
    }
}

per_level! {
    fn backward_part(g: &mut [f32], u: &mut [f32], dh: &mut [f32]) {
        for ((g, u), dh) in g.iter_mut().zip(u).zip(dh) {
            let s = 1.0 / (1.0 + exp(-*g));
            let silu = *g * s;
            let (up, d) = (*u, *dh);
            *dh = silu * up;
            *u = d * silu;
            *g = (d * up) * (s * (1.0 + *g * (1.0 - s)));
        }
    }
}

#[cfg(test)]
mod tests;
