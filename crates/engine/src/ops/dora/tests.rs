//! Judges of DoRA: a reference in f64 that forms the whole matrix W + s B A, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, alike, dot, gradient, must_catch, narrow, wide};

// Rows, inputs, outputs, rank.
const CASES: &[(usize, usize, usize, usize)] = &[(1, 1, 1, 1), (3, 7, 5, 2), (300, 65, 130, 8), (9, 300, 1030, 3), (4, 6, 10, 0)];

/// The formulas of the paper on the whole matrix; shares nothing with the implementation.
mod reference {
    use testkit::Truth;

    /// The rows of W + s B A: their lengths, and the size of the terms that the op adds up, in a length.
    pub fn norms(w: &[f64], a: &[f64], b: &[f64], s: f64, outputs: usize) -> Truth {
        let (inputs, rank) = (w.len() / outputs, b.len() / outputs);
        let mut all = Truth::new();
        for j in 0..outputs {
            let update = |i: usize| (0..rank).map(|r| s * b[j * rank + r] * a[r * inputs + i]).sum::<f64>();
            let sizes = |i: usize| (0..rank).map(|r| (s * b[j * rank + r] * a[r * inputs + i]).abs()).sum::<f64>();
            let (mut square, mut size) = (0.0, 0.0);
            for (i, w) in w[j * inputs..][..inputs].iter().enumerate() {
                square += (w + update(i)).powi(2);
                size += (w.abs() + sizes(i)).powi(2);
            }
            // The root halves a relative error of the square.
            all.push(square.sqrt(), size / square.sqrt());
        }
        all
    }

    /// y = m / norm * y0, with norm given: it counts as constant.
    pub fn forward(m: &[f64], norm: &[f64], y0: &[f64]) -> Vec<f64> {
        y0.iter().enumerate().map(|(at, y)| m[at % m.len()] / norm[at % m.len()] * y).collect()
    }

    /// dm and dy0.
    pub fn backward(dy: &[f64], m: &[f64], norm: &[f64], y0: &[f64]) -> (Truth, Truth) {
        let (mut dm, mut dy0) = (Truth::zeros(m.len()), Truth::new());
        for (at, (dy, y0)) in dy.iter().zip(y0).enumerate() {
            let j = at % m.len();
            let (term, v) = (dy * y0 / norm[j], dy * m[j] / norm[j]);
            dm.add(j, term, term.abs());
            dy0.push(v, v.abs());
        }
        (dm, dy0)
    }
}

type Factors<'a> = &'a dyn Fn(&Cx, &mut [f32], &mut [f32], &[f32], Parts);
type Backward<'a> = &'a dyn Fn(&Cx, &mut [f32], &mut [f32], &[f32], &[f32], &[f32]);

struct Inputs {
    name: String,
    w: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
    p: Vec<f32>,
    gram: Vec<f32>,
    m: Vec<f32>,
    y0: Vec<f32>,
    dy: Vec<f32>,
    scale: f32,
}

impl Inputs {
    fn new(seed: u64, (rows, inputs, outputs, rank): (usize, usize, usize, usize)) -> Inputs {
        let mut random = Random::new(seed);
        let mut floats = |n: usize| random.floats(n, 1.0);
        let (w, a, b, m) = (floats(outputs * inputs), floats(rank * inputs), floats(outputs * rank), floats(outputs));
        let (y0, dy) = (floats(rows * outputs), floats(rows * outputs));
        let product = |x: &[f32], y: &[f32]| {
            let lines = |m: &[f32]| m.chunks(inputs).map(wide).collect::<Vec<_>>();
            let (x, y) = (lines(x), lines(y));
            narrow(&x.iter().flat_map(|x| y.iter().map(|y| dot(x, y))).collect::<Vec<_>>())
        };
        let (p, gram) = (product(&a, &w), product(&a, &a));
        Inputs { name: format!("{rows} x {inputs} x {outputs}, rank {rank}, seed {seed}"), w, a, b, p, gram, m, y0, dy, scale: 0.3 }
    }

    fn parts<'a>(&'a self, squares: &'a [f32]) -> Parts<'a> {
        Parts { squares, p: &self.p, gram: &self.gram, b: &self.b, scale: self.scale }
    }
}

fn judge(j: &mut Judge, cx: &Cx, i: &Inputs, factors: Factors, backward: Backward) -> Result<(), String> {
    let name = format!("{:?} {}", cx.level(), i.name);
    let outputs = i.m.len();
    let [mut square, mut norm, mut c] = [(); 3].map(|()| Guarded::unwritten(outputs));
    squares(cx, &mut square, &i.w);
    square.intact("squares")?;
    factors(cx, &mut norm, &mut c, &i.m, i.parts(&square));
    norm.intact("norm")?;
    c.intact("c")?;
    let truth = reference::norms(&wide(&i.w), &wide(&i.a), &wide(&i.b), f64::from(i.scale), outputs);
    j.see("norm", &name, &norm, &truth)?;
    // From here on the norm is given.
    let (m, given, y0) = (wide(&i.m), wide(&norm), wide(&i.y0));
    let mut y = Guarded::holding(&i.y0);
    forward(cx, &mut y, &c);
    y.intact("y")?;
    let mut y_truth = testkit::Truth::new();
    reference::forward(&m, &given, &y0).into_iter().for_each(|v| y_truth.push(v, v.abs()));
    j.see("y", &name, &y, &y_truth)?;
    let (mut dy, mut dm) = (Guarded::holding(&i.dy), Guarded::threes(outputs));
    backward(cx, &mut dy, &mut dm, &i.y0, &c, &norm);
    dy.intact("dy")?;
    dm.intact("dm")?;
    let (dm_truth, dy_truth) = reference::backward(&wide(&i.dy), &m, &given, &y0);
    j.see("dm", &name, &dm, &dm_truth.over(3.0))?;
    j.see("dy", &name, &dy, &dy_truth)
}

