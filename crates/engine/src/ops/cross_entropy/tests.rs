//! Judges of the cross-entropy: a reference in f64 from the formulas of the file's header, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, alike, dot, gradient, must_catch, same_bits, wide};

// Rows and vocabulary: one word, odd, whole lanes, more than a part of 1,024.
const CASES: &[(usize, usize)] = &[(1, 1), (3, 7), (130, 7), (64, 64), (130, 65), (3, 1024), (1, 4097), (64, 4097)];

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use super::Target;
    use testkit::Truth;

    /// Losses and gradient, both already times the count, the gradient also times `scale`.
    pub fn both(x: &[f64], targets: &[Target], scale: f64) -> (Truth, Truth) {
        let counts: Vec<f64> = targets.iter().map(|t| f64::from(t.count)).collect();
        weighted(x, targets, &counts, scale)
    }

    /// The same for any weights.
    pub fn weighted(x: &[f64], targets: &[Target], weights: &[f64], scale: f64) -> (Truth, Truth) {
        let vocab = x.len() / targets.len();
        let (mut losses, mut dx) = (Truth::new(), Truth::new());
        for ((x, t), &weight) in x.chunks(vocab).zip(targets).zip(weights) {
            let top = x.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            let sum: f64 = x.iter().map(|v| (v - top).exp()).sum();
            // x - top is rounded before the exponential: an error of eps |x - top| in it, weighed by p.
            let p = |j: usize| (x[j] - top).exp() / sum;
            let reach: f64 = (0..x.len()).map(|j| p(j) * (top - x[j])).sum();
            losses.push(weight * (sum.ln() + top - x[t.token as usize]), weight.abs() * (1.0 + reach));
            for (j, v) in x.iter().enumerate() {
                let here = if j == t.token as usize { 1.0 } else { 0.0 };
                // The exponential is cut below e^-87: the 1e-30.
                let size = p(j) * (1.0 + top - v + reach) + here + 1e-30;
                dx.push(scale * weight * (p(j) - here), scale * weight.abs() * size);
            }
        }
        (losses, dx)
    }
}

type Op<'a> = &'a dyn Fn(&Cx, &mut [f32], &mut [f64], &[Target], usize, f64);

struct Inputs {
    name: String,
    x: Vec<f32>,
    targets: Vec<Target>,
    vocab: usize,
    scale: f64,
}

impl Inputs {
    fn new(seed: u64, (rows, vocab): (usize, usize), size: f64) -> Inputs {
        let mut random = Random::new(seed);
        let x = random.floats(rows * vocab, size);
        let target = |row| Target { row, token: random.below(vocab) as u32, count: 1 + random.below(5) as u32 };
        let targets = (0..rows as u32).map(target).collect();
        Inputs { name: format!("{rows} x {vocab}, size {size:e}, seed {seed}"), x, targets, vocab, scale: 1.0 / 137.0 }
    }
}

fn judge(j: &mut Judge, cx: &Cx, i: &Inputs, op: Op) -> Result<(), String> {
    let name = format!("{:?} {}", cx.level(), i.name);
    let (mut x, mut losses) = (Guarded::holding(&i.x), Guarded::<f64>::unwritten(i.targets.len()));
    op(cx, &mut x, &mut losses, &i.targets, i.vocab, i.scale);
    x.intact("x")?;
    losses.intact("losses")?;
    let (loss_truth, dx_truth) = reference::both(&wide(&i.x), &i.targets, i.scale);
    j.see("loss", &name, &losses, &loss_truth)?;
    j.see("dx", &name, &x, &dx_truth)
}

