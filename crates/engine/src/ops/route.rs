//! The router of a mixture of experts: the experts of each token and their weights, and the tokens of each expert.
//!
//! Forward    p = softmax(logits); chosen = the `top` largest p of a row, the largest first (of equals the lower index)
//!            w_s = p_chosen(s) / sum over chosen of p
//! Backward   d logits_chosen(s) = w_s (dw_s - sum_t w_t dw_t); 0 for experts that were not chosen
//! Shapes     logits, dlogits (rows, experts)   chosen, w, dw (rows, top)
//! Writes     chosen, w overwritten; dlogits overwritten.
//! Rounds     everything in f32; the choice is made on the logits, whose order is the order of p. What p sums to over
//!            all experts cancels in w, so only the chosen ones are exponentiated (as Jiang et al., "Mixtral of Experts", 2024).
//! Moves      reads logits once: rows * experts * 4 bytes.

pub mod gpu;

use crate::cpu::math::exp;
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_rows};

/// Sizes of a call.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    /// Rows (tokens).
    pub rows: usize,
    /// Experts to choose from.
    pub experts: usize,
    /// Experts that a token goes to.
    pub top: usize,
}

/// Rows that one task does.
const BLOCK: usize = 256;

/// `chosen` and their `weights` from `logits`.
pub fn forward(cx: &Cx, chosen: &mut [u32], weights: &mut [f32], logits: &[f32], d: Dims) {
    check(d, logits, weights, chosen);
    let (chosen, weights) = (Shared::new(chosen), Shared::new(weights));
    for_rows(cx, d.rows, BLOCK, |row, rows| {
        // SAFETY: each task has its own rows.
        let (chosen, weights) = unsafe { (chosen.part(row * d.top, rows * d.top), weights.part(row * d.top, rows * d.top)) };
        let logits = logits[row * d.experts..].chunks_exact(d.experts);
        for ((chosen, weights), logits) in chosen.chunks_exact_mut(d.top).zip(weights.chunks_exact_mut(d.top)).zip(logits) {
            choose(chosen, logits);
            let top = logits[chosen[0] as usize];
            let mut sum = 0.0;
            for (w, &e) in weights.iter_mut().zip(&*chosen) {
                *w = exp(logits[e as usize] - top);
                sum += *w;
            }
            weights.iter_mut().for_each(|w| *w /= sum);
        }
    });
}

/// The largest of `logits` that were not taken yet, one slot after the other. A NaN is never larger than another.
fn choose(chosen: &mut [u32], logits: &[f32]) {
    for slot in 0..chosen.len() {
        let (taken, rest) = chosen.split_at_mut(slot);
        let mut best: Option<usize> = None;
        for e in (0..logits.len()).filter(|&e| !taken.contains(&(e as u32))) {
            if best.is_none_or(|b| logits[e] > logits[b]) {
                best = Some(e);
            }
        }
        rest[0] = best.unwrap_or(0) as u32;
    }
}

/// `dlogits` from `dw`, and from `weights` and `chosen` as the forward pass left them.
pub fn backward(cx: &Cx, dlogits: &mut [f32], dw: &[f32], weights: &[f32], chosen: &[u32], d: Dims) {
    check(d, dlogits, weights, chosen);
    assert_eq!(dw.len(), weights.len());
    let dlogits = Shared::new(dlogits);
    for_rows(cx, d.rows, BLOCK, |row, rows| {
        // SAFETY: each task has its own rows.
        let dlogits = unsafe { dlogits.part(row * d.experts, rows * d.experts) };
        dlogits.fill(0.0);
        for (i, line) in dlogits.chunks_exact_mut(d.experts).enumerate() {
            let at = (row + i) * d.top..(row + i + 1) * d.top;
            let (dw, weights) = (&dw[at.clone()], &weights[at.clone()]);
            let mean: f32 = dw.iter().zip(weights).map(|(d, w)| d * w).sum();
            for ((&e, d), w) in chosen[at].iter().zip(dw).zip(weights) {
                line[e as usize] = w * (d - mean);
            }
        }
    });
}

fn check(d: Dims, logits: &[f32], weights: &[f32], chosen: &[u32]) {
    assert!(0 < d.top && d.top <= d.experts, "{d:?}");
    assert!(logits.len() == d.rows * d.experts && weights.len() == d.rows * d.top && chosen.len() == weights.len(), "router of {d:?}");
}

/// What was sent to each expert, in order of rows. Kept between calls: it allocates only to grow.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    starts: Vec<usize>, // (experts + 1)
    rows: Vec<u32>,     // (rows * top), by expert
    pairs: Vec<u32>,    // as rows
}

/// The tokens of one expert; both lists ascend.
#[derive(Clone, Copy, Debug)]
pub struct Share<'a> {
    /// Their rows.
    pub rows: &'a [u32],
    /// Where their weights lie: row * top + slot.
    pub pairs: &'a [u32],
}

impl Groups {
    /// Room for calls up to `d`.
    pub fn new(d: Dims) -> Groups {
        let pairs = d.rows * d.top;
        Groups { starts: Vec::with_capacity(d.experts + 2), rows: Vec::with_capacity(pairs), pairs: Vec::with_capacity(pairs) }
    }

    /// Sorts the pairs of `chosen` (rows, top) by expert; inside an expert they stay in order.
    pub fn sort(&mut self, chosen: &[u32], d: Dims) {
        assert!(chosen.len() == d.rows * d.top && chosen.iter().all(|&e| (e as usize) < d.experts), "choices of {d:?}");
        // After the prefix sum, starts[e + 1] is where e begins; placing its pairs moves it to where e ends.
        self.starts.clear();
        self.starts.resize(d.experts + 2, 0);
        chosen.iter().for_each(|&e| self.starts[e as usize + 2] += 1);
        (1..self.starts.len()).for_each(|i| self.starts[i] += self.starts[i - 1]);
        self.rows.resize(chosen.len(), 0);
        self.pairs.resize(chosen.len(), 0);
        for (pair, &e) in chosen.iter().enumerate() {
            let at = &mut self.starts[e as usize + 1];
            (self.rows[*at], self.pairs[*at]) = ((pair / d.top) as u32, pair as u32);
            *at += 1;
        }
        self.starts.pop();
    }

    /// What goes to `expert`.
    pub fn of(&self, expert: usize) -> Share<'_> {
        let at = self.starts[expert]..self.starts[expert + 1];
        Share { rows: &self.rows[at.clone()], pairs: &self.pairs[at] }
    }

    /// Rows of the expert that has most.
    pub fn largest(&self) -> usize {
        self.starts.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
