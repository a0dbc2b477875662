//! f32 to the types that a GGUF file may hold, bit for bit as ggml's own quantiser writes them.
//!
//! Q8_0: d = max|x| / 127, q = x/d rounded half away from zero. Q4_0: d = (the element of largest size, the first of
//! equals) / -8, q = x/d + 8 rounded half up, at most 15. Quotients are products with 1/d, and d is stored as a half.

use half::f16;

use crate::tensor::encode_f32;
use crate::{Dtype, Error};

/// Appends `values` as `dtype`: F32, F16, BF16, Q8_0 or Q4_0. Rows of blocked types are whole blocks, so any number of
/// whole rows may be given at once; `tensor` is its name, for errors.
///
/// # Errors
/// `Buffer` if the values are no whole blocks; `Range` for a value that the type cannot hold (a block holds no infinity
/// and nothing that is not a number), and for a type that we do not write.
pub fn encode(tensor: &str, dtype: Dtype, values: &[f32], out: &mut Vec<u8>) -> Result<(), Error> {
    match dtype {
        Dtype::Q8_0 => blocks(tensor, dtype, values, out, q8_0),
        Dtype::Q4_0 => blocks(tensor, dtype, values, out, q4_0),
        _ => {
            out.extend_from_slice(&encode_f32(tensor, dtype, values)?);
            Ok(())
        }
    }
}

/// Whether [`encode`] writes this type.
pub fn encodes(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::Q8_0 | Dtype::Q4_0)
}

fn blocks<const B: usize>(
    tensor: &str,
    dtype: Dtype,
    values: &[f32],
    out: &mut Vec<u8>,
    block: fn(&[f32; 32]) -> [u8; B],
) -> Result<(), Error> {
    let (whole, rest) = values.as_chunks::<32>();
    if !rest.is_empty() {
        let expected = values.len().next_multiple_of(32);
        return Err(Error::Buffer { tensor: tensor.to_string(), what: "the number of values", found: values.len(), expected });
    }
    out.reserve(whole.len() * B);
    for (i, x) in whole.iter().enumerate() {
        let bytes = block(x);
        let scale = f16::from_le_bytes([bytes[0], bytes[1]]);
        let finite = x.iter().all(|v| v.is_finite());
        if !finite || !scale.is_finite() {
            // Where the scale alone is too large, the largest element is the cause.
            let at = x.iter().position(|v| !v.is_finite()).unwrap_or_else(|| largest(x));
            return Err(Error::Range { tensor: tensor.to_string(), index: i * 32 + at, value: x[at], dtype: dtype.name() });
        }
        out.extend_from_slice(&bytes);
    }
    Ok(())
}

/// The first of the elements of largest size.
fn largest(x: &[f32; 32]) -> usize {
    (1..32).fold(0, |best, i| if x[i].abs() > x[best].abs() { i } else { best })
}

/// 1/d, or 0 for a block of zeros and for one so small that its scale is stored as zero anyway.
fn inverse(d: f32) -> f32 {
    let id = 1.0 / d;
    if id.is_finite() { id } else { 0.0 }
}

fn q8_0(x: &[f32; 32]) -> [u8; 34] {
    let d = x[largest(x)].abs() / 127.0;
    let id = inverse(d);
    let mut out = [0; 34];
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (o, v) in out[2..].iter_mut().zip(x) {
        *o = (v * id).round() as i8 as u8;
    }
    out
}

fn q4_0(x: &[f32; 32]) -> [u8; 18] {
    let d = x[largest(x)] / -8.0;
    let id = inverse(d);
    let q = |v: f32| ((v * id + 8.5) as u8).min(15);
    let mut out = [0; 18];
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (i, o) in out[2..].iter_mut().enumerate() {
        *o = q(x[i]) | q(x[i + 16]) << 4;
    }
    out
}
