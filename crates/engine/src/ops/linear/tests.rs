//! Judges of the linear layers: a reference in f64 from the formulas of the file's header, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, Truth, alike, dot, gradient, must_catch, wide};

/// A layer of a group.
#[derive(Clone, Copy, Debug)]
struct Layer {
    outputs: usize,
    rank: usize,
    scale: f32,
    kind: Kind,
}

/// What a layer is beside its adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Frozen,
    /// Shares A and its columns with the layer before it, as parts of a fused projection do.
    Part,
    /// Its weight and bias are trained.
    Trained,
}

const fn layer(outputs: usize, rank: usize, scale: f32) -> Layer {
    Layer { outputs, rank, scale, kind: Kind::Frozen }
}

const fn part(outputs: usize, rank: usize, scale: f32) -> Layer {
    Layer { kind: Kind::Part, ..layer(outputs, rank, scale) }
}

const fn trained(outputs: usize) -> Layer {
    Layer { kind: Kind::Trained, ..layer(outputs, 0, 0.0) }
}

/// First column of each layer in u, and the sum of ranks.
fn columns(layers: &[Layer]) -> (Vec<usize>, usize) {
    let mut firsts: Vec<usize> = Vec::new();
    let mut ranks = 0;
    for l in layers {
        if l.kind == Kind::Part {
            firsts.push(firsts[firsts.len() - 1]);
        } else {
            firsts.push(ranks);
            ranks += l.rank;
        }
    }
    (firsts, ranks)
}

// Rows, inputs, layers: one, three with and without an adapter, frozen alone; ranks that no block divides.
const CASES: &[(usize, usize, &[Layer])] = &[
    (1, 1, &[layer(1, 1, 0.7)]),
    (3, 7, &[layer(64, 4, 2.0)]),
    (64, 64, &[layer(96, 8, 2.0), layer(48, 8, 0.5), layer(50, 16, 1.3)]),
    (130, 200, &[layer(97, 5, 2.0), layer(33, 0, 0.0), layer(96, 16, 1.5)]),
    (130, 64, &[layer(200, 0, 0.0)]),
    (3, 600, &[layer(7, 3, 0.3), layer(1, 1, 4.0)]),
    (300, 48, &[layer(48, 32, 0.25)]),
    (70, 56, &[layer(40, 6, 1.5), part(24, 6, 1.5), part(51, 6, 1.5)]),
    (65, 50, &[trained(70), trained(9)]),
];

