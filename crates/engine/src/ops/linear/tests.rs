//! Judges of the linear layers: a reference in f64 from the formulas of the file's header, and planted bugs.

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, Truth, alike, dot, gradient, must_catch, wide};

/// A layer of a group: outputs, rank, scale.
type Layer = (usize, usize, f32);

// Rows, inputs, layers: one, three with and without an adapter, frozen alone; ranks that no block divides.
const CASES: &[(usize, usize, &[Layer])] = &[
    (1, 1, &[(1, 1, 0.7)]),
    (3, 7, &[(64, 4, 2.0)]),
    (64, 64, &[(96, 8, 2.0), (48, 8, 0.5), (50, 16, 1.3)]),
    (130, 200, &[(97, 5, 2.0), (33, 0, 0.0), (96, 16, 1.5)]),
    (130, 64, &[(200, 0, 0.0)]),
    (3, 600, &[(7, 3, 0.3), (1, 1, 4.0)]),
    (300, 48, &[(48, 32, 0.25)]),
];

/// Numbers of a case, in the precision of the engine or of the reference.
#[derive(Clone)]
struct Numbers<T> {
    x: Vec<T>,
    a: Vec<T>,
    b: Vec<Vec<T>>,
    w: Vec<Vec<T>>,
    dy: Vec<Vec<T>>,
}

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use super::{Layer, Numbers};
    use testkit::Truth;

    /// `out[i, j] += factor * sum over k of left(i, k) * right(j, k)`; operands give value and size.
    fn add(
        out: &mut Truth,
        (m, n, k): (usize, usize, usize),
        factor: f64,
        left: impl Fn(usize, usize) -> (f64, f64),
        right: impl Fn(usize, usize) -> (f64, f64),
    ) {
        for i in 0..m {
            for j in 0..n {
                for k in 0..k {
                    let ((a, a_size), (b, b_size)) = (left(i, k), right(k, j));
                    out.add(i * n + j, factor * a * b, (factor * a_size * b_size).abs());
                }
            }
        }
    }

    fn plain(v: f64) -> (f64, f64) {
        (v, v.abs())
    }

    fn sized(t: &Truth, at: usize) -> (f64, f64) {
        (t.values[at], t.sizes[at])
    }

    /// First column of each layer in u, and the sum of ranks.
    fn columns(layers: &[Layer]) -> (Vec<usize>, usize) {
        let before = |m: usize| layers[..m].iter().map(|l| l.1).sum();
        ((0..layers.len()).map(before).collect(), before(layers.len()))
    }

    fn u_or_v(n: &Numbers<f64>, layers: &[Layer], rows: usize, inputs: usize, backward: bool) -> Truth {
        let (first, ranks) = columns(layers);
        let mut out = Truth::zeros(rows * ranks);
        for (m, &(outputs, rank, scale)) in layers.iter().enumerate() {
            let mut part = Truth::zeros(rows * rank);
            let scale = f64::from(scale);
            if backward {
                add(&mut part, (rows, rank, outputs), scale, |r, o| plain(n.dy[m][r * outputs + o]), |o, j| plain(n.b[m][o * rank + j]));
            } else {
                add(
                    &mut part,
                    (rows, rank, inputs),
                    scale,
                    |r, i| plain(n.x[r * inputs + i]),
                    |i, j| plain(n.a[(first[m] + j) * inputs + i]),
                );
            }
            for at in 0..rows * rank {
                let (value, size) = sized(&part, at);
                out.add(at / rank * ranks + first[m] + at % rank, value, size);
            }
        }
        out
    }

    pub fn forward(n: &Numbers<f64>, layers: &[Layer], rows: usize, inputs: usize) -> (Vec<Truth>, Truth) {
        let (first, ranks) = columns(layers);
        let u = u_or_v(n, layers, rows, inputs, false);
        let mut ys = Vec::new();
        for (m, &(outputs, rank, _)) in layers.iter().enumerate() {
            let mut y = Truth::zeros(rows * outputs);
            add(&mut y, (rows, outputs, inputs), 1.0, |r, i| plain(n.x[r * inputs + i]), |i, o| plain(n.w[m][o * inputs + i]));
            add(&mut y, (rows, outputs, rank), 1.0, |r, j| sized(&u, r * ranks + first[m] + j), |j, o| plain(n.b[m][o * rank + j]));
            ys.push(y);
        }
        (ys, u)
    }

    pub struct Gradients {
        pub dx: Truth,
        pub v: Truth,
        pub da: Truth,
        pub db: Vec<Truth>,
    }

    pub fn backward(n: &Numbers<f64>, layers: &[Layer], rows: usize, inputs: usize) -> Gradients {
        let (first, ranks) = columns(layers);
        let u = u_or_v(n, layers, rows, inputs, false);
        let v = u_or_v(n, layers, rows, inputs, true);
        let (mut dx, mut da, mut all) = (Truth::zeros(rows * inputs), Truth::zeros(ranks * inputs), Vec::new());
        add(&mut da, (ranks, inputs, rows), 1.0, |c, r| sized(&v, r * ranks + c), |r, i| plain(n.x[r * inputs + i]));
        add(&mut dx, (rows, inputs, ranks), 1.0, |r, c| sized(&v, r * ranks + c), |c, i| plain(n.a[c * inputs + i]));
        for (m, &(outputs, rank, _)) in layers.iter().enumerate() {
            add(&mut dx, (rows, inputs, outputs), 1.0, |r, o| plain(n.dy[m][r * outputs + o]), |o, i| plain(n.w[m][o * inputs + i]));
            let mut db = Truth::zeros(outputs * rank);
            add(&mut db, (outputs, rank, rows), 1.0, |o, r| plain(n.dy[m][r * outputs + o]), |r, j| sized(&u, r * ranks + first[m] + j));
            all.push(db);
        }
        Gradients { dx, v, da, db: all }
    }
}

