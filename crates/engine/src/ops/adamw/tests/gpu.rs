//! Judges of the kernels: the same twenty steps and reference, statistics of rounding at random.

use super::super::gpu::{self as device, Grads, Rates};
use super::{BOUND, CASES, SETTINGS, STEPS, Settings, reference};
use crate::cuda::tests::{gpu, rounded, twice};
use crate::cuda::{Buffer, Gpu};
use half::bf16;
use std::sync::Arc;
use testkit::{Judge, Random, Truth, must_catch, wide};

type Step<'a> = &'a dyn Fn(&Gpu, &[Buffer<f32>; 4], &Rates, &Buffer<f32>, &Settings, f64, u64);

fn real(gpu: &Gpu, [p, m, v, g]: &[Buffer<f32>; 4], rates: &Rates, clip: &Buffer<f32>, s: &Settings, lr: f64, t: u64) {
    rates.set(s, lr, t, 7).unwrap();
    device::step(gpu, p, m, v, g, rates, clip);
}

/// As on the CPU: other gradients, rates and clips at each step, judged after each.
fn judge(j: &mut Judge, gpu: &Arc<Gpu>, seed: u64, n: usize, size: f64, op: Step) -> Result<(), String> {
    let of = |values: &[f32]| Buffer::of(gpu, values).unwrap();
    let mut random = Random::new(seed);
    let start = random.floats(n, 0.02);
    let state = [of(&start), of(&vec![0.0; n]), of(&vec![0.0; n]), of(&vec![f32::NAN; n])];
    let (rates, clipped) = (Rates::new(gpu).unwrap(), of(&[f32::NAN]));
    let sizes = start.iter().map(|p| f64::from(p.abs())).collect();
    let mut truth = reference::State { p: Truth { values: wide(&start), sizes }, m: Truth::zeros(n), v: Truth::zeros(n) };
    for t in 1..=STEPS {
        let mut g = random.floats(n, size);
        g[n / 2] = 0.0;
        let (lr, clip) = (0.01 / t as f64, if t % 3 == 0 { 0.37 } else { 1.0 });
        state[3].write(&g).unwrap();
        clipped.write(&[clip as f32]).unwrap();
        op(gpu, &state, &rates, &clipped, &SETTINGS, lr, t);
        reference::step(&mut truth, &wide(&g), &SETTINGS, lr, t, clip);
        let name = format!("n {n}, size {size:e}, step {t}, seed {seed}");
        for (output, found, truth) in [("p", &state[0], &truth.p), ("m", &state[1], &truth.m), ("v", &state[2], &truth.v)] {
            j.see(output, &name, &found.read().unwrap(), truth)?;
        }
    }
    Ok(())
}

// Bounds of the CPU. Measured worst on an H100: p 4.4, m 1.6, v 3.4 eps (n 40,000).
#[test]
fn agrees_with_reference_for_twenty_steps() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("adamw, GPU", BOUND);
    for (seed, &n) in (501..).zip(CASES) {
        judge(&mut j, &gpu, seed, n, 1.0, &real).unwrap();
    }
    judge(&mut j, &gpu, 511, 100, 1e4, &real).unwrap();
    judge(&mut j, &gpu, 513, 100, 1e-15, &real).unwrap();
    j.finish();
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("adamw, GPU", BOUND);
    let mut see = |size: f64, op: Step| judge(&mut j, &gpu, 541, 67, size, op);
    see(1.0, &real).unwrap();
    let late: Step = &|gpu, state, rates, clip, s, lr, t| real(gpu, state, rates, clip, s, lr, t + 1);
    must_catch("the bias correction of the next step", see(1.0, late));
    let clip: Step = &|gpu, state, rates, clip, s, lr, t| {
        clip.write(&[1.0]).unwrap();
        real(gpu, state, rates, clip, s, lr, t);
    };
    must_catch("the clip is lost", see(1.0, clip));
    let eps: Step = &|gpu, state, rates, clip, s, lr, t| real(gpu, state, rates, clip, &Settings { eps: 1e-6, ..*s }, lr, t);
    must_catch("another eps", see(1e-3, eps));
    let short: Step = &|gpu, state, rates, clip, s, lr, t| real(gpu, &state.clone().map(|b| b.part(0..66)), rates, clip, s, lr, t);
    must_catch("the last parameter stays", see(1.0, short));
}