// Size: the weight of the row, times how far the exponents reach. Measured worst: loss 1.1 (130 x 7, weighted), dx 1.1 eps (64 x 64).
const BOUND: &[(&str, f64)] = &[("loss", 2.5), ("dx", 2.5)];

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(600);
    let i = Inputs::new(601, (3, 7), 1.0);
    let inputs = [random.doubles(21)];
    let cotangent = [i.scale; 3];
    let (_, dx) = reference::both(&inputs[0], &i.targets, i.scale);
    gradient::check(&mut random, &inputs, &[dx.values], |v| dot(&reference::both(&v[0], &i.targets, 1.0).0.values, &cotangent)).unwrap();
    let weights = [-0.7, 0.0, 0.3];
    let (_, dx) = reference::weighted(&inputs[0], &i.targets, &weights, 1.0);
    gradient::check(&mut random, &inputs, &[dx.values], |v| reference::weighted(&v[0], &i.targets, &weights, 1.0).0.values.iter().sum())
        .unwrap();
}

type Weighted<'a> = &'a dyn Fn(&Cx, &mut [f32], &mut [f64], &[Target], &[f64], usize);

/// Weights of both signs, some of them 0.
fn weights(seed: u64, n: usize) -> Vec<f64> {
    let mut random = Random::new(seed);
    (0..n).map(|i| if i % 5 == 3 { 0.0 } else { random.normal() * 0.1 }).collect()
}

fn judge_weighted(j: &mut Judge, cx: &Cx, i: &Inputs, weights: &[f64], op: Weighted) -> Result<(), String> {
    let name = format!("{:?} weighted {}", cx.level(), i.name);
    let (mut x, mut losses) = (Guarded::holding(&i.x), Guarded::<f64>::unwritten(i.targets.len()));
    op(cx, &mut x, &mut losses, &i.targets, weights, i.vocab);
    x.intact("x")?;
    losses.intact("losses")?;
    let (loss_truth, dx_truth) = reference::weighted(&wide(&i.x), &i.targets, weights, 1.0);
    j.see("loss", &name, &losses, &loss_truth)?;
    j.see("dx", &name, &x, &dx_truth)
}

#[test]
fn weights_of_both_signs_agree_with_reference() {
    let mut j = Judge::new("cross_entropy, weighted", BOUND);
    for cx in contexts() {
        for (seed, &case) in (651..).zip(CASES) {
            let i = Inputs::new(seed, case, 3.0);
            judge_weighted(&mut j, &cx, &i, &weights(seed, case.0), &forward_backward_weighted).unwrap();
        }
    }
    j.finish();
}

#[test]
fn counts_as_weights_are_the_same_bits() {
    let cx = Cx::new(2).unwrap();
    let i = Inputs::new(661, (37, 65), 3.0);
    let counts: Vec<f64> = i.targets.iter().map(|t| f64::from(t.count)).collect();
    let (mut by_count, mut losses) = (i.x.clone(), vec![f64::NAN; 37]);
    forward_backward(&cx, &mut by_count, &mut losses, &i.targets, i.vocab, 1.0);
    let (mut by_weight, mut again) = (i.x.clone(), vec![f64::NAN; 37]);
    forward_backward_weighted(&cx, &mut by_weight, &mut again, &i.targets, &counts, i.vocab);
    same_bits("dx", &by_count, &by_weight).unwrap();
    assert_eq!(losses, again);
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("cross_entropy", BOUND);
    for cx in contexts() {
        for (seed, &case) in (602..).zip(CASES) {
            judge(&mut j, &cx, &Inputs::new(seed, case, 3.0), &forward_backward).unwrap();
        }
    }
    j.finish();
}

#[test]
fn large_and_tiny_logits() {
    let mut j = Judge::new("cross_entropy", BOUND);
    for cx in contexts() {
        for (seed, size) in [(621, 1e4), (622, 30.0), (623, 1e-20)] {
            let mut i = Inputs::new(seed, (5, 100), size);
            i.x[100..200].fill(0.0);
            judge(&mut j, &cx, &i, &forward_backward).unwrap();
        }
        // Logits 1e4 apart: the loss is that distance, or nothing.
        let target = |token, count| Target { row: 0, token, count };
        let (mut x, mut losses) = ([1e4, 0.0, 0.0, 1e4, 0.0, 0.0], [f64::NAN; 2]);
        forward_backward(&cx, &mut x, &mut losses, &[target(1, 2), target(0, 7)], 3, 0.25);
        assert_eq!((losses, x), ([2e4, 0.0], [0.5, -0.5, 0.0, 0.0, 0.0, 0.0]));
    }
}

