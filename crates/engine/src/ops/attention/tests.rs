//! Judges of the attention: a reference in f64 token by token over trees of segments, and planted bugs.

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, Truth, alike, dot, gradient, must_catch, wide};

/// Segments as (length, parent).
type Tree = &'static [(usize, Option<usize>)];

const ONE: Tree = &[(1, None)];
const FLAT: Tree = &[(5, None), (130, None), (1, None), (300, None)];
const SHARED: Tree = &[(40, None), (3, Some(0)), (1, Some(0)), (140, Some(0))];
/// A long trunk, a branch of a branch, single tokens.
const BRANCHED: Tree =
    &[(135, None), (20, Some(0)), (1, Some(1)), (130, Some(1)), (1, Some(0)), (1, Some(4)), (5, Some(4)), (64, Some(0)), (7, None)];
/// Nothing but single tokens.
const SINGLE: Tree = &[(1, None), (1, Some(0)), (1, Some(1)), (1, Some(1)), (1, Some(0)), (1, Some(4)), (1, None)];
const SMALL: Tree = &[(3, None), (2, Some(0)), (1, Some(1)), (4, Some(0)), (2, None)];

fn layout(tree: Tree) -> Layout {
    let mut layout = Layout::new();
    tree.iter().for_each(|&(len, parent)| {
        layout.push(len, parent);
    });
    layout
}

