//! Judges of the rotary embedding: a reference in f64 from the formulas of the file's header, and planted bugs.

mod gpu;

use super::*;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use testkit::{Guarded, Judge, Random, alike, dot, gradient, must_catch, wide};

// Rows, heads, head_dim, rotary: whole heads, a part of them, one pair, none.
const CASES: &[(usize, usize, usize, usize)] =
    &[(1, 1, 2, 2), (3, 3, 7, 4), (64, 2, 64, 64), (130, 5, 64, 32), (65, 1, 10, 0), (3, 2, 128, 128)];

const POSITIONS: usize = 5000;

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use testkit::Truth;

    /// `sign` is 1 for the turn, -1 for its gradient; what is not turned has size 0: it must stay as it is.
    pub fn turn(x: &[f64], positions: &[u32], frequencies: &[f64], head_dim: usize, scale: f64, sign: f64) -> Truth {
        let half = frequencies.len();
        let heads = x.len() / positions.len() / head_dim;
        let mut out = Truth::new();
        for (at, &own) in x.iter().enumerate() {
            let (row, i) = (at / (heads * head_dim), at % head_dim);
            if i >= 2 * half {
                out.push(own, 0.0);
                continue;
            }
            let angle = f64::from(positions[row]) * frequencies[i % half];
            let (c, s) = (angle.cos() * scale, angle.sin() * scale * sign);
            // The first of a pair loses, the second gains.
            let other = if i < half { -x[at + half] * s } else { x[at - half] * s };
            out.push(own * c + other, (own * c).abs() + other.abs());
        }
        out
    }
}

type Turned<'a> = &'a dyn Fn(&Cx, &mut [f32], &[u32], &Table, usize, Turn);

struct Inputs {
    name: String,
    x: Vec<f32>,
    positions: Vec<u32>,
    frequencies: Vec<f64>,
    head_dim: usize,
    scale: f64,
}

impl Inputs {
    fn new(seed: u64, (rows, heads, head_dim, rotary): (usize, usize, usize, usize), size: f64) -> Inputs {
        let mut random = Random::new(seed);
        let x = random.floats(rows * heads * head_dim, size);
        let mut positions: Vec<u32> = (0..rows).map(|_| random.below(POSITIONS) as u32).collect();
        positions[0] = POSITIONS as u32 - 1;
        let frequencies = (0..rotary / 2).map(|i| 10_000f64.powf(-2.0 * i as f64 / rotary as f64)).collect();
        let scale = if seed.is_multiple_of(2) { 1.0 } else { 1.19 };
        Inputs {
            name: format!("{rows} rows, {heads} x {head_dim}, rotary {rotary}, seed {seed}"),
            x,
            positions,
            frequencies,
            head_dim,
            scale,
        }
    }
}

fn judge(j: &mut Judge, cx: &Cx, i: &Inputs, op: Turned) -> Result<(), String> {
    let table = Table::new(&i.frequencies, POSITIONS, i.scale);
    for (way, sign, output) in [(Turn::Forward, 1.0, "x"), (Turn::Backward, -1.0, "dx")] {
        let mut x = Guarded::holding(&i.x);
        op(cx, &mut x, &i.positions, &table, i.head_dim, way);
        x.intact(output)?;
        let truth = reference::turn(&wide(&i.x), &i.positions, &i.frequencies, i.head_dim, i.scale, sign);
        j.see(output, &format!("{:?} {}", cx.level(), i.name), &x, &truth)?;
    }
    Ok(())
}

// Size: |a cos| + |b sin|. Measured worst: x 1.3, dx 1.2 eps (130 rows).
const BOUND: &[(&str, f64)] = &[("x", 2.5), ("dx", 2.5)];

#[test]
fn reference_backward_is_the_derivative() {
    let mut random = Random::new(400);
    let i = Inputs::new(401, (3, 2, 7, 4), 1.0);
    let inputs = [random.doubles(i.x.len())];
    let cotangent = random.doubles(i.x.len());
    let turn = |x: &[f64], sign| reference::turn(x, &i.positions, &i.frequencies, 7, i.scale, sign).values;
    gradient::check(&mut random, &inputs, &[turn(&cotangent, -1.0)], |v| dot(&turn(&v[0], 1.0), &cotangent)).unwrap();
}

#[test]
fn agrees_with_reference() {
    let mut j = Judge::new("rope", BOUND);
    for cx in contexts() {
        for (seed, &case) in (402..).zip(CASES) {
            judge(&mut j, &cx, &Inputs::new(seed, case, 1.0), &turn).unwrap();
        }
        judge(&mut j, &cx, &Inputs::new(420, (3, 2, 64, 64), 1e4), &turn).unwrap();
        judge(&mut j, &cx, &Inputs::new(421, (3, 2, 64, 64), 1e-20), &turn).unwrap();
    }
    j.finish();
}

#[test]
fn scores_depend_on_the_distance_alone() {
    let cx = Cx::new(1).unwrap();
    let i = Inputs::new(430, (2, 1, 64, 64), 1.0);
    let table = Table::new(&i.frequencies, POSITIONS, 1.0);
    assert_eq!(table.rows(), POSITIONS);
    let score = |positions: [u32; 2]| {
        let mut x = i.x.clone();
        turn(&cx, &mut x, &positions, &table, 64, Turn::Forward);
        dot(&wide(&x[..64]), &wide(&x[64..]))
    };
    // 64 products of order one, each within 4 eps.
    assert!((score([40, 7]) - score([4033, 4000])).abs() < 64.0 * 4.0 * f64::from(f32::EPSILON));
    assert!((score([40, 7]) - score([41, 7])).abs() > 1e-3);
}

