//! Judges of RMSNorm: a reference in f64 from the formulas of the file's header, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, alike, dot, gradient, must_catch, same_bits, wide};

// The last two: a norm of each head, and more rows and columns than one task of dw takes.
const CASES: &[(usize, usize)] =
    &[(1, 1), (3, 7), (130, 7), (64, 64), (130, 64), (1, 4097), (3, 4097), (64, 4097), (5003, 128), (600, 1037)];

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use testkit::Truth;

    pub fn scale(row: &[f64], eps: f64) -> f64 {
        1.0 / (row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64 + eps).sqrt()
    }

    /// y and r; a product's size is itself.
    pub fn forward(x: &[f64], w: &[f64], eps: f64) -> (Truth, Truth) {
        let (mut y, mut r) = (Truth::new(), Truth::new());
        for row in x.chunks(w.len()) {
            let scale = scale(row, eps);
            r.push(scale, scale);
            for (x, w) in row.iter().zip(w) {
                let v = x * scale * w;
                y.push(v, v.abs());
            }
        }
        (y, r)
    }

    /// dx and dw, not yet added to anything.
    pub fn backward(dy: &[f64], x: &[f64], w: &[f64], eps: f64) -> (Truth, Truth) {
        let n = w.len();
        let (mut dx, mut dw) = (Truth::new(), Truth::zeros(n));
        for (dy, x) in dy.chunks(n).zip(x.chunks(n)) {
            let r = scale(x, eps);
            let term = |i: usize| dy[i] * w[i] * x[i] * r;
            let mean = (0..n).map(term).sum::<f64>() / n as f64;
            let size = (0..n).map(|i| term(i).abs()).sum::<f64>() / n as f64;
            for i in 0..n {
                let g = dy[i] * w[i];
                dx.push(r * (g - x[i] * r * mean), r * (g.abs() + (x[i] * r).abs() * size));
                let term = dy[i] * x[i] * r;
                dw.add(i, term, term.abs());
            }
        }
        (dx, dw)
    }
}

type Forward = fn(&Cx, &mut [f32], &mut [f32], &[f32], &[f32], Dims, f32);
type Backward = fn(&Cx, &mut [f32], Option<&mut [f32]>, &[f32], &[f32], &[f32], &[f32], Dims);

/// The op under judgement: the real one, or one with a bug.
struct Op {
    forward: Forward,
    backward: Backward,
}

const REAL: Op = Op { forward, backward };

/// Inputs of a case.
struct Inputs {
    name: String,
    d: Dims,
    eps: f32,
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
}

impl Inputs {
    fn new(seed: u64, (rows, width): (usize, usize), size: f64, eps: f32) -> Inputs {
        let mut random = Random::new(seed);
        let n = rows * width;
        let (x, w) = (random.floats(n, size), random.floats(width, 1.0));
        // Gradients that balance the size of x keep dx near 1, where the 3 that was there does not hide it.
        let dy = random.floats(n, size.max(1.0));
        Inputs { name: format!("{rows} x {width}, size {size:e}, eps {eps:e}, seed {seed}"), d: Dims { rows, width }, eps, x, w, dy }
    }
}

fn judge(j: &mut Judge, cx: &Cx, i: &Inputs, op: &Op) -> Result<(), String> {
    let name = format!("{:?} {}", cx.level(), i.name);
    let (n, d, eps) = (i.x.len(), i.d, f64::from(i.eps));
    let (x, w, dy) = (wide(&i.x), wide(&i.w), wide(&i.dy));

    let (mut y, mut r) = (Guarded::unwritten(n), Guarded::unwritten(d.rows));
    (op.forward)(cx, &mut y, &mut r, &i.x, &i.w, d, i.eps);
    y.intact("y")?;
    r.intact("r")?;
    let (y_truth, r_truth) = reference::forward(&x, &w, eps);
    j.see("y", &name, &y, &y_truth)?;
    j.see("r", &name, &r, &r_truth)?;

    let (mut dx, mut dw) = (Guarded::threes(n), Guarded::threes(d.width));
    (op.backward)(cx, &mut dx, Some(&mut dw), &i.dy, &i.x, &i.w, &r, d);
    dx.intact("dx")?;
    dw.intact("dw")?;
    let (dx_truth, dw_truth) = reference::backward(&dy, &x, &w, eps);
    j.see("dx", &name, &dx, &dx_truth.over(3.0))?;
    j.see("dw", &name, &dw, &dw_truth.over(3.0))
}

// Size: y and r themselves; for dx and dw the sum of the magnitudes of their terms.
// Measured worst: y 2.1, r 1.1 (5003 x 128), dx 1.4 (600 x 1037), dw 1.3 eps (64 x 4097).
const BOUND: &[(&str, f64)] = &[("y", 4.0), ("r", 2.5), ("dx", 2.5), ("dw", 3.0)];

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(200);
    for (rows, width) in [(1, 1), (3, 7), (2, 64)] {
        let inputs = [random.doubles(rows * width), random.doubles(width)];
        let cotangent = random.doubles(rows * width);
        let (dx, dw) = reference::backward(&cotangent, &inputs[0], &inputs[1], 0.01);
        gradient::check(&mut random, &inputs, &[dx.values, dw.values], |v| {
            dot(&reference::forward(&v[0], &v[1], 0.01).0.values, &cotangent)
        })
        .unwrap();
    }
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("rmsnorm", BOUND);
    for cx in contexts() {
        for (seed, &case) in (201..).zip(CASES) {
            judge(&mut j, &cx, &Inputs::new(seed, case, 1.0, 1e-5), &REAL).unwrap();
        }
    }
    j.finish();
}

