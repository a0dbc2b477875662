//! Quantised weights out of a file's tensors: which there are, and each with its companions.

use std::collections::BTreeMap;
use std::path::Path;

use super::nf4::{Scales, VALUES};
use super::state::State;
use super::{Int8, Nf4, Scheme};
use crate::error::brief;
use crate::{Dtype, Error, Tensor};

/// Finds a tensor by its name.
pub(crate) type Get<'a> = &'a dyn Fn(&str) -> Option<Tensor<'a>>;

/// The quantised weights among a file's tensors, and the names that belong to them.
#[derive(Debug, Default)]
pub(crate) struct Companions {
    /// By the name of the weight.
    pub weights: BTreeMap<String, Scheme>,
    /// Names that are no weights of their own.
    pub names: Vec<String>,
}

const STATE: &str = ".quant_state.bitsandbytes__";

impl Companions {
    /// Looks through the names of `all`; `path` is for the error.
    ///
    /// # Errors
    /// `StoredType` for FP4 and other kinds of four bits.
    pub fn among<T>(path: &Path, all: &BTreeMap<String, T>) -> Result<Companions, Error> {
        let mut found = Companions::default();
        for name in all.keys() {
            if let Some((weight, kind)) = name.split_once(STATE) {
                if kind != "nf4" {
                    return Err(refused(path, weight, &format!("bitsandbytes {}", brief(&kind.to_uppercase()))));
                }
                let double = all.contains_key(&format!("{weight}.nested_absmax"));
                found.weights.insert(weight.to_string(), Scheme::Nf4 { double });
                let ending = |e: &str| format!("{weight}.{e}");
                found.names.extend(["absmax", "quant_map", "nested_absmax", "nested_quant_map"].map(ending));
                found.names.push(name.to_string());
            } else if let Some(stem) = name.strip_suffix(".SCB") {
                found.weights.insert(format!("{stem}.weight"), Scheme::Int8);
                found.names.extend([name.to_string(), format!("{stem}.weight_format")]);
            }
        }
        Ok(found)
    }
}

fn refused(path: &Path, tensor: &str, found: &str) -> Error {
    let supported = "bitsandbytes NF4 and int8, F32, F16, BF16".to_string();
    Error::StoredType { path: path.to_path_buf(), tensor: brief(tensor), found: found.to_string(), supported }
}

/// A tensor that must be there, of this type and, if given, with so many elements.
fn needed<'a>(path: &Path, get: Get<'a>, name: &str, dtype: Dtype, elements: Option<usize>) -> Result<Tensor<'a>, Error> {
    let tensor = get(name).ok_or_else(|| Error::MissingTensor { path: path.to_path_buf(), tensor: brief(name) })?;
    let part = || format!("tensor `{}`", brief(name));
    if tensor.dtype != dtype {
        return Err(Error::malformed(path, part(), tensor.dtype, dtype));
    }
    match elements {
        Some(n) if tensor.elements() != n => Err(Error::malformed(path, part(), format!("{} elements", tensor.elements()), n)),
        _ => Ok(tensor),
    }
}

fn floats(path: &Path, get: Get<'_>, name: &str, elements: usize) -> Result<Vec<f32>, Error> {
    let tensor = needed(path, get, name, Dtype::F32, Some(elements))?;
    let mut out = vec![0f32; elements];
    tensor.read_f32(&mut out)?;
    match out.iter().find(|x| !x.is_finite()) {
        Some(x) => Err(Error::malformed(path, format!("tensor `{}`", brief(name)), x, "finite numbers")),
        None => Ok(out),
    }
}

impl Nf4 {
    /// Reads weight `name` and its companions; `path` is for errors.
    ///
    /// # Errors
    /// `MissingTensor`, and `Malformed` where text and tensors contradict each other.
    pub(crate) fn read(path: &Path, name: &str, get: Get<'_>) -> Result<Nf4, Error> {
        let of = |ending: &str| format!("{name}.{ending}");
        let text = format!("{name}{STATE}nf4");
        let state = State::parse(path, &text, needed(path, get, &text, Dtype::U8, None)?.bytes)?;
        let [rows, width] = state.shape;
        // Both are below 2^31, so the product fits.
        let elements = rows * width;
        // Bytes may be kept under another type.
        let packed = get(name).ok_or_else(|| Error::MissingTensor { path: path.to_path_buf(), tensor: brief(name) })?;
        if packed.dtype.block_elements() != 1 || packed.bytes.len() != elements.div_ceil(2) {
            let expected = format!("{} for NF4 of shape {:?}", elements.div_ceil(2), state.shape);
            return Err(Error::malformed(path, format!("tensor `{}`", brief(name)), format!("{} bytes", packed.bytes.len()), expected));
        }
        let values = floats(path, get, &of("quant_map"), 16)?;
        if let Some((v, expected)) = values.iter().zip(VALUES).find(|(v, e)| v.to_bits() != e.to_bits()) {
            return Err(Error::malformed(path, format!("tensor `{}`", brief(&of("quant_map"))), v, format!("{expected} of NF4")));
        }
        let blocks = elements.div_ceil(state.block);
        let scales = if state.double {
            let codes = needed(path, get, &of("absmax"), Dtype::U8, Some(blocks))?.bytes.to_vec();
            let absmax = floats(path, get, &of("nested_absmax"), blocks.div_ceil(state.nested_block))?;
            let mut map = Box::new([0f32; 256]);
            map.copy_from_slice(&floats(path, get, &of("nested_quant_map"), 256)?);
            Scales::Double { codes, absmax, map }
        } else {
            if get(&of("nested_absmax")).is_some() {
                let found = "no `nested_offset` beside the nested scales";
                return Err(Error::malformed(path, format!("tensor `{}`", brief(&text)), found, "all or none of them"));
            }
            Scales::Single(floats(path, get, &of("absmax"), blocks)?)
        };
        Ok(Nf4 { rows, width, packed: packed.bytes.to_vec(), stored: (packed.dtype, packed.shape), scales, state })
    }
}

impl Int8 {
    /// Reads weight `name` and its companions; `path` is for errors.
    ///
    /// # Errors
    /// `MissingTensor`, and `Malformed` where the tensors contradict each other.
    pub(crate) fn read(path: &Path, name: &str, get: Get<'_>) -> Result<Int8, Error> {
        let stem = name.strip_suffix("weight").unwrap_or(name);
        let codes = needed(path, get, name, Dtype::I8, None)?;
        let [rows, width] = codes.shape[..] else {
            return Err(Error::malformed(path, format!("tensor `{}`", brief(name)), format!("shape {:?}", codes.shape), "a matrix"));
        };
        let scales = floats(path, get, &format!("{stem}SCB"), rows)?;
        let format = format!("{stem}weight_format");
        let says_format = get(&format).is_some();
        if says_format {
            let order = needed(path, get, &format, Dtype::U8, Some(1))?.bytes[0];
            if order != 0 {
                return Err(Error::malformed(path, format!("tensor `{}`", brief(&format)), order, "0, for rows"));
            }
        }
        Ok(Int8 { rows, width, codes: codes.bytes.to_vec(), scales, says_format })
    }
}
