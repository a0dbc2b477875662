//! Judges of SwiGLU: a reference in f64 from the formulas of the file's header, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, alike, dot, gradient, must_catch, wide};

// Up to three blocks of 16,384.
const CASES: &[usize] = &[1, 7, 64, 130, 4097, 40_000];

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use testkit::Truth;

    fn sigmoid(g: f64) -> f64 {
        1.0 / (1.0 + (-g).exp())
    }

    /// h; the exponential is cut beyond e^87, so a sigmoid may be off where it is below 1e-30.
    pub fn forward(g: &[f64], u: &[f64]) -> Truth {
        let mut h = Truth::new();
        for (g, u) in g.iter().zip(u) {
            let v = g * sigmoid(*g) * u;
            h.push(v, v.abs().max(1e-30 * (g * u).abs()));
        }
        h
    }

    /// dg and du; 1 - s is off by half an eps whatever its size, and is multiplied by g.
    pub fn backward(dh: &[f64], g: &[f64], u: &[f64]) -> (Truth, Truth) {
        let (mut dg, mut du) = (Truth::new(), Truth::new());
        for ((d, g), u) in dh.iter().zip(g).zip(u) {
            let s = sigmoid(*g);
            let size = (d * u).abs() * s.max(1e-30) * (1.0 + g.abs());
            dg.push(d * u * s * (1.0 + g * sigmoid(-g)), size);
            let v = d * g * s;
            du.push(v, v.abs().max(1e-30 * (g * d).abs()));
        }
        (dg, du)
    }
}

/// The op under judgement: the real one, or one with a bug.
struct Op {
    forward: fn(&Cx, &mut [f32], &[f32], &[f32]),
    backward: fn(&Cx, &mut [f32], &mut [f32], &mut [f32]),
}

const REAL: Op = Op { forward, backward };

/// g, u, dh of a case.
struct Inputs(String, Vec<f32>, Vec<f32>, Vec<f32>);

impl Inputs {
    fn new(seed: u64, n: usize, size: f64) -> Inputs {
        let mut random = Random::new(seed);
        // A gate of size 3 reaches both the flat and the straight end of silu.
        let (g, u, dh) = (random.floats(n, 3.0 * size), random.floats(n, size), random.floats(n, 1.0));
        Inputs(format!("n {n}, size {size:e}, seed {seed}"), g, u, dh)
    }
}

fn judge(j: &mut Judge, cx: &Cx, Inputs(name, g, u, dh): &Inputs, op: &Op) -> Result<(), String> {
    let name = format!("{:?} {name}", cx.level());
    let mut h = Guarded::unwritten(g.len());
    (op.forward)(cx, &mut h, g, u);
    h.intact("h")?;
    let h_truth = reference::forward(&wide(g), &wide(u));
    j.see("h", &name, &h, &h_truth)?;

    let (mut dg, mut du, mut h) = (Guarded::holding(g), Guarded::holding(u), Guarded::holding(dh));
    (op.backward)(cx, &mut dg, &mut du, &mut h);
    for (buffer, output) in [(&dg, "dg"), (&du, "du"), (&h, "h again")] {
        buffer.intact(output)?;
    }
    let (dg_truth, du_truth) = reference::backward(&wide(dh), &wide(g), &wide(u));
    j.see("dg", &name, &dg, &dg_truth)?;
    j.see("du", &name, &du, &du_truth)?;
    j.see("h again", &name, &h, &h_truth)
}

// Size: the product itself; for dg that of 1 + |g|. Measured worst: h 1.4, dg 1.8, du 1.6, h again 1.5 eps (n 40,000).
const BOUND: &[(&str, f64)] = &[("h", 3.0), ("dg", 4.0), ("du", 3.5), ("h again", 3.5)];

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(300);
    let inputs = [random.doubles(20), random.doubles(20)];
    let cotangent = random.doubles(20);
    let (dg, du) = reference::backward(&cotangent, &inputs[0], &inputs[1]);
    gradient::check(&mut random, &inputs, &[dg.values, du.values], |v| dot(&reference::forward(&v[0], &v[1]).values, &cotangent)).unwrap();
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("swiglu", BOUND);
    for cx in contexts() {
        for (seed, &n) in (301..).zip(CASES) {
            judge(&mut j, &cx, &Inputs::new(seed, n, 1.0), &REAL).unwrap();
        }
    }
    j.finish();
}

#[test]
fn large_and_tiny_inputs() {
    let mut j = Judge::new("swiglu", BOUND);
    for cx in contexts() {
        for (seed, size) in [(311, 1e4), (312, 30.0), (313, 1e-20)] {
            let mut i = Inputs::new(seed, 333, size);
            i.1[..16].fill(0.0);
            i.2[8..24].fill(0.0);
            judge(&mut j, &cx, &i, &REAL).unwrap();
        }
    }
}

