//! Judges of the kernels: the same cases and reference, inputs rounded to bf16.

use super::super::gpu::{Table, turn};
use super::{CASES, Inputs, POSITIONS, Turn, reference};
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::{Buffer, Gpu, Rows};
use std::sync::Arc;
use testkit::{Judge, must_catch, wide};

type Op<'a> = &'a dyn Fn(&Gpu, Rows, usize, &Table, &Buffer<u32>, Turn);

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, i: &Inputs, lie: Lie, op: Op) -> Result<(), String> {
    let table = Table::new(gpu, &super::Table::new(&i.frequencies, POSITIONS, i.scale)).unwrap();
    let angles = Buffer::of(gpu, &i.positions).unwrap();
    let values = rounded(&i.x);
    let name = format!("{lie:?} {}", i.name);
    for (way, sign, output) in [(Turn::Forward, 1.0, "x"), (Turn::Backward, -1.0, "dx")] {
        let [found] = twice(&name, || {
            let x = Sheet::of(gpu, &values, values.len() / i.positions.len(), lie);
            op(gpu, x.rows(), i.head_dim, &table, &angles, way);
            Ok([x.read(output)?])
        })?;
        let truth = reference::turn(&wide(&values), &i.positions, &i.frequencies, i.head_dim, i.scale, sign);
        j.see(output, &name, &found, &truth)?;
    }
    Ok(())
}

// Rounding to bf16 is off by HALF at most. Measured worst on an H100: both 1.00 HALF.
const BOUND: &[(&str, f64)] = &[("x", 1.01 * HALF), ("dx", 1.01 * HALF)];

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("rope, GPU", BOUND);
    for (seed, &case) in (402..).zip(CASES.iter().chain(&[(33, 40, 128, 128), (9, 5, 12, 12), (5, 3, 96, 48), (7, 2, 80, 32)])) {
        for lie in LIES {
            judge(&mut j, &gpu, &Inputs::new(seed, case, 1.0), lie, &turn).unwrap();
        }
    }
    judge(&mut j, &gpu, &Inputs::new(420, (3, 2, 64, 64), 1e4), Lie::Dense, &turn).unwrap();
    judge(&mut j, &gpu, &Inputs::new(421, (3, 2, 64, 64), 1e-20), Lie::Dense, &turn).unwrap();
    j.finish();
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("rope, GPU", BOUND);
    for head_dim in [10, 64] {
        let i = Inputs::new(450, (3, 2, head_dim, head_dim), 1.0);
        let mut see = |op: Op| judge(&mut j, &gpu, &i, Lie::Even, op);
        see(&turn).unwrap();
        let sign: Op = &|gpu, x, head_dim, table, angles, _| turn(gpu, x, head_dim, table, angles, Turn::Forward);
        must_catch("the minus of the way back is lost", see(sign));
        let one: Op = &|gpu, x, head_dim, table, angles, way| turn(gpu, Rows { width: head_dim, ..x }, head_dim, table, angles, way);
        must_catch("the second head is left as it is", see(one));
        let other = Table::new(&gpu, &super::Table::new(&i.frequencies, POSITIONS, 1.02)).unwrap();
        let scale: Op = &|gpu, x, head_dim, _, angles, way| turn(gpu, x, head_dim, &other, angles, way);
        must_catch("another scale of the table", see(scale));
    }
}