/// Numbers of a case, in the precision of the engine or of the reference.
#[derive(Clone)]
struct Numbers<T> {
    x: Vec<T>,
    a: Vec<T>,
    b: Vec<Vec<T>>,
    w: Vec<Vec<T>>,
    bias: Vec<Vec<T>>, // empty where the layer has none
    dy: Vec<Vec<T>>,
}

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use super::{Kind, Layer, Numbers, columns};
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

    fn u(n: &Numbers<f64>, layers: &[Layer], rows: usize, inputs: usize) -> Truth {
        let (first, ranks) = columns(layers);
        let mut out = Truth::zeros(rows * ranks);
        for (m, l) in layers.iter().enumerate().filter(|(_, l)| l.kind != Kind::Part) {
            let mut part = Truth::zeros(rows * l.rank);
            let a = |i: usize, j: usize| plain(n.a[(first[m] + j) * inputs + i]);
            add(&mut part, (rows, l.rank, inputs), f64::from(l.scale), |r, i| plain(n.x[r * inputs + i]), a);
            spread(&mut out, &part, l.rank, first[m], ranks);
        }
        out
    }

    fn v(n: &Numbers<f64>, layers: &[Layer], rows: usize) -> Truth {
        let (first, ranks) = columns(layers);
        let mut out = Truth::zeros(rows * ranks);
        for (m, l) in layers.iter().enumerate() {
            let mut part = Truth::zeros(rows * l.rank);
            let dy = |r: usize, o: usize| plain(n.dy[m][r * l.outputs + o]);
            add(&mut part, (rows, l.rank, l.outputs), f64::from(l.scale), dy, |o, j| plain(n.b[m][o * l.rank + j]));
            spread(&mut out, &part, l.rank, first[m], ranks);
        }
        out
    }

    /// Adds a (rows, rank) matrix to the columns from `first` of one with `ranks` columns.
    fn spread(out: &mut Truth, part: &Truth, rank: usize, first: usize, ranks: usize) {
        for at in 0..part.values.len() {
            let (value, size) = sized(part, at);
            out.add(at / rank * ranks + first + at % rank, value, size);
        }
    }

    pub fn forward(n: &Numbers<f64>, layers: &[Layer], rows: usize, inputs: usize) -> (Vec<Truth>, Truth) {
        let (first, ranks) = columns(layers);
        let u = u(n, layers, rows, inputs);
        let mut ys = Vec::new();
        for (m, l) in layers.iter().enumerate() {
            let mut y = Truth::zeros(rows * l.outputs);
            add(&mut y, (rows, l.outputs, inputs), 1.0, |r, i| plain(n.x[r * inputs + i]), |i, o| plain(n.w[m][o * inputs + i]));
            let b = |j: usize, o: usize| plain(n.b[m][o * l.rank + j]);
            add(&mut y, (rows, l.outputs, l.rank), 1.0, |r, j| sized(&u, r * ranks + first[m] + j), b);
            for at in 0..n.bias[m].len() * rows {
                let bias = n.bias[m][at % l.outputs];
                y.add(at, bias, bias.abs());
            }
            ys.push(y);
        }
        (ys, u)
    }

    pub struct Gradients {
        pub dx: Truth,
        pub v: Truth,
        pub da: Truth,
        pub db: Vec<Truth>,
        pub dw: Vec<Truth>,
        pub dbias: Vec<Truth>,
    }

    pub fn backward(n: &Numbers<f64>, layers: &[Layer], rows: usize, inputs: usize) -> Gradients {
        let (first, ranks) = columns(layers);
        let (u, v) = (u(n, layers, rows, inputs), v(n, layers, rows));
        let (mut dx, mut da) = (Truth::zeros(rows * inputs), Truth::zeros(ranks * inputs));
        let (mut all_b, mut all_w, mut all_bias) = (Vec::new(), Vec::new(), Vec::new());
        add(&mut da, (ranks, inputs, rows), 1.0, |c, r| sized(&v, r * ranks + c), |r, i| plain(n.x[r * inputs + i]));
        add(&mut dx, (rows, inputs, ranks), 1.0, |r, c| sized(&v, r * ranks + c), |c, i| plain(n.a[c * inputs + i]));
        for (m, l) in layers.iter().enumerate() {
            let dy = |r: usize, o: usize| plain(n.dy[m][r * l.outputs + o]);
            add(&mut dx, (rows, inputs, l.outputs), 1.0, dy, |o, i| plain(n.w[m][o * inputs + i]));
            let mut db = Truth::zeros(l.outputs * l.rank);
            add(&mut db, (l.outputs, l.rank, rows), 1.0, |o, r| dy(r, o), |r, j| sized(&u, r * ranks + first[m] + j));
            all_b.push(db);
            if l.kind == Kind::Trained {
                let mut dw = Truth::zeros(l.outputs * inputs);
                add(&mut dw, (l.outputs, inputs, rows), 1.0, |o, r| dy(r, o), |r, i| plain(n.x[r * inputs + i]));
                all_w.push(dw);
                let mut dbias = Truth::zeros(l.outputs);
                add(&mut dbias, (1, l.outputs, rows), 1.0, |_, _| (1.0, 1.0), dy);
                all_bias.push(dbias);
            }
        }
        Gradients { dx, v, da, db: all_b, dw: all_w, dbias: all_bias }
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
        let ranks = columns(layers).1;
        let n = Numbers {
            x: random.floats(rows * inputs, 1.0),
            a: random.floats(ranks * inputs, 1.0),
            b: layers.iter().map(|l| random.floats(l.outputs * l.rank, 1.0)).collect(),
            w: layers.iter().map(|l| random.floats(l.outputs * inputs, 1.0)).collect(),
            bias: layers.iter().map(|l| random.floats(if l.kind == Kind::Trained { l.outputs } else { 0 }, 1.0)).collect(),
            dy: layers.iter().map(|l| random.floats(rows * l.outputs, 1.0)).collect(),
        };
        let weights = n.w.iter().zip(layers).map(|(w, l)| Weight::pack(cx, w, l.outputs, inputs)).collect();
        let all = |v: &[Vec<f32>]| v.iter().map(|v| wide(v)).collect();
        let doubles = Numbers { x: wide(&n.x), a: wide(&n.a), b: all(&n.b), w: all(&n.w), bias: all(&n.bias), dy: all(&n.dy) };
        let name = format!("{rows} rows, {inputs} inputs, {layers:?}, seed {seed}");
        Inputs { name, rows, inputs, layers: layers.to_vec(), n, weights, wide: doubles }
    }

    fn members(&self) -> Vec<Member<'_>> {
        let (columns, _) = columns(&self.layers);
        let member = |m: usize| {
            let l = self.layers[m];
            let base = if l.kind == Kind::Trained { Base::Trained(&self.n.w[m]) } else { Base::Frozen(&self.weights[m]) };
            Member { base, outputs: l.outputs, bias: &self.n.bias[m], b: &self.n.b[m], rank: l.rank, column: columns[m], scale: l.scale }
        };
        (0..self.layers.len()).map(member).collect()
    }
}

