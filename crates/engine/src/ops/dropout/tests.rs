//! Judges of dropout: a reference in f64 with its own arithmetic of the mask, statistics of the mask, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, alike, dot, gradient, must_catch, same_bits, wide};

// Rows and width.
const CASES: &[(usize, usize)] = &[(1, 1), (3, 7), (130, 65), (33, 64), (2, 4097)];

/// The mask and formulas of the header in numbers of 128 bits; shares nothing with the implementation.
mod reference {
    use super::Drop;
    use testkit::Truth;

    const TWO_32: u128 = 1 << 32;
    const TWO_64: u128 = 1 << 64;

    fn split_mix(z: u128) -> u128 {
        let z = (z + 0x9e3779b97f4a7c15) % TWO_64;
        let z = (z ^ (z / (1 << 30))) * 0xbf58476d1ce4e5b9 % TWO_64;
        let z = (z ^ (z / (1 << 27))) * 0x94d049bb133111eb % TWO_64;
        z ^ (z / (1 << 31))
    }

    fn half(x: u128) -> u128 {
        let x = (x ^ (x / 65_536)) * 0x7feb352d % TWO_32;
        let x = (x ^ (x / 32_768)) * 0x846ca68b % TWO_32;
        x ^ (x / 65_536)
    }

    pub fn kept(drop: Drop, key: u64, column: usize) -> bool {
        let row = split_mix(split_mix(split_mix(drop.seed.into()) ^ u128::from(drop.stream)) ^ u128::from(key));
        let first = half((row % TWO_32 + column as u128 * 0x9e3779b9) % TWO_32);
        half(first ^ (row / TWO_32)) as f64 >= (drop.p * TWO_32 as f64).round()
    }

    /// The same forward and, of a gradient, backward.
    pub fn apply(x: &[f64], keys: &[u64], drop: Drop) -> Truth {
        let width = x.len() / keys.len();
        let mut out = Truth::new();
        for (at, v) in x.iter().enumerate() {
            let v = if kept(drop, keys[at / width], at % width) { v / (1.0 - drop.p) } else { 0.0 };
            out.push(v, v.abs());
        }
        out
    }
}

type Op<'a> = &'a dyn Fn(&Cx, &mut [f32], &[f32], &[u64], Drop);

struct Inputs {
    name: String,
    x: Vec<f32>,
    keys: Vec<u64>,
    drop: Drop,
}

impl Inputs {
    fn new(seed: u64, (rows, width): (usize, usize), p: f64) -> Inputs {
        let mut random = Random::new(seed);
        // Neighbours, as the positions of an example are, then jumps.
        let keys = (0..rows as u64).map(|r| if r % 3 == 2 { random.bits() } else { 1000 + r }).collect();
        let drop = Drop { seed: random.bits(), stream: seed % 7, p };
        Inputs { name: format!("{rows} x {width}, p {p}, seed {seed}"), x: random.floats(rows * width, 1.0), keys, drop }
    }
}

fn judge(j: &mut Judge, cx: &Cx, i: &Inputs, forward: Op, backward: Op) -> Result<(), String> {
    let name = format!("{:?} {}", cx.level(), i.name);
    let truth = reference::apply(&wide(&i.x), &i.keys, i.drop);
    let mut out = Guarded::unwritten(i.x.len());
    forward(cx, &mut out, &i.x, &i.keys, i.drop);
    out.intact("out")?;
    j.see("out", &name, &out, &truth)?;
    let mut dx = Guarded::threes(i.x.len());
    backward(cx, &mut dx, &i.x, &i.keys, i.drop);
    dx.intact("dx")?;
    j.see("dx", &name, &dx, &truth.over(3.0))
}

// Size: the value itself; dropped elements are exact zeros. Measured worst: out 0.8, dx 0.8 eps.
const BOUND: &[(&str, f64)] = &[("out", 1.5), ("dx", 1.5)];

#[test]
fn reference_is_its_own_derivative() {
    let mut random = Random::new(1200);
    let i = Inputs::new(1201, (3, 7), 0.4);
    let inputs = [random.doubles(21)];
    let cotangent = random.doubles(21);
    let dx = reference::apply(&cotangent, &i.keys, i.drop).values;
    gradient::check(&mut random, &inputs, &[dx], |v| dot(&reference::apply(&v[0], &i.keys, i.drop).values, &cotangent)).unwrap();
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("dropout", BOUND);
    for cx in contexts() {
        for (seed, &case) in (1202..).zip(CASES) {
            for p in [0.05, 0.5, 0.999] {
                judge(&mut j, &cx, &Inputs::new(seed, case, p), &forward, &backward).unwrap();
            }
        }
    }
    j.finish();
}

#[test]
fn nothing_is_dropped_at_zero() {
    let cx = Cx::new(1).unwrap();
    let i = Inputs::new(1210, (5, 33), 0.0);
    let mut out = vec![f32::NAN; i.x.len()];
    forward(&cx, &mut out, &i.x, &i.keys, i.drop);
    same_bits("out", &i.x, &out).unwrap();
    forward(&cx, &mut [], &[], &[], i.drop);
}

#[test]
fn a_mask_belongs_to_its_key_not_to_its_row() {
    let cx = Cx::new(2).unwrap();
    let i = Inputs::new(1220, (90, 50), 0.3);
    let mut all = vec![f32::NAN; i.x.len()];
    forward(&cx, &mut all, &i.x, &i.keys, i.drop);
    for row in [0, 7, 64, 89] {
        let mut alone = vec![f32::NAN; 50];
        forward(&cx, &mut alone, &i.x[row * 50..][..50], &i.keys[row..row + 1], i.drop);
        same_bits("a row by itself", &all[row * 50..][..50], &alone).unwrap();
    }
}

