//! Judges of the matrix product: every view, edge and way of writing against sums in f64.

use super::*;
use crate::cpu::coded::tests::Small;
use testkit::{Guarded, Judge, Random, Truth, alike, must_catch, same_bits};

/// Every level that this CPU has, narrowest first.
pub(crate) fn levels() -> Vec<Level> {
    [Level::Portable, Level::Avx2, Level::Avx512].into_iter().filter(|l| *l <= Level::detect()).collect()
}

/// A context of every level, with two threads.
pub(crate) fn contexts() -> Vec<Cx> {
    levels().into_iter().map(|l| Cx::with_level(2, l).unwrap()).collect()
}

/// Contexts of one level whose results must be the same bits: the first twice, then more threads.
pub(crate) fn threads(level: Level) -> [Cx; 4] {
    [1, 1, 2, 3].map(|t| Cx::with_level(t, level).unwrap())
}

/// How an operand lies in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Rows,
    Strided,
    Turned,
    Weight,
    WeightT,
    Rounded,
    RoundedT,
    Coded,
    CodedT,
}

impl Kind {
    fn turned(self) -> bool {
        matches!(self, Kind::Turned | Kind::WeightT | Kind::RoundedT | Kind::CodedT)
    }

    fn rounded(self) -> bool {
        matches!(self, Kind::Rounded | Kind::RoundedT)
    }
}

/// To bfloat16 and back, by another way than the op's: as a multiple of the last of eight binary digits.
fn rounded(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    let digit = 2f64.powi(x.abs().log2().floor() as i32 - 7);
    (x / digit).round_ties_even() * digit
}

/// An operand (rows, cols) and where its elements are.
struct Operand {
    kind: Kind,
    data: Vec<f32>,
    rows: usize,
    cols: usize,
    step: usize,
    weight: Option<Weight>,
}

impl Operand {
    fn new(cx: &Cx, random: &mut Random, kind: Kind, rows: usize, cols: usize) -> Operand {
        let turned = kind.turned();
        let (lines, line) = if turned { (cols, rows) } else { (rows, cols) };
        let step = if kind == Kind::Strided { line + 5 } else { line };
        let mut data = random.floats(lines * step, 1.0);
        let weight = match kind {
            Kind::Coded | Kind::CodedT => {
                let small = Small::new(random, lines, line, 32);
                data = small.plain();
                Some(Weight::coded(Box::new(small)))
            }
            Kind::Weight | Kind::WeightT => Some(Weight::pack(cx, &data, lines, line)),
            Kind::Rounded | Kind::RoundedT => Some(Weight::pack_rounded(cx, &data, lines, line)),
            _ => None,
        };
        Operand { kind, data, rows, cols, step, weight }
    }

    fn get(&self, row: usize, col: usize) -> f64 {
        f64::from(if self.kind.turned() { self.data[col * self.step + row] } else { self.data[row * self.step + col] })
    }

    fn mat(&self) -> Mat<'_> {
        match self.kind {
            Kind::Turned => Mat::new(&self.data, self.cols, self.rows).t(),
            _ => Mat::strided(&self.data, self.rows, self.cols, self.step),
        }
    }

    fn rhs(&self) -> Rhs<'_> {
        match (&self.weight, self.kind) {
            (Some(w), Kind::Weight | Kind::Rounded | Kind::Coded) => Rhs::Weight(w),
            (Some(w), _) => Rhs::WeightT(w),
            _ => Rhs::Mat(self.mat()),
        }
    }
}

/// A product with all that it needs.
struct Case {
    name: String,
    m: usize,
    n: usize,
    ldc: usize,
    write: Write,
    before: Vec<f32>,
    operands: Vec<(Operand, Operand)>,
}

impl Case {
    /// `ks` are the lengths of the terms.
    fn new(cx: &Cx, random: &mut Random, m: usize, n: usize, ks: &[usize], right: &[Kind]) -> Case {
        let gap = random.pick(&[0, 0, 3, 16]);
        let write = random.pick(&[Write::Set, Write::Add]);
        let mut name = format!("m {m} n {n} gap {gap} {write:?} seed {}", random.seed());
        let mut operands = Vec::new();
        for &k in ks {
            let right = random.pick(right);
            // The left operand of a rounded product has its rows in one piece.
            let left = random.pick(if right.rounded() { &[Kind::Rows, Kind::Strided] } else { &[Kind::Rows, Kind::Strided, Kind::Turned] });
            name += &format!(", k {k} {left:?} {right:?}");
            operands.push((Operand::new(cx, random, left, m, k), Operand::new(cx, random, right, n, k)));
        }
        let len = (m - 1) * (n + gap) + n;
        let before = if write == Write::Set { vec![f32::NAN; len] } else { random.floats(len, 1.0) };
        Case { name, m, n, ldc: n + gap, write, before, operands }
    }