fn dims(heads: usize, kv_heads: usize, head_dim: usize, window: Option<usize>) -> Dims {
    Dims { heads, kv_heads, head_dim, window, scale: 1.0 / (head_dim as f32).sqrt() }
}

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use super::{Dims, Layout, Truth, dot};

    /// A query: its row, and the rows that it sees, itself last.
    pub type Query = (usize, Vec<usize>);

    /// All rows of a segment and its ancestors, in order of position.
    pub fn path(layout: &Layout, segment: usize) -> Vec<usize> {
        let s = layout.segments()[segment];
        let mut rows = s.parent.map_or(Vec::new(), |p| path(layout, p));
        rows.extend(s.start..s.start + s.len);
        rows
    }

    pub fn last(mut rows: Vec<usize>, window: Option<usize>) -> Vec<usize> {
        if let Some(w) = window {
            rows.drain(..rows.len().saturating_sub(w));
        }
        rows
    }

    pub fn queries(layout: &Layout, window: Option<usize>) -> Vec<Query> {
        let mut all = Vec::new();
        for (i, s) in layout.segments().iter().enumerate().filter(|(_, s)| !s.cached) {
            let path = path(layout, i);
            let before = path.len() - s.len;
            for own in 0..s.len {
                all.push((s.start + own, last(path[..=before + own].to_vec(), window)));
            }
        }
        all
    }

    /// Probabilities of one query and head, the logarithm of their sum, and the largest sum of magnitudes in a score.
    struct Seen {
        p: Vec<f64>,
        log_sum: f64,
        magnitude: f64,
    }

    fn head_of(data: &[f64], row: usize, heads: usize, head: usize, hd: usize) -> &[f64] {
        &data[(row * heads + head) * hd..][..hd]
    }

    fn see(q: &[f64], k: &[f64], rows: &[usize], d: Dims, kv: usize) -> Seen {
        let scale = f64::from(d.scale);
        let key = |r: usize| head_of(k, r, d.kv_heads, kv, d.head_dim);
        let score = |r: usize| scale * dot(q, key(r));
        let magnitude = |r: usize| scale * q.iter().zip(key(r)).map(|(a, b)| (a * b).abs()).sum::<f64>();
        let top = rows.iter().fold(f64::NEG_INFINITY, |m, &r| m.max(score(r)));
        let sum: f64 = rows.iter().map(|&r| (score(r) - top).exp()).sum();
        let magnitude = rows.iter().fold(0f64, |m, &r| m.max(magnitude(r)));
        Seen { p: rows.iter().map(|&r| (score(r) - top).exp() / sum).collect(), log_sum: top + sum.ln(), magnitude }
    }

    /// o (queries, heads, head_dim) and l (queries, heads), in the order of the queries. What products take was rounded by `unit`
    /// eps; an error of a score is a relative error of its probability: eps times the score's own terms, whatever the unit.
    pub fn forward(q: &[f64], k: &[f64], v: &[f64], queries: &[Query], d: Dims, unit: f64) -> (Truth, Truth) {
        let (mut o, mut l) = (Truth::new(), Truth::new());
        for (row, rows) in queries {
            for head in 0..d.heads {
                let kv = head / (d.heads / d.kv_heads);
                let s = see(head_of(q, *row, d.heads, head, d.head_dim), k, rows, d, kv);
                let doubt = 1.0 + s.magnitude / unit;
                l.push(s.log_sum, 1.0 + s.magnitude + (rows.len() as f64).ln());
                for i in 0..d.head_dim {
                    let terms = || rows.iter().zip(&s.p).map(|(&r, p)| p * head_of(v, r, d.kv_heads, kv, d.head_dim)[i]);
                    o.push(terms().sum(), doubt * terms().map(f64::abs).sum::<f64>());
                }
            }
        }
        (o, l)
    }

    /// dq, dk, dv of all rows; rows without a query have dq 0.
    pub fn backward(d_o: &[f64], (q, k, v): (&[f64], &[f64], &[f64]), queries: &[Query], d: Dims, unit: f64) -> [Truth; 3] {
        let (hd, scale) = (d.head_dim, f64::from(d.scale));
        let (mut dq, mut dk, mut dv) = (Truth::zeros(q.len()), Truth::zeros(k.len()), Truth::zeros(v.len()));
        for (row, rows) in queries {
            for head in 0..d.heads {
                let kv = head / (d.heads / d.kv_heads);
                let (query, grad) = (head_of(q, *row, d.heads, head, hd), head_of(d_o, *row, d.heads, head, hd));
                let s = see(query, k, rows, d, kv);
                let value = |r: usize| head_of(v, r, d.kv_heads, kv, hd);
                let absolute = |r: usize| grad.iter().zip(value(r)).map(|(a, b)| (a * b).abs()).sum::<f64>();
                let drop: f64 = rows.iter().zip(&s.p).map(|(&r, p)| p * dot(grad, value(r))).sum();
                let drop_size: f64 = rows.iter().zip(&s.p).map(|(&r, p)| p * absolute(r)).sum();
                let doubt = 1.0 + s.magnitude / unit;
                for (&r, p) in rows.iter().zip(&s.p) {
                    let ds = scale * p * (dot(grad, value(r)) - drop);
                    let size = scale * p * doubt * (absolute(r) + drop_size);
                    for i in 0..hd {
                        let (at_q, at_k) = ((row * d.heads + head) * hd + i, (r * d.kv_heads + kv) * hd + i);
                        dq.add(at_q, ds * k[at_k], size * k[at_k].abs());
                        dk.add(at_k, ds * query[i], size * query[i].abs());
                        dv.add(at_k, p * grad[i], p * doubt * grad[i].abs());
                    }
                }
            }
        }
        [dq, dk, dv]
    }
}

/// Numbers of a case.
struct Inputs {
    name: String,
    d: Dims,
    layout: Layout,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    d_o: Vec<f32>,
}

impl Inputs {
    fn new(seed: u64, layout: Layout, d: Dims, size: f64) -> Inputs {
        let mut random = Random::new(seed);
        let n = layout.tokens();
        let mut floats = |width: usize, size: f64| random.floats(n * width, size);
        let (q, k) = (floats(d.q_width(), size), floats(d.kv_width(), 1.0));
        let (v, d_o) = (floats(d.kv_width(), 1.0), floats(d.q_width(), 1.0));
        let lengths: Vec<(usize, Option<usize>)> = layout.segments().iter().map(|s| (s.len, s.parent)).collect();
        Inputs { name: format!("{lengths:?}, {d:?}, size {size:e}, seed {seed}"), d, layout, q, k, v, d_o }
    }

