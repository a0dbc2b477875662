//! Judges of AdamW: twenty steps against the formulas of the file's header in f64, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, Truth, alike, must_catch, wide};

const SETTINGS: Settings = Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };

const STEPS: u64 = 20;

// Up to three blocks of 16,384.
const CASES: &[usize] = &[1, 7, 64, 4097, 40_000];

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use super::Settings;
    use testkit::Truth;

    pub struct State {
        pub p: Truth,
        pub m: Truth,
        pub v: Truth,
    }

    /// One step; sizes follow the same recurrences with magnitudes for terms.
    pub fn step(s: &mut State, g: &[f64], set: &Settings, lr: f64, t: u64, clip: f64) {
        let (one, two) = (1.0 - set.beta1.powf(t as f64), 1.0 - set.beta2.powf(t as f64));
        for (i, g) in g.iter().enumerate() {
            let g = g * clip;
            s.m.values[i] = set.beta1 * s.m.values[i] + (1.0 - set.beta1) * g;
            s.m.sizes[i] = set.beta1 * s.m.sizes[i] + (1.0 - set.beta1) * g.abs();
            s.v.values[i] = set.beta2 * s.v.values[i] + (1.0 - set.beta2) * g * g;
            s.v.sizes[i] = s.v.values[i];
            let root = (s.v.values[i] / two).sqrt() + set.eps;
            s.p.values[i] = s.p.values[i] * (1.0 - lr * set.weight_decay) - lr * (s.m.values[i] / one) / root;
            // Every step rounds p once more and adds an update of its own size.
            s.p.sizes[i] += lr * (s.m.sizes[i] / one) / root;
        }
    }
}

type Step<'a> = &'a dyn Fn(&Cx, &mut [f32], &mut [f32], &mut [f32], &[f32], &Settings, f64, u64, f64);

/// Twenty steps with other gradients, rates and clips each; judged after each.
fn judge(j: &mut Judge, cx: &Cx, seed: u64, n: usize, size: f64, op: Step) -> Result<(), String> {
    let mut random = Random::new(seed);
    // Small parameters, so that the update is as large as what it is added to.
    let start = random.floats(n, 0.02);
    let (mut p, mut m, mut v) = (Guarded::holding(&start), Guarded::<f32>::filled(n, 0.0), Guarded::<f32>::filled(n, 0.0));
    let sizes = start.iter().map(|p| f64::from(p.abs())).collect();
    let mut truth = reference::State { p: Truth { values: wide(&start), sizes }, m: Truth::zeros(n), v: Truth::zeros(n) };
    for t in 1..=STEPS {
        let mut g = random.floats(n, size);
        g[n / 2] = 0.0;
        let (lr, clip) = (0.01 / t as f64, if t % 3 == 0 { 0.37 } else { 1.0 });
        op(cx, &mut p, &mut m, &mut v, &g, &SETTINGS, lr, t, clip);
        reference::step(&mut truth, &wide(&g), &SETTINGS, lr, t, clip);
        let name = format!("{:?} n {n}, size {size:e}, step {t}, seed {seed}", cx.level());
        for (output, found, truth) in [("p", &p, &truth.p), ("m", &m, &truth.m), ("v", &v, &truth.v)] {
            found.intact(output)?;
            j.see(output, &name, found, truth)?;
        }
    }
    Ok(())
}

// Size: the magnitudes of all that was added so far. Measured worst within twenty steps: p 4.7, m 1.6, v 3.4 eps (n 40,000).
const BOUND: &[(&str, f64)] = &[("p", 9.0), ("m", 3.5), ("v", 7.0)];

#[test]
fn agrees_with_reference_for_twenty_steps() {
    let mut j = Judge::new("adamw", BOUND);
    for cx in contexts() {
        for (seed, &n) in (501..).zip(CASES) {
            judge(&mut j, &cx, seed, n, 1.0, &step).unwrap();
        }
    }
    j.finish();
}

#[test]
fn large_and_tiny_gradients() {
    let mut j = Judge::new("adamw", BOUND);
    for cx in contexts() {
        for (seed, size) in [(511, 1e4), (512, 1e-5), (513, 1e-15)] {
            judge(&mut j, &cx, seed, 100, size, &step).unwrap();
        }
        // The square is below every float, the root is nothing beside eps: p moves by lr m / eps.
        let mut j = Judge::new("adamw", &[("p", BOUND[0].1), ("m", BOUND[1].1), ("v", 2.0)]);
        judge(&mut j, &cx, 514, 100, 1e-25, &step).unwrap();
    }
}

