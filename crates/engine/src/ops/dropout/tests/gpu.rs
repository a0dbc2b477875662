//! Judges of the kernels: the same cases and reference, inputs rounded to bf16; the mask is that of the CPU to the bit.

use super::super::gpu::{backward, forward};
use super::{CASES, Drop, Inputs, reference};
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::{Buffer, Gpu, Rows};
use std::sync::Arc;
use testkit::{Judge, must_catch, wide};

type Op<'a> = &'a dyn Fn(&Gpu, Rows, Rows, &Buffer<u64>, &Buffer<u64>, Drop);

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, i: &Inputs, lie: Lie, f: Op, b: Op) -> Result<(), String> {
    let (values, rows) = (rounded(&i.x), i.keys.len());
    let width = values.len() / rows;
    let name = format!("{lie:?} {}", i.name);
    let x = Sheet::of(gpu, &values, width, lie);
    let (keys, base) = (Buffer::of(gpu, &i.keys).unwrap(), Buffer::of(gpu, &[i.drop.base()]).unwrap());
    let [out, dx] = twice(&name, || {
        let (out, dx) = (Sheet::unwritten(gpu, rows, width, lie), Sheet::threes(gpu, rows, width, lie));
        f(gpu, out.rows(), x.rows(), &keys, &base, i.drop);
        b(gpu, dx.rows(), x.rows(), &keys, &base, i.drop);
        Ok([out.read("out")?, dx.read("dx")?])
    })?;
    let truth = reference::apply(&wide(&values), &i.keys, i.drop);
    // What is dropped has a size of 0: it must be 0 exactly.
    j.see("out", &name, &out, &truth)?;
    j.see("dx", &name, &dx, &truth.over(3.0))
}

// Measured worst on an H100: out 0.94, dx 1.00 HALF.
const BOUND: &[(&str, f64)] = &[("out", 1.01 * HALF), ("dx", 1.01 * HALF)];

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("dropout, GPU", BOUND);
    for (seed, &case) in (901..).zip(CASES.iter().chain(&[(33, 4096)])) {
        for lie in LIES {
            for p in [0.05, 0.5] {
                judge(&mut j, &gpu, &Inputs::new(seed, case, p), lie, &forward, &backward).unwrap();
            }
        }
    }
    j.finish();
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("dropout, GPU", BOUND);
    let i = Inputs::new(941, (33, 64), 0.1);
    let mut see = |f: Op, b: Op| judge(&mut j, &gpu, &i, Lie::Even, f, b);
    see(&forward, &backward).unwrap();
    let scale: Op = &|gpu, out, x, keys, base, drop| forward(gpu, out, x, keys, base, Drop { p: drop.p + 0.02, ..drop });
    must_catch("another probability", see(scale, &backward));
    let keys: Op = &|gpu, out, x, keys, _, drop| forward(gpu, out, x, keys, keys, drop);
    must_catch("another stream", see(keys, &backward));
    let set: Op = &|gpu, dx, g, keys, base, drop| forward(gpu, dx, g, keys, base, drop);
    must_catch("= for += in dx", see(&forward, set));
}
