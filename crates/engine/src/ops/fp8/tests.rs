//! Judges of 8-bit floats: a reference in f64 from the formulas of the file's header, and planted bugs.

use super::*;
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, rounded, twice};
use crate::ops::{rmsnorm as norm, swiglu as gate};
use std::sync::Arc;
use testkit::{Judge, Random, must_catch, same_bits, wide};

const CASES: &[(usize, usize)] = &[(1, 1), (9, 7), (130, 64), (17, 1024), (5, 1037), (3, 4096), (3, 8192), (2, 14_336), (2, 28_672)];

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use super::HALF;
    use testkit::Truth;

    /// What a byte stands for: sign, four bits of exponent with a bias of 7, three of mantissa.
    pub fn value(byte: u8) -> f64 {
        let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f64::from(byte & 7));
        let size = match (exponent, byte & 7) {
            (15, 7) => f64::NAN,
            (0, _) => mantissa * 2f64.powi(-9),
            _ => (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7),
        };
        if byte & 128 != 0 { -size } else { size }
    }

    /// What decoding gives back, with the half distance between neighbours as its size in halves of bf16; and the scales.
    pub fn quantise(x: &[f64], width: usize) -> (Truth, Truth) {
        let (mut values, mut scales) = (Truth::new(), Truth::new());
        for row in x.chunks(width) {
            let most = row.iter().fold(0f64, |a, b| a.max(b.abs()));
            let scale = if most == 0.0 { 1.0 } else { most / 448.0 };
            scales.push(scale, scale);
            for v in row {
                // 2^-4 of the power of two below, which ends at 2^-6.
                let power = (v.abs() / scale).max(2f64.powi(-6)).log2().floor();
                values.push(*v, scale * 2f64.powf(power - 4.0) / (HALF * f64::from(f32::EPSILON)));
            }
        }
        (values, scales)
    }
}

type Op<'a> = &'a dyn Fn(&Gpu, Quantised, Rows, Option<&Buffer<f32>>);

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, seed: u64, (rows, width): (usize, usize), lie: Lie, with: bool, op: Op) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut values = rounded(&random.floats(rows * width, 1.0));
    // Rows of other sizes each; one of nothing.
    values.chunks_mut(width).enumerate().for_each(|(row, v)| v.iter_mut().for_each(|v| *v *= [1.0, 0.0, 1024.0, 0.03125][row % 4]));
    let by = random.floats(width, 1.0);
    let x = Sheet::of(gpu, &values, width, lie);
    let name = format!("{lie:?} {rows} x {width}, seed {seed}");
    let by_there = with.then(|| Buffer::of(gpu, &by).unwrap());
    let [found, scales] = twice(&name, || {
        let (q, scales) = (Buffer::of(gpu, &vec![255u8; rows * width]).unwrap(), Buffer::of(gpu, &vec![f32::NAN; rows]).unwrap());
        op(gpu, Quantised { q: &q, scales: &scales }, x.rows(), by_there.as_ref());
        let scales = scales.read().unwrap();
        Ok([q.read().unwrap().iter().map(|b| reference::value(*b) as f32).collect(), scales])
    })?;
    let factor = |column: usize| if with { f64::from(by[column]) } else { 1.0 };
    let products: Vec<f32> = wide(&values).iter().enumerate().map(|(i, v)| (v * factor(i % width)) as f32).collect();
    let exact = wide(&rounded(&products));
    let (truth, scale_truth) = reference::quantise(&exact, width);
    let decoded: Vec<f64> = wide(&found).iter().enumerate().map(|(i, q)| q * f64::from(scales[i / width])).collect();
    j.see("scale", &name, &scales, &scale_truth)?;
    j.see("value", &name, &decoded, &truth)
}

// Measured worst on an H100: value 1.00 HALF (of the distance in e4m3), scale 0.8 eps.
const BOUND: &[(&str, f64)] = &[("value", 1.01 * HALF), ("scale", 1.5)];

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("fp8", BOUND);
    for (seed, &case) in (1..).zip(CASES) {
        for lie in LIES {
            judge(&mut j, &gpu, seed, case, lie, false, &quantise).unwrap();
            judge(&mut j, &gpu, seed, case, lie, true, &quantise).unwrap();
        }
    }
    j.finish();
}

#[test]
fn what_is_no_number_stays_none_and_the_least_are_divided_by() {
    let Some(gpu) = gpu() else { return };
    let mut values = vec![1.0f32; 24];
    values[3] = f32::NAN;
    values[8..16].fill(2f32.powi(-120));
    values[20] = f32::INFINITY;
    let x = Sheet::of(&gpu, &values, 8, Lie::Dense);
    let (q, scales) = (Buffer::new(&gpu, 24).unwrap(), Buffer::new(&gpu, 3).unwrap());
    quantise(&gpu, Quantised { q: &q, scales: &scales }, x.rows(), None);
    let (q, scales) = (q.read().unwrap(), scales.read().unwrap());
    assert!(reference::value(q[3]).is_nan() && reference::value(q[0]) == 448.0);
    assert!(q[8..16].iter().all(|b| reference::value(*b).is_finite()) && scales[1].is_normal());
    assert!(scales[2].is_infinite());
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("fp8", BOUND);
    let mut see = |op: Op| judge(&mut j, &gpu, 31, (6, 72), Lie::Even, true, op);
    see(&quantise).unwrap();
    must_catch("columns are not multiplied", see(&|gpu, to, x, _| quantise(gpu, to, x, None)));
    let cut: Op = &|gpu, to, x, by| quantise(gpu, to, Rows { rows: 5, ..x }, by);
    must_catch("the last row is left out", see(cut));
    let tight: Op = &|gpu, to, x, by| quantise(gpu, to, Rows { stride: x.stride - 8, ..x }, by);
    must_catch("another stride", see(tight));
}

