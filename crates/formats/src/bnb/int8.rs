//! int8: a row's elements are whole numbers from -127 to 127, scaled by the row's largest magnitude.
//!
//! value = (q * SCB[row]) * (1/127), each product rounded to f32. Quantising: q = x * (127/max|x|), ties to even.

use super::{Fill, Part};
use crate::{Dtype, Error};

/// A matrix in int8.
#[derive(Clone, Debug)]
pub struct Int8 {
    pub(super) rows: usize,
    pub(super) width: usize,
    /// As bytes of a file: two's complement.
    pub(super) codes: Vec<u8>,
    /// The largest magnitude of each row.
    pub(super) scales: Vec<f32>,
    /// Older files do not say how rows lie.
    pub(super) says_format: bool,
}

impl Int8 {
    /// Quantises a (rows, width) matrix; `fill(row, out)` gives row `row`.
    ///
    /// # Errors
    /// `Range` for a value that is not finite; what `fill` returns.
    pub fn quantise(tensor: &str, (rows, width): (usize, usize), fill: Fill<'_>) -> Result<Int8, Error> {
        let (mut codes, mut scales) = (Vec::with_capacity(rows * width), Vec::with_capacity(rows));
        let mut values = vec![0f32; width];
        for row in 0..rows {
            fill(row, &mut values)?;
            if let Some(at) = values.iter().position(|x| !x.is_finite()) {
                return Err(Error::Range { tensor: tensor.to_string(), index: row * width + at, value: values[at], dtype: "int8" });
            }
            let most = values.iter().fold(0f32, |m, x| m.max(x.abs()));
            // A row of zeros has no scale to divide by: 0 times infinity is no number, and becomes 0.
            let factor = 127.0 / most;
            codes.extend(values.iter().map(|x| (x * factor).round_ties_even() as i8 as u8));
            scales.push(most);
        }
        Ok(Int8 { rows, width, codes, scales, says_format: true })
    }

    /// (rows, width).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.width)
    }

    /// Bytes of the numbers held.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.scales.len() * 4
    }

    /// Decodes elements `from..from + out.len()` of a row.
    pub fn decode(&self, row: usize, from: usize, out: &mut [f32]) {
        assert!(row < self.rows && from + out.len() <= self.width);
        let scale = self.scales[row];
        for (o, code) in out.iter_mut().zip(&self.codes[row * self.width + from..]) {
            *o = f32::from(*code as i8) * scale * (1.0 / 127.0);
        }
    }

    /// The tensors of `<name>`, byte for byte as they were read, or as bitsandbytes would write them.
    pub fn parts(&self, name: &str) -> Vec<Part<'_>> {
        let stem = name.strip_suffix("weight").unwrap_or(name);
        let mut parts = vec![
            Part::bytes(name.to_string(), Dtype::I8, vec![self.rows, self.width], &self.codes),
            Part::floats(format!("{stem}SCB"), &self.scales),
        ];
        if self.says_format {
            // 0: row by row, the only order that is still written.
            parts.push(Part::bytes(format!("{stem}weight_format"), Dtype::U8, Vec::new(), &[0]));
        }
        parts
    }
}
