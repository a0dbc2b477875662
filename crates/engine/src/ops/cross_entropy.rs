//! Cross-entropy of next tokens, with the gradient of the logits written in their place.
//!
//! Forward    loss = weight * (ln sum_j e^x_j - x_target)      weight: a target's count, or any number that the caller gives
//! Backward   dx_j = scale * weight * (softmax(x)_j - [j = target])
//! Shapes     x (rows, vocab)   targets, weights, losses (rows)
//! Writes     losses overwritten; x overwritten by its gradient.
//! Rounds     exponentials in f32, their sum in f32 over sixteen lanes per 1,024 and in f64 across, losses in f64.
//! Moves      reads x three times (maximum, sum, gradient), writes it twice: 5 * rows * vocab * 4 bytes at most.

pub mod gpu;

use crate::cpu::lanes::per_level;
use crate::cpu::math::{LANES, exp, fold, max};
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_each};

/// A supervised position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Row of the token that predicts.
    pub row: u32,
    /// The token that should follow.
    pub token: u32,
    /// How many examples say so (more than one only inside a shared prefix).
    pub count: u32,
}

/// Losses and gradient for `targets.len()` rows of logits; `scale` is one over the supervised tokens of the whole step.
pub fn forward_backward(cx: &Cx, x: &mut [f32], losses: &mut [f64], targets: &[Target], vocab: usize, scale: f64) {
    run(cx, x, losses, targets, |t| f64::from(targets[t].count), vocab, Some(scale));
}

/// As [`forward_backward`] with `weights[i]` in place of target i's count, and a scale of 1. A weight may be negative or 0:
/// a preference loss lowers the probability of the rejected answer's tokens.
pub fn forward_backward_weighted(cx: &Cx, x: &mut [f32], losses: &mut [f64], targets: &[Target], weights: &[f64], vocab: usize) {
    assert_eq!(weights.len(), targets.len());
    run(cx, x, losses, targets, |t| weights[t], vocab, Some(1.0));
}

/// Losses alone; `x` is left as exponentials.
pub fn forward(cx: &Cx, x: &mut [f32], losses: &mut [f64], targets: &[Target], vocab: usize) {
    run(cx, x, losses, targets, |t| f64::from(targets[t].count), vocab, None);
}

fn run(
    cx: &Cx,
    x: &mut [f32],
    losses: &mut [f64],
    targets: &[Target],
    weight: impl Fn(usize) -> f64 + Sync + Send,
    vocab: usize,
    scale: Option<f64>,
) {
    assert!(x.len() == targets.len() * vocab && losses.len() == targets.len());
    assert!(targets.iter().all(|t| (t.token as usize) < vocab), "a target past the vocabulary of {vocab}");
    let (x, losses) = (Shared::new(x), Shared::new(losses));
    for_each(cx, targets.len(), |i| {
        // SAFETY: each task has its own row.
        let (x, loss) = unsafe { (x.part(i * vocab, vocab), losses.part(i, 1)) };
        let t = targets[i];
        let wanted = x[t.token as usize];
        let top = max_of(cx.level(), x);
        let sum = exponentials(cx.level(), x, top);
        loss[0] = weight(i) * (sum.ln() + top as f64 - wanted as f64);
        if let Some(scale) = scale {
            let weight = scale * weight(i);
            scale_by(cx.level(), x, (weight / sum) as f32);
            x[t.token as usize] -= weight as f32;
        }
    });
}

per_level! {
    fn max_of(x: &[f32]) -> f32 { max(x) }
}

per_level! {
    fn exponentials(x: &mut [f32], top: f32) -> f64 {
        let mut total = 0f64;
        for part in x.chunks_mut(1024) {
            let mut lanes = [0f32; LANES];
            let (whole, rest) = part.as_chunks_mut::<LANES>();
            for c in whole {
                for (lane, v) in lanes.iter_mut().zip(c) {
                    *v = exp(*v - top);
                    *lane += *v;
                }
            }
            for (lane, v) in lanes.iter_mut().zip(rest) {
                *v = exp(*v - top);
                *lane += *v;
            }
            total += fold(lanes) as f64;
        }
        total
    }
}

per_level! {
    fn scale_by(x: &mut [f32], by: f32) {
        for v in x {
            *v *= by;
        }
    }
}

#[cfg(test)]
mod tests;