    fn terms(&self) -> Vec<Term<'_>> {
        self.operands.iter().map(|(a, b)| Term { a: a.mat(), b: b.rhs() }).collect()
    }

    /// The truth for the (m, n) elements, without what lies between the rows.
    fn truth(&self) -> Truth {
        let mut t = Truth::zeros(self.m * self.n);
        for i in 0..self.m {
            for j in 0..self.n {
                let at = i * self.n + j;
                if self.write == Write::Add {
                    let before = f64::from(self.before[i * self.ldc + j]);
                    t.add(at, before, before.abs());
                }
                for (a, b) in &self.operands {
                    for k in 0..a.cols {
                        let (x, y) = (a.get(i, k), b.get(j, k));
                        let term = if b.kind.rounded() { rounded(x) * rounded(y) } else { x * y };
                        t.add(at, term, term.abs());
                    }
                }
            }
        }
        t
    }
}

type Product<'a> = &'a dyn Fn(&Cx, &mut [f32], usize, Write, &[Term]);

fn judge(j: &mut Judge, cx: &Cx, case: &Case, truth: &Truth, op: Product) -> Result<(), String> {
    let mut c = Guarded::holding(&case.before);
    op(cx, &mut c, case.ldc, case.write, &case.terms());
    c.intact(&case.name)?;
    let name = format!("{:?} {}", cx.level(), case.name);
    let mut got = Vec::new();
    for (line, before) in c.chunks(case.ldc).zip(case.before.chunks(case.ldc)) {
        got.extend_from_slice(&line[..case.n]);
        same_bits(&format!("{name}: between the rows"), &before[case.n..], &line[case.n..])?;
    }
    j.see("c", &name, &got, truth)
}

// Size: the sum of |a b| over k, and of what was in c. Measured worst 2.4 eps.
const BOUND: &[(&str, f64)] = &[("c", 5.0)];

const ANY: &[Kind] =
    &[Kind::Rows, Kind::Strided, Kind::Turned, Kind::Weight, Kind::WeightT, Kind::Rounded, Kind::RoundedT, Kind::Coded, Kind::CodedT];

/// Shapes with edges on every side of the tile (8 x 48), the block (128) and the block of k (288).
fn cases(cx: &Cx, random: &mut Random) -> Vec<Case> {
    let ms = [1, 2, 7, 8, 9, 31, 32, 33, 64, 127, 128, 129, 200];
    let ns = [1, 7, 15, 16, 17, 47, 48, 49, 95, 96, 97, 144, 200];
    // 1150 is two blocks of 575: the second begins at the last of 48 lanes. Up to 64 joins the long block before it.
    let ks = [1, 2, 7, 16, 64, 65, 200, 575, 576, 577, 1150];
    let mut all = Vec::new();
    for _ in 0..150 {
        let (m, n) = (random.pick(&ms), random.pick(&ns));
        let lengths: Vec<usize> = (0..random.pick(&[1, 1, 2, 3])).map(|_| random.pick(&ks)).collect();
        all.push(Case::new(cx, random, m, n, &lengths, ANY));
    }
    // Whole panels read where they lie; several groups of packed blocks; many groups with terms of both kinds.
    for m in [1, 8, 32, 33] {
        all.push(Case::new(cx, random, m, 96, &[70, 300], &[Kind::Turned]));
    }
    all.push(Case::new(cx, random, 3, 200, &[9000], &[Kind::Rows]));
    all.push(Case::new(cx, random, 9, 480, &[1500, 40, 1300], &[Kind::WeightT, Kind::Turned]));
    // More columns than one span has, of what is packed at each call.
    for (kind, k) in [(Kind::Rows, 288), (Kind::WeightT, 576), (Kind::CodedT, 576), (Kind::Coded, 512)] {
        all.push(Case::new(cx, random, 3, 4200, &[k, 5], &[kind]));
        let case = &all[all.len() - 1];
        assert!(columns(&case.terms(), 3, 88) < 88, "{}", case.name);
    }
    // A frozen weight rounded, its LoRA update not.
    all.push(Case::new(cx, random, 33, 200, &[577, 16, 1153], &[Kind::Rounded, Kind::RoundedT, Kind::Rows]));
    all
}

#[test]
fn agrees_with_f64() {
    let contexts = contexts();
    let all = cases(&contexts[0], &mut Random::new(101));
    let mut j = Judge::new("product", BOUND);
    for case in &all {
        let truth = case.truth();
        for cx in &contexts {
            judge(&mut j, cx, case, &truth, &product).unwrap();
        }
    }
    j.finish();
}