    fn truth(&self) -> [Truth; 5] {
        self.truth_in(1.0)
    }

    /// Products of numbers that were rounded by `unit` eps.
    fn truth_in(&self, unit: f64) -> [Truth; 5] {
        let (q, k, v) = (wide(&self.q), wide(&self.k), wide(&self.v));
        let queries = reference::queries(&self.layout, self.d.window);
        let (o, l) = reference::forward(&q, &k, &v, &queries, self.d, unit);
        let [dq, dk, dv] = reference::backward(&wide(&self.d_o), (&q, &k, &v), &queries, self.d, unit);
        [o, l, dq, dk, dv]
    }
}

type Forward<'a> = &'a dyn Fn(&Cx, &mut [f32], &mut [f32], &[f32], &[f32], &[f32], &Layout, Dims);
type Three<'a> = (&'a [f32], &'a [f32], &'a [f32]);
type Backward<'a> = &'a dyn Fn(&Cx, (&mut [f32], &mut [f32], &mut [f32]), &[f32], (&[f32], &[f32]), Three, &Layout, Dims);

const OUTPUTS: [&str; 5] = ["o", "l", "dq", "dk", "dv"];

fn run(cx: &Cx, i: &Inputs, forward: Forward, backward: Backward) -> [Guarded; 5] {
    let n = i.layout.tokens();
    let mut all = [i.q.len(), n * i.d.heads, i.q.len(), i.k.len(), i.k.len()].map(Guarded::unwritten);
    let [o, l, dq, dk, dv] = &mut all;
    forward(cx, o, l, &i.q, &i.k, &i.v, &i.layout, i.d);
    backward(cx, (dq, dk, dv), &i.d_o, (o, l), (&i.q, &i.k, &i.v), &i.layout, i.d);
    all
}

fn judge(j: &mut Judge, cx: &Cx, i: &Inputs, truth: &[Truth; 5], forward: Forward, backward: Backward) -> Result<(), String> {
    for ((output, found), truth) in OUTPUTS.into_iter().zip(run(cx, i, forward, backward)).zip(truth) {
        found.intact(output)?;
        j.see(output, &format!("{:?} {}", cx.level(), i.name), &found, truth)?;
    }
    Ok(())
}

// Size: the sum of the magnitudes of the terms, times 1 + the largest sum of magnitudes in a score of the query
// (an error of the score is a relative error of the probability).
// Measured worst: o 0.8, l 1.0, dq 0.4, dk 0.4, dv 1.0 eps.
const BOUND: &[(&str, f64)] = &[("o", 2.0), ("l", 2.0), ("dq", 1.0), ("dk", 1.0), ("dv", 2.0)];

/// Trees, groups of 1, 2, 3 and 8 heads (each takes another number of queries at a time), windows that end in the segment, in an ancestor, nowhere.
fn cases() -> Vec<(Tree, Dims)> {
    vec![
        (ONE, dims(1, 1, 1, None)),
        (ONE, dims(3, 1, 7, Some(1))),
        (FLAT, dims(2, 2, 8, None)),
        (FLAT, dims(3, 1, 64, Some(200))),
        (SHARED, dims(6, 2, 7, None)),
        (SHARED, dims(2, 2, 16, Some(5))),
        (BRANCHED, dims(6, 2, 16, None)),
        (BRANCHED, dims(2, 2, 7, Some(1))),
        (BRANCHED, dims(3, 1, 16, Some(5))),
        (BRANCHED, dims(3, 1, 50, Some(200))),
        (SINGLE, dims(6, 2, 8, None)),
        (SINGLE, dims(2, 2, 64, Some(5))),
        (FLAT, dims(16, 2, 10, None)),
        (SHARED, dims(4, 2, 96, Some(40))),
    ]
}

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(800);
    for window in [None, Some(1), Some(3)] {
        let (layout, d) = (layout(SMALL), dims(6, 2, 3, window));
        let n = layout.tokens();
        let queries = reference::queries(&layout, window);
        let inputs = [random.doubles(n * d.q_width()), random.doubles(n * d.kv_width()), random.doubles(n * d.kv_width())];
        let cotangent = random.doubles(n * d.q_width());
        let gradients = reference::backward(&cotangent, (&inputs[0], &inputs[1], &inputs[2]), &queries, d, 1.0).map(|t| t.values);
        gradient::check(&mut random, &inputs, &gradients, |v| {
            dot(&reference::forward(&v[0], &v[1], &v[2], &queries, d, 1.0).0.values, &cotangent)
        })
        .unwrap();
    }
}

