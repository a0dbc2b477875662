//! Judges of the bias: a reference in f64 from the formulas of the file's header, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, Truth, alike, dot, gradient, must_catch, wide};

// Rows and width: odd ones, several blocks of rows, several of columns, no row.
const CASES: &[(usize, usize)] = &[(1, 1), (3, 7), (257, 64), (700, 1030), (5000, 3), (0, 5)];

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use testkit::Truth;

    pub fn forward(b: &[f64], rows: usize) -> Vec<f64> {
        b.repeat(rows)
    }

    pub fn backward(dy: &[f64], width: usize) -> Truth {
        let mut db = Truth::zeros(width);
        dy.iter().enumerate().for_each(|(at, d)| db.add(at % width, *d, d.abs()));
        db
    }
}

type Forward<'a> = &'a dyn Fn(&Cx, &mut [f32], &[f32]);
type Backward<'a> = &'a dyn Fn(&Cx, &mut [f32], &[f32]);

struct Inputs {
    name: String,
    rows: usize,
    b: Vec<f32>,
    dy: Vec<f32>,
}

impl Inputs {
    fn new(seed: u64, (rows, width): (usize, usize)) -> Inputs {
        let mut random = Random::new(seed);
        // A mean far from 0: the running sum grows, and with it its rounding.
        let dy = random.floats(rows * width, 1.0).into_iter().map(|v| v + 2.0).collect();
        Inputs { name: format!("{rows} x {width}, seed {seed}"), rows, b: random.floats(width, 1.0), dy }
    }
}

fn judge(j: &mut Judge, cx: &Cx, i: &Inputs, forward: Forward, backward: Backward) -> Result<(), String> {
    let name = format!("{:?} {}", cx.level(), i.name);
    let mut y = Guarded::threes(i.dy.len());
    forward(cx, &mut y, &i.b);
    y.intact("y")?;
    let mut truth = Truth::new();
    reference::forward(&wide(&i.b), i.rows).into_iter().for_each(|v| truth.push(v, v.abs()));
    j.see("y", &name, &y, &truth.over(3.0))?;
    let mut db = Guarded::threes(i.b.len());
    backward(cx, &mut db, &i.dy);
    db.intact("db")?;
    j.see("db", &name, &db, &reference::backward(&wide(&i.dy), i.b.len()).over(3.0))
}

// Size: the sum of the magnitudes of the terms. Measured worst: y 0.5, db 3.6 eps (a running sum of 256 whose mean is not 0).
const BOUND: &[(&str, f64)] = &[("y", 1.0), ("db", 8.0)];

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(1400);
    let inputs = [random.doubles(7)];
    let cotangent = random.doubles(21);
    let db = reference::backward(&cotangent, 7).values;
    gradient::check(&mut random, &inputs, &[db], |v| dot(&reference::forward(&v[0], 3), &cotangent)).unwrap();
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("bias", BOUND);
    for cx in contexts() {
        for (seed, &case) in (1401..).zip(CASES) {
            judge(&mut j, &cx, &Inputs::new(seed, case), &forward, &backward).unwrap();
        }
    }
    j.finish();
}

#[test]
fn same_bits_for_threads_and_levels() {
    for &case in CASES {
        let i = Inputs::new(1420, case);
        let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
        let variants: Vec<usize> = (0..all.len()).collect();
        alike(&i.name, &variants, |&v| {
            let (mut y, mut db) = (vec![3.0; i.dy.len()], vec![3.0; i.b.len()]);
            forward(&all[v], &mut y, &i.b);
            backward(&all[v], &mut db, &i.dy);
            vec![y, db]
        })
        .unwrap();
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("bias", BOUND);
    let i = Inputs::new(1430, (600, 20));
    judge(&mut j, &cx, &i, &forward, &backward).unwrap();
    let first: Forward = &|cx, y, b| forward(cx, &mut y[..b.len()], b);
    must_catch("the first row only", judge(&mut j, &cx, &i, first, &backward));
    let mean: Backward = &|cx, db, dy| {
        let mut sum = vec![0.0; db.len()];
        backward(cx, &mut sum, dy);
        db.iter_mut().zip(sum).for_each(|(d, s)| *d += s / 600.0);
    };
    must_catch("a mean in place of the sum", judge(&mut j, &cx, &i, &forward, mean));
    let lost: Backward = &|cx, db, dy| backward(cx, db, &dy[20..]);
    must_catch("one row of 600 is lost", judge(&mut j, &cx, &i, &forward, lost));
    let set: Backward = &|cx, db, dy| {
        db.fill(0.0);
        backward(cx, db, dy);
    };
    must_catch("= for += in db", judge(&mut j, &cx, &i, &forward, set));
}
