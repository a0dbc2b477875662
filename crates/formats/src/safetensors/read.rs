//! Opens a safetensors file and validates its whole header.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};

use crate::dtype::SAFETENSORS_SUPPORTED;
use crate::error::brief;
use crate::map::Mapped;
use crate::{Dtype, Error, Tensor};

/// The limit that the format's own library sets on a header.
const MAX_HEADER: u64 = 100_000_000;

#[derive(Debug)]
struct Info {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

/// An open safetensors file, mapped into memory.
#[derive(Debug)]
pub struct File {
    mapped: Mapped,
    metadata: BTreeMap<String, String>,
    tensors: Vec<Info>,
    index: BTreeMap<String, usize>,
}

impl File {
    /// Opens and validates a file: after this every tensor is known to lie inside it.
    ///
    /// # Errors
    /// A file that is cut short, a header that is too large or not JSON, an unknown type, offsets that leave the
    /// file, overlap, leave a gap, or do not match type and shape.
    pub fn open(path: &Path) -> Result<File, Error> {
        let mapped = Mapped::open(path)?;
        let bytes = mapped.bytes();
        let len = bytes.len() as u64;
        let Some(prefix) = bytes.first_chunk::<8>() else {
            return Err(Error::truncated(path, "the header length", len, 8));
        };
        let header = u64::from_le_bytes(*prefix);
        if header > MAX_HEADER {
            let expected = format!("at most {MAX_HEADER}");
            return Err(Error::malformed(path, "the header length", format!("{header} bytes"), expected));
        }
        if 8 + header > len {
            return Err(Error::truncated(path, "the header", len, 8 + header));
        }
        let (header, data) = bytes[8..].split_at(header as usize);
        let header: Value = serde_json::from_slice(header).map_err(|source| Error::Json { path: path.to_path_buf(), source })?;
        let Value::Object(header) = header else {
            return Err(Error::malformed(path, "the header", kind(&header), "an object"));
        };
        let start = len as usize - data.len();
        let metadata = metadata(path, &header)?;
        let mut tensors = Vec::new();
        for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
            tensors.push(info(path, name, entry)?);
        }
        check_layout(path, &tensors, start, data.len())?;
        for tensor in &mut tensors {
            tensor.bytes = tensor.bytes.start + start..tensor.bytes.end + start;
        }
        let index = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(File { mapped, metadata, tensors, index })
    }

    /// Gives the pages that were read back to the system: a tensor that was decoded needs them no longer.
    pub fn release(&self) {
        self.mapped.release();
    }

    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        &self.mapped.path
    }

    /// The free-form metadata of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Tensor names in the order of the header.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|t| t.name.as_str())
    }

    /// A tensor by name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let info = &self.tensors[*self.index.get(name)?];
        Some(Tensor { name: &info.name, dtype: info.dtype, shape: info.shape.clone(), bytes: &self.mapped.bytes()[info.bytes.clone()] })
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn metadata(path: &Path, header: &Map<String, Value>) -> Result<BTreeMap<String, String>, Error> {
    let Some(value) = header.get("__metadata__") else { return Ok(BTreeMap::new()) };
    let fault = |found: String| Error::malformed(path, "`__metadata__`", found, "an object of texts");
    let object = value.as_object().ok_or_else(|| fault(kind(value).to_string()))?;
    object
        .iter()
        .map(|(key, value)| match value {
            Value::String(s) => Ok((key.clone(), s.clone())),
            other => Err(fault(format!("{} under `{}`", kind(other), brief(key)))),
        })
        .collect()
}

/// One entry of the header; `bytes` is still relative to the data that follows the header.
fn info(path: &Path, name: &str, entry: &Value) -> Result<Info, Error> {
    let part = |what: &str| format!("{what} of tensor `{}`", brief(name));
    let dtype = match entry.get("dtype") {
        Some(Value::String(s)) => Dtype::from_safetensors(s).ok_or_else(|| Error::StoredType {
            path: path.to_path_buf(),
            tensor: brief(name),
            found: brief(s),
            supported: SAFETENSORS_SUPPORTED.to_string(),
        })?,
        other => return Err(Error::malformed(path, part("`dtype`"), other.map_or("nothing", kind), "a text")),
    };
    let list = |key: &str| -> Result<Vec<usize>, Error> {
        let numbers = entry
            .get(key)
            .and_then(Value::as_array)
            .and_then(|items| items.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect::<Option<Vec<usize>>>());
        numbers.ok_or_else(|| {
            let found = entry.get(key).map_or("nothing".to_string(), |v| brief(&v.to_string()));
            Error::malformed(path, part(&format!("`{key}`")), found, "a list of whole numbers")
        })
    };
    let (shape, offsets) = (list("shape")?, list("data_offsets")?);
    let &[start, end] = offsets.as_slice() else {
        let found = format!("{} numbers", offsets.len());
        return Err(Error::malformed(path, part("`data_offsets`"), found, "2"));
    };
    let size = dtype
        .bytes_of(&shape)
        .ok_or_else(|| Error::malformed(path, part("`shape`"), format!("{shape:?}"), "a size that fits in memory"))?;
    if end.checked_sub(start) != Some(size) {
        let expected = format!("{size} bytes for {dtype} of shape {shape:?}");
        return Err(Error::malformed(path, part("`data_offsets`"), format!("{start}..{end}"), expected));
    }
    Ok(Info { name: name.to_string(), dtype, shape, bytes: start..end })
}

/// The tensors must cover the data from its first to its last byte, each byte once.
fn check_layout(path: &Path, tensors: &[Info], header: usize, data: usize) -> Result<(), Error> {
    let mut order: Vec<&Info> = tensors.iter().collect();
    order.sort_by_key(|t| (t.bytes.start, t.bytes.end));
    let mut at = 0;
    for tensor in order {
        let part = || format!("tensor `{}`", brief(&tensor.name));
        if tensor.bytes.end > data {
            let needed = (header as u64).saturating_add(tensor.bytes.end as u64);
            return Err(Error::truncated(path, part(), (header + data) as u64, needed));
        }
        if tensor.bytes.start != at {
            let why = if tensor.bytes.start < at { "an overlap" } else { "a gap" };
            let found = format!("offset {} ({why})", tensor.bytes.start);
            return Err(Error::malformed(path, part(), found, format!("offset {at}")));
        }
        at = tensor.bytes.end;
    }
    if at != data {
        let found = format!("{} bytes after the last tensor", data - at);
        return Err(Error::malformed(path, "the data", found, "none"));
    }
    Ok(())
}