#[test]
fn joined_passes_give_the_bits_of_two() {
    let Some(gpu) = gpu() else { return };
    for (seed, &(rows, width)) in (41..).zip(CASES) {
        for lie in LIES {
            let mut random = Random::new(seed);
            let name = format!("{lie:?} {rows} x {width}, seed {seed}");
            let both = Sheet::of(&gpu, &rounded(&random.floats(rows * 2 * width, 1.0)), 2 * width, lie);
            let w = Buffer::of(&gpu, &random.floats(width, 1.0)).unwrap();
            let bits = |joined: bool, norms: bool| {
                let (q, scales) = (Buffer::of(&gpu, &vec![255u8; rows * width]).unwrap(), Buffer::of(&gpu, &vec![f32::NAN; rows]).unwrap());
                let (y, r) = (Sheet::unwritten(&gpu, rows, width, lie), Buffer::of(&gpu, &vec![0f32; rows]).unwrap());
                let to = Quantised { q: &q, scales: &scales };
                let x = Rows { width, ..both.rows() };
                match (joined, norms) {
                    (true, true) => rmsnorm(&gpu, to, y.rows(), &r, x, &w, 1e-5),
                    (true, false) => swiglu(&gpu, to, y.rows(), both.rows()),
                    (false, true) => norm::gpu::forward(&gpu, y.rows(), &r, x, &w, 1e-5),
                    (false, false) => gate::gpu::forward(&gpu, y.rows(), both.rows()),
                }
                if !joined {
                    quantise(&gpu, to, y.rows(), None);
                }
                let q: Vec<f32> = q.read().unwrap().iter().map(|b| f32::from(*b)).collect();
                [y.read("y").unwrap(), r.read().unwrap(), scales.read().unwrap(), q].concat()
            };
            // The norm alone has no kernel for rows wider than a hidden state.
            if width <= norm::gpu::WIDTH_MAX {
                same_bits(&name, &bits(false, true), &bits(true, true)).unwrap();
            }
            same_bits(&name, &bits(false, false), &bits(true, false)).unwrap();
        }
    }
}

#[test]
fn the_joined_way_back_gives_the_bits_of_two() {
    let Some(gpu) = gpu() else { return };
    for (seed, &(rows, width)) in (51..).zip(CASES) {
        for lie in LIES {
            let mut random = Random::new(seed);
            let name = format!("{lie:?} {rows} x {width}, seed {seed}");
            let (both, dh) = (rounded(&random.floats(rows * 2 * width, 1.0)), rounded(&random.floats(rows * width, 1.0)));
            let by = Buffer::of(&gpu, &random.floats(2 * width, 1.0)).unwrap();
            let bits = |joined: bool| {
                let q = Buffer::of(&gpu, &vec![255u8; rows * 2 * width]).unwrap();
                let scales = Buffer::of(&gpu, &vec![f32::NAN; rows]).unwrap();
                let (gate_up, dh) = (Sheet::of(&gpu, &both, 2 * width, lie), Sheet::of(&gpu, &dh, width, lie));
                let to = Quantised { q: &q, scales: &scales };
                if joined {
                    swiglu_backward(&gpu, to, gate_up.rows(), dh.rows(), &by);
                } else {
                    gate::gpu::backward(&gpu, gate_up.rows(), dh.rows());
                    quantise(&gpu, to, gate_up.rows(), Some(&by));
                }
                let q: Vec<f32> = q.read().unwrap().iter().map(|b| f32::from(*b)).collect();
                [gate_up.read("gate and up").unwrap(), dh.read("h").unwrap(), scales.read().unwrap(), q].concat()
            };
            // Rows of gates and ups have a kernel up to the widest of all.
            if 2 * width <= WIDTH_MAX {
                same_bits(&name, &bits(false), &bits(true)).unwrap();
            }
        }
    }
}

#[test]
fn a_transpose_is_one() {
    let Some(gpu) = gpu() else { return };
    for (seed, (rows, width)) in (61..).zip([(1, 1), (7, 130), (128, 128), (144, 400), (1000, 72), (129, 16), (4096, 272)]) {
        let mut random = Random::new(seed);
        let bytes: Vec<u8> = (0..rows * width).map(|_| random.below(256) as u8).collect();
        let out = Buffer::of(&gpu, &vec![0u8; rows * width + 16]).unwrap();
        transpose(&gpu, &out, &Buffer::of(&gpu, &bytes).unwrap(), (rows, width));
        let found = out.read().unwrap();
        let wrong = (0..rows * width).find(|i| found[i % width * rows + i / width] != bytes[*i]);
        assert_eq!(wrong, None, "{rows} x {width}");
        assert!(found[rows * width..].iter().all(|b| *b == 0), "{rows} x {width}: written past the end");
    }
}
