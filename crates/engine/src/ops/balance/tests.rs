//! Judges of the load balance: a reference in f64 that holds every example apart, and planted bugs.

use super::*;
use testkit::{Guarded, Judge, Random, dot, gradient, must_catch, wide};

/// The formulas of the header, example by example and token by token; shares nothing with the implementation.
mod reference {
    use super::{Dims, Range};
    use testkit::Truth;

    fn softmax(row: &[f64]) -> Vec<f64> {
        let sum: f64 = row.iter().map(|v| v.exp()).sum();
        row.iter().map(|v| v.exp() / sum).collect()
    }

    fn tokens(ranges: &[Range<usize>]) -> Vec<usize> {
        ranges.iter().cloned().flatten().collect()
    }

    /// f of one example.
    fn shares(chosen: &[Vec<u32>], ranges: &[Range<usize>], d: Dims) -> Vec<f64> {
        let rows = tokens(ranges);
        let total = (rows.len() * chosen.len()) as f64;
        let sent = |e| chosen.iter().flat_map(|c| rows.iter().flat_map(|&r| &c[r * d.top..][..d.top])).filter(|&&c| c == e).count() as f64;
        (0..d.experts as u32).map(|e| sent(e) / total).collect()
    }

    /// Losses of the examples, for logits and choices of every layer.
    pub fn forward(logits: &[Vec<f64>], chosen: &[Vec<u32>], examples: &[Vec<Range<usize>>], d: Dims) -> Vec<f64> {
        let of = |ranges: &Vec<Range<usize>>| {
            let (f, rows) = (shares(chosen, ranges, d), tokens(ranges));
            let total = (rows.len() * logits.len()) as f64;
            let all = logits.iter().flat_map(|l| rows.iter().map(|&r| softmax(&l[r * d.experts..][..d.experts])));
            all.map(|p| d.experts as f64 * (0..d.experts).map(|e| f[e] * p[e]).sum::<f64>() / total).sum()
        };
        examples.iter().map(of).collect()
    }

    /// Gradient of `scale` times the sum of the losses, for every layer.
    pub fn backward(logits: &[Vec<f64>], chosen: &[Vec<u32>], examples: &[Vec<Range<usize>>], scale: f64, d: Dims) -> Vec<Truth> {
        let mut all: Vec<Truth> = logits.iter().map(|l| Truth::zeros(l.len())).collect();
        for ranges in examples {
            let (f, rows) = (shares(chosen, ranges, d), tokens(ranges));
            let by = scale * d.experts as f64 / (rows.len() * logits.len()) as f64;
            for (out, logits) in all.iter_mut().zip(logits) {
                for &r in &rows {
                    let p = softmax(&logits[r * d.experts..][..d.experts]);
                    let mean: f64 = (0..d.experts).map(|e| f[e] * p[e]).sum();
                    for j in 0..d.experts {
                        let v = by * p[j] * (f[j] - mean);
                        out.add(r * d.experts + j, v, v.abs());
                    }
                }
            }
        }
        all
    }
}

type Op<'a> = &'a dyn Fn(&mut [Guarded], &Inputs) -> Vec<f64>;

struct Inputs {
    d: Dims,
    logits: Vec<Vec<f32>>,
    chosen: Vec<Vec<u32>>,
    examples: Vec<Vec<Range<usize>>>,
    scale: f64,
}

impl Inputs {
    /// A prefix of all, a part of it of two, own rows of each; one example is a single row.
    fn new(seed: u64, layers: usize, experts: usize, top: usize) -> Inputs {
        let mut random = Random::new(seed);
        let rows = 97;
        let examples = vec![vec![0..40, 40..47, 47..60], vec![0..40, 40..47, 60..61], vec![0..40, 61..90], vec![90..91], vec![91..97]];
        let d = Dims { rows, experts, top };
        let logits: Vec<Vec<f32>> = (0..layers).map(|_| random.floats(rows * experts, 1.5)).collect();
        let chosen = logits.iter().map(|l| l.chunks(experts).flat_map(|row| largest(row, top)).collect()).collect();
        Inputs { d, logits, chosen, examples, scale: 0.02 / 5.0 }
    }
}

fn largest(row: &[f32], top: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
    order.truncate(top);
    order
}

/// All layers forward, then all backward; the losses.
fn real(dlogits: &mut [Guarded], i: &Inputs) -> Vec<f64> {
    let mut tally = Tally::default();
    // What a tally held before is forgotten.
    tally.begin(&[vec![0..2, 2..3]], 2);
    forward(&mut tally, &[0.5; 6], &[0, 1, 1], &[vec![0..2, 2..3]], Dims { rows: 3, experts: 2, top: 1 });
    tally.begin(&i.examples, i.d.experts);
    i.logits.iter().zip(&i.chosen).for_each(|(l, c)| forward(&mut tally, l, c, &i.examples, i.d));
    for (dlogits, logits) in dlogits.iter_mut().zip(&i.logits).rev() {
        backward(&mut tally, dlogits, logits, &i.examples, i.scale, i.d);
    }
    tally.losses().collect()
}

