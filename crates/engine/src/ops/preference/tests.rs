//! Judges of the DPO loss: a reference from the formulas of the file's header, what must hold far out, and planted bugs.

use super::*;
use testkit::{Random, gradient, must_catch};

/// The formulas of the header as they stand, which is right while nothing overflows; shares nothing with the implementation.
mod reference {
    /// Loss, rewards and derivatives for [chosen, rejected, their references].
    pub fn dpo(x: &[f64], beta: f64) -> [f64; 5] {
        let sigma = |z: f64| 1.0 / (1.0 + (-z).exp());
        let (c, r) = (beta * (x[0] - x[2]), beta * (x[1] - x[3]));
        [-sigma(c - r).ln(), c, r, -beta * sigma(r - c), beta * sigma(r - c)]
    }
}

type Op<'a> = &'a dyn Fn(Pair, f64) -> Outcome;

fn pair(x: &[f64]) -> Pair {
    Pair { chosen: x[0], rejected: x[1], chosen_reference: x[2], rejected_reference: x[3] }
}

fn judge(x: &[f64], beta: f64, op: Op) -> Result<(), String> {
    let o = op(pair(x), beta);
    let found = [o.loss, o.chosen_reward, o.rejected_reward, o.d_chosen, o.d_rejected];
    let truth = reference::dpo(x, beta);
    match (0..5).find(|&i| (found[i] - truth[i]).abs().is_nan() || (found[i] - truth[i]).abs() > LIMIT * truth[i].abs()) {
        Some(i) => Err(format!("dpo of {x:?}, beta {beta}: number {i} is {:e}, expected {:e}", found[i], truth[i])),
        None => Ok(()),
    }
}

/// Relative. The reference itself loses digits where the loss is small: e^-z below 1 + e^-z, for z up to 5.
const LIMIT: f64 = 1e-13;

/// Log-probabilities of answers, as they come: some ten below zero, near the reference's.
fn inputs(random: &mut Random) -> Vec<f64> {
    let (c, r) = (-40.0 * random.uniform(), -60.0 * random.uniform());
    vec![c, r, c + 5.0 * random.normal(), r + 5.0 * random.normal()]
}

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(1100);
    for beta in [0.05, 0.1, 0.5] {
        let x = inputs(&mut random);
        let [_, _, _, dc, dr] = reference::dpo(&x, beta);
        let (policy, fixed) = (x[..2].to_vec(), x[2..].to_vec());
        gradient::check(&mut random, &[policy], &[vec![dc, dr]], |v| reference::dpo(&[v[0].clone(), fixed.clone()].concat(), beta)[0])
            .unwrap();
    }
}

#[test]
fn agrees_with_reference() {
    let mut random = Random::new(1110);
    for _ in 0..1000 {
        let x = inputs(&mut random);
        judge(&x, 0.1, &dpo).unwrap();
    }
    let even = dpo(pair(&[-7.0, -9.0, -7.0, -9.0]), 0.1);
    assert_eq!((even.loss, even.d_chosen, even.d_rejected), (2f64.ln(), -0.05, 0.05));
}

#[test]
fn far_out_the_loss_is_the_distance_or_its_exponential() {
    let at = |z: f64| dpo(pair(&[z, 0.0, 0.0, 0.0]), 1.0);
    // Preferred the wrong way by 1e6: a straight line.
    assert_eq!((at(-1e6).loss, at(-1e6).d_chosen, at(-1e6).d_rejected), (1e6, -1.0, 1.0));
    // Preferred the right way: e^-z to all digits, where 1 - sigma would be 0.
    for z in [40.0f64, 300.0, 700.0] {
        let (o, e) = (at(z), (-z).exp());
        assert!((o.loss - e).abs() <= 1e-15 * e && (o.d_rejected - e).abs() <= 1e-15 * e, "{z}: {o:?}");
    }
    assert_eq!((at(1e6).loss, at(1e6).d_chosen), (0.0, 0.0));
    // loss(-z) - loss(z) = z for every z.
    for z in [1e-9, 0.3, 7.0, 36.0, 800.0] {
        assert!((at(-z).loss - at(z).loss - z).abs() <= 4e-16 * z.max(1.0), "{z}");
    }
    // What is not finite is not hidden.
    assert!(at(f64::NAN).loss.is_nan() && at(f64::NEG_INFINITY).loss.is_infinite());
}

#[test]
fn judge_catches_planted_bugs() {
    let x = [-12.0, -15.0, -13.5, -14.0];
    judge(&x, 0.3, &dpo).unwrap();
    let swapped: Op = &|p, beta| dpo(Pair { chosen: p.rejected, rejected: p.chosen, ..p }, beta);
    must_catch("chosen and rejected change places", judge(&x, 0.3, swapped));
    let beta: Op = &|p, beta| {
        let o = dpo(p, beta);
        Outcome { d_chosen: o.d_chosen / beta, d_rejected: o.d_rejected / beta, ..o }
    };
    must_catch("beta is lost in the derivative", judge(&x, 0.3, beta));
    let alone: Op = &|p, beta| dpo(Pair { chosen_reference: 0.0, rejected_reference: 0.0, ..p }, beta);
    must_catch("without the reference", judge(&x, 0.3, alone));
    let sigma: Op = &|p, beta| {
        let o = dpo(p, beta);
        Outcome { d_chosen: -beta - o.d_chosen, d_rejected: beta - o.d_rejected, ..o }
    };
    must_catch("sigma(z) for sigma(-z)", judge(&x, 0.3, sigma));
}