#[test]
fn norm_and_clip_are_those_of_the_whole_vector() {
    let Some(gpu) = gpu() else { return };
    for (seed, n, size) in [(531, 1, 1e25), (532, 7, 1.0), (533, 40_000, 1e25), (534, 5_000_000, 1e-3)] {
        let g = Random::new(seed).floats(n, size);
        let narrow: Vec<bf16> = g.iter().map(|v| bf16::from_f32(*v)).collect();
        let (first, second) = (device::parts(n), 2 * device::parts(n));
        let (parts, norm) = (Buffer::new(&gpu, second).unwrap(), Buffer::of(&gpu, &[f32::NAN; 2]).unwrap());
        parts.fill_bytes(255);
        device::squares(&gpu, &parts.part(0..first), Grads::Wide(&Buffer::of(&gpu, &g).unwrap()));
        device::squares(&gpu, &parts.part(first..second), Grads::Narrow(&Buffer::of(&gpu, &narrow).unwrap()));
        device::norm(&gpu, &norm, &parts, 0.5);
        let sum = |g: &[f32]| g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let truth = (sum(&g) + sum(&rounded(&g))).sqrt();
        let clip = (0.5 / (truth + 1e-6)).min(1.0);
        let found = norm.read().unwrap();
        // Both are f64 rounded to f32 once.
        assert!(
            (f64::from(found[0]) / truth - 1.0).abs() < 6.1e-8 && (f64::from(found[1]) / clip - 1.0).abs() < 6.1e-8,
            "{found:?}, {truth} {clip}"
        );
        device::norm(&gpu, &norm, &parts, f32::INFINITY);
        assert_eq!(norm.read().unwrap()[1], 1.0);
    }
    let (parts, norm) = (Buffer::new(&gpu, 1).unwrap(), Buffer::new(&gpu, 2).unwrap());
    device::squares(&gpu, &parts, Grads::Wide(&Buffer::of(&gpu, &[1.0, f32::NAN]).unwrap()));
    device::norm(&gpu, &norm, &parts, 1.0);
    assert!(norm.read().unwrap()[0].is_nan());
}

/// One step of many equal parameters: each result is one of the two neighbours in bf16, and their mean is the exact one.
#[test]
fn rounding_at_random_is_right_on_average() {
    let Some(gpu) = gpu() else { return };
    let n = 100_003;
    // An update of a tenth of the distance between neighbours, which rounding to the nearest would lose.
    let (p0, m0, v0, lr) = (1f32, 0.0f32, 0.25f32, 7e-4);
    let g = rounded(&Random::new(550).floats(n, 1.0));
    let all = |value: f32| vec![bf16::from_f32(value); n];
    let narrow: Vec<bf16> = g.iter().map(|v| bf16::from_f32(*v)).collect();
    let rates = Rates::new(&gpu).unwrap();
    let clip = Buffer::of(&gpu, &[0.5f32]).unwrap();
    let run = |first: u64, seed: u64, wide_grads: bool| {
        rates.set(&SETTINGS, lr, 1, seed).unwrap();
        let state = [p0, m0, v0].map(|v| Buffer::of(&gpu, &all(v)).unwrap());
        let (short, long) = (Buffer::of(&gpu, &narrow).unwrap(), Buffer::of(&gpu, &g).unwrap());
        let grads = if wide_grads { Grads::Wide(&long) } else { Grads::Narrow(&short) };
        device::dithered(&gpu, &state[0], &state[1], &state[2], grads, first, &rates, &clip);
        state.map(|b| b.read().unwrap().iter().map(|v| v.to_f32()).collect::<Vec<f32>>())
    };
    let found = twice("dithered", || Ok(run(0, 7, false))).unwrap();
    assert_eq!(found, run(0, 7, true), "gradients in float32");
    assert_ne!(found, run(0, 8, false), "another seed");
    // What an element gets depends on its index among all.
    let shifted = run(5, 7, false);
    assert_ne!(found[0][5..], shifted[0][5..]);
    let mut truth = reference::State {
        p: Truth { values: vec![p0.into(); n], sizes: vec![0.0; n] },
        m: Truth::zeros(n),
        v: Truth { values: vec![v0.into(); n], sizes: vec![0.0; n] },
    };
    reference::step(&mut truth, &wide(&g), &SETTINGS, lr, 1, 0.5);
    let mut all_errors = Vec::new();
    let unit = |v: f64| 2f64.powi(v.abs().log2().floor() as i32 - 7);
    for (name, found, truth) in [("p", &found[0], truth.p), ("m", &found[1], truth.m), ("v", &found[2], truth.v)] {
        let mut errors = Vec::new();
        for (f, t) in found.iter().zip(&truth.values) {
            let error = if *t == 0.0 { 0.0 } else { (f64::from(*f) - t) / unit(*t) };
            assert!(error.abs() < 1.001, "{name}: {f} for {t}");
            errors.push(error);
        }
        // Each error has a deviation of at most half a unit: the mean of 1e5 lies within 5 of its own deviations.
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        assert!(mean.abs() < 5.0 * 0.5 / (n as f64).sqrt(), "{name}: a mean error of {mean} units");
        all_errors.push(errors);
    }
    // Nor does one error say anything of another: of the same element, or of the one or two beside it.
    for (a, b, by) in [(0, 1, 0), (0, 2, 0), (1, 2, 0), (0, 0, 1), (1, 1, 1), (2, 2, 1), (0, 1, 1), (0, 2, 1), (1, 2, 1), (0, 0, 2)] {
        let products = all_errors[a].iter().zip(&all_errors[b][by..]).map(|(a, b)| a * b);
        let mean = products.sum::<f64>() / (n - by) as f64;
        assert!(mean.abs() < 5.0 * 0.25 / (n as f64).sqrt(), "errors {a} and {b}, {by} apart: a mean product of {mean}");
    }
}
