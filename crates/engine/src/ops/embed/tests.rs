//! Judges of the embedding: a reference in f64 as a product with a matrix of ones and zeros, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, alike, dot, gradient, must_catch, wide};

// Rows, vocabulary, width: one word, words that come often, words that never come.
const CASES: &[(usize, usize, usize)] = &[(1, 1, 1), (300, 7, 65), (40, 1000, 130), (0, 5, 3), (129, 64, 64)];

/// The formulas of the header as a product with the (rows, vocab) matrix of what a row is; shares nothing with the implementation.
mod reference {
    use testkit::Truth;

    fn is(row: usize, t: usize, tokens: &[u32]) -> f64 {
        if tokens[row] as usize == t { 1.0 } else { 0.0 }
    }

    pub fn forward(table: &[f64], tokens: &[u32], width: usize) -> Vec<f64> {
        let vocab = table.len() / width;
        let at = |row: usize, j: usize| (0..vocab).map(|t| is(row, t, tokens) * table[t * width + j]).sum();
        (0..tokens.len() * width).map(|i| at(i / width, i % width)).collect()
    }

    pub fn backward(dx: &[f64], vocab: usize, tokens: &[u32], width: usize) -> Truth {
        let mut all = Truth::zeros(vocab * width);
        for (i, d) in dx.iter().enumerate() {
            for t in 0..vocab {
                let v = is(i / width, t, tokens) * d;
                all.add(t * width + i % width, v, v.abs());
            }
        }
        all
    }
}

type Forward<'a> = &'a dyn Fn(&Cx, &mut [f32], &[f32], &[u32], usize);
type Backward<'a> = &'a dyn Fn(&Cx, &mut [f32], &[f32], &[u32], usize);

struct Inputs {
    name: String,
    table: Vec<f32>,
    tokens: Vec<u32>,
    dx: Vec<f32>,
    width: usize,
}

impl Inputs {
    fn new(seed: u64, (rows, vocab, width): (usize, usize, usize)) -> Inputs {
        let mut random = Random::new(seed);
        // Small numbers more often than large ones, as words are; the last word never but in a vocabulary of one.
        let tokens = (0..rows).map(|_| (random.uniform().powi(3) * (vocab - 1) as f64) as u32).collect();
        let name = format!("{rows} rows of {vocab} x {width}, seed {seed}");
        Inputs { name, table: random.floats(vocab * width, 1.0), tokens, dx: random.floats(rows * width, 1.0), width }
    }
}

fn judge(j: &mut Judge, cx: &Cx, i: &Inputs, forward: Forward, backward: Backward) -> Result<(), String> {
    let name = format!("{:?} {}", cx.level(), i.name);
    let mut x = Guarded::unwritten(i.dx.len());
    forward(cx, &mut x, &i.table, &i.tokens, i.width);
    x.intact("x")?;
    let truth = testkit::narrow(&reference::forward(&wide(&i.table), &i.tokens, i.width));
    j.see_exact("x", &name, &x, &truth)?;
    let mut dtable = Guarded::threes(i.table.len());
    backward(cx, &mut dtable, &i.dx, &i.tokens, i.width);
    dtable.intact("dtable")?;
    j.see("dtable", &name, &dtable, &reference::backward(&wide(&i.dx), i.table.len() / i.width, &i.tokens, i.width).over(3.0))
}

// Size: the sum of the magnitudes of the terms; x is copied. Measured worst: dtable 1.2 eps.
const BOUND: &[(&str, f64)] = &[("dtable", 2.0)];

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(1300);
    let i = Inputs::new(1301, (6, 4, 3));
    let inputs = [random.doubles(12)];
    let cotangent = random.doubles(18);
    let dtable = reference::backward(&cotangent, 4, &i.tokens, 3).values;
    gradient::check(&mut random, &inputs, &[dtable], |v| dot(&reference::forward(&v[0], &i.tokens, 3), &cotangent)).unwrap();
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("embed", BOUND);
    for cx in contexts() {
        for (seed, &case) in (1302..).zip(CASES) {
            judge(&mut j, &cx, &Inputs::new(seed, case), &forward, &backward).unwrap();
        }
    }
    j.finish();
}

#[test]
fn same_bits_for_threads_and_levels() {
    for &case in CASES {
        let i = Inputs::new(1320, case);
        let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
        let variants: Vec<usize> = (0..all.len()).collect();
        alike(&i.name, &variants, |&v| {
            let (mut x, mut dtable) = (vec![f32::NAN; i.dx.len()], vec![3.0; i.table.len()]);
            forward(&all[v], &mut x, &i.table, &i.tokens, i.width);
            backward(&all[v], &mut dtable, &i.dx, &i.tokens, i.width);
            vec![x, dtable]
        })
        .unwrap();
    }
}

#[test]
#[should_panic(expected = "past the vocabulary of 7")]
fn a_token_past_the_table_is_refused() {
    backward(&Cx::new(1).unwrap(), &mut [0.0; 21], &[1.0; 6], &[6, 7], 3);
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("embed", BOUND);
    let i = Inputs::new(1330, (60, 7, 66));
    judge(&mut j, &cx, &i, &forward, &backward).unwrap();
    let next: Forward = &|cx, x, table, tokens, width| {
        let wrong: Vec<u32> = tokens.iter().map(|t| (t + 1) % 7).collect();
        forward(cx, x, table, &wrong, width);
    };
    must_catch("the next word", judge(&mut j, &cx, &i, next, &backward));
    let once: Backward = &|cx, dtable, dx, tokens, width| {
        let last = |i: &usize| !tokens[i + 1..].contains(&tokens[*i]);
        for i in (0..tokens.len()).filter(last) {
            backward(cx, dtable, &dx[i * width..][..width], &tokens[i..=i], width);
        }
    };
    must_catch("a word that comes again replaces what it brought before", judge(&mut j, &cx, &i, &forward, once));
    let set: Backward = &|cx, dtable, dx, tokens, width| {
        dtable.fill(0.0);
        backward(cx, dtable, dx, tokens, width);
    };
    must_catch("= for += in dtable", judge(&mut j, &cx, &i, &forward, set));
    let edge: Backward = &|cx, dtable, dx, tokens, width| {
        let before: Vec<f32> = dtable.chunks(width).flat_map(|row| row[64..].to_vec()).collect();
        backward(cx, dtable, dx, tokens, width);
        dtable.chunks_mut(width).zip(before.chunks(width - 64)).for_each(|(row, b)| row[64..].copy_from_slice(b));
    };
    must_catch("the last columns are left out", judge(&mut j, &cx, &i, &forward, edge));
}
