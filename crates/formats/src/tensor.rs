//! One tensor as it lies in a file, and its values as f32.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::gguf::blocks;
use crate::{Dtype, Error};

/// A tensor that borrows its bytes from a mapped file.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// How its elements are stored.
    pub dtype: Dtype,
    /// Row-major, outermost first (GGUF writes the reverse; it is turned round on reading).
    pub shape: Vec<usize>,
    /// The stored bytes, exactly as many as type and shape need.
    pub bytes: &'a [u8],
}

impl Tensor<'_> {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The number of rows: every dimension but the last multiplied; 1 for a vector or scalar.
    pub fn rows(&self) -> usize {
        match self.shape.split_last() {
            Some((_, outer)) => outer.iter().product(),
            None => 1,
        }
    }

    /// The length of a row: the last dimension; 1 for a scalar.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Decodes all elements. Exact for every type but F64, I64 and I32, which round to the nearest f32.
    ///
    /// # Errors
    /// `Buffer` if `out` has not exactly `elements()` places.
    pub fn read_f32(&self, out: &mut [f32]) -> Result<(), Error> {
        self.read_rows_f32(0, self.rows(), out)
    }

    /// Decodes `rows` rows from `row0` on, rows counted over all dimensions but the last.
    ///
    /// # Errors
    /// `Buffer` if the rows are not there or `out` has not exactly `rows * width()` places.
    pub fn read_rows_f32(&self, row0: usize, rows: usize, out: &mut [f32]) -> Result<(), Error> {
        let fault = |what, found, expected| Err(Error::Buffer { tensor: self.name.to_string(), what, found, expected });
        let end = row0.saturating_add(rows);
        if end > self.rows() {
            return fault("the last row asked for", end, self.rows());
        }
        let width = self.width();
        if out.len() != rows * width {
            return fault("the length of the output", out.len(), rows * width);
        }
        let row_bytes = width / self.dtype.block_elements() * self.dtype.block_bytes();
        let expected = self.rows() * row_bytes;
        if self.bytes.len() != expected {
            return fault("the number of stored bytes", self.bytes.len(), expected);
        }
        decode(self.dtype, &self.bytes[row0 * row_bytes..end * row_bytes], out);
        Ok(())
    }
}

/// Decodes whole blocks; both lengths have been checked by the caller.
pub(crate) fn decode(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::F64 => each(bytes, out, |b: [u8; 8]| f64::from_le_bytes(b) as f32),
        Dtype::F32 => each(bytes, out, f32::from_le_bytes),
        Dtype::F16 => halves(bytes, out),
        Dtype::BF16 => each(bytes, out, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        Dtype::I64 => each(bytes, out, |b: [u8; 8]| i64::from_le_bytes(b) as f32),
        Dtype::I32 => each(bytes, out, |b: [u8; 4]| i32::from_le_bytes(b) as f32),
        Dtype::I16 => each(bytes, out, |b: [u8; 2]| f32::from(i16::from_le_bytes(b))),
        Dtype::I8 => each(bytes, out, |b: [u8; 1]| f32::from(i8::from_le_bytes(b))),
        Dtype::U8 => each(bytes, out, |b: [u8; 1]| f32::from(b[0])),
        Dtype::Bool => each(bytes, out, |b: [u8; 1]| f32::from(u8::from(b[0] != 0))),
        Dtype::F8E4M3 => each(bytes, out, |b: [u8; 1]| e4m3_to_f32(b[0])),
        Dtype::F8E5M2 => each(bytes, out, |b: [u8; 1]| e5m2_to_f32(b[0])),
        Dtype::Q4_0 => blocks::each(bytes, out, blocks::q4_0),
        Dtype::Q4_1 => blocks::each(bytes, out, blocks::q4_1),
        Dtype::Q5_0 => blocks::each(bytes, out, blocks::q5_0),
        Dtype::Q5_1 => blocks::each(bytes, out, blocks::q5_1),
        Dtype::Q8_0 => blocks::each(bytes, out, blocks::q8_0),
        Dtype::Q4K => blocks::each(bytes, out, blocks::q4_k),
        Dtype::Q5K => blocks::each(bytes, out, blocks::q5_k),
        Dtype::Q6K => blocks::each(bytes, out, blocks::q6_k),
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (o, b) in out.iter_mut().zip(elements) {
        *o = value(*b);
    }
}

/// Half precision by the stretch, since the CPU has an instruction for several.
fn halves(bytes: &[u8], out: &mut [f32]) {
    const STRETCH: usize = 64;
    let mut some = [f16::ZERO; STRETCH];
    for (o, bytes) in out.chunks_mut(STRETCH).zip(bytes.chunks(2 * STRETCH)) {
        for (h, b) in some.iter_mut().zip(bytes.as_chunks().0) {
            *h = f16::from_le_bytes(*b);
        }
        some[..o.len()].convert_to_f32_slice(o);
    }
}

/// FP8 E4M3 without infinities (the "fn" form): bias 7, S.1111.111 is not a number, largest value 448.
fn e4m3_to_f32(byte: u8) -> f32 {
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(byte >> 3 & 0xf), f32::from(byte & 7));
    match exponent {
        0 => sign * mantissa * 2f32.powi(-9),
        15 if byte & 7 == 7 => f32::NAN,
        _ => sign * (8.0 + mantissa) * 2f32.powi(exponent - 10),
    }
}