// Size: for the norm the sum of the magnitudes of the terms of its square, by the norm; else of the terms.
// Measured worst: norm 0.5, y 0.9, dm 1.0, dy 0.9 eps.
const BOUND: &[(&str, f64)] = &[("norm", 1.0), ("y", 2.0), ("dm", 2.0), ("dy", 2.0)];

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(1500);
    let inputs = [random.doubles(5), random.doubles(15)];
    let norm: Vec<f64> = (0..5).map(|_| 1.0 + random.uniform()).collect();
    let cotangent = random.doubles(15);
    let (dm, dy0) = reference::backward(&cotangent, &inputs[0], &norm, &inputs[1]);
    gradient::check(&mut random, &inputs, &[dm.values, dy0.values], |v| dot(&reference::forward(&v[0], &norm, &v[1]), &cotangent)).unwrap();
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("dora", BOUND);
    for cx in contexts() {
        for (seed, &case) in (1501..).zip(CASES) {
            judge(&mut j, &cx, &Inputs::new(seed, case), &factors, &backward).unwrap();
        }
    }
    j.finish();
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    // B is 0 and m the norm of W: every factor is exactly 1.
    let cx = Cx::new(1).unwrap();
    let mut i = Inputs::new(1520, (3, 70, 40, 4));
    i.b.fill(0.0);
    let mut square = vec![f32::NAN; 40];
    squares(&cx, &mut square, &i.w);
    let (mut norm, mut c) = (vec![f32::NAN; 40], vec![f32::NAN; 40]);
    factors(&cx, &mut norm, &mut c, &i.m, i.parts(&square));
    let m = norm.clone();
    factors(&cx, &mut norm, &mut c, &m, i.parts(&square));
    assert_eq!(c, [1.0; 40]);
}

#[test]
fn same_bits_for_threads_and_levels() {
    for &case in CASES {
        let i = Inputs::new(1530, case);
        let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
        let variants: Vec<usize> = (0..all.len()).collect();
        alike(&i.name, &variants, |&v| {
            let cx = &all[v];
            let [mut square, mut norm, mut c] = [(); 3].map(|()| vec![f32::NAN; i.m.len()]);
            squares(cx, &mut square, &i.w);
            factors(cx, &mut norm, &mut c, &i.m, i.parts(&square));
            let (mut y, mut dy, mut dm) = (i.y0.clone(), i.dy.clone(), vec![3.0; i.m.len()]);
            forward(cx, &mut y, &c);
            backward(cx, &mut dy, &mut dm, &i.y0, &c, &norm);
            vec![square, norm, c, y, dy, dm]
        })
        .unwrap();
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("dora", BOUND);
    let i = Inputs::new(1540, (20, 30, 12, 4));
    judge(&mut j, &cx, &i, &factors, &backward).unwrap();
    let scale: Factors = &|cx, norm, c, m, parts| factors(cx, norm, c, m, Parts { scale: 1.0, ..parts });
    must_catch("the scale is lost in the norm", judge(&mut j, &cx, &i, scale, &backward));
    let twice: Factors = &|cx, norm, c, m, parts| {
        let half: Vec<f32> = parts.p.iter().map(|p| p / 2.0).collect();
        factors(cx, norm, c, m, Parts { p: &half, ..parts });
    };
    must_catch("the mixed term once", judge(&mut j, &cx, &i, twice, &backward));
    let diagonal: Factors = &|cx, norm, c, m, parts| {
        let only: Vec<f32> = parts.gram.iter().enumerate().map(|(at, g)| if at % 5 == 0 { *g } else { 0.0 }).collect();
        factors(cx, norm, c, m, Parts { gram: &only, ..parts });
    };
    must_catch("G without what lies beside its diagonal", judge(&mut j, &cx, &i, diagonal, &backward));
    let upside: Factors = &|cx, norm, c, m, parts| {
        factors(cx, norm, c, m, parts);
        c.iter_mut().for_each(|c| *c = 1.0 / *c);
    };
    must_catch("norm / m for m / norm", judge(&mut j, &cx, &i, upside, &backward));
    let factor: Backward = &|cx, dy, dm, y0, c, norm| {
        let ones = vec![1.0; norm.len()];
        backward(cx, dy, dm, y0, c, &ones);
    };
    must_catch("the norm is lost in dm", judge(&mut j, &cx, &i, &factors, factor));
    let late: Backward = &|cx, dy, dm, y0, c, norm| {
        forward(cx, dy, c);
        let mut again = dy.to_vec();
        backward(cx, &mut again, dm, y0, c, norm);
    };
    must_catch("dm from dy that was scaled before", judge(&mut j, &cx, &i, &factors, late));
    let set: Backward = &|cx, dy, dm, y0, c, norm| {
        dm.fill(0.0);
        backward(cx, dy, dm, y0, c, norm);
    };
    must_catch("= for += in dm", judge(&mut j, &cx, &i, &factors, set));
}