#[test]
fn agrees_with_reference() {
    let contexts = contexts();
    let mut j = Judge::new("attention", BOUND);
    for (seed, (tree, d)) in (801..).zip(cases()) {
        let i = Inputs::new(seed, layout(tree), d, 1.0);
        let truth = i.truth();
        for cx in &contexts {
            judge(&mut j, cx, &i, &truth, &forward, &backward).unwrap();
        }
    }
    j.finish();
}

fn large_and_tiny() -> Vec<Inputs> {
    let mut all = Vec::new();
    for (seed, size) in [(821, 1e4), (822, 1e-20), (823, 30.0)] {
        let mut i = Inputs::new(seed, layout(SHARED), dims(3, 1, 16, None), size);
        // A row of zeros of each: a uniform softmax, a key that none prefers.
        for row in [2, 60] {
            i.q[row * 48..][..48].fill(0.0);
            i.k[(row + 1) * 16..][..16].fill(0.0);
        }
        all.push(i);
    }
    all
}

#[test]
fn large_and_tiny_scores() {
    let contexts = contexts();
    let mut j = Judge::new("attention", BOUND);
    for i in large_and_tiny() {
        let truth = i.truth();
        for cx in &contexts {
            judge(&mut j, cx, &i, &truth, &forward, &backward).unwrap();
        }
    }
}

#[test]
fn a_shared_tree_is_its_unshared_sequences() {
    let contexts = contexts();
    let mut j = Judge::new("attention, shared", SHARED_BOUND);
    for (seed, (tree, d)) in (831..).zip(cases()) {
        let shared = Inputs::new(seed, layout(tree), d, 1.0);
        // A sequence for every leaf; `from` says which row of the tree each of its rows copies.
        let leaf = |s: &usize| tree.iter().all(|&(_, parent)| parent != Some(*s));
        let (mut flat, mut from) = (Layout::new(), Vec::new());
        for rows in (0..tree.len()).filter(leaf).map(|s| reference::path(&shared.layout, s)) {
            flat.push(rows.len(), None);
            from.extend(rows);
        }
        let copy = |data: &[f32], width: usize| -> Vec<f32> { from.iter().flat_map(|r| &data[r * width..][..width]).copied().collect() };
        let mut unshared = Inputs::new(seed + 100, flat, d, 1.0);
        (unshared.q, unshared.k, unshared.v) = (copy(&shared.q, d.q_width()), copy(&shared.k, d.kv_width()), copy(&shared.v, d.kv_width()));
        // What flows into a shared row is the sum of what flows into its copies.
        let tokens = shared.layout.tokens();
        let sum = |t: &Truth, width: usize| {
            let mut all = Truth::zeros(tokens * width);
            for (at, (value, size)) in t.values.iter().zip(&t.sizes).enumerate() {
                all.add(from[at / width] * width + at % width, *value, *size);
            }
            all
        };
        let d_o = sum(&Truth::exact(&unshared.d_o), d.q_width()).values;
        let shared = Inputs { d_o: testkit::narrow(&d_o), ..shared };
        let [o, l, dq, dk, dv] = unshared.truth();
        let (dq, dk, dv) = (sum(&dq, d.q_width()), sum(&dk, d.kv_width()), sum(&dv, d.kv_width()));
        for cx in &contexts {
            let name = format!("{:?} {}", cx.level(), shared.name);
            let [found_o, found_l, found_dq, found_dk, found_dv] = run(cx, &shared, &forward, &backward);
            j.see("o", &name, &copy(&found_o, d.q_width()), &o).unwrap();
            j.see("l", &name, &copy(&found_l, d.heads), &l).unwrap();
            j.see("dq", &name, &found_dq, &dq).unwrap();
            j.see("dk", &name, &found_dk, &dk).unwrap();
            j.see("dv", &name, &found_dv, &dv).unwrap();
        }
    }
    j.finish();
}