#[test]
fn losses_alone_are_the_same_and_so_are_bits() {
    for &case in CASES {
        let i = Inputs::new(631, case, 3.0);
        let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
        let variants: Vec<usize> = (0..all.len()).collect();
        let halves =
            |losses: &[f64]| losses.iter().flat_map(|l| [(l.to_bits() >> 32) as u32, l.to_bits() as u32]).map(f32::from_bits).collect();
        alike(&i.name, &variants, |&v| {
            let (mut x, mut losses) = (i.x.clone(), vec![f64::NAN; i.targets.len()]);
            forward_backward(&all[v], &mut x, &mut losses, &i.targets, i.vocab, i.scale);
            let (mut rest, mut alone) = (i.x.clone(), vec![f64::NAN; i.targets.len()]);
            forward(&all[v], &mut rest, &mut alone, &i.targets, i.vocab);
            let (both, alone): (Vec<f32>, Vec<f32>) = (halves(&losses), halves(&alone));
            same_bits("losses alone", &both, &alone).unwrap();
            vec![x, both]
        })
        .unwrap();
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("cross_entropy", BOUND);
    let i = Inputs::new(641, (5, 4097), 1.0);
    judge(&mut j, &cx, &i, &forward_backward).unwrap();
    let divisor: Op = &|cx, x, losses, targets, vocab, scale| {
        // The sum without the last word.
        let last: Vec<f32> = x.chunks(vocab).map(|x| x[vocab - 1]).collect();
        for row in x.chunks_mut(vocab) {
            row[vocab - 1] = f32::NEG_INFINITY;
        }
        forward_backward(cx, x, losses, targets, vocab, scale);
        for (row, last) in x.chunks_mut(vocab).zip(last) {
            row[vocab - 1] = row[0] * (last - row[0]).exp();
        }
    };
    must_catch("a wrong divisor: a word is missing in the sum", judge(&mut j, &cx, &i, divisor));
    let count: Op = &|cx, x, losses, targets, vocab, scale| {
        let once: Vec<Target> = targets.iter().map(|t| Target { count: 1, ..*t }).collect();
        forward_backward(cx, x, losses, &once, vocab, scale);
    };
    must_catch("the count is lost", judge(&mut j, &cx, &i, count));
    let gradient: Op = &|cx, x, losses, targets, vocab, scale| {
        forward_backward(cx, x, losses, targets, vocab, 1.0);
        x.iter_mut().for_each(|v| *v *= scale as f32);
        x.chunks_mut(vocab).zip(targets).for_each(|(x, t)| x[t.token as usize] = -(scale * f64::from(t.count)) as f32);
    };
    must_catch("= for -= at the target", judge(&mut j, &cx, &i, gradient));
    let scale: Op = &|cx, x, losses, targets, vocab, _| forward_backward(cx, x, losses, targets, vocab, 1.0 / 136.0);
    must_catch("another scale", judge(&mut j, &cx, &i, scale));
    let w = weights(642, 5);
    judge_weighted(&mut j, &cx, &i, &w, &forward_backward_weighted).unwrap();
    let sign: Weighted = &|cx, x, losses, targets, weights, vocab| {
        let positive: Vec<f64> = weights.iter().map(|w| w.abs()).collect();
        forward_backward_weighted(cx, x, losses, targets, &positive, vocab);
    };
    must_catch("the sign of a weight is lost", judge_weighted(&mut j, &cx, &i, &w, sign));
    let counted: Weighted = &|cx, x, losses, targets, weights, vocab| {
        let both: Vec<f64> = weights.iter().zip(targets).map(|(w, t)| w * f64::from(t.count)).collect();
        forward_backward_weighted(cx, x, losses, targets, &both, vocab);
    };
    must_catch("the count beside the weight", judge_weighted(&mut j, &cx, &i, &w, counted));
}