#[test]
fn every_set_of_a_table_is_a_table() {
    let cx = Cx::new(1).unwrap();
    let i = Inputs::new(435, (40, 2, 10, 6), 1.0);
    // Longrope: each frequency has a divisor of its own, and cos and sin a factor.
    let long: Vec<f64> = i.frequencies.iter().zip([1.5, 4.0, 31.0]).map(|(f, by)| f / by).collect();
    let mut both = Table::new(&i.frequencies, POSITIONS, 1.19);
    assert_eq!(both.push(&long, 300, 1.07), POSITIONS);
    assert_eq!((both.rows(), both.rotary()), (POSITIONS + 300, 6));
    let positions: Vec<u32> = i.positions.iter().map(|p| p % 300).collect();
    // Rows of both sets in one call, as in a micro-batch of short and long examples.
    let start = |row: usize| if row.is_multiple_of(3) { POSITIONS as u32 } else { 0 };
    let rows: Vec<u32> = positions.iter().enumerate().map(|(row, p)| start(row) + p).collect();
    let (mut mixed, mut short, mut far) = (i.x.clone(), i.x.clone(), i.x.clone());
    turn(&cx, &mut mixed, &rows, &both, 10, Turn::Forward);
    turn(&cx, &mut short, &positions, &Table::new(&i.frequencies, 300, 1.19), 10, Turn::Forward);
    turn(&cx, &mut far, &positions, &Table::new(&long, 300, 1.07), 10, Turn::Forward);
    for row in 0..40 {
        let alone = if start(row) > 0 { &far } else { &short };
        testkit::same_bits("a row of a set", &alone[row * 20..][..20], &mixed[row * 20..][..20]).unwrap();
    }
    let mut j = Judge::new("rope", BOUND);
    let far_inputs = Inputs { positions, frequencies: long, scale: 1.07, ..i };
    judge(&mut j, &cx, &far_inputs, &turn).unwrap();
    let first_set: Turned = &|cx, x, positions, _, head_dim, way| turn(cx, x, positions, &both, head_dim, way);
    must_catch("the start of the set is forgotten", judge(&mut j, &cx, &far_inputs, first_set));
}

#[test]
fn same_bits_for_threads_and_levels() {
    let i = Inputs::new(440, (200, 3, 64, 32), 1.0);
    let table = Table::new(&i.frequencies, POSITIONS, i.scale);
    let all: Vec<Cx> = levels().into_iter().flat_map(threads).collect();
    let variants: Vec<usize> = (0..all.len()).collect();
    alike(&i.name, &variants, |&v| {
        [Turn::Forward, Turn::Backward]
            .map(|way| {
                let mut x = i.x.clone();
                turn(&all[v], &mut x, &i.positions, &table, i.head_dim, way);
                x
            })
            .to_vec()
    })
    .unwrap();
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut j = Judge::new("rope", BOUND);
    let i = Inputs::new(450, (3, 2, 8, 8), 1.0);
    judge(&mut j, &cx, &i, &turn).unwrap();
    let divisor: Turned = &|cx, x, positions, _, head_dim, way| {
        let wrong: Vec<f64> = (0..4).map(|i| 10_000f64.powf(-2.0 * f64::from(i) / 8.001)).collect();
        turn(cx, x, positions, &Table::new(&wrong, POSITIONS, 1.0), head_dim, way);
    };
    must_catch("a wrong divisor in the frequencies", judge(&mut j, &cx, &i, divisor));
    let sign: Turned = &|cx, x, positions, table, head_dim, _| turn(cx, x, positions, table, head_dim, Turn::Forward);
    must_catch("the minus of the way back is lost", judge(&mut j, &cx, &i, sign));
    let early: Turned = &|_, x, positions, table, head_dim, way| {
        let sign = if way == Turn::Forward { 1.0 } else { -1.0 };
        for (head, p) in x.chunks_mut(head_dim).zip(positions.iter().flat_map(|p| [*p; 2])) {
            for i in 0..table.half {
                let (c, s) = (table.cos[p as usize * table.half + i], table.sin[p as usize * table.half + i] * sign);
                head[i] = head[i] * c - head[i + table.half] * s;
                head[i + table.half] = head[i + table.half] * c + head[i] * s;
            }
        }
    };
    must_catch("the first is overwritten before the second is read", judge(&mut j, &cx, &i, early));
    let whole = Inputs::new(451, (3, 2, 8, 6), 1.0);
    let partial: Turned = &|cx, x, positions, _, head_dim, way| {
        // Frequencies of the part, but the pairs of the whole head.
        let padded: Vec<f64> = whole.frequencies.iter().copied().chain([0.0]).collect();
        turn(cx, x, positions, &Table::new(&padded, POSITIONS, whole.scale), head_dim, way);
    };
    judge(&mut j, &cx, &whole, &turn).unwrap();
    must_catch("pairs lie half a head apart where half the rotary part is meant", judge(&mut j, &cx, &whole, partial));
    let scale: Turned = &|cx, x, positions, table, head_dim, way| {
        let mut next = positions.to_vec();
        next[2] -= 1;
        turn(cx, x, &next, table, head_dim, way);
    };
    must_catch("a position is off by one", judge(&mut j, &cx, &i, scale));
}
