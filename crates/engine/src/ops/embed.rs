//! Embedding: rows of a table by token, and the gradient back into the table.
//!
//! Forward    x_i = table[token_i]
//! Backward   dtable[t] += sum over i with token_i = t of dx_i
//! Shapes     table, dtable (vocab, width)   tokens (rows)   x, dx (rows, width)
//! Writes     x overwritten; dtable added to. A task has columns of all rows and goes through the rows in order, so a
//!            token that comes often is added up in the order of rows, whatever the number of threads.
//! Rounds     f32.
//! Moves      forward 2, backward 3 times rows * width * 4 bytes.

pub mod gpu;

use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_each, for_rows};

/// Rows that one task of the forward pass does.
const BLOCK: usize = 64;
/// Columns that one task of the backward pass does: four lines of the cache.
const COLUMNS: usize = 64;

/// `x` from the table.
pub fn forward(cx: &Cx, x: &mut [f32], table: &[f32], tokens: &[u32], width: usize) {
    check(x, table, tokens, width);
    let x = Shared::new(x);
    for_rows(cx, tokens.len(), BLOCK, |row, rows| {
        // SAFETY: each task has its own rows.
        let x = unsafe { x.part(row * width, rows * width) };
        for (line, &t) in x.chunks_exact_mut(width).zip(&tokens[row..]) {
            line.copy_from_slice(&table[t as usize * width..][..width]);
        }
    });
}

/// Adds to `dtable` from `dx`.
pub fn backward(cx: &Cx, dtable: &mut [f32], dx: &[f32], tokens: &[u32], width: usize) {
    check(dx, dtable, tokens, width);
    let dtable = Shared::new(dtable);
    for_each(cx, width.div_ceil(COLUMNS), |i| {
        let columns = i * COLUMNS..width.min((i + 1) * COLUMNS);
        for (line, &t) in dx.chunks_exact(width).zip(tokens) {
            // SAFETY: each task has its own columns.
            let out = unsafe { dtable.part(t as usize * width + columns.start, columns.len()) };
            out.iter_mut().zip(&line[columns.clone()]).for_each(|(o, v)| *o += v);
        }
    });
}

fn check(x: &[f32], table: &[f32], tokens: &[u32], width: usize) {
    assert!(x.len() == tokens.len() * width && table.len().is_multiple_of(width), "{} tokens of width {width}", tokens.len());
    let vocab = table.len() / width;
    assert!(tokens.iter().all(|&t| (t as usize) < vocab), "a token past the vocabulary of {vocab}");
}

#[cfg(test)]
mod tests;
