//! Rotary position embedding: turn pairs of each head by an angle that grows with the position.
//!
//! Forward    for i < rotary/2:  (a, b) = (x[i], x[i + rotary/2])
//!            x[i] = a cos - b sin,  x[i + rotary/2] = b cos + a sin     angle = position * frequency[i]
//!            cos and sin times the table's scale; the elements of a head from rotary on stay as they are
//! Backward   the same with -sin (the turn back)
//! Shapes     x (rows, heads, head_dim)   positions (rows)   table (positions, rotary/2) of cos and sin, maybe several
//!            sets of them under each other: then `positions` are rows of the table, a set's start + the position
//! Writes     x in place.
//! Rounds     angles, cos and sin in f64, stored as f32; the turn in f32.
//! Moves      reads and writes x: 2 * rows * heads * rotary * 4 bytes.

pub mod gpu;

use crate::cpu::lanes::per_level;
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_rows};

/// Cosines and sines of every position below a limit, for one set of frequencies or several.
pub struct Table {
    cos: Vec<f32>, // (rows, half)
    sin: Vec<f32>, // (rows, half)
    half: usize,
}

impl Table {
    /// A table for `positions` positions; `frequencies` holds rotary/2 angles per step, `scale` multiplies cos and sin (1 but for longrope).
    pub fn new(frequencies: &[f64], positions: usize, scale: f64) -> Table {
        let mut table = Table { cos: Vec::new(), sin: Vec::new(), half: frequencies.len() };
        table.push(frequencies, positions, scale);
        table
    }

    /// Appends another set under those that are there and returns the row of its position 0: longrope has a set for
    /// short sequences and one for long ones, and an example's own length says which of them turns it.
    pub fn push(&mut self, frequencies: &[f64], positions: usize, scale: f64) -> usize {
        assert_eq!(frequencies.len(), self.half, "all sets of a table turn the same elements");
        let start = self.rows();
        for values in [&mut self.cos, &mut self.sin] {
            values.reserve_exact(positions * frequencies.len());
        }
        for p in 0..positions {
            for f in frequencies {
                let (sin, cos) = (p as f64 * f).sin_cos();
                self.cos.push((cos * scale) as f32);
                self.sin.push((sin * scale) as f32);
            }
        }
        start
    }

    /// Number of rows held: the positions of all sets.
    pub fn rows(&self) -> usize {
        self.cos.len().checked_div(self.half).unwrap_or(usize::MAX)
    }

    /// Elements of each head that are turned.
    pub fn rotary(&self) -> usize {
        2 * self.half
    }
}

/// Which way to turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// By the angle of the position.
    Forward,
    /// Back by it: the gradient.
    Backward,
}

/// Turns the first [`Table::rotary`] elements of every head of every row of `x`; `positions` are rows of the table.
pub fn turn(cx: &Cx, x: &mut [f32], positions: &[u32], table: &Table, head_dim: usize, way: Turn) {
    let rows = positions.len();
    if rows == 0 {
        return;
    }
    let width = x.len() / rows;
    assert!(width * rows == x.len() && width.is_multiple_of(head_dim) && table.rotary() <= head_dim);
    assert!(positions.iter().all(|&p| (p as usize) < table.rows()), "a position past the table of {}", table.rows());
    let x = Shared::new(x);
    let sign = if way == Turn::Forward { 1.0 } else { -1.0 };
    for_rows(cx, rows, 64, |row, count| {
        // SAFETY: each task has its own rows.
        let x = unsafe { x.part(row * width, count * width) };
        turn_rows(cx.level(), x, &positions[row..row + count], table, head_dim, sign);
    });
}

per_level! {
    fn turn_rows(x: &mut [f32], positions: &[u32], table: &Table, head_dim: usize, sign: f32) {
        let half = table.half;
        let width = x.len() / positions.len();
        for (row, &p) in x.chunks_exact_mut(width).zip(positions) {
            let cos = &table.cos[p as usize * half..][..half];
            let sin = &table.sin[p as usize * half..][..half];
            for head in row.chunks_exact_mut(head_dim) {
                let (first, rest) = head.split_at_mut(half);
                for (((a, b), c), s) in first.iter_mut().zip(rest).zip(cos).zip(sin) {
                    let s = s * sign;
                    (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
