//! The JSON text that describes an NF4 weight, as bitsandbytes writes and reads it.

use std::path::Path;

use serde_json::{Map, Value};

use super::{BLOCK, NESTED_BLOCK};
use crate::error::brief;
use crate::{Dtype, Error};

/// What the text says, and the text itself.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Elements that share a scale.
    pub block: usize,
    /// F32, F16 or BF16: what decoded values are rounded to.
    pub dtype: Dtype,
    pub shape: [usize; 2],
    pub double: bool,
    /// Scales that share a scale, and what is added to all; of use only where `double`.
    pub nested_block: usize,
    pub offset: f32,
    pub text: Vec<u8>,
}

/// A text is less than 300 bytes; a longer one would only cost memory.
const LONGEST: usize = 4096;

impl State {
    /// The description of a weight that we quantised; `offset` if doubly.
    pub fn new(tensor: &str, dtype: Dtype, shape: [usize; 2], offset: Option<f32>) -> Result<State, Error> {
        let Some((_, name)) = NAMES.into_iter().find(|(d, _)| *d == dtype) else {
            return Err(Error::Range { tensor: tensor.to_string(), index: 0, value: 0.0, dtype: dtype.name() });
        };
        let [rows, width] = shape;
        let nested = offset.map_or(String::new(), |offset| {
            let offset = python_float(f64::from(offset));
            format!(", \"nested_blocksize\": {NESTED_BLOCK}, \"nested_dtype\": \"float32\", \"nested_offset\": {offset}")
        });
        let text =
            format!("{{\"quant_type\": \"nf4\", \"blocksize\": {BLOCK}, \"dtype\": \"{name}\", \"shape\": [{rows}, {width}]{nested}}}");
        let (double, offset) = (offset.is_some(), offset.unwrap_or(0.0));
        Ok(State { block: BLOCK, dtype, shape, double, nested_block: NESTED_BLOCK, offset, text: text.into_bytes() })
    }

    /// Reads the text of tensor `name`.
    pub fn parse(path: &Path, name: &str, text: &[u8]) -> Result<State, Error> {
        let part = format!("tensor `{}`", brief(name));
        if text.len() > LONGEST {
            return Err(Error::malformed(path, part, format!("{} bytes", text.len()), format!("at most {LONGEST} of JSON")));
        }
        let object = match serde_json::from_slice(text) {
            Ok(Value::Object(object)) => object,
            Ok(other) => return Err(Error::malformed(path, part, brief(&other.to_string()), "a JSON object")),
            Err(e) => return Err(Error::malformed(path, part, format!("no JSON ({e})"), "a JSON object")),
        };
        let read = Read { path, part: &part, object: &object };
        read.word("quant_type", &["nf4"])?;
        let dtype = read.word("dtype", &NAMES.map(|(_, name)| name))?;
        let double = ["nested_blocksize", "nested_dtype", "nested_offset"].iter().any(|key| object.contains_key(*key));
        let (nested_block, offset) = if double {
            read.word("nested_dtype", &["float32"])?;
            (read.block("nested_blocksize")?, read.offset()?)
        } else {
            (NESTED_BLOCK, 0.0)
        };
        let block = read.block("blocksize")?;
        Ok(State { block, dtype: NAMES[dtype].0, shape: read.shape()?, double, nested_block, offset, text: text.to_vec() })
    }
}

const NAMES: [(Dtype, &str); 3] = [(Dtype::F32, "float32"), (Dtype::F16, "float16"), (Dtype::BF16, "bfloat16")];

/// Typed access to the fields.
struct Read<'a> {
    path: &'a Path,
    part: &'a str,
    object: &'a Map<String, Value>,
}

impl Read<'_> {
    fn fault(&self, key: &str, expected: impl ToString) -> Error {
        let found = self.object.get(key).map_or("nothing".to_string(), |v| brief(&v.to_string()));
        Error::malformed(self.path, format!("`{key}` in {}", self.part), found, expected)
    }

    /// Which of these words it is.
    fn word(&self, key: &str, words: &[&str]) -> Result<usize, Error> {
        let found = self.object.get(key).and_then(Value::as_str);
        words.iter().position(|w| Some(*w) == found).ok_or_else(|| self.fault(key, words.join(" or ")))
    }

    fn block(&self, key: &str) -> Result<usize, Error> {
        match self.object.get(key).and_then(Value::as_u64) {
            Some(n) if n.is_power_of_two() && (32..=4096).contains(&n) => Ok(n as usize),
            _ => Err(self.fault(key, "a power of two from 32 to 4096")),
        }
    }

    fn offset(&self) -> Result<f32, Error> {
        match self.object.get("nested_offset").and_then(Value::as_f64).map(|x| x as f32) {
            Some(x) if x.is_finite() => Ok(x),
            _ => Err(self.fault("nested_offset", "a number")),
        }
    }

    fn shape(&self) -> Result<[usize; 2], Error> {
        let size = |v: &Value| v.as_u64().filter(|n| (1..1 << 31).contains(n)).map(|n| n as usize);
        match self.object.get("shape").and_then(Value::as_array).map(Vec::as_slice) {
            Some([rows, width]) => size(rows).zip(size(width)).map(|(r, w)| [r, w]),
            _ => None,
        }
        .ok_or_else(|| self.fault("shape", "two whole numbers above 0"))
    }
}

/// A number as Python writes it: the shortest digits, an exponent of two digits with its sign.
fn python_float(x: f64) -> String {
    let text = format!("{x:?}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, size) = exponent.strip_prefix('-').map_or(('+', exponent), |size| ('-', size));
            format!("{digits}e{sign}{size:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::python_float;

    #[test]
    fn numbers_are_written_as_python_does() {
        let cases = [
            (0.051634594798088074, "0.051634594798088074"),
            (1.0, "1.0"),
            (6.6793111253513195e22, "6.6793111253513195e+22"),
            (1e16, "1e+16"),
            (123456789012345.0, "123456789012345.0"),
            (0.0001, "0.0001"),
            (9.9e-5, "9.9e-05"),
            (1.5e-300, "1.5e-300"),
            (0.0, "0.0"),
        ];
        for (x, text) in cases {
            assert_eq!(python_float(x), text);
        }
    }
}