#[test]
fn same_bits_for_threads_and_levels() {
    let Inputs(name, g, u, dh) = Inputs::new(321, 40_000, 1.0);
    let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
    let variants: Vec<usize> = (0..all.len()).collect();
    alike(&name, &variants, |&v| {
        let mut h = vec![f32::NAN; g.len()];
        forward(&all[v], &mut h, &g, &u);
        let (mut dg, mut du, mut again) = (g.clone(), u.clone(), dh.clone());
        backward(&all[v], &mut dg, &mut du, &mut again);
        vec![h, dg, du, again]
    })
    .unwrap();
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("swiglu", BOUND);
    let i = Inputs::new(331, 130, 1.0);
    judge(&mut j, &cx, &i, &REAL).unwrap();
    let divisor = |_: &Cx, h: &mut [f32], g: &[f32], u: &[f32]| {
        for ((h, g), u) in h.iter_mut().zip(g).zip(u) {
            *h = g / (1.0 + 1e-5 + (-g).exp()) * u;
        }
    };
    must_catch("a wrong divisor", judge(&mut j, &cx, &i, &Op { forward: divisor, ..REAL }));
    must_catch("the factor 1 - s is lost", judge(&mut j, &cx, &i, &Op { backward: factor_lost, ..REAL }));
    // What is in u when dg is computed: the new u in place of the old one.
    must_catch("u is overwritten before it is used", judge(&mut j, &cx, &i, &Op { backward: early_write, ..REAL }));
    let added = |cx: &Cx, h: &mut [f32], g: &[f32], u: &[f32]| {
        let mut sum = vec![0.0; h.len()];
        forward(cx, &mut sum, g, u);
        h.iter_mut().zip(sum).for_each(|(h, s)| *h += s);
    };
    must_catch("+= for =", judge(&mut j, &cx, &i, &Op { forward: added, ..REAL }));
}

fn factor_lost(cx: &Cx, g: &mut [f32], u: &mut [f32], dh: &mut [f32]) {
    let dg: Vec<f32> = g.iter().zip(&*u).zip(&*dh).map(|((g, u), d)| d * u / (1.0 + (-g).exp()) * (1.0 + g)).collect();
    backward(cx, g, u, dh);
    g.copy_from_slice(&dg);
}

fn early_write(cx: &Cx, g: &mut [f32], u: &mut [f32], dh: &mut [f32]) {
    let (old, d) = (g.to_vec(), dh.to_vec());
    backward(cx, g, u, dh);
    for (((g, old), u), d) in g.iter_mut().zip(&old).zip(&*u).zip(&d) {
        let s = 1.0 / (1.0 + (-old).exp());
        *g = d * u * s * (1.0 + old * (1.0 - s));
    }
}

/// An expert's rows: the plain backward pass times the row's weight, and the weight's own gradient.
#[test]
fn weighted_rows_agree_with_the_plain_ones() {
    let (rows, width) = (7, 333);
    let Inputs(_, g, u, dh) = Inputs::new(341, rows * width, 1.0);
    let w = Random::new(342).floats(rows, 1.0);
    for cx in contexts() {
        let (mut dg, mut du, mut h) = (Guarded::holding(&g), Guarded::holding(&u), Guarded::holding(&dh));
        let mut dw = Guarded::unwritten(rows);
        backward_weighted(&cx, &mut dg, &mut du, &mut h, &w, &mut dw);
        let (mut plain_g, mut plain_u, mut plain_h) = (g.clone(), u.clone(), dh.clone());
        backward(&cx, &mut plain_g, &mut plain_u, &mut plain_h);
        for (found, plain) in [(&dg, &plain_g), (&du, &plain_u), (&h, &plain_h)] {
            found.intact("weighted").unwrap();
            for (i, (found, plain)) in found.iter().zip(plain).enumerate() {
                assert_eq!(*found, w[i / width] * plain, "element {i}");
            }
        }
        // dw in f64: the sum of 333 products, each rounded a few times, in sixteen partial sums.
        for (r, found) in dw.iter().enumerate() {
            let terms = (r * width..(r + 1) * width).map(|i| f64::from(dh[i]) * f64::from(plain_h[i]));
            let size: f64 = terms.clone().map(f64::abs).sum();
            let sum: f64 = terms.sum();
            assert!((f64::from(*found) - sum).abs() < 2.0 * f64::from(f32::EPSILON) * size, "row {r}: {found} {sum}");
        }
    }
}