/// FP8 E5M2 is the upper half of an IEEE half.
fn e5m2_to_f32(byte: u8) -> f32 {
    f16::from_bits(u16::from(byte) << 8).to_f32()
}

/// Encodes f32 values as F32, F16 or BF16 (nearest, ties to even) for a writer.
///
/// # Errors
/// `Range` if a finite value would become infinite, or if the type is none of the three.
pub fn encode_f32(tensor: &str, dtype: Dtype, values: &[f32]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(values.len() * dtype.block_bytes());
    for (index, &value) in values.iter().enumerate() {
        let finite = match dtype {
            Dtype::F32 => {
                out.extend_from_slice(&value.to_le_bytes());
                true
            }
            Dtype::F16 => {
                let short = f16::from_f32(value);
                out.extend_from_slice(&short.to_le_bytes());
                short.is_finite()
            }
            Dtype::BF16 => {
                let short = bf16::from_f32(value);
                out.extend_from_slice(&short.to_le_bytes());
                short.is_finite()
            }
            other => return Err(Error::Range { tensor: tensor.to_string(), index, value, dtype: other.name() }),
        };
        if value.is_finite() && !finite {
            return Err(Error::Range { tensor: tensor.to_string(), index, value, dtype: dtype.name() });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Vec<f32> {
        let t = Tensor { name: "t", dtype, shape: shape.to_vec(), bytes };
        let mut out = vec![f32::NAN; t.elements()];
        t.read_f32(&mut out).unwrap();
        out
    }

    #[test]
    fn halves_are_exact_for_every_bit_pattern() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let wide = read(Dtype::BF16, &[65536], &bytes);
        for (bits, v) in wide.iter().enumerate() {
            assert!(v.is_nan() || v.to_bits() == (bits as u32) << 16);
        }
        // Independent of the decoder: value = (-1)^s * m * 2^e from the fields of an IEEE half.
        for (bits, v) in read(Dtype::F16, &[65536], &bytes).iter().enumerate() {
            let (e, m) = ((bits >> 10 & 31) as i32, (bits & 1023) as f64);
            let size = if e == 0 { m * 2f64.powi(-24) } else { (1024.0 + m) * 2f64.powi(e - 25) };
            if e == 31 {
                assert!(!v.is_finite());
            } else {
                assert_eq!(f64::from(*v), if bits >> 15 == 1 { -size } else { size });
            }
        }
    }

    #[test]
    fn small_floats_follow_their_tables() {
        assert_eq!(read(Dtype::F8E4M3, &[5], &[0x7e, 0x38, 0x01, 0x88, 0xb8]), [448.0, 1.0, 2f32.powi(-9), -(2f32.powi(-6)), -1.0]);
        assert!(read(Dtype::F8E4M3, &[1], &[0xff])[0].is_nan());
        assert_eq!(read(Dtype::F8E5M2, &[3], &[0x3c, 0x7b, 0x01]), [1.0, 57344.0, 2f32.powi(-16)]);
    }

    #[test]
    fn integers_and_rows() {
        assert_eq!(read(Dtype::I16, &[2], &[0xff, 0xff, 2, 1]), [-1.0, 258.0]);
        assert_eq!(read(Dtype::I8, &[1], &[0x80]), [-128.0]);
        assert_eq!(read(Dtype::Bool, &[2], &[0, 1]), [0.0, 1.0]);
        let bytes = [1u8, 2, 3, 4, 5, 6];
        let t = Tensor { name: "w", dtype: Dtype::U8, shape: vec![3, 2], bytes: &bytes };
        let mut out = [0.0; 2];
        t.read_rows_f32(1, 1, &mut out).unwrap();
        assert_eq!(out, [3.0, 4.0]);
        assert_eq!(t.read_rows_f32(2, 2, &mut [0.0; 4]).unwrap_err().to_string(), "tensor `w`: the last row asked for is 4, expected 3");
        assert_eq!(t.read_f32(&mut [0.0; 5]).unwrap_err().to_string(), "tensor `w`: the length of the output is 5, expected 6");
        assert!(t.read_rows_f32(usize::MAX, 2, &mut []).is_err());
    }

    #[test]
    fn encoding_rounds_to_even_and_refuses_overflow() {
        let one = encode_f32("t", Dtype::BF16, &[1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8)]).unwrap();
        assert_eq!(one, [0x80, 0x3f, 0x82, 0x3f]);
        assert_eq!(
            encode_f32("w", Dtype::F16, &[1.0, 70000.0]).unwrap_err().to_string(),
            "tensor `w`: element 1 is 70000, which F16 cannot hold"
        );
        assert!(encode_f32("w", Dtype::F16, &[f32::NAN]).is_ok());
    }
}
