//! bfloat16 in pairs: two neighbours along k, each rounded, in one 32-bit word, as the dot-product instruction takes them.
//!
//! A product whose weight is held so multiplies the rounded numbers and adds up in f32; at twice the peak where the CPU has
//! AVX-512 BF16. Words travel in buffers of f32, as bits: nothing computes with them but the kernel.

use super::gemm::Mat;
use super::lanes::{Level, NR, per_level};

// A word's first number is its lower half: the first in memory too.
const _: () = assert!(cfg!(target_endian = "little"));

/// The upper half of an f32's bits, rounded to nearest, ties to even. A NaN stays one.
#[inline(always)]
fn half(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { bits >> 16 | 0x40 } else { rounded }) as u16
}

/// The numbers of a word.
pub(crate) fn split(word: f32) -> (f32, f32) {
    let bits = word.to_bits();
    (f32::from_bits(bits << 16), f32::from_bits(bits & 0xffff_0000))
}

per_level! {
    fn round_all(out: &mut [u16], line: &[f32]) {
        for (o, &x) in out.iter_mut().zip(line) {
            *o = half(x);
        }
    }
}

/// `out[i]` holds `line[2 i]` and `line[2 i + 1]`; a missing last one counts as 0.
pub(crate) fn pair_up(level: Level, out: &mut [f32], line: &[f32]) {
    assert_eq!(out.len(), line.len().div_ceil(2));
    if let Some(last) = out.last_mut() {
        *last = 0.0;
    }
    // SAFETY: an f32 has room for two u16, is aligned for them, and any bits are a value of both.
    let halves = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<u16>(), 2 * out.len()) };
    round_all(level, halves, line);
}

per_level! {
    /// `out[i]` holds `first[i]` and `second[i]`.
    fn pair_lines(out: &mut [f32], first: &[f32], second: &[f32]) {
        for ((o, &f), &s) in out.iter_mut().zip(first).zip(second) {
            *o = f32::from_bits(u32::from(half(f)) | u32::from(half(s)) << 16);
        }
    }
}

/// A panel of 48 rows of a row-major (rows, k) matrix, two of k in a word: (ceil(k / 2), 48) words.
pub(crate) fn panel_of_rows(level: Level, out: &mut [f32], data: &[f32], k: usize, row: usize, rows: usize) {
    let mut words = vec![0f32; k.div_ceil(2)];
    for i in 0..NR.min(rows - row) {
        pair_up(level, &mut words, &data[(row + i) * k..][..k]);
        for (o, &w) in out[i..].iter_mut().step_by(NR).zip(&words) {
            *o = w;
        }
    }
}

/// A panel of 48 columns of a row-major (k, columns) matrix, two of k in a word: (ceil(k / 2), 48) words.
pub(crate) fn panel_of_columns(level: Level, out: &mut [f32], data: &[f32], columns: usize, column: usize) {
    let (width, zeros) = (NR.min(columns - column), [0f32; NR]);
    for (o, lines) in out.chunks_exact_mut(NR).zip(data.chunks(2 * columns)) {
        let second = if lines.len() > columns { &lines[columns + column..][..width] } else { &zeros[..width] };
        pair_lines(level, &mut o[..width], &lines[column..][..width], second);
    }
}

/// Row `row` of `a`, words `from..` of it, into `out`.
pub(crate) fn row_of(level: Level, out: &mut [f32], a: Mat, row: usize, from: usize) {
    let line = a.line(row);
    let end = (2 * (from + out.len())).min(line.len());
    pair_up(level, out, &line[2 * from..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_nearest_and_ties_to_even() {
        for (x, rounded) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),              // a tie: to the even one below
            (1.0 + 3.0 / 256.0, 1.0 + 1.0 / 64.0), // a tie: to the even one above
            (1.0 + 1.01 / 256.0, 1.0 + 1.0 / 128.0),
            (f32::MAX, f32::INFINITY),
            (-0.0, -0.0),
            (f32::from_bits(0x1_8001), f32::from_bits(0x2_0000)), // subnormal
        ] {
            let mut out = [0f32];
            pair_up(Level::detect(), &mut out, &[x, -x]);
            let (first, second) = split(out[0]);
            assert!(first.to_bits() == rounded.to_bits() && second.to_bits() == (-rounded).to_bits(), "{x}: {first}, not {rounded}");
        }
        for nan in [0x7fff_ffff, 0xff80_0001] {
            assert!(f32::from_bits(u32::from(half(f32::from_bits(nan))) << 16).is_nan());
        }
    }
}