/// A case with its numbers, packed weights and truth.
struct Inputs {
    name: String,
    rows: usize,
    inputs: usize,
    layers: Vec<Layer>,
    n: Numbers<f32>,
    weights: Vec<Weight>,
    wide: Numbers<f64>,
}

impl Inputs {
    fn new(cx: &Cx, seed: u64, &(rows, inputs, layers): &(usize, usize, &[Layer])) -> Inputs {
        let mut random = Random::new(seed);
        let ranks: usize = layers.iter().map(|l| l.1).sum();
        let n = Numbers {
            x: random.floats(rows * inputs, 1.0),
            a: random.floats(ranks * inputs, 1.0),
            b: layers.iter().map(|l| random.floats(l.0 * l.1, 1.0)).collect(),
            w: layers.iter().map(|l| random.floats(l.0 * inputs, 1.0)).collect(),
            dy: layers.iter().map(|l| random.floats(rows * l.0, 1.0)).collect(),
        };
        let weights = n.w.iter().zip(layers).map(|(w, l)| Weight::pack(cx, w, l.0, inputs)).collect();
        let all = |v: &[Vec<f32>]| v.iter().map(|v| wide(v)).collect();
        let doubles = Numbers { x: wide(&n.x), a: wide(&n.a), b: all(&n.b), w: all(&n.w), dy: all(&n.dy) };
        let name = format!("{rows} rows, {inputs} inputs, {layers:?}, seed {seed}");
        Inputs { name, rows, inputs, layers: layers.to_vec(), n, weights, wide: doubles }
    }

    fn members(&self) -> Vec<Member<'_>> {
        let member = |m: usize| Member { weight: &self.weights[m], b: &self.n.b[m], rank: self.layers[m].1, scale: self.layers[m].2 };
        (0..self.layers.len()).map(member).collect()
    }
}

type Forward<'a> = &'a dyn Fn(&Cx, &mut [&mut [f32]], Write, &mut [f32], &[f32], &Group, usize);
type Backward<'a> = &'a dyn Fn(&Cx, &mut [f32], Write, &mut [f32], &mut Grads, &[&[f32]], &[f32], &[f32], &Group, usize);