#[test]
fn large_and_tiny_inputs() {
    let mut j = Judge::new("rmsnorm", BOUND);
    for cx in contexts() {
        for (seed, size) in [(221, 1e4), (222, 1e-20), (223, 7e9)] {
            let mut i = Inputs::new(seed, (5, 67), size, 1e-6);
            i.x[67..134].fill(0.0);
            judge(&mut j, &cx, &i, &REAL).unwrap();
        }
    }
}

#[test]
fn same_bits_for_threads_levels_and_again() {
    for &case in CASES {
        let i = Inputs::new(231, case, 1.0, 1e-5);
        let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
        let variants: Vec<usize> = (0..all.len()).collect();
        alike(&i.name, &variants, |&v| {
            let cx = &all[v];
            let (mut y, mut r) = (vec![f32::NAN; i.x.len()], vec![f32::NAN; i.d.rows]);
            forward(cx, &mut y, &mut r, &i.x, &i.w, i.d, i.eps);
            let mut second = vec![f32::NAN; y.len()];
            again(cx, &mut second, &i.x, &i.w, &r, i.d);
            same_bits("y again", &y, &second).unwrap();
            let (mut dx, mut dw) = (vec![3.0; y.len()], vec![3.0; i.d.width]);
            backward(cx, &mut dx, Some(&mut dw), &i.dy, &i.x, &i.w, &r, i.d);
            let mut alone = vec![3.0; y.len()];
            backward(cx, &mut alone, None, &i.dy, &i.x, &i.w, &r, i.d);
            same_bits("dx with a frozen weight", &dx, &alone).unwrap();
            vec![y, r, dx, dw]
        })
        .unwrap();
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("rmsnorm", BOUND);
    // The widest case: a divisor that is off by one is least there.
    let i = Inputs::new(241, (3, 4097), 1.0, 1e-5);
    judge(&mut j, &cx, &i, &REAL).unwrap();
    let divisor = |cx: &Cx, y: &mut [f32], r: &mut [f32], x: &[f32], w: &[f32], d: Dims, eps: f32| {
        forward(cx, y, r, x, w, d, eps);
        let off = ((d.width - 1) as f32 / d.width as f32).sqrt();
        y.iter_mut().chain(r).for_each(|v| *v *= off);
    };
    must_catch("divides by width - 1", judge(&mut j, &cx, &i, &Op { forward: divisor, ..REAL }));
    let eps = |cx: &Cx, y: &mut [f32], r: &mut [f32], x: &[f32], w: &[f32], d: Dims, _: f32| forward(cx, y, r, x, w, d, 2e-6);
    must_catch("another eps", judge(&mut j, &cx, &i, &Op { forward: eps, ..REAL }));
    must_catch("the weight missing in the inner sum", judge(&mut j, &cx, &i, &Op { backward: inner_weight_lost, ..REAL }));
    let set = |cx: &Cx, dx: &mut [f32], dw: Option<&mut [f32]>, dy: &[f32], x: &[f32], w: &[f32], r: &[f32], d: Dims| {
        dx.fill(0.0);
        backward(cx, dx, dw, dy, x, w, r, d);
    };
    must_catch("= for += in dx", judge(&mut j, &cx, &i, &Op { backward: set, ..REAL }));
    let set_w = |cx: &Cx, dx: &mut [f32], mut dw: Option<&mut [f32]>, dy: &[f32], x: &[f32], w: &[f32], r: &[f32], d: Dims| {
        dw.iter_mut().for_each(|dw| dw.fill(0.0));
        backward(cx, dx, dw, dy, x, w, r, d);
    };
    must_catch("= for += in dw", judge(&mut j, &cx, &i, &Op { backward: set_w, ..REAL }));
    let heads = Inputs::new(242, (600, 128), 1.0, 1e-6);
    judge(&mut j, &cx, &heads, &REAL).unwrap();
    let block = |cx: &Cx, dx: &mut [f32], dw: Option<&mut [f32]>, dy: &[f32], x: &[f32], w: &[f32], r: &[f32], d: Dims| {
        backward(cx, dx, None, dy, x, w, r, d);
        let first = Dims { rows: 512, ..d };
        let n = first.rows * d.width;
        backward(cx, &mut vec![0.0; n], dw, &dy[..n], &x[..n], w, &r[..first.rows], first);
    };
    must_catch("the last rows are lost in dw", judge(&mut j, &cx, &heads, &Op { backward: block, ..REAL }));
}

/// mean(dy * x*r) where mean(dy * w * x*r) belongs: right for a weight of ones.
fn inner_weight_lost(cx: &Cx, dx: &mut [f32], dw: Option<&mut [f32]>, dy: &[f32], x: &[f32], w: &[f32], r: &[f32], d: Dims) {
    backward(cx, dx, dw, dy, x, w, r, d);
    for (row, r) in r.iter().enumerate() {
        let at = row * d.width;
        let mean =
            |with: bool| (0..d.width).map(|i| dy[at + i] * if with { w[i] } else { 1.0 } * x[at + i] * r).sum::<f32>() / d.width as f32;
        let off = mean(true) - mean(false);
        for i in 0..d.width {
            dx[at + i] += r * r * x[at + i] * off;
        }
    }
}