#[test]
fn threads_change_no_bit() {
    for level in levels() {
        let contexts = threads(level);
        for case in cases(&contexts[0], &mut Random::new(102)).iter().step_by(5) {
            alike(&case.name, &[0, 1, 2, 3], |&i| {
                let mut c = case.before.clone();
                product(&contexts[i], &mut c, case.ldc, case.write, &case.terms());
                vec![c]
            })
            .unwrap();
        }
    }
}

#[test]
fn a_sum_of_nothing_is_zero() {
    let cx = Cx::new(2).unwrap();
    let term = Term { a: Mat::new(&[], 3, 0), b: Rhs::Mat(Mat::new(&[], 2, 0)) };
    let mut c = Guarded::unwritten(3 * 4 - 2);
    product(&cx, &mut c, 4, Write::Set, &[term]);
    assert!(c.chunks(4).all(|line| line[..2] == [0.0; 2] && line[2..].iter().all(|v| v.is_nan())), "{:?}", &*c);
    let mut c = Guarded::threes(6);
    product(&cx, &mut c, 2, Write::Add, &[term]);
    assert_eq!(*c, [3.0; 6]);
}

#[test]
fn a_weight_gives_its_rows_back() {
    let cx = Cx::new(2).unwrap();
    let mut random = Random::new(103);
    for (outputs, inputs) in [(1, 1), (47, 7), (48, 64), (49, 3), (200, 130)] {
        let data = random.floats(outputs * inputs, 1.0);
        let w = Weight::pack(&cx, &data, outputs, inputs);
        assert_eq!((w.shape(), w.bytes()), ((outputs, inputs), outputs.div_ceil(48) * 48 * inputs * 4));
        for (i, line) in data.chunks(inputs).enumerate() {
            let mut row = Guarded::unwritten(inputs);
            w.row(i, &mut row);
            row.intact("row").unwrap();
            same_bits(&format!("row {i} of {outputs} x {inputs}"), line, &row).unwrap();
        }
        let w = Weight::pack_rounded(&cx, &data, outputs, inputs);
        for (i, line) in data.chunks(inputs).enumerate() {
            let mut row = Guarded::unwritten(inputs);
            w.row(i, &mut row);
            row.intact("rounded row").unwrap();
            let expected: Vec<f32> = line.iter().map(|&v| rounded(f64::from(v)) as f32).collect();
            same_bits(&format!("rounded row {i} of {outputs} x {inputs}"), &expected, &row).unwrap();
        }
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let mut random = Random::new(105);
    let mut j = Judge::new("product", BOUND);
    let case = loop {
        let case = Case::new(&cx, &mut random, 9, 50, &[580, 4], &[Kind::Rows]);
        if case.write == Write::Add && case.ldc > case.n {
            break case;
        }
    };
    let truth = case.truth();
    judge(&mut j, &cx, &case, &truth, &product).unwrap();
    let set: Product = &|cx, c, ldc, _, terms| product(cx, c, ldc, Write::Set, terms);
    must_catch("= for +=", judge(&mut j, &cx, &case, &truth, set));
    let dropped: Product = &|cx, c, ldc, write, terms| {
        let cut: Vec<Term> = terms
            .iter()
            .map(|t| match t.b {
                Rhs::Mat(b) => Term { a: drop_last_of(t.a), b: Rhs::Mat(drop_last_of(b)) },
                _ => *t,
            })
            .collect();
        product(cx, c, ldc, write, &cut);
    };
    must_catch("the last of k is lost", judge(&mut j, &cx, &case, &truth, dropped));
    let narrow: Product = &|cx, c, ldc, write, terms| {
        product(cx, c, ldc, write, terms);
        c[case.n] = 0.0; // a whole vector written at the right edge
    };
    must_catch("a vector written past the edge", judge(&mut j, &cx, &case, &truth, narrow));
    let one: Product = &|cx, c, ldc, write, terms| product(cx, c, ldc, write, &terms[..1]);
    must_catch("a term is lost", judge(&mut j, &cx, &case, &truth, one));
}

#[test]
fn judge_sees_a_product_that_is_not_rounded() {
    let cx = Cx::new(1).unwrap();
    let mut random = Random::new(106);
    let mut j = Judge::new("product", BOUND);
    let case = Case::new(&cx, &mut random, 9, 50, &[290], &[Kind::Rounded]);
    let truth = case.truth();
    judge(&mut j, &cx, &case, &truth, &product).unwrap();
    let (left, right) = &case.operands[0];
    let exact = Weight::pack(&cx, &right.data, right.rows, right.cols);
    let single: Product = &|cx, c, ldc, write, _| product(cx, c, ldc, write, &[Term { a: left.mat(), b: Rhs::Weight(&exact) }]);
    must_catch("not rounded", judge(&mut j, &cx, &case, &truth, single));
}

/// The view without its last column.
fn drop_last_of(m: Mat) -> Mat {
    Mat { cols: m.cols - 1, ..m }
}