/// The three calls of the backward pass in their order.
fn backward(
    cx: &Cx,
    dx: &mut [f32],
    write: Write,
    v: &mut [f32],
    grads: &mut Grads,
    dys: &[&[f32]],
    u: &[f32],
    x: &[f32],
    g: &Group,
    rows: usize,
) {
    backward_b(cx, v, grads, dys, u, g, rows);
    backward_a(cx, v, grads, x, g, rows);
    backward_input(cx, dx, write, dys, v, g, rows);
}

/// What a pass leaves: ys, u, dx, v, da, dbs.
struct Outputs {
    ys: Vec<Guarded>,
    u: Guarded,
    dx: Guarded,
    v: Guarded,
    da: Guarded,
    db: Vec<Guarded>,
}

fn run(cx: &Cx, i: &Inputs, write: Write, forward: Forward, backward: Backward) -> Outputs {
    let members = i.members();
    let g = Group { members: &members, a: &i.n.a, inputs: i.inputs };
    let ranks = g.ranks();
    let before = |n: usize| if write == Write::Set { Guarded::unwritten(n) } else { Guarded::threes(n) };
    let mut o = Outputs {
        ys: i.layers.iter().map(|l| before(i.rows * l.0)).collect(),
        u: Guarded::unwritten(i.rows * ranks),
        dx: before(i.rows * i.inputs),
        v: Guarded::unwritten(i.rows * ranks),
        da: Guarded::threes(i.n.a.len()),
        db: i.n.b.iter().map(|b| Guarded::threes(b.len())).collect(),
    };
    let mut ys: Vec<&mut [f32]> = o.ys.iter_mut().map(|y| &mut **y).collect();
    forward(cx, &mut ys, write, &mut o.u, &i.n.x, &g, i.rows);
    let dys: Vec<&[f32]> = i.n.dy.iter().map(|v| &v[..]).collect();
    let mut grads = Grads { da: &mut o.da, db: o.db.iter_mut().map(|b| &mut **b).collect() };
    backward(cx, &mut o.dx, write, &mut o.v, &mut grads, &dys, &o.u, &i.n.x, &g, i.rows);
    o
}

/// The truth of a case: as [`Outputs`], for one way of writing.
fn truth(i: &Inputs, write: Write) -> Vec<(&'static str, Truth)> {
    let before = |t: Truth| if write == Write::Set { t } else { t.over(3.0) };
    let (ys, u) = reference::forward(&i.wide, &i.layers, i.rows, i.inputs);
    let back = reference::backward(&i.wide, &i.layers, i.rows, i.inputs);
    let mut all: Vec<(&str, Truth)> = ys.into_iter().map(|y| ("y", before(y))).collect();
    all.extend([("u", u), ("dx", before(back.dx)), ("v", back.v), ("da", back.da.over(3.0))]);
    all.extend(back.db.into_iter().map(|db| ("db", db.over(3.0))));
    all
}

fn judge(
    j: &mut Judge,
    cx: &Cx,
    i: &Inputs,
    write: Write,
    truth: &[(&str, Truth)],
    forward: Forward,
    backward: Backward,
) -> Result<(), String> {
    let o = run(cx, i, write, forward, backward);
    let found: Vec<&Guarded> = o.ys.iter().chain([&o.u, &o.dx, &o.v, &o.da]).chain(&o.db).collect();
    for ((output, truth), found) in truth.iter().zip(found) {
        found.intact(output)?;
        j.see(output, &format!("{:?} {write:?} {}", cx.level(), i.name), found, truth)?;
    }
    Ok(())
}

// Size: the sum of the magnitudes of the terms, through u and v too. Measured worst: y 2.5, u 1.6, dx 2.0, v 1.9, da 1.1, db 0.8 eps.
const BOUND: &[(&str, f64)] = &[("y", 5.0), ("u", 4.0), ("dx", 4.0), ("v", 4.0), ("da", 2.5), ("db", 2.0)];