type Forward<'a> = &'a dyn Fn(&Cx, &mut [&mut [f32]], Write, &mut [f32], &[f32], &Group, usize);
type Backward<'a> = &'a dyn Fn(&Cx, &mut [f32], Write, &mut [f32], &mut Grads, &[&[f32]], &[f32], &[f32], &Group, usize);

/// The calls of the forward pass in their order.
fn forward(cx: &Cx, ys: &mut [&mut [f32]], write: Write, u: &mut [f32], x: &[f32], g: &Group, rows: usize) {
    forward_u(cx, u, x, g, rows);
    super::forward(cx, ys, write, u, x, g, rows);
    add_bias(cx, ys, g);
}

/// The calls of the backward pass in their order.
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
    backward_weights(cx, grads, dys, x, g, rows);
    backward_input(cx, dx, write, dys, Some(v), g, rows);
}

/// What a pass leaves.
struct Outputs {
    ys: Vec<Guarded>,
    u: Guarded,
    dx: Guarded,
    v: Guarded,
    da: Guarded,
    db: Vec<Guarded>,
    dw: Vec<Guarded>,
    dbias: Vec<Guarded>,
}

impl Outputs {
    fn all(&self) -> impl Iterator<Item = &Guarded> {
        self.ys.iter().chain([&self.u, &self.dx, &self.v, &self.da]).chain(&self.db).chain(&self.dw).chain(&self.dbias)
    }
}

fn parts(all: &mut [Guarded]) -> Vec<&mut [f32]> {
    all.iter_mut().map(|g| &mut **g).collect()
}

