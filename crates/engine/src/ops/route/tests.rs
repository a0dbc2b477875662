//! Judges of the router: a reference in f64 from the formulas of the file's header, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, alike, dot, gradient, must_catch, wide};

// Rows, experts, top.
const CASES: &[(usize, usize, usize)] = &[(1, 1, 1), (3, 7, 2), (300, 8, 2), (513, 8, 1), (65, 5, 5), (2, 128, 8)];

/// The formulas of the header, softmax over all experts first; shares nothing with the implementation.
mod reference {
    use super::Dims;
    use testkit::Truth;

    /// The chosen experts of each row, and their weights.
    pub fn forward(logits: &[f64], d: Dims) -> (Vec<u32>, Truth) {
        let (mut chosen, mut weights) = (Vec::new(), Truth::new());
        for row in logits.chunks(d.experts) {
            let most = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let sum: f64 = row.iter().map(|v| (v - most).exp()).sum();
            let p: Vec<f64> = row.iter().map(|v| (v - most).exp() / sum).collect();
            let mut order: Vec<usize> = (0..d.experts).collect();
            order.sort_by(|&a, &b| p[b].total_cmp(&p[a]).then(a.cmp(&b)));
            let top = &order[..d.top];
            let total: f64 = top.iter().map(|&e| p[e]).sum();
            // The difference of two logits is rounded before the exponential: an error of eps times it in p.
            let reach: f64 = top.iter().map(|&e| p[e] / total * (most - row[e])).sum();
            for &e in top {
                let w = p[e] / total;
                chosen.push(e as u32);
                // The exponential is cut below e^-87: the 1e-30.
                weights.push(w, w * (1.0 + most - row[e] + reach) + 1e-30);
            }
        }
        (chosen, weights)
    }

    pub fn backward(dw: &[f64], logits: &[f64], d: Dims) -> Truth {
        let (chosen, weights) = forward(logits, d);
        let mut out = Truth::zeros(logits.len());
        for row in 0..d.rows {
            let at = |s: usize| row * d.top + s;
            let mean: f64 = (0..d.top).map(|s| dw[at(s)] * weights.values[at(s)]).sum();
            let size: f64 = (0..d.top).map(|s| dw[at(s)].abs() * weights.sizes[at(s)]).sum();
            for s in 0..d.top {
                let value = weights.values[at(s)] * (dw[at(s)] - mean);
                out.add(row * d.experts + chosen[at(s)] as usize, value, weights.sizes[at(s)] * (dw[at(s)].abs() + size));
            }
        }
        out
    }
}

type Forward<'a> = &'a dyn Fn(&Cx, &mut [u32], &mut [f32], &[f32], Dims);
type Backward<'a> = &'a dyn Fn(&Cx, &mut [f32], &[f32], &[f32], &[u32], Dims);

struct Inputs {
    name: String,
    d: Dims,
    logits: Vec<f32>,
    dw: Vec<f32>,
}

impl Inputs {
    fn new(seed: u64, (rows, experts, top): (usize, usize, usize), size: f64) -> Inputs {
        let mut random = Random::new(seed);
        let d = Dims { rows, experts, top };
        let (logits, dw) = (random.floats(rows * experts, size), random.floats(rows * top, 1.0));
        Inputs { name: format!("{d:?}, size {size:e}, seed {seed}"), d, logits, dw }
    }
}