// The same sizes, added up over the copies. Measured worst: o 0.9, l 1.0, dq 0.5, dk 0.5, dv 0.9 eps.
const SHARED_BOUND: &[(&str, f64)] = BOUND;

#[test]
fn cached_segments_are_seen_and_ask_nothing() {
    let mut j = Judge::new("attention", BOUND);
    for window in [None, Some(5), Some(200)] {
        let mut tree = Layout::new();
        let trunk = tree.push_cached(150);
        let branch = tree.push(3, Some(trunk));
        tree.push(140, Some(trunk));
        tree.push(1, Some(branch));
        let i = Inputs::new(841, tree, dims(6, 2, 16, window), 1.0);
        let queries = reference::queries(&i.layout, window);
        let (o_truth, l_truth) = reference::forward(&wide(&i.q), &wide(&i.k), &wide(&i.v), &queries, i.d, 1.0);
        for cx in contexts() {
            let (mut o, mut l) = (Guarded::<f32>::unwritten(i.q.len()), Guarded::<f32>::unwritten(i.layout.tokens() * 6));
            forward(&cx, &mut o, &mut l, &i.q, &i.k, &i.v, &i.layout, i.d);
            let name = format!("{:?} window {window:?}, seed 841", cx.level());
            let width = i.d.q_width();
            assert!(o[..150 * width].iter().chain(&l[..150 * 6]).all(|v| v.is_nan()), "a cached row was written: {name}");
            j.see("o", &name, &o[150 * width..], &o_truth).unwrap();
            j.see("l", &name, &l[150 * 6..], &l_truth).unwrap();
        }
    }
}

#[test]
fn decoding_agrees_with_reference() {
    let mut j = Judge::new("decode", DECODE_BOUND);
    // Prefix, sequences (17 is more than a task takes), window.
    for (seed, (prefix, count, window)) in
        (851..).zip([(0, 1, None), (130, 1, None), (5, 17, Some(5)), (300, 40, Some(200)), (64, 16, Some(1)), (1, 3, None)])
    {
        let d = dims(6, 2, if count == 17 { 7 } else { 16 }, window);
        let mut random = Random::new(seed);
        let (mut tails, mut held) = (Vec::new(), prefix);
        for _ in 0..count {
            // Room for more tokens than there are yet, as a cache has.
            let len = 1 + random.below(50);
            tails.push(Tail { start: held, len });
            held += len + random.below(4);
        }
        let q = random.floats(count * d.q_width(), 1.0);
        let (mut k, mut v) = (random.floats(held * d.kv_width(), 1.0), random.floats(held * d.kv_width(), 1.0));
        let queries: Vec<reference::Query> = tails
            .iter()
            .enumerate()
            .map(|(i, t)| (i, reference::last((0..prefix).chain(t.start..t.start + t.len).collect(), window)))
            .collect();
        // What no sequence owns yet may hold anything.
        for row in (prefix..held).filter(|r| !tails.iter().any(|t| (t.start..t.start + t.len).contains(r))) {
            k[row * d.kv_width()..][..d.kv_width()].fill(f32::NAN);
            v[row * d.kv_width()..][..d.kv_width()].fill(f32::NAN);
        }
        let (truth, _) = reference::forward(&wide(&q), &wide(&k), &wide(&v), &queries, d, 1.0);
        for cx in contexts() {
            let mut o = Guarded::unwritten(q.len());
            decode(&cx, &mut o, &q, &k, &v, prefix, &tails, d);
            o.intact("o").unwrap();
            j.see("o", &format!("{:?} prefix {prefix}, {count} sequences, {d:?}, seed {seed}", cx.level()), &o, &truth).unwrap();
            alike("decode", &threads(cx.level()).each_ref().map(Named), |named| {
                let mut o = vec![f32::NAN; q.len()];
                decode(named.0, &mut o, &q, &k, &v, prefix, &tails, d);
                vec![o]
            })
            .unwrap();
        }
    }
    j.finish();
}

