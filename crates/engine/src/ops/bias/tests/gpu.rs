//! Judges of the kernel: the same cases and reference, gradients rounded to bf16.

use super::super::gpu::{backward, scratch};
use super::{CASES, Inputs, reference};
use crate::cuda::tests::{LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::{Buffer, Gpu, Rows};
use std::sync::Arc;
use testkit::{Judge, must_catch, wide};

type Op<'a> = &'a dyn Fn(&Gpu, &Buffer<f32>, Rows, &Buffer<f32>);

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, i: &Inputs, lie: Lie, op: Op) -> Result<(), String> {
    let (values, width) = (rounded(&i.dy), i.b.len());
    let name = format!("{lie:?} {}", i.name);
    let dy = Sheet::of(gpu, &values, width, lie);
    let [db] = twice(&name, || {
        let (db, parts) = (Buffer::of(gpu, &vec![3f32; width]).unwrap(), Buffer::of(gpu, &vec![f32::NAN; scratch(width)]).unwrap());
        op(gpu, &db, dy.rows(), &parts);
        Ok([db.read().unwrap()])
    })?;
    j.see("db", &name, &db, &reference::backward(&wide(&values), width).over(3.0))
}

// Measured worst on an H100: 1.5 eps (5000 x 3).
const BOUND: &[(&str, f64)] = &[("db", 3.0)];

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("bias, GPU", BOUND);
    for (seed, &case) in (801..).zip(CASES) {
        for lie in LIES {
            judge(&mut j, &gpu, &Inputs::new(seed, case), lie, &backward).unwrap();
        }
    }
    j.finish();
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("bias, GPU", BOUND);
    let i = Inputs::new(841, (300, 72));
    let mut see = |op: Op| judge(&mut j, &gpu, &i, Lie::Even, op);
    see(&backward).unwrap();
    let cut: Op = &|gpu, db, dy, parts| backward(gpu, db, Rows { rows: 299, ..dy }, parts);
    must_catch("the last row is left out", see(cut));
    let shifted: Op = &|gpu, db, dy, parts| backward(gpu, db, Rows { at: dy.at + 2, ..dy }, parts);
    must_catch("the next column", see(shifted));
}
