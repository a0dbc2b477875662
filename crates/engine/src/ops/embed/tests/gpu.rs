//! Judges of the kernels: the same cases and reference, inputs rounded to bf16.

use super::super::gpu::{Places, backward, forward};
use super::{CASES, Inputs, reference};
use crate::cuda::tests::{LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::{Buffer, Gpu, Rows};
use half::bf16;
use std::sync::Arc;
use testkit::{Judge, must_catch, wide};

type Forward<'a> = &'a dyn Fn(&Gpu, Rows, Rows, &Buffer<u32>);
type Backward<'a> = &'a dyn Fn(&Gpu, &Buffer<f32>, Rows, &[u32]);

fn real(gpu: &Gpu, dtable: &Buffer<f32>, dx: Rows, tokens: &[u32]) {
    let mut places = Places::new(&crate::cuda::tests::gpu().unwrap(), tokens.len()).unwrap();
    places.set(tokens).unwrap();
    backward(gpu, dtable, dx, &places);
    gpu.wait().unwrap();
}

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, i: &Inputs, lie: Lie, f: Forward, b: Backward) -> Result<(), String> {
    let name = format!("{lie:?} {}", i.name);
    let (table, dx, width, vocab) = (rounded(&i.table), rounded(&i.dx), i.width, i.table.len() / i.width);
    let (sheet, grads) = (Sheet::of(gpu, &table, width, lie), Sheet::of(gpu, &dx, width, lie));
    let tokens = Buffer::of(gpu, &i.tokens).unwrap();
    let [x, dtable] = twice(&name, || {
        let x = Sheet::unwritten(gpu, i.tokens.len(), width, lie);
        f(gpu, x.rows(), sheet.rows(), &tokens);
        let dtable = Buffer::of(gpu, &vec![3f32; vocab * width]).unwrap();
        b(gpu, &dtable, grads.rows(), &i.tokens);
        Ok([x.read("x")?, dtable.read().unwrap()])
    })?;
    j.see_exact("x", &name, &x, &testkit::narrow(&reference::forward(&wide(&table), &i.tokens, width)))?;
    j.see("dtable", &name, &dtable, &reference::backward(&wide(&dx), vocab, &i.tokens, width).over(3.0))
}

// Measured worst on an H100: 0.33 eps.
const BOUND: &[(&str, f64)] = &[("dtable", 1.2)];

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("embed, GPU", BOUND);
    for (seed, &case) in (1302..).zip(CASES.iter().chain(&[(70, 9, 2056)])) {
        for lie in LIES {
            judge(&mut j, &gpu, &Inputs::new(seed, case), lie, &forward, &real).unwrap();
        }
    }
    j.finish();
}

/// In bf16 it is the same sums, rounded once.
#[test]
fn a_narrow_table_gets_the_wide_one_rounded() {
    let Some(gpu) = gpu() else { return };
    for (seed, case) in (1340..).zip([(60, 7, 72), (70, 9, 2056), (33, 5, 7)]) {
        let i = Inputs::new(seed, case);
        let dx = Sheet::of(&gpu, &rounded(&i.dx), i.width, Lie::Even);
        let wide: Buffer<f32> = Buffer::new(&gpu, i.table.len()).unwrap();
        let narrow: Buffer<bf16> = Buffer::new(&gpu, i.table.len()).unwrap();
        wide.fill_bytes(0);
        narrow.fill_bytes(0);
        let mut places = Places::new(&gpu, i.tokens.len()).unwrap();
        places.set(&i.tokens).unwrap();
        backward(&gpu, &wide, dx.rows(), &places);
        backward(&gpu, &narrow, dx.rows(), &places);
        let expected: Vec<bf16> = wide.read().unwrap().into_iter().map(bf16::from_f32).collect();
        assert!(expected.iter().any(|v| *v != bf16::ZERO) && narrow.read().unwrap() == expected, "{}", i.name);
    }
}

#[test]
fn a_token_past_the_table_shows() {
    let Some(gpu) = gpu() else { return };
    let (table, x) = (Sheet::of(&gpu, &[1.0; 24], 8, Lie::Dense), Sheet::unwritten(&gpu, 2, 8, Lie::Dense));
    forward(&gpu, x.rows(), table.rows(), &Buffer::of(&gpu, &[2u32, 3]).unwrap());
    let x = x.read("x").unwrap();
    assert!(x[..8] == [1.0; 8] && x[8..].iter().all(|v| v.is_nan()));
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("embed, GPU", BOUND);
    let i = Inputs::new(1330, (60, 7, 72));
    let mut see = |f: Forward, b: Backward| judge(&mut j, &gpu, &i, Lie::Even, f, b);
    see(&forward, &real).unwrap();
    let next: Forward = &|gpu, x, table, tokens| forward(gpu, x, Rows { at: table.at + 2 * table.stride as u64, rows: 6, ..table }, tokens);
    must_catch("the next word", see(next, &real));
    let fewer: Backward = &|gpu, dtable, dx, tokens| real(gpu, dtable, Rows { rows: 59, ..dx }, &tokens[..59]);
    must_catch("the last row is left out", see(&forward, fewer));
    let again: Backward = &|gpu, dtable, dx, tokens| {
        real(gpu, dtable, dx, tokens);
        real(gpu, dtable, dx, tokens);
    };
    must_catch("added twice", see(&forward, again));
}
