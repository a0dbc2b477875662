//! Writes a safetensors file tensor by tensor; it appears under its name only when it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::atomic::{sync_folder, temporary_beside};
use crate::tensor::encode_f32;
use crate::{Dtype, Error};

/// Values that are encoded at a time.
const PIECE: usize = 1 << 18;

/// What a tensor will be; the bytes follow through [`Writer::put`].
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub dtype: Dtype,
    /// Row-major, outermost first.
    pub shape: Vec<usize>,
}

/// A safetensors file in the making, under a temporary name in the target's folder.
///
/// Dropped without [`Writer::finish`], it removes what it wrote.
#[derive(Debug)]
pub struct Writer {
    target: PathBuf,
    temporary: PathBuf,
    out: Option<BufWriter<fs::File>>,
    entries: Vec<Entry>,
    next: usize,
}

impl Writer {
    /// Starts a file that will hold these tensors in this order.
    ///
    /// # Errors
    /// `Malformed` for a name given twice, a shape too large or a blocked type; `Io`.
    pub fn create(path: &Path, entries: &[Entry], metadata: &BTreeMap<String, String>) -> Result<Writer, Error> {
        let header = header(path, entries, metadata)?;
        let temporary = temporary_beside(path)?;
        let file = fs::File::create(&temporary).map_err(|e| Error::io(&temporary, "create", e))?;
        let mut writer = Writer {
            target: path.to_path_buf(),
            temporary,
            out: Some(BufWriter::with_capacity(1 << 20, file)),
            entries: entries.to_vec(),
            next: 0,
        };
        writer.write(&(header.len() as u64).to_le_bytes())?;
        writer.write(&header)?;
        Ok(writer)
    }

    /// Writes the next tensor's bytes.
    ///
    /// # Errors
    /// `Malformed` if another tensor is due or the byte count is not what type and shape need; `Io`.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let entry = self.due(name)?;
        let size = entry.dtype.bytes_of(&entry.shape).unwrap_or(usize::MAX);
        if bytes.len() != size {
            let found = format!("{} bytes", bytes.len());
            return Err(Error::malformed(&self.target, format!("tensor `{name}`"), found, format!("{size} bytes")));
        }
        self.write(bytes)?;
        self.next += 1;
        Ok(())
    }

    /// Writes the next tensor from f32 values, rounded to its type (F32, F16 or BF16).
    ///
    /// # Errors
    /// As [`Writer::put`], and `Range` if the type cannot hold a value.
    pub fn put_f32(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let entry = self.due(name)?;
        let (dtype, expected) = (entry.dtype, entry.shape.iter().product::<usize>());
        if values.len() != expected {
            let found = format!("{} values", values.len());
            return Err(Error::malformed(&self.target, format!("tensor `{name}`"), found, format!("{expected} values")));
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
        for at in values.chunks(PIECE).enumerate() {
            self.write(&encode(at)?)?;
        }
        self.next += 1;
        Ok(())
    }

    /// Makes the file durable and gives it its name, replacing one that was there.
    ///
    /// # Errors
    /// `MissingTensor` if one was not put; `Io`.
    pub fn finish(mut self) -> Result<(), Error> {
        if let Some(entry) = self.entries.get(self.next) {
            return Err(Error::MissingTensor { path: self.target.clone(), tensor: entry.name.clone() });
        }
        let Some(out) = self.out.take() else { return Ok(()) };
        let done = out.into_inner().map_err(|e| e.into_error()).and_then(|file| file.sync_all());
        if let Err(e) = done {
            // The writer is no longer there for `drop` to see, so the temporary file goes here.
            let _ = fs::remove_file(&self.temporary);
            return Err(Error::io(&self.temporary, "write", e));
        }
        if let Err(e) = fs::rename(&self.temporary, &self.target) {
            let _ = fs::remove_file(&self.temporary);
            return Err(Error::io(&self.target, "rename a temporary file to", e));
        }
        sync_folder(&self.target)
    }

    fn due(&self, name: &str) -> Result<&Entry, Error> {
        match self.entries.get(self.next) {
            Some(entry) if entry.name == name => Ok(entry),
            Some(entry) => {
                let expected = format!("`{}`", entry.name);
                Err(Error::malformed(&self.target, format!("tensor {}", self.next), format!("`{name}`"), expected))
            }
            None => {
                let part = format!("tensor {}", self.next);
                Err(Error::malformed(&self.target, part, format!("`{name}`"), "the end of the file"))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.out {
            Some(out) => out.write_all(bytes).map_err(|e| Error::io(&self.temporary, "write", e)),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            // Nothing can be reported from here; a leftover has a name that says it is one.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The header, padded with spaces so that the data starts at a multiple of 8.
fn header(path: &Path, entries: &[Entry], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, Error> {
    let mut object = Map::new();
    if !metadata.is_empty() {
        object.insert("__metadata__".to_string(), json!(metadata));
    }
    let mut names = BTreeSet::new();
    let mut at = 0usize;
    for Entry { name, dtype, shape } in entries {
        let part = || format!("tensor `{name}`");
        if !names.insert(name.as_str()) || name == "__metadata__" {
            return Err(Error::malformed(path, part(), "the name twice", "each name once"));
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
