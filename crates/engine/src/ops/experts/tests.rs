//! Judges of the way to an expert and back: a reference in f64 from the formulas of the file's header, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, alike, dot as dot64, gradient, must_catch, wide};

// Rows, listed rows, slots, width.
const CASES: &[(usize, usize, usize, usize)] = &[(1, 1, 1, 1), (5, 0, 2, 3), (7, 3, 2, 5), (300, 77, 2, 64), (40, 40, 1, 1031)];

/// The formulas of the header, as sums over every row and pair that is there; shares nothing with the implementation.
mod reference {
    use testkit::Truth;

    /// y of x: every row goes out, is weighed and comes back: y_r = sum over listed i of [row_i = r] w[pair_i] x[row_i].
    pub fn forward(x: &[f64], w: &[f64], rows: &[u32], pairs: &[u32], width: usize) -> Truth {
        let mut y = Truth::zeros(x.len());
        for (&r, &pair) in rows.iter().zip(pairs) {
            for j in 0..width {
                let at = r as usize * width + j;
                let v = w[pair as usize] * x[at];
                y.add(at, v, v.abs());
            }
        }
        y
    }

    /// dx of it.
    pub fn backward(dy: &[f64], w: &[f64], rows: &[u32], pairs: &[u32], width: usize) -> Truth {
        let mut dx = Truth::zeros(dy.len());
        for (&r, &pair) in rows.iter().zip(pairs) {
            for j in 0..width {
                let at = r as usize * width + j;
                let v = w[pair as usize] * dy[at];
                dx.add(at, v, v.abs());
            }
        }
        dx
    }
}

type Forward<'a> = &'a dyn Fn(&Cx, &mut [f32], &Inputs);
type Backward<'a> = &'a dyn Fn(&Cx, &mut [f32], &Inputs);

struct Inputs {
    name: String,
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    rows: Vec<u32>,
    pairs: Vec<u32>,
    width: usize,
}

impl Inputs {
    fn new(seed: u64, (all, listed, slots, width): (usize, usize, usize, usize)) -> Inputs {
        let mut random = Random::new(seed);
        let mut rows: Vec<u32> = (0..all as u32).collect();
        while rows.len() > listed {
            rows.remove(random.below(rows.len()));
        }
        let pairs = rows.iter().map(|r| r * slots as u32 + random.below(slots) as u32).collect();
        let (x, dy, w) = (random.floats(all * width, 1.0), random.floats(all * width, 1.0), random.floats(all * slots, 1.0));
        Inputs { name: format!("{listed} of {all} rows, {slots} slots, width {width}, seed {seed}"), x, w, dy, rows, pairs, width }
    }
}

fn forth(cx: &Cx, y: &mut [f32], i: &Inputs) {
    let mut packed = vec![f32::NAN; i.rows.len() * i.width];
    gather(cx, &mut packed, &i.x, &i.rows, i.width);
    weigh(cx, &mut packed, &i.w, &i.pairs, i.width);
    scatter(cx, y, &packed, &i.rows, i.width);
}

fn back(cx: &Cx, dx: &mut [f32], i: &Inputs) {
    let mut d = vec![f32::NAN; i.rows.len() * i.width];
    gather(cx, &mut d, &i.dy, &i.rows, i.width);
    weigh(cx, &mut d, &i.w, &i.pairs, i.width);
    scatter(cx, dx, &d, &i.rows, i.width);
}

fn judge(j: &mut Judge, cx: &Cx, i: &Inputs, forward: Forward, backward: Backward) -> Result<(), String> {
    let name = format!("{:?} {}", cx.level(), i.name);
    let (x, w, dy) = (wide(&i.x), wide(&i.w), wide(&i.dy));
    let mut y = Guarded::threes(x.len());
    forward(cx, &mut y, i);
    y.intact("y")?;
    j.see("y", &name, &y, &reference::forward(&x, &w, &i.rows, &i.pairs, i.width).over(3.0))?;
    let mut dx = Guarded::threes(x.len());
    backward(cx, &mut dx, i);
    dx.intact("dx")?;
    j.see("dx", &name, &dx, &reference::backward(&dy, &w, &i.rows, &i.pairs, i.width).over(3.0))
}

// Size: the sum of the magnitudes of the terms. Measured worst: y 0.7, dx 0.7 eps.
const BOUND: &[(&str, f64)] = &[("y", 1.5), ("dx", 1.5)];

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(1000);
    let i = Inputs::new(1001, (7, 3, 2, 5));
    let (x, w, cotangent) = (random.doubles(i.x.len()), random.doubles(i.w.len()), random.doubles(i.x.len()));
    let dx = reference::backward(&cotangent, &w, &i.rows, &i.pairs, i.width);
    gradient::check(&mut random, &[x], &[dx.values], |v| {
        dot64(&reference::forward(&v[0], &w, &i.rows, &i.pairs, i.width).values, &cotangent)
    })
    .unwrap();
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("experts", BOUND);
    for cx in contexts() {
        for (seed, &case) in (1002..).zip(CASES) {
            judge(&mut j, &cx, &Inputs::new(seed, case), &forth, &back).unwrap();
        }
    }
    j.finish();
}

#[test]
fn gather_takes_rows_in_any_order() {
    let cx = Cx::new(2).unwrap();
    let mut packed = Guarded::unwritten(8);
    gather(&cx, &mut packed, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 0, 2, 1], 2);
    packed.intact("packed").unwrap();
    assert_eq!(*packed, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0, 3.0, 4.0]);
}

#[test]
#[should_panic(expected = "ascend")]
fn a_row_listed_twice_is_refused() {
    scatter(&Cx::new(1).unwrap(), &mut [0.0; 4], &[1.0; 6], &[0, 1, 1], 2);
}

#[test]
fn same_bits_for_threads_and_levels() {
    for &case in CASES {
        let i = Inputs::new(1020, case);
        let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
        let variants: Vec<usize> = (0..all.len()).collect();
        alike(&i.name, &variants, |&v| {
            let (mut y, mut dx) = (vec![3.0; i.x.len()], vec![3.0; i.x.len()]);
            forth(&all[v], &mut y, &i);
            back(&all[v], &mut dx, &i);
            vec![y, dx]
        })
        .unwrap();
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("experts", BOUND);
    let i = Inputs::new(1030, (30, 11, 2, 20));
    judge(&mut j, &cx, &i, &forth, &back).unwrap();
    let slot: Forward = &|cx, y, i| {
        let pairs = i.pairs.iter().map(|p| p ^ 1).collect();
        forth(cx, y, &Inputs { name: String::new(), x: i.x.clone(), w: i.w.clone(), dy: Vec::new(), rows: i.rows.clone(), pairs, ..*i });
    };
    must_catch("the weight of the other slot", judge(&mut j, &cx, &i, slot, &back));
    let set: Forward = &|cx, y, i| {
        y.fill(0.0);
        forth(cx, y, i);
    };
    must_catch("= for += in y", judge(&mut j, &cx, &i, set, &back));
    let plain: Backward = &|cx, dx, i| {
        let mut d = vec![0.0; i.rows.len() * i.width];
        gather(cx, &mut d, &i.dy, &i.rows, i.width);
        scatter(cx, dx, &d, &i.rows, i.width);
    };
    must_catch("the weight is lost on the way back", judge(&mut j, &cx, &i, &forth, plain));
}