#[test]
fn reference_backward_is_the_derivative() {
    let cx = Cx::new(1).unwrap();
    let mut random = Random::new(700);
    for case in [&CASES[1], &(3, 5, &[(4, 2, 0.7), (3, 0, 0.0), (2, 3, 1.6)][..])] {
        let i = Inputs::new(&cx, 701, case);
        let back = reference::backward(&i.wide, &i.layers, i.rows, i.inputs);
        let mut inputs = vec![i.wide.x.clone(), i.wide.a.clone()];
        inputs.extend(i.wide.b.clone());
        let mut gradients = vec![back.dx.values, back.da.values];
        gradients.extend(back.db.into_iter().map(|b| b.values));
        gradient::check(&mut random, &inputs, &gradients, |v| {
            let moved = Numbers { x: v[0].clone(), a: v[1].clone(), b: v[2..].to_vec(), ..i.wide.clone() };
            let (ys, _) = reference::forward(&moved, &i.layers, i.rows, i.inputs);
            ys.iter().zip(&i.wide.dy).map(|(y, dy)| dot(&y.values, dy)).sum()
        })
        .unwrap();
    }
}

#[test]
fn agrees_with_reference() {
    let contexts = contexts();
    let mut j = Judge::new("linear", BOUND);
    for (seed, case) in (710..).zip(CASES) {
        let i = Inputs::new(&contexts[0], seed, case);
        for write in [Write::Set, Write::Add] {
            let truth = truth(&i, write);
            for cx in &contexts {
                judge(&mut j, cx, &i, write, &truth, &forward, &backward).unwrap();
            }
        }
    }
    j.finish();
}

#[test]
fn threads_change_no_bit() {
    for level in levels() {
        let contexts = threads(level);
        for case in CASES {
            let i = Inputs::new(&contexts[0], 720, case);
            alike(&i.name, &[0, 1, 2, 3], |&at| {
                let o = run(&contexts[at], &i, Write::Add, &forward, &backward);
                o.ys.iter().chain([&o.u, &o.dx, &o.v, &o.da]).chain(&o.db).map(|g| g.to_vec()).collect()
            })
            .unwrap();
        }
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("linear", BOUND);
    let i = Inputs::new(&cx, 730, &CASES[3]);
    let truth = truth(&i, Write::Add);
    judge(&mut j, &cx, &i, Write::Add, &truth, &forward, &backward).unwrap();
    let mut verdict = |forward: Forward, backward: Backward| judge(&mut j, &cx, &i, Write::Add, &truth, forward, backward);
    fn scaled<'a>(g: &Group<'a>, by: impl Fn(&Member) -> f32) -> Vec<Member<'a>> {
        g.members.iter().map(|m| Member { scale: by(m), ..*m }).collect()
    }
    let divisor: Forward = &|cx, ys, write, u, x, g, rows| {
        let members = scaled(g, |m| m.scale * m.rank as f32 / (m.rank + 1) as f32);
        forward(cx, ys, write, u, x, &Group { members: &members, ..*g }, rows);
    };
    must_catch("alpha / (rank + 1)", verdict(divisor, &backward));
    let factor: Backward = &|cx, dx, write, v, grads, dys, u, x, g, rows| {
        let members = scaled(g, |_| 1.0);
        backward(cx, dx, write, v, grads, dys, u, x, &Group { members: &members, ..*g }, rows);
    };
    must_catch("the scale is lost in v", verdict(&forward, factor));
    let set: Backward = &|cx, dx, write, v, grads, dys, u, x, g, rows| {
        grads.db.iter_mut().for_each(|b| b.fill(0.0));
        backward(cx, dx, write, v, grads, dys, u, x, g, rows);
    };
    must_catch("= for += in dB", verdict(&forward, set));
    let set: Backward = &|cx, dx, _, v, grads, dys, u, x, g, rows| backward(cx, dx, Write::Set, v, grads, dys, u, x, g, rows);
    must_catch("= for += in dx", verdict(&forward, set));
    let frozen: Backward = &|cx, dx, write, v, grads, dys, u, x, g, rows| {
        backward(cx, &mut dx.to_vec(), write, v, grads, dys, u, x, g, rows);
        backward_input(cx, dx, write, dys, &vec![0.0; v.len()], g, rows);
    };
    must_catch("the adapter's part of dx is lost", verdict(&forward, frozen));
}