fn run(cx: &Cx, i: &Inputs, write: Write, forward: Forward, backward: Backward) -> Outputs {
    let members = i.members();
    let ranks = columns(&i.layers).1;
    let g = Group { members: &members, a: &i.n.a, ranks, inputs: i.inputs };
    let trained: Vec<&Layer> = i.layers.iter().filter(|l| l.kind == Kind::Trained).collect();
    let before = |n: usize| if write == Write::Set { Guarded::unwritten(n) } else { Guarded::threes(n) };
    let mut o = Outputs {
        ys: i.layers.iter().map(|l| before(i.rows * l.outputs)).collect(),
        u: Guarded::unwritten(i.rows * ranks),
        dx: before(i.rows * i.inputs),
        v: Guarded::unwritten(i.rows * ranks),
        da: Guarded::threes(i.n.a.len()),
        db: i.n.b.iter().map(|b| Guarded::threes(b.len())).collect(),
        dw: trained.iter().map(|l| Guarded::threes(l.outputs * i.inputs)).collect(),
        dbias: trained.iter().map(|l| Guarded::threes(l.outputs)).collect(),
    };
    let mut ys: Vec<&mut [f32]> = o.ys.iter_mut().map(|y| &mut **y).collect();
    forward(cx, &mut ys, write, &mut o.u, &i.n.x, &g, i.rows);
    let dys: Vec<&[f32]> = i.n.dy.iter().map(|v| &v[..]).collect();
    let mut grads = Grads { da: &mut o.da, db: parts(&mut o.db), dw: parts(&mut o.dw), dbias: parts(&mut o.dbias) };
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
    all.extend(back.dw.into_iter().map(|dw| ("dw", dw.over(3.0))));
    all.extend(back.dbias.into_iter().map(|dbias| ("dbias", dbias.over(3.0))));
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
    assert_eq!(o.all().count(), truth.len());
    for ((output, truth), found) in truth.iter().zip(o.all()) {
        found.intact(output)?;
        j.see(output, &format!("{:?} {write:?} {}", cx.level(), i.name), found, truth)?;
    }
    Ok(())
}

// Size: the sum of the magnitudes of the terms, through u and v too. Measured worst: y 2.5, u 1.6, dx 2.0, v 1.9, da 1.1, db 0.8, dw 1.3, dbias 0.5 eps.
const BOUND: &[(&str, f64)] = &[("y", 5.0), ("u", 4.0), ("dx", 4.0), ("v", 4.0), ("da", 2.5), ("db", 2.0), ("dw", 3.0), ("dbias", 1.5)];

#[test]
fn reference_backward_is_the_derivative() {
    let cx = Cx::new(1).unwrap();
    let mut random = Random::new(700);
    let fused = [layer(4, 2, 0.7), part(3, 2, 0.7), layer(2, 3, 1.6)];
    let mixed = [layer(4, 2, 0.7), layer(3, 0, 0.0), trained(2)];
    for case in [&CASES[1], &(3, 5, &fused[..]), &(3, 5, &mixed[..])] {
        let i = Inputs::new(&cx, 701, case);
        let back = reference::backward(&i.wide, &i.layers, i.rows, i.inputs);
        let mut inputs = vec![i.wide.x.clone(), i.wide.a.clone()];
        inputs.extend(i.wide.b.clone());
        let trained: Vec<usize> = (0..i.layers.len()).filter(|&m| i.layers[m].kind == Kind::Trained).collect();
        inputs.extend(trained.iter().map(|&m| i.wide.w[m].clone()));
        inputs.extend(trained.iter().map(|&m| i.wide.bias[m].clone()));
        let mut gradients = vec![back.dx.values, back.da.values];
        gradients.extend(back.db.into_iter().chain(back.dw).chain(back.dbias).map(|t| t.values));
        gradient::check(&mut random, &inputs, &gradients, |v| {
            let (b, rest) = v[2..].split_at(i.layers.len());
            let mut moved = Numbers { x: v[0].clone(), a: v[1].clone(), b: b.to_vec(), ..i.wide.clone() };
            for (at, &m) in trained.iter().enumerate() {
                moved.w[m] = rest[at].clone();
                moved.bias[m] = rest[trained.len() + at].clone();
            }
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
                o.all().map(|g| g.to_vec()).collect()
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
        backward_input(cx, dx, write, dys, None, g, rows);
    };
    must_catch("the adapter's part of dx is lost", verdict(&forward, frozen));
}
