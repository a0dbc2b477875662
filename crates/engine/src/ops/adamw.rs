//! AdamW: the optimizer step over one flat vector of parameters, and the norm that clips its gradient.
//!
//! Forward    m = b1 m + (1-b1) g      v = b2 v + (1-b2) g²         (g already times the clip factor)
//!            p = p (1 - lr wd) - lr * (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)
//! Backward   none: the end of the chain.
//! Shapes     p, g, m, v (n)
//! Writes     p, m, v in place; the norm is a sum in f64 over fixed blocks, so it does not depend on threads.
//! Rounds     f32; bias corrections in f64. Loshchilov and Hutter, "Decoupled weight decay regularization" (2019).
//! Moves      reads p, g, m, v, writes p, m, v: 7 * n * 4 bytes.

pub mod gpu;

use crate::cpu::lanes::per_level;
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_rows};

/// Elements that one task does; also the fixed block of the norm's sum.
const BLOCK: usize = 16 * 1024;

/// Settings that do not change over a run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Settings {
    /// What step `t` multiplies with.
    fn rates(&self, lr: f64, t: u64, clip: f64) -> Rates {
        let power = t.min(i32::MAX as u64) as i32;
        Rates {
            // Rounded as 1 - b: with b itself rounded, 1 - 0.999 would be off by 1e-5 and v with it.
            new1: (1.0 - self.beta1) as f32,
            new2: (1.0 - self.beta2) as f32,
            step: (lr / (1.0 - self.beta1.powi(power))) as f32,
            root: (1.0 / (1.0 - self.beta2.powi(power)).sqrt()) as f32,
            eps: self.eps as f32,
            keep: (1.0 - lr * self.weight_decay) as f32,
            clip: clip as f32,
        }
    }
}

/// One step: `t` counts from 1, `clip` multiplies the gradient.
#[allow(clippy::too_many_arguments)]
pub fn step(cx: &Cx, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], s: &Settings, lr: f64, t: u64, clip: f64) {
    let n = p.len();
    assert!(m.len() == n && v.len() == n && g.len() == n && t > 0);
    let rates = s.rates(lr, t, clip);
    let (p, m, v) = (Shared::new(p), Shared::new(m), Shared::new(v));
    for_rows(cx, n, BLOCK, |at, len| {
        // SAFETY: each task has its own elements.
        let (p, m, v) = unsafe { (p.part(at, len), m.part(at, len), v.part(at, len)) };
        step_part(cx.level(), p, m, v, &g[at..at + len], rates);
    });
}

#[derive(Clone, Copy)]
struct Rates {
    new1: f32,
    new2: f32,
    step: f32,
    root: f32,
    eps: f32,
    keep: f32,
    clip: f32,
}

per_level! {
    fn step_part(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], r: Rates) {
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * r.clip;
            *m += r.new1 * (g - *m);
            *v += r.new2 * (g * g - *v);
            *p = *p * r.keep - r.step * (*m / (v.sqrt() * r.root + r.eps));
        }
    }
}

/// The Euclidean norm of `g`; NaN or infinite if any element is.
pub fn norm(g: &[f32]) -> f64 {
    g.chunks(BLOCK).map(|b| b.iter().map(|&x| x as f64 * x as f64).sum::<f64>()).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests;
