//! Judges of the kernels: the same cases and reference, inputs rounded to bf16.

use super::super::gpu::{backward, backward_set, forward, heads_backward, heads_forward, scratch, weight};
use super::{CASES, Inputs, reference};
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::{Buffer, Gpu, Rows};
use std::sync::Arc;
use testkit::{Judge, must_catch, wide};

type Forward<'a> = &'a dyn Fn(&Gpu, Rows, &Buffer<f32>, Rows, &Buffer<f32>, f32);
type Backward<'a> = &'a dyn Fn(&Gpu, Rows, Rows, Rows, &Buffer<f32>, &Buffer<f32>);

fn inputs(seed: u64, case: (usize, usize), size: f64, eps: f32) -> Inputs {
    let i = Inputs::new(seed, case, size, eps);
    Inputs { x: rounded(&i.x), dy: rounded(&i.dy), ..i }
}

/// Of rows, or of heads: then the rows of the case are heads, of which `heads` stand in a row.
fn judge(j: &mut Judge, gpu: &Arc<Gpu>, i: &Inputs, (heads, lie): (usize, Lie), f: Forward, b: Backward) -> Result<(), String> {
    let (n, d, eps, wide_row) = (i.x.len(), i.d, f64::from(i.eps), heads * i.d.width);
    let name = format!("{lie:?} {}, {heads} in a row", i.name);
    let (x, dy) = (Sheet::of(gpu, &i.x, wide_row, lie), Sheet::of(gpu, &i.dy, wide_row, lie));
    let w = Buffer::of(gpu, &i.w).unwrap();
    let [y, r, dx, dw] = twice(&name, || {
        let y = Sheet::unwritten(gpu, n / wide_row, wide_row, lie);
        let r = Buffer::of(gpu, &vec![f32::NAN; d.rows]).unwrap();
        f(gpu, y.rows(), &r, x.rows(), &w, i.eps);
        let dx = Sheet::threes(gpu, n / wide_row, wide_row, lie);
        b(gpu, dx.rows(), dy.rows(), x.rows(), &w, &r);
        let (dw, parts) = (Buffer::of(gpu, &vec![3f32; d.width]).unwrap(), Buffer::of(gpu, &vec![f32::NAN; scratch(d.width)]).unwrap());
        weight(gpu, &dw, dy.rows(), x.rows(), &r, &parts);
        Ok([y.read("y")?, r.read().unwrap(), dx.read("dx")?, dw.read().unwrap()])
    })?;
    let (y_truth, r_truth) = reference::forward(&wide(&i.x), &wide(&i.w), eps);
    let (dx_truth, dw_truth) = reference::backward(&wide(&i.dy), &wide(&i.x), &wide(&i.w), eps);
    j.see("y", &name, &y, &y_truth)?;
    j.see("r", &name, &r, &r_truth)?;
    // The gradient of a head takes the place of what was there.
    j.see("dx", &name, &dx, &if heads == 1 { dx_truth.over(3.0) } else { dx_truth })?;
    j.see("dw", &name, &dw, &dw_truth.over(3.0))
}

// Sizes as on the CPU; rounding to bf16 is off by HALF at most. Measured worst on an H100: y 1.00 HALF, r 1.3 (64 x 4097), dx 1.00 HALF,
// dw 1.3 eps.
const BOUND: &[(&str, f64)] = &[("y", 1.01 * HALF), ("r", 3.0), ("dx", 1.01 * HALF), ("dw", 3.0)];

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("rmsnorm, GPU", BOUND);
    for (seed, &case) in (201..).zip(CASES.iter().chain(&[(9, 1024), (5, 4096), (3, 8192), (3, 16_384), (2, 8200)])) {
        for lie in LIES {
            judge(&mut j, &gpu, &inputs(seed, case, 1.0, 1e-5), (1, lie), &forward, &backward).unwrap();
        }
    }
    j.finish();
}

#[test]
fn norms_of_heads_agree_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("rmsnorm of heads, GPU", BOUND);
    for (seed, (rows, heads, width)) in (251..).zip([(33, 5, 128), (7, 3, 12), (130, 2, 64), (9, 7, 256), (3, 3, 129), (65, 40, 128)]) {
        for lie in LIES {
            let i = inputs(seed, (rows * heads, width), 1.0, 1e-6);
            judge(&mut j, &gpu, &i, (heads, lie), &heads_forward, &heads_backward).unwrap();
        }
    }
    // In place, as a layer that keeps no copy does.
    let i = inputs(260, (12, 128), 1.0, 1e-6);
    let (x, w, r) = (Sheet::of(&gpu, &i.x, 256, Lie::Even), Buffer::of(&gpu, &i.w).unwrap(), Buffer::new(&gpu, 12).unwrap());
    heads_forward(&gpu, x.rows(), &r, x.rows(), &w, i.eps);
    j.see("y", "in place", &x.read("y").unwrap(), &reference::forward(&wide(&i.x), &wide(&i.w), 1e-6).0).unwrap();
    // The gradient over its input.
    let (x, dy) = (Sheet::of(&gpu, &i.x, 128, Lie::Even), Sheet::of(&gpu, &i.dy, 128, Lie::Even));
    backward_set(&gpu, x.rows(), dy.rows(), x.rows(), &w, &r);
    let truth = reference::backward(&wide(&i.dy), &wide(&i.x), &wide(&i.w), 1e-6).0;
    j.see("dx", "over x", &x.read("dx").unwrap(), &truth).unwrap();
    j.finish();
}

#[test]
fn large_and_tiny_inputs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("rmsnorm, GPU", BOUND);
    for (seed, size) in [(221, 1e4), (222, 1e-20), (223, 7e9)] {
        let mut i = inputs(seed, (5, 67), size, 1e-6);
        i.x[67..134].fill(0.0);
        judge(&mut j, &gpu, &i, (1, Lie::Dense), &forward, &backward).unwrap();
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("rmsnorm, GPU", BOUND);
    let i = inputs(241, (3, 4104), 1.0, 1e-5);
    let mut see = |f: Forward, b: Backward| judge(&mut j, &gpu, &i, (1, Lie::Even), f, b);
    see(&forward, &backward).unwrap();
    let eps: Forward = &|gpu, y, r, x, w, _| forward(gpu, y, r, x, w, 2e-6);
    must_catch("another eps", see(eps, &backward));
    let cut: Forward = &|gpu, y, r, x, w, eps| forward(gpu, Rows { rows: 2, ..y }, r, Rows { rows: 2, ..x }, w, eps);
    must_catch("the last row is left out", see(cut, &backward));
    let swapped: Backward = &|gpu, dx, dy, x, w, r| backward(gpu, dx, x, dy, w, r);
    must_catch("x for dy", see(&forward, swapped));
    let again: Backward = &|gpu, dx, dy, x, w, r| {
        backward(gpu, dx, dy, x, w, r);
        backward(gpu, dx, dy, x, w, r);
    };
    must_catch("added twice", see(&forward, again));
}
