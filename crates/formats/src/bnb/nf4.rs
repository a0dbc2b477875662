//! NF4: four bits an element, an index into sixteen fixed values; a scale for each block of the flattened matrix.
//!
//! Element 2i is the upper half of byte i, 2i+1 the lower. value = NF4[q] * scale, rounded to the type of the matrix that
//! was quantised. Doubly quantised, scale = map[code] * nested_absmax[block / 256] + offset.
//! Quantising: scale = max|x| of the block, q = the value nearest to x/scale (Dettmers et al., "QLoRA", 2023).

use half::{bf16, f16};

use super::state::State;
use super::{BLOCK, Fill, NESTED_BLOCK, Part};
use crate::{Dtype, Error};

/// The sixteen values.
#[rustfmt::skip]
pub(super) const VALUES: [f32; 16] = [
    -1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
];

/// The two values of every byte.
static PAIRS: [[f32; 2]; 256] = {
    let mut pairs = [[0.0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [VALUES[byte >> 4], VALUES[byte & 0xf]];
        byte += 1;
    }
    pairs
};

/// A matrix in NF4.
#[derive(Clone, Debug)]
pub struct Nf4 {
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) packed: Vec<u8>,
    /// Type and shape under which the file keeps the packed bytes.
    pub(super) stored: (Dtype, Vec<usize>),
    pub(super) scales: Scales,
    pub(super) state: State,
}

/// A scale for each block.
#[derive(Clone, Debug)]
pub(super) enum Scales {
    Single(Vec<f32>),
    Double { codes: Vec<u8>, absmax: Vec<f32>, map: Box<[f32; 256]> },
}

impl Nf4 {
    /// Quantises a (rows, width) matrix; `fill(row, out)` gives whole rows from `row` on. `dtype` (F32, F16, BF16) is the type
    /// that the values count as: what is decoded is rounded to it.
    ///
    /// # Errors
    /// `Range` for a value that is not finite, or another `dtype`; what `fill` returns.
    pub fn quantise(tensor: &str, (rows, width): (usize, usize), double: bool, dtype: Dtype, fill: Fill<'_>) -> Result<Nf4, Error> {
        let mut packed = Vec::with_capacity((rows * width).div_ceil(2));
        let mut absmax = Vec::with_capacity((rows * width).div_ceil(BLOCK));
        let mut values = vec![0f32; BLOCK.min(rows) * width];
        // As many rows as a block has elements are whole blocks, whatever the width.
        for row in (0..rows).step_by(BLOCK) {
            let values = &mut values[..BLOCK.min(rows - row) * width];
            fill(row, values)?;
            if let Some(at) = values.iter().position(|x| !x.is_finite()) {
                return Err(Error::Range { tensor: tensor.to_string(), index: row * width + at, value: values[at], dtype: "NF4" });
            }
            values.chunks(BLOCK).for_each(|block| absmax.push(pack(block, &mut packed)));
        }
        let (scales, offset) = if double { twice(&absmax) } else { (Scales::Single(absmax), None) };
        let state = State::new(tensor, dtype, [rows, width], offset)?;
        Ok(Nf4 { rows, width, stored: (Dtype::U8, vec![packed.len(), 1]), packed, scales, state })
    }

