//! Judges of the kernels: the same reference, inputs rounded to bf16.

use super::super::gpu::{backward, forward};
use super::{Inputs, reference};
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::{Gpu, Rows};
use std::sync::Arc;
use testkit::{Judge, must_catch, wide};

const CASES: &[(usize, usize)] = &[(1, 1), (3, 7), (130, 64), (5, 1037), (33, 1536), (2, 14_336)];

type Op<'a> = &'a dyn Fn(&Gpu, Rows, Rows);

/// Gates and ups beside each other in each row.
fn beside(g: &[f32], u: &[f32], width: usize) -> Vec<f32> {
    g.chunks(width).zip(u.chunks(width)).flat_map(|(g, u)| [g, u].concat()).collect()
}

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, Inputs(name, g, u, dh): &Inputs, width: usize, lie: Lie, f: Op, b: Op) -> Result<(), String> {
    let name = format!("{lie:?} rows of {width}, {name}");
    let (g, u, dh, rows) = (rounded(g), rounded(u), rounded(dh), g.len() / width);
    let both = beside(&g, &u, width);
    let [h, grads, again] = twice(&name, || {
        let (gate_up, h) = (Sheet::of(gpu, &both, 2 * width, lie), Sheet::unwritten(gpu, rows, width, lie));
        f(gpu, h.rows(), gate_up.rows());
        let h = h.read("h")?;
        let dh = Sheet::of(gpu, &dh, width, lie);
        b(gpu, gate_up.rows(), dh.rows());
        Ok([h, gate_up.read("gate_up")?, dh.read("h again")?])
    })?;
    let part = |from: usize| grads.chunks(2 * width).flat_map(|row| row[from..from + width].to_vec()).collect::<Vec<f32>>();
    let h_truth = reference::forward(&wide(&g), &wide(&u));
    let (dg_truth, du_truth) = reference::backward(&wide(&dh), &wide(&g), &wide(&u));
    j.see("h", &name, &h, &h_truth)?;
    j.see("dg", &name, &part(0), &dg_truth)?;
    j.see("du", &name, &part(width), &du_truth)?;
    j.see("h again", &name, &again, &h_truth)
}

// Rounding to bf16 is off by HALF at most. Measured worst on an H100: h, du 1.00, dg 0.94 HALF.
const BOUND: &[(&str, f64)] = &[("h", 1.01 * HALF), ("dg", 1.01 * HALF), ("du", 1.01 * HALF), ("h again", 1.01 * HALF)];

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("swiglu, GPU", BOUND);
    for (seed, &(rows, width)) in (301..).zip(CASES) {
        for lie in LIES {
            judge(&mut j, &gpu, &Inputs::new(seed, rows * width, 1.0), width, lie, &forward, &backward).unwrap();
        }
    }
    j.finish();
}

#[test]
fn large_and_tiny_inputs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("swiglu, GPU", BOUND);
    for (seed, size) in [(311, 1e4), (312, 30.0), (313, 1e-12)] {
        let mut i = Inputs::new(seed, 336, size);
        i.1[..16].fill(0.0);
        i.2[8..24].fill(0.0);
        judge(&mut j, &gpu, &i, 336, Lie::Even, &forward, &backward).unwrap();
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("swiglu, GPU", BOUND);
    let i = Inputs::new(331, 130 * 8, 1.0);
    let mut see = |f: Op, b: Op| judge(&mut j, &gpu, &i, 8, Lie::Even, f, b);
    see(&forward, &backward).unwrap();
    let shifted: Op = &|gpu, h, gu| forward(gpu, h, Rows { at: gu.at + 16, ..gu });
    must_catch("ups are taken for gates", see(shifted, &backward));
    let twice: Op = &|gpu, gu, dh| {
        backward(gpu, gu, dh);
        backward(gpu, gu, dh);
    };
    must_catch("gates are overwritten and read again", see(&forward, twice));
    let cut: Op = &|gpu, gu, dh| backward(gpu, Rows { rows: 129, ..gu }, Rows { rows: 129, ..dh });
    must_catch("the last row is left out", see(&forward, cut));
}