fn judge(j: &mut Judge, i: &Inputs, op: Op) -> Result<(), String> {
    let name = format!("{:?}, {} layers", i.d, i.logits.len());
    let mut found: Vec<Guarded> = i.logits.iter().map(|l| Guarded::threes(l.len())).collect();
    let losses = op(&mut found, i);
    let logits: Vec<Vec<f64>> = i.logits.iter().map(|l| wide(l)).collect();
    for (e, (loss, truth)) in losses.iter().zip(reference::forward(&logits, &i.chosen, &i.examples, i.d)).enumerate() {
        // Some hundred sums in f64.
        if (loss - truth).abs() > 1e-13 * truth {
            return Err(format!("balance ({name}): example {e} has {loss:e}, expected {truth:e}"));
        }
    }
    for (found, truth) in found.iter().zip(reference::backward(&logits, &i.chosen, &i.examples, i.scale, i.d)) {
        found.intact("dlogits")?;
        j.see("dlogits", &name, found, &truth.over(3.0))?;
    }
    Ok(())
}

// Rounded once: half an eps of what is left, which is near the 3 that was there. Measured worst: 0.4 eps.
const BOUND: &[(&str, f64)] = &[("dlogits", 1.0)];

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(960);
    let i = Inputs::new(961, 3, 4, 2);
    let inputs: Vec<Vec<f64>> = i.logits.iter().map(|l| wide(l)).collect();
    let gradients: Vec<Vec<f64>> =
        reference::backward(&inputs, &i.chosen, &i.examples, i.scale, i.d).into_iter().map(|t| t.values).collect();
    let cotangent = vec![i.scale; i.examples.len()];
    // The choices stay what they are: f counts as constant.
    gradient::check(&mut random, &inputs, &gradients, |v| dot(&reference::forward(v, &i.chosen, &i.examples, i.d), &cotangent)).unwrap();
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("balance", BOUND);
    for (seed, (layers, experts, top)) in (962..).zip([(1, 8, 2), (3, 8, 2), (2, 5, 1), (1, 1, 1), (2, 3, 3)]) {
        judge(&mut j, &Inputs::new(seed, layers, experts, top), &real).unwrap();
    }
    j.finish();
}

#[test]
fn small_gradients_are_right_where_nothing_was_before() {
    // Before, the 3 hides what is far below its own rounding.
    let i = Inputs::new(970, 2, 8, 2);
    let mut found: Vec<Guarded> = i.logits.iter().map(|l| Guarded::filled(l.len(), 0.0)).collect();
    real(&mut found, &i);
    let logits: Vec<Vec<f64>> = i.logits.iter().map(|l| wide(l)).collect();
    for (found, truth) in found.iter().zip(reference::backward(&logits, &i.chosen, &i.examples, i.scale, i.d)) {
        for ((f, t), size) in wide(found).iter().zip(&truth.values).zip(&truth.sizes) {
            assert!((f - t).abs() <= 1e-7 * size + 1e-16, "{f:e}, expected {t:e}");
        }
    }
}

#[test]
fn an_even_router_loses_its_number_of_slots() {
    // All probabilities equal: P_e = 1 / experts whatever is sent where, so the loss is top.
    let d = Dims { rows: 10, experts: 4, top: 2 };
    let examples = vec![vec![0..10], vec![2..2]];
    let mut tally = Tally::default();
    tally.begin(&examples, 4);
    forward(&mut tally, &[0.25; 40], &[0, 3].repeat(10), &examples, d);
    assert_eq!(tally.losses().collect::<Vec<_>>(), [2.0, 0.0]);
    let mut dlogits = vec![0.0; 40];
    backward(&mut tally, &mut dlogits, &[0.25; 40], &examples, 1.0, d);
    assert!(dlogits.iter().all(|v| v.is_finite()) && dlogits[0] > 0.0 && dlogits[1] < 0.0);
}

#[test]
fn judge_catches_planted_bugs() {
    let mut j = Judge::new("balance", BOUND);
    // A scale that lifts the gradient above the rounding of the 3 that was there.
    let i = Inputs { scale: 40.0, ..Inputs::new(980, 2, 8, 2) };
    judge(&mut j, &i, &real).unwrap();
    let layers: Op = &|dlogits, i| {
        let mut sum = vec![0.0; i.examples.len()];
        for l in 0..i.logits.len() {
            let one = Inputs { logits: vec![i.logits[l].clone()], chosen: vec![i.chosen[l].clone()], examples: i.examples.clone(), ..*i };
            let losses = real(&mut dlogits[l..=l], &one);
            sum.iter_mut().zip(losses).for_each(|(s, l)| *s += l / i.logits.len() as f64);
        }
        sum
    };
    must_catch("each layer balanced by itself", judge(&mut j, &i, layers));
    let together: Op = &|dlogits, i| {
        let all = Inputs { logits: i.logits.clone(), chosen: i.chosen.clone(), examples: vec![vec![0..97]], ..*i };
        vec![real(dlogits, &all)[0]; i.examples.len()]
    };
    must_catch("all examples balanced together", judge(&mut j, &i, together));
    let once: Op = &|dlogits, i| {
        let examples = i.examples.iter().enumerate().map(|(e, r)| if e > 0 { r[r.len() - 1..].to_vec() } else { r.clone() }).collect();
        real(dlogits, &Inputs { logits: i.logits.clone(), chosen: i.chosen.clone(), examples, ..*i })
    };
    must_catch("a shared row counts for the first example only", judge(&mut j, &i, once));
    let set: Op = &|dlogits, i| {
        dlogits.iter_mut().for_each(|d| d.fill(0.0));
        real(dlogits, i)
    };
    must_catch("= for += in dlogits", judge(&mut j, &i, set));
    let slots: Op = &|dlogits, i| {
        let losses = real(dlogits, i);
        losses.iter().map(|l| l / i.d.top as f64).collect()
    };
    must_catch("shares that add up to 1 instead of the slots", judge(&mut j, &i, slots));
}