fn judge(j: &mut Judge, cx: &Cx, i: &Inputs, forward: Forward, backward: Backward) -> Result<(), String> {
    let (name, d) = (format!("{:?} {}", cx.level(), i.name), i.d);
    let (mut chosen, mut weights) = (vec![u32::MAX; d.rows * d.top], Guarded::unwritten(d.rows * d.top));
    forward(cx, &mut chosen, &mut weights, &i.logits, d);
    weights.intact("weights")?;
    let logits = wide(&i.logits);
    let (chosen_truth, weights_truth) = reference::forward(&logits, d);
    if let Some(at) = (0..chosen.len()).find(|&at| chosen[at] != chosen_truth[at]) {
        return Err(format!("route ({name}): pair {at} goes to {}, expected {}", chosen[at], chosen_truth[at]));
    }
    j.see("weights", &name, &weights, &weights_truth)?;
    let mut dlogits = Guarded::unwritten(i.logits.len());
    backward(cx, &mut dlogits, &i.dw, &weights, &chosen, d);
    dlogits.intact("dlogits")?;
    j.see("dlogits", &name, &dlogits, &reference::backward(&wide(&i.dw), &logits, d))
}

// Size: the weight times how far the exponents reach. Measured worst: weights 1.1, dlogits 0.9 eps.
const BOUND: &[(&str, f64)] = &[("weights", 2.5), ("dlogits", 2.5)];

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(900);
    for (rows, experts, top) in [(3, 7, 2), (2, 8, 3), (2, 4, 4)] {
        let d = Dims { rows, experts, top };
        // Distances of at least 0.05, which no step of the differences closes.
        let mut logits = Vec::new();
        for _ in 0..rows {
            let mut row: Vec<f64> = (0..experts).map(|e| 0.3 * e as f64 + 0.25 * random.uniform()).collect();
            (1..experts).rev().for_each(|i| row.swap(i, random.below(i + 1)));
            logits.extend(row);
        }
        let cotangent = random.doubles(rows * top);
        let dlogits = reference::backward(&cotangent, &logits, d).values;
        gradient::check(&mut random, &[logits], &[dlogits], |v| dot(&reference::forward(&v[0], d).1.values, &cotangent)).unwrap();
    }
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("route", BOUND);
    for cx in contexts() {
        for (seed, &case) in (901..).zip(CASES) {
            judge(&mut j, &cx, &Inputs::new(seed, case, 1.0), &forward, &backward).unwrap();
            judge(&mut j, &cx, &Inputs::new(seed + 50, case, 30.0), &forward, &backward).unwrap();
        }
    }
    j.finish();
}

#[test]
fn of_equals_the_lower_index_and_nothing_twice() {
    let cx = Cx::new(1).unwrap();
    let d = Dims { rows: 4, experts: 4, top: 3 };
    let inf = f32::INFINITY;
    #[rustfmt::skip]
    let logits = [
        1.0, 2.0, 2.0, 1.0,
        0.0, 0.0, 0.0, 0.0,
        f32::NAN, 1.0, f32::NAN, 2.0,
        -inf, -1e30, 5.0, -inf,
    ];
    let (mut chosen, mut weights) = ([9; 12], [f32::NAN; 12]);
    forward(&cx, &mut chosen, &mut weights, &logits, d);
    assert_eq!(chosen[..6], [1, 2, 0, 0, 1, 2]);
    assert_eq!(weights[3..6], [1.0 / 3.0; 3]);
    // A row that is not finite still names three experts; its weights say what happened.
    let mut broken = chosen[6..9].to_vec();
    broken.sort_unstable();
    broken.dedup();
    assert!(broken.len() == 3 && weights[6..9].iter().any(|w| w.is_nan()));
    assert_eq!((&chosen[9..12], &weights[9..12]), (&[2, 1, 0][..], &[1.0, 0.0, 0.0][..]));
}