#[test]
fn a_constant_gradient_moves_by_the_rate_at_every_step() {
    // The bias-corrected moments are then g and g^2 at every step: what is left is rounding.
    let cx = Cx::new(1).unwrap();
    let (mut p, mut m, mut v) = ([0.5f32], [0f32], [0f32]);
    let still = Settings { weight_decay: 0.0, ..SETTINGS };
    for t in 1..=5000 {
        let before = p[0];
        step(&cx, &mut p, &mut m, &mut v, &[0.3], &still, 1e-4, t, 1.0);
        // p is rounded to 3e-8 before and after, near 0.5.
        let moved = f64::from(before - p[0]);
        assert!((moved - 1e-4).abs() < 1.0e-7, "step {t} moved {moved:e}");
    }
    let corrected = f64::from(v[0]) / (1.0 - 0.999f64.powi(5000)) / f64::from(0.3f32).powi(2);
    // Measured 1.8e-7. With 0.999 itself rounded to f32, and 1 - 0.999 taken from that, it would be 1.3e-5.
    assert!((corrected - 1.0).abs() < 6e-7, "the second moment is off by {:e}", corrected - 1.0);
}

#[test]
fn same_bits_for_threads_and_levels() {
    let mut random = Random::new(520);
    let n = 40_000;
    let (p0, g) = (random.floats(n, 1.0), random.floats(n, 1.0));
    let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
    let variants: Vec<usize> = (0..all.len()).collect();
    alike("adamw, seed 520", &variants, |&i| {
        let (mut p, mut m, mut v) = (p0.clone(), vec![0.0; n], vec![0.0; n]);
        for t in 1..=3 {
            step(&all[i], &mut p, &mut m, &mut v, &g, &SETTINGS, 0.01, t, 0.9);
        }
        vec![p, m, v]
    })
    .unwrap();
}

#[test]
fn norm_is_the_root_of_the_sum_of_squares() {
    for (seed, n) in [(531, 1), (532, 7), (533, 40_000)] {
        let g = Random::new(seed).floats(n, 1e25); // squares overflow in f32
        let truth = wide(&g).iter().map(|v| v * v).sum::<f64>().sqrt();
        // Sums in f64: n roundings of 1e-16 at most.
        assert!((norm(&g) / truth - 1.0).abs() < 1e-12, "n {n}, seed {seed}");
    }
    assert_eq!(norm(&[]), 0.0);
    assert_eq!(norm(&[3.0, -4.0]), 5.0);
    let mut g = Random::new(534).floats(40_000, 1.0);
    g[33_333] = f32::NEG_INFINITY;
    assert_eq!(norm(&g), f64::INFINITY);
    g[5] = f32::NAN;
    assert!(norm(&g).is_nan());
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("adamw", BOUND);
    judge(&mut j, &cx, 541, 64, 1.0, &step).unwrap();
    let divisor: Step = &|cx, p, m, v, g, s, lr, t, clip| step(cx, p, m, v, g, s, lr, t + 1, clip);
    must_catch("a wrong divisor: the bias correction of the next step", judge(&mut j, &cx, 541, 64, 1.0, divisor));
    let clip: Step = &|cx, p, m, v, g, s, lr, t, _| step(cx, p, m, v, g, s, lr, t, 1.0);
    must_catch("the clip is lost", judge(&mut j, &cx, 541, 64, 1.0, clip));
    let set: Step = &|cx, p, m, v, g, s, lr, t, clip| {
        m.fill(0.0);
        step(cx, p, m, v, g, s, lr, t, clip);
    };
    must_catch("= for += in m", judge(&mut j, &cx, 541, 64, 1.0, set));
    let decay: Step = &|cx, p, m, v, g, s, lr, t, clip| {
        let g: Vec<f32> = g.iter().zip(&*p).map(|(g, p)| g + s.weight_decay as f32 * p).collect();
        step(cx, p, m, v, &g, &Settings { weight_decay: 0.0, ..*s }, lr, t, clip);
    };
    must_catch("the decay goes through the moments", judge(&mut j, &cx, 541, 64, 1.0, decay));
    let eps: Step = &|cx, p, m, v, g, s, lr, t, clip| step(cx, p, m, v, g, &Settings { eps: 1e-6, ..*s }, lr, t, clip);
    must_catch("another eps", judge(&mut j, &cx, 541, 64, 1e-3, eps));
}
