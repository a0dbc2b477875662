//! DoRA: each output of a layer with LoRA, scaled so that its row of weights has a trained length.
//!
//! Forward    norm_j² = |W_j|² + 2 s B_j·P_j + s² B_j G B_jᵀ       P = A Wᵀ, G = A Aᵀ: so |W_j + s (B A)_j|² without B A
//!            c_j = m_j / norm_j        y_j = c_j y0_j             y0 = x Wᵀ + s (x Aᵀ) Bᵀ, without the layer's bias
//! Backward   norm counts as constant:  dm_j += sum over rows of dy_j y0_j / norm_j        dy0_j = c_j dy_j
//! Shapes     m, norm, c, dm, |W|² (outputs)   P (rank, outputs)   G (rank, rank)   B (outputs, rank)   y0, y, dy (rows, outputs)
//! Writes     norm and c overwritten; y0 becomes y and dy becomes dy0 in place; dm added to. Threads change no bit.
//! Rounds     norm in f64, rounded once; the rest in f32, sums over rows in fixed blocks.
//! Moves      forward 2, backward 3 times rows * outputs * 4 bytes; the norm reads B and P once.
//!
//! Liu et al., "DoRA" (2024): section 4.3 for the constant norm, as PEFT does it. m begins as the norm of W, so y0 is kept.

pub mod gpu;

use crate::cpu::columns::add_sums;
use crate::cpu::lanes::per_level;
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_rows};

/// Rows, or outputs, that one task does.
const BLOCK: usize = 64;

/// What a layer's norms are made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// |W_j|² of each output, from [`squares`].
    pub squares: &'a [f32],
    /// A Wᵀ (rank, outputs).
    pub p: &'a [f32],
    /// A Aᵀ (rank, rank).
    pub gram: &'a [f32],
    /// B (outputs, rank).
    pub b: &'a [f32],
    /// s: alpha / rank, or alpha / sqrt(rank).
    pub scale: f32,
}

/// |W_j|² of every row of a row-major (outputs, inputs) matrix, added up in f64.
pub fn squares(cx: &Cx, out: &mut [f32], w: &[f32]) {
    let Some(inputs) = w.len().checked_div(out.len()) else { return };
    assert_eq!(inputs * out.len(), w.len());
    let outputs = out.len();
    let out = Shared::new(out);
    for_rows(cx, outputs, BLOCK, |row, rows| {
        // SAFETY: each task has its own outputs.
        let out = unsafe { out.part(row, rows) };
        for (o, line) in out.iter_mut().zip(w[row * inputs..].chunks_exact(inputs)) {
            *o = line.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() as f32;
        }
    });
}

/// `norm` and the factors `c` from the magnitudes `m`.
pub fn factors(cx: &Cx, norm: &mut [f32], c: &mut [f32], m: &[f32], parts: Parts) {
    let outputs = m.len();
    let rank = parts.b.len() / outputs.max(1);
    assert!(norm.len() == outputs && c.len() == outputs && parts.squares.len() == outputs && parts.b.len() == rank * outputs);
    assert!(parts.p.len() == parts.b.len() && parts.gram.len() == rank * rank, "norms of {outputs} outputs, rank {rank}");
    let (norm, c) = (Shared::new(norm), Shared::new(c));
    for_rows(cx, outputs, BLOCK, |from, count| {
        // SAFETY: each task has its own outputs.
        let (norm, c) = unsafe { (norm.part(from, count), c.part(from, count)) };
        for (i, (norm, c)) in norm.iter_mut().zip(c).enumerate() {
            *norm = length(parts, from + i, rank, outputs);
            *c = m[from + i] / *norm;
        }
    });
}

/// |W_j + s (B A)_j|.
fn length(parts: Parts, j: usize, rank: usize, outputs: usize) -> f32 {
    let (b, s) = (&parts.b[j * rank..][..rank], f64::from(parts.scale));
    let mut square = f64::from(parts.squares[j]);
    for (r, (&br, gram)) in b.iter().zip(parts.gram.chunks_exact(rank.max(1))).enumerate() {
        let own: f64 = b.iter().zip(gram).map(|(&v, &g)| f64::from(v) * f64::from(g)).sum();
        square += s * f64::from(br) * (2.0 * f64::from(parts.p[r * outputs + j]) + s * own);
    }
    // Rounding of P and G may leave a row that cancels to nothing below zero.
    square.max(0.0).sqrt() as f32
}

/// `y`, which holds y0, becomes c y0.
pub fn forward(cx: &Cx, y: &mut [f32], c: &[f32]) {
    let width = c.len();
    assert!(width > 0 && y.len().is_multiple_of(width), "{width} factors for {} numbers", y.len());
    let rows = y.len() / width;
    let y = Shared::new(y);
    for_rows(cx, rows, BLOCK, |row, rows| {
        // SAFETY: each task has its own rows.
        scale_rows(cx.level(), unsafe { y.part(row * width, rows * width) }, c);
    });
}

/// Adds to `dm`, and `dy` becomes the gradient of y0.
pub fn backward(cx: &Cx, dy: &mut [f32], dm: &mut [f32], y0: &[f32], c: &[f32], norm: &[f32]) {
    let width = c.len();
    assert!(dy.len() == y0.len() && dm.len() == width && norm.len() == width);
    add_sums(cx, dm, y0.len() / width.max(1), |sum, rows, columns| {
        let at = rows.start * width..rows.end * width;
        sum_rows(cx.level(), sum, &dy[at.clone()], &y0[at], width, columns.start);
        sum.iter_mut().zip(&norm[columns]).for_each(|(s, n)| *s /= n);
    });
    forward(cx, dy, c);
}

per_level! {
    fn scale_rows(y: &mut [f32], c: &[f32]) {
        for line in y.chunks_exact_mut(c.len()) {
            line.iter_mut().zip(c).for_each(|(y, c)| *y *= c);
        }
    }
}

per_level! {
    /// Adds dy * y0 of every row, columns from `from` on, to `sum`.
    fn sum_rows(sum: &mut [f32], dy: &[f32], y0: &[f32], width: usize, from: usize) {
        for (dy, y0) in dy.chunks_exact(width).zip(y0.chunks_exact(width)) {
            let n = sum.len();
            for ((s, d), y) in sum.iter_mut().zip(&dy[from..from + n]).zip(&y0[from..from + n]) {
                *s += d * y;
            }
        }
    }
}

#[cfg(test)]
mod tests;
