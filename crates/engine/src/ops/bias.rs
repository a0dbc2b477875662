//! Bias: a number for each column, added to every row.
//!
//! Forward    y += b
//! Backward   db += sum over rows of dy        (dy goes on as it is)
//! Shapes     y, dy (rows, width)   b, db (width)
//! Writes     y and db added to. Sums over rows in fixed blocks, these in order: threads change no bit.
//! Rounds     f32.
//! Moves      forward reads and writes y, backward reads dy: 3 * rows * width * 4 bytes.

pub mod gpu;

use crate::cpu::columns::add_sums;
use crate::cpu::lanes::per_level;
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_rows};

/// Rows that one task does.
const BLOCK: usize = 64;

/// Adds `b` to every row of `y`.
pub fn forward(cx: &Cx, y: &mut [f32], b: &[f32]) {
    let width = b.len();
    assert!(width > 0 && y.len().is_multiple_of(width), "a bias of {width} for {} numbers", y.len());
    let rows = y.len() / width;
    let y = Shared::new(y);
    for_rows(cx, rows, BLOCK, |row, rows| {
        // SAFETY: each task has its own rows.
        add_rows(cx.level(), unsafe { y.part(row * width, rows * width) }, b);
    });
}

/// Adds the column sums of `dy` to `db`.
pub fn backward(cx: &Cx, db: &mut [f32], dy: &[f32]) {
    let width = db.len();
    assert!(width > 0 && dy.len().is_multiple_of(width), "a bias of {width} for {} numbers", dy.len());
    add_sums(cx, db, dy.len() / width, |sum, rows, columns| {
        sum_rows(cx.level(), sum, &dy[rows.start * width..rows.end * width], width, columns.start);
    });
}

per_level! {
    fn add_rows(y: &mut [f32], b: &[f32]) {
        for line in y.chunks_exact_mut(b.len()) {
            line.iter_mut().zip(b).for_each(|(y, b)| *y += b);
        }
    }
}

per_level! {
    /// Adds every row of `dy`, columns from `from` on, to `sum`.
    fn sum_rows(sum: &mut [f32], dy: &[f32], width: usize, from: usize) {
        for line in dy.chunks_exact(width) {
            let n = sum.len();
            sum.iter_mut().zip(&line[from..from + n]).for_each(|(s, d)| *s += d);
        }
    }
}

#[cfg(test)]
mod tests;
