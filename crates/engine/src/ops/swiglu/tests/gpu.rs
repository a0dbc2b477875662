//! Judges of the kernels: the same reference, inputs rounded to bf16.

use super::super::gpu::{backward, backward_weighted, forward, forward_weighted};
use super::{Inputs, reference};
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::{Buffer, Gpu, Rows};
use std::sync::Arc;
use testkit::{Judge, Random, Truth, must_catch, wide};

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

type Forward<'a> = &'a dyn Fn(&Gpu, Rows, Rows, &Buffer<u32>, &Buffer<f32>);
type Backward<'a> = &'a dyn Fn(&Gpu, Rows, Rows, &Buffer<f32>, &Buffer<u32>, &Buffer<f32>);

/// Rows that count so much each; every third has no pair, the others have them in descending order.
fn judge_weighted(j: &mut Judge, gpu: &Arc<Gpu>, (rows, width): (usize, usize), lie: Lie, f: Forward, b: Backward) -> Result<(), String> {
    let Inputs(name, g, u, dh) = Inputs::new(351, rows * width, 1.0);
    let name = format!("{lie:?} {rows} weighted rows of {width}, {name}");
    let (g, u, dh) = (rounded(&g), rounded(&u), rounded(&dh));
    let pairs = rows - rows / 3;
    let weights = Random::new(352).floats(pairs, 1.0);
    let mut next = pairs as u32;
    let mut pair = |row: usize| {
        if row % 3 == 2 {
            u32::MAX
        } else {
            next -= 1;
            next
        }
    };
    let list: Vec<u32> = (0..rows).map(&mut pair).collect();
    let (listed, w, both) = (Buffer::of(gpu, &list).unwrap(), Buffer::of(gpu, &weights).unwrap(), beside(&g, &u, width));
    let [h, grads, again, dw] = twice(&name, || {
        let (gate_up, h) = (Sheet::of(gpu, &both, 2 * width, lie), Sheet::unwritten(gpu, rows, width, lie));
        f(gpu, h.rows(), gate_up.rows(), &listed, &w);
        let (dh, dw) = (Sheet::of(gpu, &dh, width, lie), Buffer::of(gpu, &vec![f32::NAN; pairs]).unwrap());
        b(gpu, gate_up.rows(), dh.rows(), &dw, &listed, &w);
        Ok([h.read("h")?, gate_up.read("gate_up")?, dh.read("h again")?, dw.read().map_err(|e| e.to_string())?])
    })?;
    let weight = |row: usize| weights.get(list[row] as usize).map_or(0.0, |&w| f64::from(w));
    let weighted = |mut t: Truth| {
        t.values.iter_mut().enumerate().for_each(|(i, v)| *v *= weight(i / width));
        t.sizes.iter_mut().enumerate().for_each(|(i, s)| *s *= weight(i / width).abs());
        t
    };
    let h_truth = reference::forward(&wide(&g), &wide(&u));
    let mut dw_truth = Truth::zeros(pairs);
    for (i, (h, size)) in h_truth.values.iter().zip(&h_truth.sizes).enumerate().filter(|(i, _)| list[i / width] != u32::MAX) {
        dw_truth.add(list[i / width] as usize, h * f64::from(dh[i]), size * f64::from(dh[i].abs()));
    }
    let (dg, du) = reference::backward(&wide(&dh), &wide(&g), &wide(&u));
    let part = |from: usize| grads.chunks(2 * width).flat_map(|row| row[from..from + width].to_vec()).collect::<Vec<f32>>();
    let h_truth = weighted(h_truth);
    j.see("h", &name, &h, &h_truth)?;
    j.see("h again", &name, &again, &h_truth)?;
    j.see("dg", &name, &part(0), &weighted(dg))?;
    j.see("du", &name, &part(width), &weighted(du))?;
    j.see("dw", &name, &dw, &dw_truth)
}

// dw is a sum in f32 of products whose sigmoid is off by a few eps. Not measured yet.
const WEIGHTED: &[(&str, f64)] = &[("h", 1.01 * HALF), ("dg", 1.01 * HALF), ("du", 1.01 * HALF), ("h again", 1.01 * HALF), ("dw", 5.0)];

#[test]
fn gpu_weighted_rows_agree_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("swiglu weighted, GPU", WEIGHTED);
    // Many short rows show what one term may be off.
    for &case in CASES.iter().chain(&[(400, 1)]) {
        LIES.into_iter().for_each(|lie| judge_weighted(&mut j, &gpu, case, lie, &forward_weighted, &backward_weighted).unwrap());
    }
    j.finish();
}

#[test]
fn gpu_judge_of_weighted_rows_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("swiglu weighted, GPU", WEIGHTED);
    let mut see = |f: Forward, b: Backward| judge_weighted(&mut j, &gpu, (130, 72), Lie::Even, f, b);
    see(&forward_weighted, &backward_weighted).unwrap();
    must_catch("rows count alike", see(&|gpu, h, gu, _, _| forward(gpu, h, gu), &backward_weighted));
    let alike: Backward = &|gpu, gu, dh, dw, list, w| {
        dw.fill_bytes(0);
        backward_weighted(gpu, Rows { rows: 0, ..gu }, Rows { rows: 0, ..dh }, dw, list, w);
        backward(gpu, gu, dh);
    };
    must_catch("rows count alike on the way back", see(&forward_weighted, alike));
    let cut: Backward = &|gpu, gu, dh, dw, list, w| backward_weighted(gpu, Rows { rows: 129, ..gu }, Rows { rows: 129, ..dh }, dw, list, w);
    must_catch("the last row is left out", see(&forward_weighted, cut));
}