/// Share of (key, column) in `0..keys`, `0..columns` for which `hit` holds, in standard deviations from `p`.
fn deviation(keys: u64, columns: u32, p: f64, hit: impl Fn(u64, u32) -> bool) -> f64 {
    let n = (keys * u64::from(columns)) as f64;
    let hits = (0..keys).map(|k| (0..columns).filter(|&c| hit(k, c)).count()).sum::<usize>() as f64;
    (hits - n * p) / (n * p * (1.0 - p)).sqrt()
}

#[test]
fn bits_are_uniform() {
    let drop = Drop { seed: 42, stream: 3, p: 0.5 };
    // 256 classes of the top and of the low byte: chi-square of 255 degrees has mean 255, deviation 22.6.
    for shift in [24, 12, 0] {
        let mut counts = [0f64; 256];
        let n = 2000 * 256;
        for key in 0..2000 {
            (0..256).for_each(|c| counts[(bits(drop.row(key), c) >> shift) as usize % 256] += 1.0);
        }
        let expected = f64::from(n) / 256.0;
        let chi: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
        assert!((chi - 255.0).abs() < 5.0 * 22.6, "chi-square {chi} at bit {shift}");
    }
    for p in [0.01, 0.1, 0.5] {
        let d = Drop { p, ..drop };
        let off = deviation(2000, 500, p, |k, c| bits(d.row(k), c) < d.threshold());
        assert!(off.abs() < 5.0, "dropped {off} deviations from {p}");
    }
}

#[test]
fn neighbours_are_independent() {
    type Hit<'a> = &'a dyn Fn(u64, u32) -> bool;
    let drop = Drop { seed: 7, stream: 0, p: 0.5 };
    let at = |d: Drop, k: u64, c: u32| bits(d.row(k), c) < d.threshold();
    let both = |other: Hit| deviation(2000, 500, 0.5, |k, c| at(drop, k, c) == other(k, c));
    let neighbours: [(&str, Hit); 8] = [
        ("next key", &|k, c| at(drop, k + 1, c)),
        ("key 2^32 on", &|k, c| at(drop, k + (1 << 32), c)),
        ("key 2^63 on", &|k, c| at(drop, k + (1 << 63), c)),
        ("next column", &|k, c| at(drop, k, c + 1)),
        ("next key and column", &|k, c| at(drop, k + 1, c + 1)),
        ("column 4096 on", &|k, c| at(drop, k, c + 4096)),
        ("next stream", &|k, c| at(Drop { stream: 1, ..drop }, k, c)),
        ("next seed", &|k, c| at(Drop { seed: 8, ..drop }, k, c)),
    ];
    for (name, other) in neighbours {
        let off = both(other);
        assert!(off.abs() < 5.0, "{name}: alike {off} deviations too often");
    }
    // Rows whose low halves are one step apart: without the second mixing one mask is the other, shifted.
    let (a, b) = (0x1234_5678_0000_1000u64, 0x0fed_cba9_0000_1000u64 + 0x9e37_79b9);
    let off = deviation(1, 100_000, 0.5, |_, c| (bits(a, c + 1) < 1 << 31) == (bits(b, c) < 1 << 31));
    assert!(off.abs() < 5.0, "shifted rows: alike {off} deviations too often");
    // The statistic sees what it is for.
    assert!(deviation(100, 100, 0.5, |k, c| at(drop, k, c) == at(drop, k / 2 * 2, c)).abs() > 5.0);
}

#[test]
fn same_bits_for_threads_and_levels() {
    for &case in CASES {
        let i = Inputs::new(1240, case, 0.1);
        let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
        let variants: Vec<usize> = (0..all.len()).collect();
        alike(&i.name, &variants, |&v| {
            let (mut out, mut dx) = (vec![f32::NAN; i.x.len()], vec![3.0; i.x.len()]);
            forward(&all[v], &mut out, &i.x, &i.keys, i.drop);
            backward(&all[v], &mut dx, &i.x, &i.keys, i.drop);
            vec![out, dx]
        })
        .unwrap();
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("dropout", BOUND);
    let i = Inputs::new(1250, (7, 20), 0.3);
    judge(&mut j, &cx, &i, &forward, &backward).unwrap();
    let plain: Op = &|cx, out, x, keys, drop| {
        forward(cx, out, x, keys, drop);
        out.iter_mut().for_each(|v| *v *= (1.0 - drop.p) as f32);
    };
    must_catch("what is kept is not scaled", judge(&mut j, &cx, &i, plain, &backward));
    let kept: Op = &|cx, out, x, keys, drop| {
        forward(cx, out, x, keys, Drop { p: 1.0 - drop.p, ..drop });
    };
    must_catch("p is the probability to keep", judge(&mut j, &cx, &i, kept, &backward));
    let row: Op = &|cx, out, x, keys, drop| {
        let rows: Vec<u64> = (0..keys.len() as u64).collect();
        forward(cx, out, x, &rows, drop);
    };
    must_catch("the mask follows the row", judge(&mut j, &cx, &i, row, &backward));
    let other: Op = &|cx, dx, g, keys, drop| backward(cx, dx, g, keys, Drop { stream: drop.stream + 1, ..drop });
    must_catch("another mask on the way back", judge(&mut j, &cx, &i, &forward, other));
    let set: Op = &|cx, dx, g, keys, drop| forward(cx, dx, g, keys, drop);
    must_catch("= for += in dx", judge(&mut j, &cx, &i, &forward, set));
}
