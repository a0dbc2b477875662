//! Judges of unpacking: a reference in f64 from the formulas of the file's header, and planted bugs.

use super::*;
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, twice};
use std::sync::Arc;
use testkit::{Judge, Random, must_catch};

// Rows, width, block: blocks within a row, over several rows, ending within an eight; and more than a block of threads.
const CASES: &[(usize, usize, usize)] =
    &[(1, 2, 64), (5, 7, 64), (130, 64, 64), (3, 4096, 64), (16, 72, 64), (9, 1037, 128), (40, 1000, 32)];

/// The formulas of the header; shares nothing with the implementation.
mod reference {
    use testkit::Truth;

    /// The quantiles of QLoRA's table, as the paper prints them.
    const VALUES: [f64; 16] = [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ];

    pub fn nf4(packed: &[u8], n: usize, scale: impl Fn(usize) -> f64) -> Truth {
        let mut out = Truth::new();
        for i in 0..n {
            let q = if i % 2 == 0 { packed[i / 2] / 16 } else { packed[i / 2] % 16 };
            let v = VALUES[usize::from(q)] * scale(i);
            out.push(v, v.abs());
        }
        out
    }

    pub fn int8(codes: &[u8], width: usize, scales: &[f32]) -> Truth {
        let mut out = Truth::new();
        for (i, code) in codes.iter().enumerate() {
            let v = f64::from(*code as i8) * f64::from(scales[i / width]) / 127.0;
            out.push(v, v.abs());
        }
        out
    }
}

/// A matrix of random codes with random scales, on the host and on the device.
struct Inputs {
    packed: Vec<u8>,
    codes: Vec<u8>,
    map: Vec<f32>,
    single: Vec<f32>,
    nested: Vec<f32>,
    block: usize,
}

/// Blocks that share a scale of scales.
const NESTED: usize = 16;
const OFFSET: f32 = 0.031;

impl Inputs {
    fn new(seed: u64, n: usize, block: usize) -> Inputs {
        let mut random = Random::new(seed);
        let mut bytes = |n: usize| (0..n).map(|_| random.below(256) as u8).collect::<Vec<u8>>();
        let (packed, codes, blocks) = (bytes(n.div_ceil(2)), bytes(n.div_ceil(block)), n.div_ceil(block));
        let mut floats = |n: usize| random.floats(n, 1.0).iter().map(|v| v.abs() + 0.01).collect::<Vec<f32>>();
        Inputs { packed, codes, map: floats(256), single: floats(blocks), nested: floats(blocks.div_ceil(NESTED)), block }
    }

    fn scale(&self, double: bool, at: usize) -> f64 {
        let block = at / self.block;
        match double {
            false => self.single[block].into(),
            true => f64::from(self.map[usize::from(self.codes[block])]) * f64::from(self.nested[block / NESTED]) + f64::from(OFFSET),
        }
    }

    fn device(&self, gpu: &Arc<Gpu>, double: bool) -> Nf4 {
        let floats = |v: &[f32]| Buffer::of(gpu, v).unwrap();
        let scales = match double {
            false => Scales::Single(floats(&self.single)),
            true => Scales::Double {
                codes: Buffer::of(gpu, &self.codes).unwrap(),
                absmax: floats(&self.nested),
                map: floats(&self.map),
                offset: OFFSET,
                nested: NESTED,
            },
        };
        Nf4 { packed: Buffer::of(gpu, &self.packed).unwrap(), scales, block: self.block }
    }
}

type Op<'a> = &'a dyn Fn(&Gpu, Rows, &Nf4);

fn judge(
    j: &mut Judge,
    gpu: &Arc<Gpu>,
    seed: u64,
    (rows, width, block): (usize, usize, usize),
    lie: Lie,
    double: bool,
    op: Op,
) -> Result<(), String> {
    let i = Inputs::new(seed, rows * width, block);
    let name = format!("{lie:?} {rows} x {width} in blocks of {block}, double {double}, seed {seed}");
    let w = i.device(gpu, double);
    let [found] = twice(&name, || {
        let out = Sheet::unwritten(gpu, rows, width, lie);
        op(gpu, out.rows(), &w);
        Ok([out.read("out")?])
    })?;
    j.see("nf4", &name, &found, &reference::nf4(&i.packed, rows * width, |at| i.scale(double, at)))
}

// Measured worst on an H100: both 1.00 HALF.
const BOUND: &[(&str, f64)] = &[("nf4", 1.01 * HALF), ("int8", 1.01 * HALF)];

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("unpack", BOUND);
    for (seed, &(rows, width, block)) in (1..).zip(CASES) {
        for lie in LIES {
            for double in [false, true] {
                judge(&mut j, &gpu, seed, (rows, width, block), lie, double, &nf4).unwrap();
            }
            let mut random = Random::new(seed);
            let codes: Vec<u8> = (0..rows * width).map(|_| random.below(256) as u8).collect();
            let scales = random.floats(rows, 1.0);
            let name = format!("{lie:?} {rows} x {width}, seed {seed}");
            let (device, factors) = (Buffer::of(&gpu, &codes).unwrap(), Buffer::of(&gpu, &scales).unwrap());
            let [found] = twice(&name, || {
                let out = Sheet::unwritten(&gpu, rows, width, lie);
                int8(&gpu, out.rows(), &device, &factors);
                Ok([out.read("out")?])
            })
            .unwrap();
            j.see("int8", &name, &found, &reference::int8(&codes, width, &scales)).unwrap();
        }
    }
    j.finish();
}

/// What the host decodes for a matrix that was bf16: scale, product and rounding one after the other.
#[test]
fn the_bits_are_those_of_the_host() {
    let Some(gpu) = gpu() else { return };
    let i = Inputs::new(21, 64 * 4096, 64);
    let out = Sheet::unwritten(&gpu, 64, 4096, Lie::Dense);
    nf4(&gpu, out.rows(), &i.device(&gpu, true));
    let found = out.read("out").unwrap();
    let values = reference::nf4(&i.packed, found.len(), |_| 1.0).values;
    for (at, found) in found.iter().enumerate() {
        let block = at / 64;
        let scale = i.map[usize::from(i.codes[block])] * i.nested[block / NESTED] + OFFSET;
        assert_eq!(*found, half::bf16::from_f32(values[at] as f32 * scale).to_f32(), "element {at}");
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("unpack", BOUND);
    let mut see = |op: Op| judge(&mut j, &gpu, 31, (9, 72, 64), Lie::Even, true, op);
    see(&nf4).unwrap();
    let changed = |change: &dyn Fn(&mut Inputs)| {
        let mut i = Inputs::new(31, 9 * 72, 64);
        change(&mut i);
        i.device(&gpu, true)
    };
    let swapped = changed(&|i| i.packed.iter_mut().for_each(|b| *b = b.rotate_left(4)));
    must_catch("the lower half comes first", see(&|gpu, out, _| nf4(gpu, out, &swapped)));
    let nested = changed(&|i| i.nested.iter_mut().for_each(|v| *v *= 1.02));
    must_catch("another scale of scales", see(&|gpu, out, _| nf4(gpu, out, &nested)));
    let next = changed(&|i| i.codes.rotate_left(1));
    must_catch("the next block's scale", see(&|gpu, out, _| nf4(gpu, out, &next)));
}
