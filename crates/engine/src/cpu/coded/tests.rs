//! Judges of coded weights: their products are those of the decoded matrix to the bit, and nothing is decoded twice.

use super::*;
use crate::cpu::Cx;
use crate::cpu::gemm::tests::{contexts, levels, threads};
use crate::cpu::gemm::{Mat, Rhs, Term, Weight, Write, product};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::{Guarded, Random, alike, must_catch, same_bits};

/// A storage of small integers with a scale for each run of `align` elements of a row.
pub(crate) struct Small {
    codes: Vec<i8>,
    scales: Vec<f32>,
    outputs: usize,
    inputs: usize,
    align: usize,
    /// Elements decoded so far, whole runs counted.
    decoded: Arc<AtomicUsize>,
    /// A planted bug: what `decode` takes for its `from`.
    bug: fn(usize) -> usize,
}

impl Small {
    pub(crate) fn new(random: &mut Random, outputs: usize, inputs: usize, align: usize) -> Small {
        let codes = (0..outputs * inputs).map(|_| random.below(255) as i8).collect();
        let scales = random.floats(outputs * inputs.div_ceil(align), 0.01);
        Small { codes, scales, outputs, inputs, align, decoded: Arc::default(), bug: |from| from }
    }

    /// All rows as the storage means them, not by way of `decode`.
    pub(crate) fn plain(&self) -> Vec<f32> {
        let scale = |i: usize| self.scales[i / self.inputs * self.inputs.div_ceil(self.align) + i % self.inputs / self.align];
        self.codes.iter().enumerate().map(|(i, &c)| f32::from(c) * scale(i)).collect()
    }
}

impl Coded for Small {
    fn outputs(&self) -> usize {
        self.outputs
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn decode(&self, row: usize, from: usize, out: &mut [f32]) {
        let (start, end) = (from / self.align, (from + out.len()).div_ceil(self.align));
        self.decoded.fetch_add((end - start) * self.align, Ordering::Relaxed);
        let from = (self.bug)(from);
        for (i, o) in out.iter_mut().enumerate() {
            let scale = self.scales[row * self.inputs.div_ceil(self.align) + (from + i) / self.align];
            *o = f32::from(self.codes[row * self.inputs + from + i]) * scale;
        }
    }

    fn align(&self) -> usize {
        self.align
    }

    fn bytes(&self) -> usize {
        self.codes.len() + 4 * self.scales.len()
    }
}

/// `y += x·Wᵀ + u·Bᵀ` and `dx += dy·W + v·A`: a weight with a LoRA update, both ways.
fn both_ways(cx: &Cx, random: &mut Random, w: &Weight, m: usize) -> [Vec<f32>; 2] {
    let (outputs, inputs) = w.shape();
    [(outputs, inputs, Rhs::Weight(w)), (inputs, outputs, Rhs::WeightT(w))].map(|(n, k, b)| {
        let (x, u, update) = (random.floats(m * k, 1.0), random.floats(m * 4, 1.0), random.floats(n * 4, 1.0));
        let mut c = Guarded::holding(&random.floats(m * n, 1.0));
        let low = Term { a: Mat::new(&u, m, 4), b: Rhs::Mat(Mat::new(&update, n, 4)) };
        product(cx, &mut c, n, Write::Add, &[Term { a: Mat::new(&x, m, k), b }, low]);
        c.intact("c").unwrap();
        c.to_vec()
    })
}

/// Whether the coded weight gives the bits of the packed one.
fn equal(cx: &Cx, small: Small, m: usize) -> Result<(), String> {
    let (outputs, inputs) = (small.outputs, small.inputs);
    let packed = Weight::pack(cx, &small.plain(), outputs, inputs);
    let coded = Weight::coded(Box::new(small));
    let name = format!("{:?} m {m} outputs {outputs} inputs {inputs}", cx.level());
    let expected = both_ways(cx, &mut Random::new(301), &packed, m);
    let found = both_ways(cx, &mut Random::new(301), &coded, m);
    same_bits(&format!("{name} forward"), &expected[0], &found[0])?;
    same_bits(&format!("{name} backward"), &expected[1], &found[1])
}

/// Edges of the tile (8 x 48), of the block of k (288, 256) and of the runs; the last ones need several spans of columns.
const SHAPES: &[(usize, usize, usize, usize)] = &[
    (1, 1, 1, 1),
    (3, 47, 7, 1),
    (9, 49, 31, 1),
    (17, 200, 33, 4),
    (33, 97, 96, 32),
    (8, 144, 288, 32),
    (5, 50, 289, 1),
    (40, 61, 960, 32),
    (7, 300, 577, 64),
    (9, 600, 1024, 256),
    (2, 4201, 512, 256),
    (3, 288, 6400, 256),
    (2, 577, 3700, 1),
];

#[test]
fn products_are_those_of_the_decoded_matrix() {
    for cx in contexts() {
        let mut random = Random::new(302);
        for &(m, outputs, inputs, align) in SHAPES {
            equal(&cx, Small::new(&mut random, outputs, inputs, align), m).unwrap();
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for level in levels() {
        let contexts = threads(level);
        for &(m, outputs, inputs, align) in SHAPES {
            let w = Weight::coded(Box::new(Small::new(&mut Random::new(303), outputs, inputs, align)));
            alike(&format!("{m} x {outputs} x {inputs}"), &[0, 1, 2, 3], |&i| both_ways(&contexts[i], &mut Random::new(304), &w, m).into())
                .unwrap();
        }
    }
}

#[test]
fn no_element_is_decoded_twice() {
    let cx = Cx::new(2).unwrap();
    // Rows of whole runs, as files have them.
    for (outputs, inputs, align) in [(50, 64, 32), (49, 960, 32), (100, 1152, 32), (96, 3328, 256), (288, 7168, 256), (4200, 256, 256)] {
        let small = Small::new(&mut Random::new(305), outputs, inputs, align);
        let decoded = small.decoded.clone();
        let w = Weight::coded(Box::new(small));
        both_ways(&cx, &mut Random::new(306), &w, 5);
        assert_eq!(decoded.load(Ordering::Relaxed), 2 * outputs * inputs, "{outputs} x {inputs} in runs of {align}");
    }
}

#[test]
fn rows_and_size_are_the_storage_s() {
    let small = Small::new(&mut Random::new(307), 50, 70, 32);
    let plain = small.plain();
    let w = Weight::coded(Box::new(small));
    assert_eq!((w.shape(), w.bytes()), ((50, 70), 50 * 70 + 4 * 50 * 3));
    for (i, line) in plain.chunks(70).enumerate() {
        let mut row = Guarded::unwritten(70);
        w.row(i, &mut row);
        row.intact("row").unwrap();
        same_bits("row", line, &row).unwrap();
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let cx = Cx::new(1).unwrap();
    let planted = |bug| Small { bug, ..Small::new(&mut Random::new(308), 60, 1024, 32) };
    equal(&cx, planted(|from| from), 9).unwrap();
    must_catch("every run is the first", equal(&cx, planted(|_| 0), 9));
    must_catch("a later run is one off", equal(&cx, planted(|from| if from > 0 { from - 1 } else { 0 }), 9));
}