// Size as in the forward pass. Measured worst 0.7 eps.
const DECODE_BOUND: &[(&str, f64)] = &[("o", 1.5)];

/// A context that can be named in a failure.
struct Named<'a>(&'a Cx);

impl std::fmt::Debug for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} threads at {:?}", self.0.threads(), self.0.level())
    }
}

#[test]
fn threads_change_no_bit() {
    for level in levels() {
        let contexts = threads(level);
        for (tree, d) in cases() {
            let i = Inputs::new(861, layout(tree), d, 1.0);
            alike(&i.name, &contexts.each_ref().map(Named), |named| run(named.0, &i, &forward, &backward).map(|g| g.to_vec()).to_vec())
                .unwrap();
        }
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("attention", BOUND);
    let i = Inputs::new(871, layout(BRANCHED), dims(6, 2, 16, Some(100)), 1.0);
    let truth = i.truth();
    judge(&mut j, &cx, &i, &truth, &forward, &backward).unwrap();
    let mut verdict = |forward: Forward, backward: Backward| judge(&mut j, &cx, &i, &truth, forward, backward);
    let window: Forward = &|cx, o, l, q, k, v, layout, d| forward(cx, o, l, q, k, v, layout, Dims { window: Some(101), ..d });
    must_catch("a window that is one too wide", verdict(window, &backward));
    let divisor: Forward = &|cx, o, l, q, k, v, layout, d| forward(cx, o, l, q, k, v, layout, Dims { scale: 1.0 / 16.01f32.sqrt(), ..d });
    must_catch("a wrong divisor of the scores", verdict(divisor, &backward));
    let factor: Backward = &|cx, (dq, dk, dv), d_o, saved, inputs, layout, d| {
        backward(cx, (dq, dk, dv), d_o, saved, inputs, layout, d);
        dq.iter_mut().for_each(|v| *v /= d.scale);
    };
    must_catch("the scale is lost in dq", verdict(&forward, factor));
    let drop: Backward = &|cx, (dq, dk, dv), d_o, (o, l), inputs, layout, d| {
        backward(cx, (dq, dk, dv), d_o, (&vec![0.0; o.len()], l), inputs, layout, d);
    };
    must_catch("do . o is lost", verdict(&forward, drop));
    let set: Backward = &|cx, (dq, dk, dv), d_o, saved, inputs, layout, d| {
        backward(cx, (dq, dk, dv), d_o, saved, inputs, layout, d);
        // The trunk's keys keep only what the trunk's own queries give them.
        let trunk = layout.segments()[0].len;
        let mut own = d_o.to_vec();
        own[trunk * d.q_width()..].fill(0.0);
        let (mut q, mut k, mut v) = (dq.to_vec(), dk.to_vec(), dv.to_vec());
        backward(cx, (&mut q, &mut k, &mut v), &own, saved, inputs, layout, d);
        dv[..trunk * d.kv_width()].copy_from_slice(&v[..trunk * d.kv_width()]);
    };
    must_catch("= for += in the gradient of shared values", verdict(&forward, set));
    let cousin: Forward = &|cx, o, l, q, k, v, layout, d| {
        let mut wrong = Layout::new();
        layout.segments().iter().enumerate().for_each(|(i, s)| {
            wrong.push(s.len, if i == 3 { Some(0) } else { s.parent });
        });
        forward(cx, o, l, q, k, v, &wrong, d);
    };
    must_catch("a branch hangs on its grandparent", verdict(cousin, &backward));
}

mod gpu;
mod gpu_decode;