#[test]
fn groups_hold_every_pair_once_in_order() {
    let mut random = Random::new(930);
    let largest = Dims { rows: 300, experts: 8, top: 2 };
    let mut groups = Groups::new(largest);
    let room = (groups.starts.capacity(), groups.rows.capacity(), groups.pairs.capacity());
    for rows in [300, 1, 0, 17, 300] {
        let d = Dims { rows, ..largest };
        // Expert 5 gets nothing.
        let pick = |r: &mut Random| [0, 1, 2, 3, 4, 6, 7][r.below(7)];
        let chosen: Vec<u32> = (0..rows)
            .flat_map(|_| {
                let first = pick(&mut random);
                let second = loop {
                    let e = pick(&mut random);
                    if e != first {
                        break e;
                    }
                };
                [first, second]
            })
            .collect();
        groups.sort(&chosen, d);
        let mut seen = 0;
        for e in 0..8 {
            let share = groups.of(e);
            let expected: Vec<u32> = (0..chosen.len() as u32).filter(|&p| chosen[p as usize] as usize == e).collect();
            assert_eq!(share.pairs, expected);
            assert!(share.rows.iter().zip(share.pairs).all(|(r, p)| *r == p / 2));
            seen += share.pairs.len();
        }
        assert_eq!(seen, 2 * rows);
        assert_eq!(groups.largest(), (0..8).map(|e| groups.of(e).rows.len()).max().unwrap());
        assert_eq!(room, (groups.starts.capacity(), groups.rows.capacity(), groups.pairs.capacity()), "it grew");
    }
}

#[test]
fn same_bits_for_threads_and_levels() {
    for &case in CASES {
        let i = Inputs::new(940, case, 2.0);
        let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
        let variants: Vec<usize> = (0..all.len()).collect();
        alike(&i.name, &variants, |&v| {
            let (mut chosen, mut weights) = (vec![0; i.dw.len()], vec![f32::NAN; i.dw.len()]);
            forward(&all[v], &mut chosen, &mut weights, &i.logits, i.d);
            let mut dlogits = vec![f32::NAN; i.logits.len()];
            backward(&all[v], &mut dlogits, &i.dw, &weights, &chosen, i.d);
            vec![chosen.iter().map(|&e| e as f32).collect(), weights, dlogits]
        })
        .unwrap();
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("route", BOUND);
    let i = Inputs::new(950, (40, 8, 2), 1.0);
    judge(&mut j, &cx, &i, &forward, &backward).unwrap();
    let all: Forward = &|cx, chosen, weights, logits, d| {
        forward(cx, chosen, weights, logits, d);
        for (row, w) in weights.chunks_mut(d.top).enumerate() {
            let line = &logits[row * d.experts..][..d.experts];
            let sum: f32 = line.iter().map(|v| v.exp()).sum();
            w.iter_mut().zip(&chosen[row * d.top..]).for_each(|(w, &e)| *w = line[e as usize].exp() / sum);
        }
    };
    must_catch("the weights are not renormalised", judge(&mut j, &cx, &i, &all, &backward));
    let swapped: Forward = &|cx, chosen, weights, logits, d| {
        forward(cx, chosen, weights, logits, d);
        chosen.swap(6, 7);
        weights.swap(6, 7);
    };
    must_catch("the second before the first", judge(&mut j, &cx, &i, swapped, &backward));
    let mean: Backward = &|cx, dlogits, dw, weights, chosen, d| {
        backward(cx, dlogits, dw, weights, chosen, d);
        for (pair, &e) in chosen.iter().enumerate() {
            dlogits[pair / d.top * d.experts + e as usize] = weights[pair] * dw[pair];
        }
    };
    must_catch("the mean is not taken off", judge(&mut j, &cx, &i, &forward, mean));
    let slot: Backward = &|cx, dlogits, dw, weights, chosen, d| {
        backward(cx, dlogits, dw, weights, chosen, d);
        dlogits.chunks_mut(d.experts).for_each(|line| line.rotate_right(1));
    };
    must_catch("the gradient of the neighbour", judge(&mut j, &cx, &i, &forward, slot));
    let left: Backward = &|cx, dlogits, dw, weights, chosen, d| {
        let before = dlogits.to_vec();
        backward(cx, dlogits, dw, weights, chosen, d);
        let chosen = &chosen[..d.top];
        (0..d.experts).filter(|e| !chosen.contains(&(*e as u32))).for_each(|e| dlogits[e] = before[e]);
    };
    must_catch("experts that were not chosen keep what was there", judge(&mut j, &cx, &i, &forward, left));
}
