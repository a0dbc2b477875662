//! Judges of the panels: whole and partial products against sums in f64.

use super::*;
use crate::cpu::gemm::tests::levels;
use testkit::{Guarded, Judge, Random, Truth, must_catch};

/// A left operand (rows, cols), with gaps between its rows or turned.
struct Left {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
    turned: bool,
}

impl Left {
    fn new(random: &mut Random, rows: usize, cols: usize) -> Left {
        let turned = random.pick(&[false, true]);
        let len = if turned { cols * (rows + 3) } else { rows * (cols + 3) };
        Left { data: random.floats(len, 1.0), rows, cols, turned }
    }

    fn mat(&self) -> Mat<'_> {
        match self.turned {
            true => Mat::strided(&self.data, self.cols, self.rows, self.rows + 3).t(),
            false => Mat::strided(&self.data, self.rows, self.cols, self.cols + 3),
        }
    }

    fn get(&self, row: usize, col: usize) -> f64 {
        f64::from(if self.turned { self.data[col * (self.rows + 3) + row] } else { self.data[row * (self.cols + 3) + col] })
    }
}

/// A product of one level, and how much of it is asked for.
struct Case {
    level: Level,
    m: usize,
    listed: usize,
    width: usize,
    /// Columns and k that are left out; columns less than none are zeros of the last panel.
    less: (isize, usize),
}

type Multiply<'a> = &'a dyn Fn(&Panels, Level, &mut [f32], usize, Write, Mat, usize);

fn judge(j: &mut Judge, random: &mut Random, panels: &mut Panels, case: &Case, op: Multiply) -> Result<(), String> {
    let Case { level, m, listed, width, less } = *case;
    let (step, col, held) = (width + 11, 4, 700);
    let source = random.floats(held * step, 1.0);
    let rows: Vec<u32> = (0..listed).map(|_| random.below(held) as u32).collect();
    let get = |row: usize, i: usize| f64::from(source[rows[row] as usize * step + col + i]);
    for output in ["rows", "columns"] {
        let (all, k) = if output == "rows" { (listed, width) } else { (width, listed) };
        match output {
            "rows" => panels.pack_rows(level, &source, step, col, width, &rows),
            _ => panels.pack_columns(&source, step, col, width, rows.iter().map(|&r| r as usize)),
        }
        let n = all.saturating_add_signed(-less.0).clamp(1, panels.columns());
        let a = Left::new(random, m, k.saturating_sub(less.1).max(1));
        let mut truth = Truth::zeros(m * n);
        for at in (0..m * n).filter(|at| at % n < all) {
            for kk in 0..a.cols {
                let b = if output == "rows" { get(at % n, kk) } else { get(kk, at % n) };
                let term = a.get(at / n, kk) * b;
                truth.add(at, term, term.abs());
            }
        }
        for write in [Write::Set, Write::Add] {
            let mut c = if write == Write::Set { Guarded::unwritten(m * n) } else { Guarded::threes(m * n) };
            op(panels, level, &mut c, n, write, a.mat(), n);
            c.intact(output)?;
            let truth = if write == Write::Set { truth.clone() } else { truth.clone().over(3.0) };
            j.see(output, &format!("{level:?} m {m} n {n} of {all} k {} of {k} {write:?} seed {}", a.cols, random.seed()), &c, &truth)?;
        }
    }
    Ok(())
}

// Size: the sum of the magnitudes of the terms. Measured worst: rows 2.5, columns 2.5 eps.
const BOUND: &[(&str, f64)] = &[("rows", 4.0), ("columns", 3.0)];

#[test]
fn panels_agree_with_f64() {
    let mut j = Judge::new("panels", BOUND);
    for level in levels() {
        let mut random = Random::new(104);
        let mut panels = Panels::empty(); // one for all cases, as attention keeps it: old contents must not matter
        for (m, listed, width) in
            [(130, 600, 64), (1, 1, 7), (9, 49, 64), (8, 48, 96), (3, 130, 5), (17, 290, 48), (300, 60, 128), (24, 97, 80)]
        {
            for less in [(0, 0), (1, 0), (40, 70), (-47, 1)] {
                judge(&mut j, &mut random, &mut panels, &Case { level, m, listed, width, less }, &Panels::multiply).unwrap();
            }
        }
    }
    j.finish();
}

#[test]
fn no_k_is_a_product_of_zeros() {
    let mut panels = Panels::empty();
    panels.pack_columns(&[], 5, 0, 5, std::iter::empty());
    let mut c = [3.0; 10];
    panels.multiply(Level::Portable, &mut c, 5, Write::Add, Mat::new(&[], 2, 0), 5);
    assert_eq!(c, [3.0; 10]);
    panels.multiply(Level::Portable, &mut c, 5, Write::Set, Mat::new(&[], 2, 0), 5);
    assert_eq!(c, [0.0; 10]);
}

#[test]
fn judge_catches_planted_bugs() {
    let mut j = Judge::new("panels", BOUND);
    let mut verdict = |less, op: Multiply| {
        let case = Case { level: Level::detect(), m: 17, listed: 100, width: 64, less };
        judge(&mut j, &mut Random::new(106), &mut Panels::empty(), &case, op)
    };
    verdict((3, 3), &Panels::multiply).unwrap();
    let long: Multiply = &|p, level, c, ldc, write, a, n| {
        let less = Panels { data: p.data.clone(), k: p.k - 1, ..*p };
        less.multiply(level, c, ldc, write, a, n);
    };
    must_catch("panels that begin where shorter ones would", verdict((3, 3), long));
    let set: Multiply = &|p, level, c, ldc, _, a, n| p.multiply(level, c, ldc, Write::Set, a, n);
    must_catch("= for +=", verdict((0, 0), set));
    let last: Multiply = &|p, level, c, ldc, write, a, n| p.multiply(level, c, ldc, write, a, n - 1);
    must_catch("the last column is left out", verdict((0, 0), last));
}