    /// (rows, width).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.width)
    }

    /// Whether the scales are quantised as well.
    pub fn double(&self) -> bool {
        matches!(self.scales, Scales::Double { .. })
    }

    /// Elements that share a scale.
    pub fn block(&self) -> usize {
        self.state.block
    }

    /// Bytes of the numbers held.
    pub fn bytes(&self) -> usize {
        self.packed.len()
            + match &self.scales {
                Scales::Single(absmax) => absmax.len() * 4,
                Scales::Double { codes, absmax, .. } => codes.len() + absmax.len() * 4 + 256 * 4,
            }
    }

    /// Decodes elements `from..from + out.len()` of a row.
    pub fn decode(&self, row: usize, from: usize, out: &mut [f32]) {
        assert!(row < self.rows && from + out.len() <= self.width);
        let (mut at, mut rest) = (row * self.width + from, out);
        while !rest.is_empty() {
            let block = at / self.state.block;
            let (part, after) = rest.split_at_mut(((block + 1) * self.state.block - at).min(rest.len()));
            let scale = self.scale(block);
            let rounded = |round: fn(f32) -> f32| VALUES.map(|v| round(v * scale));
            match self.state.dtype {
                Dtype::F16 => self.look_up(at, part, &rounded(|x| f16::from_f32(x).to_f32())),
                Dtype::BF16 => self.look_up(at, part, &rounded(|x| bf16::from_f32(x).to_f32())),
                _ => {
                    // Where products need no rounding they are faster taken side by side.
                    self.stretch(at, part, |byte| PAIRS[usize::from(byte)]);
                    part.iter_mut().for_each(|o| *o *= scale);
                }
            }
            at += part.len();
            rest = after;
        }
    }

    fn scale(&self, block: usize) -> f32 {
        match &self.scales {
            Scales::Single(absmax) => absmax[block],
            Scales::Double { codes, absmax, map } => {
                map[usize::from(codes[block])] * absmax[block / self.state.nested_block] + self.state.offset
            }
        }
    }

    /// A stretch of one block whose sixteen values are known.
    fn look_up(&self, at: usize, out: &mut [f32], values: &[f32; 16]) {
        self.stretch(at, out, |byte| [values[usize::from(byte >> 4)], values[usize::from(byte & 0xf)]]);
    }

    /// A stretch of one block: what `pair` makes of each byte, of which an odd first or last element takes half.
    #[inline(always)]
    fn stretch(&self, at: usize, out: &mut [f32], pair: impl Fn(u8) -> [f32; 2]) {
        let (first, rest) = out.split_at_mut(at % 2);
        if let [o] = first {
            *o = pair(self.packed[at / 2])[1];
        }
        let bytes = &self.packed[at.div_ceil(2)..];
        let (pairs, last) = rest.as_chunks_mut::<2>();
        for (o, byte) in pairs.iter_mut().zip(bytes) {
            *o = pair(*byte);
        }
        if let [o] = last {
            *o = pair(bytes[pairs.len()])[0];
        }
    }

    /// The tensors of `<name>`, byte for byte as they were read, or as bitsandbytes would write them.
    pub fn parts(&self, name: &str) -> Vec<Part<'_>> {
        let of = |ending: &str| format!("{name}.{ending}");
        let mut parts = vec![Part::bytes(name.to_string(), self.stored.0, self.stored.1.clone(), &self.packed)];
        match &self.scales {
            Scales::Single(absmax) => parts.push(Part::floats(of("absmax"), absmax)),
            Scales::Double { codes, absmax, map } => {
                parts.push(Part::bytes(of("absmax"), Dtype::U8, vec![codes.len()], codes));
                parts.push(Part::floats(of("nested_absmax"), absmax));
                parts.push(Part::floats(of("nested_quant_map"), &**map));
            }
        }
        parts.push(Part::floats(of("quant_map"), &VALUES));
        let text = &self.state.text;
        parts.push(Part::bytes(of("quant_state.bitsandbytes__nf4"), Dtype::U8, vec![text.len()], text));
        parts
    }
}

/// Packs one block and returns its scale. A block of odd length, which only the last can be, ends with the index of 0.
fn pack(block: &[f32], packed: &mut Vec<u8>) -> f32 {
    let most = block.iter().fold(0f32, |m, x| m.max(x.abs()));
    let inverse = 1.0 / most.max(LEAST);
    // bitsandbytes divides a shorter last block, and lifts its scale from 0.
    let short = block.len() < BLOCK;
    let mut scaled = [0f32; BLOCK];
    for (s, x) in scaled.iter_mut().zip(block) {
        *s = if short { x / most.max(LEAST) } else { x * inverse };
    }
    let q = nearest(&scaled);
    packed.extend(q.chunks(2).take(block.len().div_ceil(2)).map(|pair| (pair[0] << 4 | pair[1]) as u8));
    if short { most.max(LEAST) } else { most }
}

