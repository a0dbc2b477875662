//! Judges of the kernels: the same cases and reference, what products read rounded to bf16.

use super::super::gpu::{self as device, Parts, scratch};
use super::{CASES, Inputs, reference};
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::{Buffer, Gpu, Rows};
use half::bf16;
use std::sync::Arc;
use testkit::{Judge, Random, Truth, dot, must_catch, narrow, wide};

type Factors<'a> = &'a dyn Fn(&Gpu, &Buffer<f32>, &Buffer<f32>, &Buffer<f32>, Parts);
type Forward<'a> = &'a dyn Fn(&Gpu, Rows, Rows, &Buffer<f32>, Option<Rows>, Option<&Buffer<bf16>>);
type Magnitudes<'a> = &'a dyn Fn(&Gpu, &Buffer<f32>, Rows, Rows, &Buffer<f32>, &Buffer<f32>);

/// Rows of products, as far apart as those of a group whose other modules have ranks too.
fn products(x: &[f32], y: &[f32], inputs: usize, stride: usize) -> Vec<f32> {
    let lines = |m: &[f32]| m.chunks(inputs).map(wide).collect::<Vec<_>>();
    let (x, y) = (lines(x), lines(y));
    let row = |x: &Vec<f64>| (0..stride).map(|r| y.get(r).map_or(f64::NAN, |y| dot(x, y))).collect::<Vec<_>>();
    narrow(&x.iter().flat_map(row).collect::<Vec<_>>())
}

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, i: &Inputs, lie: Lie, f: Factors, forward: Forward, back: Magnitudes) -> Result<(), String> {
    let name = format!("{lie:?} {}", i.name);
    let outputs = i.m.len();
    let (inputs, rank, rows) = (i.w.len() / outputs, i.b.len() / outputs, i.y0.len() / outputs);
    let (w, a) = (rounded(&i.w), rounded(&i.a));
    let b = rounded(&i.b.iter().map(|b| b * i.scale).collect::<Vec<_>>());
    let of = |values: &[f32]| Buffer::of(gpu, values).unwrap();
    let empty = |n: usize| of(&vec![f32::NAN; n]);
    let stride = rank + 3;
    let (p, gram) = (of(&products(&w, &a, inputs, stride)), of(&products(&a, &a, inputs, stride)));
    let (whole, update, m) = (Sheet::of(gpu, &w, inputs, lie), Sheet::of(gpu, &b, rank, lie), of(&i.m));
    let [lengths, factors] = twice(&name, || {
        let [squares, lengths, factors] = [(); 3].map(|()| empty(outputs));
        device::squares(gpu, &squares, whole.rows());
        f(gpu, &lengths, &factors, &m, Parts { squares: &squares, p: &p, stride, gram: &gram, b: update.rows() });
        Ok([lengths.read().unwrap(), factors.read().unwrap()])
    })?;
    j.see("norm", &name, &lengths, &reference::norms(&wide(&w), &wide(&a), &wide(&b), 1.0, outputs))?;

    // From here on the norm is given.
    let (values, dy) = (rounded(&i.y0), rounded(&i.dy));
    let mut random = Random::new(outputs as u64);
    let (beside, bias) = (rounded(&random.floats(rows * outputs, 1.0)), rounded(&random.floats(outputs, 1.0)));
    let [y0, plus, grad] = [&values, &beside, &dy].map(|v| Sheet::of(gpu, v, outputs, lie));
    let (given, c) = (of(&lengths), of(&factors));
    let narrowed = Buffer::of(gpu, &bias.iter().map(|v| bf16::from_f32(*v)).collect::<Vec<_>>()).unwrap();
    let [y, more, dm] = twice(&name, || {
        let (out, in_place) = (Sheet::unwritten(gpu, rows, outputs, lie), Sheet::of(gpu, &values, outputs, lie));
        forward(gpu, in_place.rows(), in_place.rows(), &c, None, None);
        forward(gpu, out.rows(), y0.rows(), &c, Some(plus.rows()), Some(&narrowed));
        let (dm, parts) = (of(&vec![3f32; outputs]), empty(scratch(outputs)));
        back(gpu, &dm, grad.rows(), y0.rows(), &given, &parts);
        Ok([in_place.read("y")?, out.read("more")?, dm.read().unwrap()])
    })?;
    let scaled = reference::forward(&wide(&i.m), &wide(&lengths), &wide(&values));
    let (mut y_truth, mut more_truth) = (Truth::new(), Truth::new());
    for (at, v) in scaled.into_iter().enumerate() {
        let (plus, bias) = (f64::from(beside[at]), f64::from(bias[at % outputs]));
        y_truth.push(v, v.abs());
        more_truth.push(v + plus + bias, v.abs() + plus.abs() + bias.abs());
    }
    j.see("y", &name, &y, &y_truth)?;
    j.see("more", &name, &more, &more_truth)?;
    let (dm_truth, _) = reference::backward(&wide(&dy), &wide(&i.m), &wide(&lengths), &wide(&values));
    j.see("dm", &name, &dm, &dm_truth.over(3.0))
}

// Bounds of the CPU, and of rounding to bf16, which is off by HALF at most.
const BOUND: &[(&str, f64)] = &[("norm", 0.8), ("y", 1.01 * HALF), ("more", 1.01 * HALF), ("dm", 1.2)];

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("dora, GPU", BOUND);
    for (seed, &case) in (1501..).zip(CASES.iter().chain(&[(70, 264, 136, 24)])).filter(|(_, case)| case.3 > 0) {
        for lie in LIES {
            judge(&mut j, &gpu, &Inputs::new(seed, case), lie, &device::factors, &device::forward, &device::magnitudes).unwrap();
        }
    }
    j.finish();
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("dora, GPU", BOUND);
    let i = Inputs::new(1540, (20, 30, 16, 4));
    let mut see = |f: Factors, forward: Forward, back: Magnitudes| judge(&mut j, &gpu, &i, Lie::Even, f, forward, back);
    see(&device::factors, &device::forward, &device::magnitudes).unwrap();
    let near: Factors = &|gpu, lengths, c, m, parts| device::factors(gpu, lengths, c, m, Parts { stride: parts.stride - 1, ..parts });
    must_catch("rows of P are nearer", see(near, &device::forward, &device::magnitudes));
    let upside: Factors = &|gpu, lengths, c, m, parts| device::factors(gpu, c, lengths, m, parts);
    must_catch("factors for lengths", see(upside, &device::forward, &device::magnitudes));
    let alone: Forward = &|gpu, out, y, c, _, bias| device::forward(gpu, out, y, c, None, bias);
    must_catch("what it is added to is lost", see(&device::factors, alone, &device::magnitudes));
    let bare: Forward = &|gpu, out, y, c, plus, _| device::forward(gpu, out, y, c, plus, None);
    must_catch("the bias is lost", see(&device::factors, bare, &device::magnitudes));
    let cut: Magnitudes = &|gpu, dm, dy, y0, lengths, parts| {
        device::magnitudes(gpu, dm, Rows { rows: 19, ..dy }, Rows { rows: 19, ..y0 }, lengths, parts);
    };
    must_catch("the last row is left out", see(&device::factors, &device::forward, cut));
    let twice: Magnitudes = &|gpu, dm, dy, _, lengths, parts| device::magnitudes(gpu, dm, dy, dy, lengths, parts);
    must_catch("dy for y0", see(&device::factors, &device::forward, twice));
}
