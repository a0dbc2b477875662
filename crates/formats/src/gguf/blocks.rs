//! The block formats of ggml, block bytes to f32.
//!
//! Every block starts or ends with half-precision scales; values are small integers q. With d (and m) the scales:
//! Q4_0 `d*(q-8)`, Q4_1 `d*q + m`, Q5_0 `d*(q-16)`, Q5_1 `d*q + m`, Q8_0 `d*q`;
//! Q4_K and Q5_K `(d*s)*q - (dmin*n)` with 6-bit s, n for each 32 elements; Q6_K `(d*s)*(q-32)` with 8-bit s for
//! each 16. The order of the products is that of the reference, so the values are bit-equal to it.

use half::f16;

/// Runs a block decoder over whole blocks; surplus bytes or places are left alone (the caller checks the lengths).
pub(crate) fn each<const B: usize, const E: usize>(bytes: &[u8], out: &mut [f32], decode: fn(&[u8; B], &mut [f32; E])) {
    let (blocks, _) = bytes.as_chunks::<B>();
    let (places, _) = out.as_chunks_mut::<E>();
    for (block, place) in blocks.iter().zip(places) {
        decode(block, place);
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Elements 0..16 lie in the low four bits of the 16 bytes, 16..32 in the high ones.
fn nibble(packed: &[u8], i: usize) -> u8 {
    if i < 16 { packed[i] & 0xf } else { packed[i - 16] >> 4 }
}

/// The fifth bit of element i is bit i of a little-endian 32-bit word.
fn fifth_bit(word: &[u8], i: usize) -> u8 {
    (word[i / 8] >> (i % 8) & 1) << 4
}

pub(crate) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (i, o) in out.iter_mut().enumerate() {
        *o = d * f32::from(nibble(&block[2..], i) as i8 - 8);
    }
}

pub(crate) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, o) in out.iter_mut().enumerate() {
        *o = d * f32::from(nibble(&block[4..], i)) + m;
    }
}

pub(crate) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (i, o) in out.iter_mut().enumerate() {
        let q = nibble(&block[6..], i) | fifth_bit(&block[2..6], i);
        *o = d * f32::from(q as i8 - 16);
    }
}

pub(crate) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, o) in out.iter_mut().enumerate() {
        let q = nibble(&block[8..], i) | fifth_bit(&block[4..8], i);
        *o = d * f32::from(q) + m;
    }
}

pub(crate) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (i, o) in out.iter_mut().enumerate() {
        *o = d * f32::from(block[2 + i] as i8);
    }
}

/// Scale and minimum of the group j of 32, six bits each, packed in 12 bytes: groups 0..4 in the low six bits of
/// bytes 0..4 and 4..8; groups 4..8 take four bits from bytes 8..12 and their upper two from bytes 0..4 and 4..8.
fn scale_and_min(packed: &[u8], j: usize) -> (f32, f32) {
    let (s, n) = if j < 4 {
        (packed[j] & 0x3f, packed[j + 4] & 0x3f)
    } else {
        let low = packed[j + 4];
        ((low & 0xf) | (packed[j - 4] >> 6) << 4, (low >> 4) | (packed[j] >> 6) << 4)
    };
    (f32::from(s), f32::from(n))
}

/// 256 elements in eight groups of 32; groups 2k and 2k+1 share 32 bytes, low and high four bits.
pub(crate) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (scales, packed) = (&block[4..16], &block[16..]);
    for (j, group) in out.chunks_exact_mut(32).enumerate() {
        let (s, n) = scale_and_min(scales, j);
        let (step, least) = (d * s, dmin * n);
        for (i, o) in group.iter_mut().enumerate() {
            let q = packed[j / 2 * 32 + i] >> (j % 2 * 4) & 0xf;
            *o = step * f32::from(q) - least;
        }
    }
}

/// As Q4_K, with a fifth bit: bit j of the 32 bytes before the packed values.
pub(crate) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (scales, high, packed) = (&block[4..16], &block[16..48], &block[48..]);
    for (j, group) in out.chunks_exact_mut(32).enumerate() {
        let (s, n) = scale_and_min(scales, j);
        let (step, least) = (d * s, dmin * n);
        for (i, o) in group.iter_mut().enumerate() {
            let q = (packed[j / 2 * 32 + i] >> (j % 2 * 4) & 0xf) | (high[i] >> j & 1) << 4;
            *o = step * f32::from(q) - least;
        }
    }
}

/// 256 elements in two halves of 128; a half has four groups of 32: low four bits from 64 bytes (groups 0, 1 low and
/// 2, 3 high), upper two bits from 32 bytes (two bits a group). Signed 8-bit scales, one for each 16 elements.
pub(crate) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (e, o) in out.iter_mut().enumerate() {
        let (half, group, i) = (e / 128, e % 128 / 32, e % 32);
        let four = low[half * 64 + group % 2 * 32 + i] >> (group / 2 * 4) & 0xf;
        let two = high[half * 32 + i] >> (group * 2) & 3;
        let q = (four | two << 4) as i8 - 32;
        *o = d * f32::from(scales[e / 16] as i8) * f32::from(q);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One set bit at a time: a block that encodes a single known value decodes to it at the right place.
    #[test]
    fn one_element_at_a_time() {
        let one = f16::ONE.to_le_bytes();
        for e in 0..32 {
            let mut b = [0u8; 22];
            b[..2].copy_from_slice(&one);
            b[2 + e / 8] = 1 << (e % 8);
            b[6 + e % 16] = if e < 16 { 0x5 } else { 0x50 };
            let mut out = [0f32; 32];
            q5_0(&b, &mut out);
            for (i, v) in out.iter().enumerate() {
                assert_eq!(*v, if i == e { 5.0 } else { -16.0 }, "{e} {i}");
            }
        }
    }

    #[test]
    fn six_bit_scales_come_apart() {
        // Pack scale j = 8*j + 3 and minimum j = 63 - 5*j by the stated layout, then read them back.
        let (s, n): (Vec<u8>, Vec<u8>) = (0..8u8).map(|j| (8 * j + 3, 63 - 5 * j)).unzip();
        let mut packed = [0u8; 12];
        for j in 0..4 {
            packed[j] = s[j] | (s[j + 4] >> 4) << 6;
            packed[j + 4] = n[j] | (n[j + 4] >> 4) << 6;
            packed[j + 8] = (s[j + 4] & 0xf) | (n[j + 4] & 0xf) << 4;
        }
        for j in 0..8 {
            assert_eq!(scale_and_min(&packed, j), (f32::from(s[j]), f32::from(n[j])));
        }
    }
}
