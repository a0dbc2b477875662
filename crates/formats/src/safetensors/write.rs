//! Writes a safetensors file tensor by tensor; it appears under its name only when it is whole.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::draft::{Draft, Entry};
use crate::tensor::encode_f32;
use crate::{Dtype, Error};

/// Values that are encoded at a time.
const PIECE: usize = 1 << 18;

/// A safetensors file in the making, under a temporary name in the target's folder.
///
/// Dropped without [`Writer::finish`], it removes what it wrote.
#[derive(Debug)]
pub struct Writer {
    draft: Draft,
}

impl Writer {
    /// Starts a file that will hold these tensors in this order.
    ///
    /// # Errors
    /// `Malformed` for a name given twice, a shape too large or a blocked type; `Io`.
    pub fn create(path: &Path, entries: &[Entry], metadata: &BTreeMap<String, String>) -> Result<Writer, Error> {
        let header = header(path, entries, metadata)?;
        let mut draft = Draft::create(path, entries)?;
        draft.write(&(header.len() as u64).to_le_bytes())?;
        draft.write(&header)?;
        Ok(Writer { draft })
    }

    /// Writes the next tensor's bytes.
    ///
    /// # Errors
    /// `Malformed` if another tensor is due or the byte count is not what type and shape need; `Io`.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.draft.put(name, bytes)
    }

    /// Writes the next tensor from f32 values, rounded to its type (F32, F16 or BF16).
    ///
    /// # Errors
    /// As [`Writer::put`], and `Range` if the type cannot hold a value.
    pub fn put_f32(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let entry = self.draft.due(name)?;
        let (dtype, expected) = (entry.dtype, entry.shape.iter().product::<usize>());
        if values.len() != expected || expected == 0 {
            // Says what is wrong, or ends a tensor without values.
            return self.put(name, &encode_f32(name, dtype, values)?);
        }
        // In pieces: a whole tensor beside its values would be the highest moment of a run that trains every weight.
        let encode = |(number, piece): (usize, &[f32])| match encode_f32(name, dtype, piece) {
            Err(Error::Range { tensor, index, value, dtype }) => Err(Error::Range { tensor, index: index + number * PIECE, value, dtype }),
            other => other,
        };
        if dtype != Dtype::F32 {
            // A value out of range must be known before a byte is written.
            values.chunks(PIECE).enumerate().try_for_each(|at| encode(at).map(drop))?;
        }
        values.chunks(PIECE).enumerate().try_for_each(|at| self.draft.put_part(name, &encode(at)?))
    }

    /// Makes the file durable and gives it its name, replacing one that was there.
    ///
    /// # Errors
    /// `MissingTensor` if one was not put; `Io`.
    pub fn finish(self) -> Result<(), Error> {
        self.draft.seal()?.publish()
    }
}

/// The header, padded with spaces so that the data starts at a multiple of 8.
fn header(path: &Path, entries: &[Entry], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, Error> {
    let mut object = Map::new();
    if !metadata.is_empty() {
        object.insert("__metadata__".to_string(), json!(metadata));
    }
    let mut at = 0usize;
    for Entry { name, dtype, shape } in entries {
        let part = || format!("tensor `{name}`");
        if name == "__metadata__" {
            return Err(Error::malformed(path, part(), "the name of the metadata", "another name"));
        }
        if dtype.block_elements() != 1 {
            return Err(Error::malformed(path, part(), dtype, "a type that safetensors knows"));
        }
        let end = dtype.bytes_of(shape).and_then(|size| at.checked_add(size));
        let end = end.ok_or_else(|| Error::malformed(path, part(), format!("shape {shape:?}"), "a size that fits"))?;
        let entry: Value = json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [at, end]});
        object.insert(name.clone(), entry);
        at = end;
    }
    let mut header = Value::Object(object).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}
