//! AdamW on the GPU; kernels in adamw.cu.

use super::{BLOCK, Settings};
use crate::cuda::{Buffer, Error, Gpu, args};
use crate::ops::dropout::mix;
use half::bf16;
use std::sync::Arc;

const FILE: &str = "adamw";

/// What a step multiplies with, on the device: written before each step, so that a captured one goes on with new numbers.
pub struct Rates(Buffer<u32>);

impl Rates {
    /// Room for them.
    ///
    /// # Errors
    /// When the device has not the memory.
    pub fn new(gpu: &Arc<Gpu>) -> Result<Rates, Error> {
        Ok(Rates(Buffer::new(gpu, 8)?))
    }

    /// Those of step `t`, which counts from 1; `seed` is the run's, for rounding at random.
    ///
    /// # Errors
    /// When the copy to the device fails.
    pub fn set(&self, s: &Settings, lr: f64, t: u64, seed: u64) -> Result<(), Error> {
        let r = s.rates(lr, t, 1.0);
        let key = mix(mix(seed) ^ t);
        let [new1, new2, step, root, eps, keep] = [r.new1, r.new2, r.step, r.root, r.eps, r.keep].map(f32::to_bits);
        self.0.write(&[new1, new2, step, root, eps, keep, key as u32, (key >> 32) as u32])
    }
}

/// One step in float32; `clip` holds one number, such as the second of [`norm`].
pub fn step(gpu: &Gpu, p: &Buffer<f32>, m: &Buffer<f32>, v: &Buffer<f32>, g: &Buffer<f32>, rates: &Rates, clip: &Buffer<f32>) {
    let n = p.len();
    assert!(m.len() == n && v.len() == n && g.len() == n && n < 1 << 32);
    let (p, m, v, g) = (p.address(), m.address(), v.address(), g.address());
    assert!((p | m | v | g).is_multiple_of(16), "parts of a flat vector begin at multiples of 4");
    let clip = clip.part(0..1).address();
    gpu.launch(FILE, "adamw_step", (n.div_ceil(1024), 1, 1), 256, 0, args![p, m, v, g, n as u32, rates.0.address(), clip]);
}

/// Gradients of parameters in bf16.
#[derive(Clone, Copy)]
pub enum Grads<'a> {
    /// In bf16.
    Narrow(&'a Buffer<bf16>),
    /// In float32.
    Wide(&'a Buffer<f32>),
}

impl Grads<'_> {
    fn len(self) -> usize {
        match self {
            Grads::Narrow(g) => g.len(),
            Grads::Wide(g) => g.len(),
        }
    }

    fn address(self) -> u64 {
        match self {
            Grads::Narrow(g) => g.address(),
            Grads::Wide(g) => g.address(),
        }
    }
}

/// One step with parameters and moments in bf16, rounded up or down at random, so that small updates count on average.
/// `first` is the index of the first element among all that are trained: no two may share one.
pub fn dithered(gpu: &Gpu, p: &Buffer<bf16>, m: &Buffer<bf16>, v: &Buffer<bf16>, g: Grads, first: u64, rates: &Rates, clip: &Buffer<f32>) {
    let n = p.len();
    assert!(m.len() == n && v.len() == n && g.len() == n && n < 1 << 32);
    let name = if matches!(g, Grads::Narrow(_)) { "adamw_dithered_bf16" } else { "adamw_dithered_f32" };
    let (rates, clip) = (rates.0.address(), clip.part(0..1).address());
    gpu.launch(
        FILE,
        name,
        (n.div_ceil(2048), 1, 1),
        256,
        0,
        args![p.address(), m.address(), v.address(), g.address(), n as u32, first, rates, clip],
    );
}

/// Sums that [`squares`] leaves for `n` gradients.
pub const fn parts(n: usize) -> usize {
    n.div_ceil(BLOCK)
}

/// Sums of squares of each block of 16,384 of `g` into `parts`; several vectors may fill one buffer one after another.
pub fn squares(gpu: &Gpu, parts: &Buffer<f64>, g: Grads) {
    let n = g.len();
    assert!(parts.len() == n.div_ceil(BLOCK) && n < 1 << 32, "{} parts of {n}", parts.len());
    let name = if matches!(g, Grads::Narrow(_)) { "adamw_squares_bf16" } else { "adamw_squares_f32" };
    gpu.launch(FILE, name, (parts.len(), 1, 1), 256, 0, args![parts.address(), g.address(), n as u32]);
}

/// The norm of everything that [`squares`] saw, and the factor that clips it to `most` (infinite for no clipping), into
/// `norm`'s two numbers.
pub fn norm(gpu: &Gpu, norm: &Buffer<f32>, parts: &Buffer<f64>, most: f32) {
    assert!(norm.len() == 2);
    gpu.launch(FILE, "adamw_norm", (1, 1, 1), 1024, 0, args![norm.address(), parts.address(), parts.len() as u32, most]);
}
