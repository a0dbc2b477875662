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

/// Decodes 32 elements whose low four bits lie in 16 bytes, elements 0..16 in the lower halves, 16..32 in the upper;
/// `value(i, q)` is the number for element i. No branch and no division inside: this runs for every weight at every product.
#[inline(always)]
fn nibbles(packed: &[u8], out: &mut [f32; 32], value: impl Fn(usize, u8) -> f32) {
    let (low, high) = out.split_at_mut(16);
    for (i, ((l, h), byte)) in low.iter_mut().zip(high).zip(packed).enumerate() {
        *l = value(i, byte & 0xf);
        *h = value(i + 16, byte >> 4);
    }
}

/// The fifth bits of 32 elements: bit i of a little-endian word, moved to where it counts 16.
#[inline(always)]
fn fifth_bits(block: &[u8], at: usize) -> impl Fn(usize) -> u8 {
    let word = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    move |i| ((word >> i & 1) << 4) as u8
}

pub(crate) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    nibbles(&block[2..], out, |_, q| d * f32::from(q as i8 - 8));
}

pub(crate) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    nibbles(&block[4..], out, |_, q| d * f32::from(q) + m);
}

pub(crate) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let (d, fifth) = (half_at(block, 0), fifth_bits(block, 2));
    nibbles(&block[6..], out, |i, q| d * f32::from((q | fifth(i)) as i8 - 16));
}

pub(crate) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m, fifth) = (half_at(block, 0), half_at(block, 2), fifth_bits(block, 4));
    nibbles(&block[8..], out, |i, q| d * f32::from(q | fifth(i)) + m);
}

pub(crate) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (o, q) in out.iter_mut().zip(&block[2..]) {
        *o = d * f32::from(*q as i8);
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
    for (pair, (groups, bytes)) in out.chunks_exact_mut(64).zip(packed.chunks_exact(32)).enumerate() {
        let (low, high) = groups.split_at_mut(32);
        let [(s, n), (t, m)] = [2 * pair, 2 * pair + 1].map(|j| scale_and_min(scales, j));
        let [(s, n), (t, m)] = [(d * s, dmin * n), (d * t, dmin * m)];
        for ((l, h), byte) in low.iter_mut().zip(high).zip(bytes) {
            *l = s * f32::from(byte & 0xf) - n;
            *h = t * f32::from(byte >> 4) - m;
        }
    }
}

/// As Q4_K, with a fifth bit: bit j of the 32 bytes before the packed values.
pub(crate) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (scales, fifths, packed) = (&block[4..16], &block[16..48], &block[48..]);
    for (pair, (groups, bytes)) in out.chunks_exact_mut(64).zip(packed.chunks_exact(32)).enumerate() {
        let (low, high) = groups.split_at_mut(32);
        let [(s, n), (t, m)] = [2 * pair, 2 * pair + 1].map(|j| scale_and_min(scales, j));
        let [(s, n), (t, m)] = [(d * s, dmin * n), (d * t, dmin * m)];
        for (((l, h), byte), fifth) in low.iter_mut().zip(high).zip(bytes).zip(fifths) {
            let bits = fifth >> (2 * pair);
            *l = s * f32::from(byte & 0xf | (bits & 1) << 4) - n;
            *h = t * f32::from(byte >> 4 | (bits & 2) << 3) - m;
        }
    }
}

/// 256 elements in two halves of 128; a half has four groups of 32: low four bits from 64 bytes (groups 0, 1 low and
/// 2, 3 high), upper two bits from 32 bytes (two bits a group). Signed 8-bit scales, one for each 16 elements.
pub(crate) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (fours, twos, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (run, out) in out.chunks_exact_mut(16).enumerate() {
        // A run of 16 has one scale: half, group of the half, and which 16 of the group.
        let (half, group, at) = (run / 8, run % 8 / 2, run % 2 * 16);
        let scale = d * f32::from(scales[run] as i8);
        let (four, two) = (&fours[half * 64 + group % 2 * 32 + at..][..16], &twos[half * 32 + at..][..16]);
        let (four_at, two_at) = (group / 2 * 4, group * 2);
        for ((o, f), t) in out.iter_mut().zip(four).zip(two) {
            let q = (f >> four_at & 0xf) | (t >> two_at & 3) << 4;
            *o = scale * f32::from(q as i8 - 32);
        }
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