/// The least scale that is divided by.
const LEAST: f32 = 1e-38;

/// Where the nearest value changes.
const MIDDLES: [f32; 15] = {
    let mut middles = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        middles[i] = (VALUES[i] + VALUES[i + 1]) / 2.0;
        i += 1;
    }
    middles
};

/// The index of the value nearest to each: how many middles lie below it.
fn nearest(scaled: &[f32; BLOCK]) -> [u32; BLOCK] {
    let mut q = [0; BLOCK];
    for middle in MIDDLES {
        for (q, x) in q.iter_mut().zip(scaled) {
            *q += u32::from(*x > middle);
        }
    }
    q
}

/// Quantises scales in turn: their mean is the offset, the rest an index into the dynamic map, scaled by blocks of 256.
fn twice(scales: &[f32]) -> (Scales, Option<f32>) {
    let mean = scales.iter().map(|x| f64::from(*x)).sum::<f64>() / scales.len().max(1) as f64;
    let (offset, map) = (mean as f32, dynamic_map());
    let middles: Vec<f32> = map.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
    let (mut codes, mut absmax) = (Vec::with_capacity(scales.len()), Vec::new());
    for block in scales.chunks(NESTED_BLOCK) {
        let most = block.iter().fold(0f32, |m, x| m.max((x - offset).abs()));
        let inverse = 1.0 / most.max(LEAST);
        absmax.push(most);
        codes.extend(block.iter().map(|x| match most {
            // Nothing to tell apart: bitsandbytes writes the first code, which is worth 0 too, as all are.
            0.0 => 0,
            _ => middles.partition_point(|middle| (x - offset) * inverse > *middle) as u8,
        }));
    }
    (Scales::Double { codes, absmax, map: Box::new(map) }, Some(offset))
}

/// The signed dynamic map of eight bits (Dettmers, "8-bit Approximations for Parallelism in Deep Learning", 2015): for each
/// power of ten from 1e-6 to 1, the middles of 1, 2, ... 64 equal parts of 0.1..1, with both signs; and 0 and 1.
fn dynamic_map() -> [f32; 256] {
    let mut map = [0f32; 256];
    let mut at = 2;
    map[1] = 1.0;
    for (exponent, power) in [1e-6f32, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0].into_iter().enumerate() {
        let parts = 1usize << exponent;
        let step = (1.0 - 0.1f32) / parts as f32;
        // Edges count from the nearer end, and are rounded once: so they are, to the bit, where PyTorch has them.
        let edge = |i: usize| match i <= parts / 2 {
            true => (f64::from(0.1f32) + f64::from(step) * i as f64) as f32,
            false => (1.0 - f64::from(step) * (parts - i) as f64) as f32,
        };
        for i in 0..parts {
            let value = power * ((edge(i) + edge(i + 1)) / 2.0);
            (map[at], map[at + 1]) = (value, -value);
            at += 2;
        }
    }
    map.sort_by(f32::total_cmp);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_sorted_and_whole() {
        let map = dynamic_map();
        assert!(map.windows(2).all(|p| p[0] < p[1]));
        assert_eq!((map[0], map[127], map[255]), (-0.99296874, 0.0, 1.0));
    }

    #[test]
    fn nearest_is_the_nearest() {
        for first in (-2048..2048).step_by(BLOCK) {
            let x: [f32; BLOCK] = std::array::from_fn(|i| (first + i as i32) as f32 / 2048.0);
            for (x, q) in x.iter().zip(nearest(&x)) {
                let best = VALUES.iter().map(|v| (v - x).abs()).fold(f32::MAX, f32::min);
                assert_eq!((VALUES[q as usize] - x).abs(), best, "{x}");
            }
        }
    }
}
