//! Writes a GGUF file tensor by tensor; it appears under its name only when it is whole.

use std::path::Path;

use super::metadata::text;
use super::{Metadata, encode};
use crate::Error;
use crate::draft::{Draft, Entry, Sealed};
use crate::dtype::GGUF_SUPPORTED;

/// Tensors begin at multiples of this many bytes, the value that files without `general.alignment` have.
const ALIGNMENT: usize = 32;
const VERSION: u32 = 3;

/// A GGUF file in the making (version 3, little-endian), under a temporary name in the target's folder.
///
/// Dropped without [`Writer::seal`], it removes what it wrote.
#[derive(Debug)]
pub struct Writer {
    draft: Draft,
    /// Bytes after the header.
    at: usize,
    /// Room for what f32 values become.
    encoded: Vec<u8>,
}

impl Writer {
    /// Starts a file that will hold these tensors in this order.
    ///
    /// # Errors
    /// `Malformed` for a name given twice, a shape too large or one that blocks do not divide; `StoredType` for a
    /// type that GGUF lacks; `Io`.
    pub fn create(path: &Path, entries: &[Entry], metadata: &Metadata) -> Result<Writer, Error> {
        let header = header(path, entries, metadata)?;
        let mut draft = Draft::create(path, entries)?;
        draft.write(&header)?;
        Ok(Writer { draft, at: 0, encoded: Vec::new() })
    }

    /// Writes the next bytes of the tensor that is due, or all of them; a large one may come in parts.
    ///
    /// # Errors
    /// `Malformed` if another tensor is due or these are more bytes than it takes; `Io`.
    pub fn put_part(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.draft.put_part(name, bytes)?;
        self.at += bytes.len();
        if self.draft.between_tensors() {
            let padding = self.at.next_multiple_of(ALIGNMENT) - self.at;
            self.draft.write(&[0; ALIGNMENT][..padding])?;
            self.at += padding;
        }
        Ok(())
    }

    /// As [`Writer::put_part`], from f32 values, rounded to the tensor's type; parts are whole rows.
    ///
    /// # Errors
    /// As [`Writer::put_part`], and what [`encode`] refuses.
    pub fn put_part_f32(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let dtype = self.draft.due(name)?.dtype;
        let mut bytes = std::mem::take(&mut self.encoded);
        bytes.clear();
        encode(name, dtype, values, &mut bytes)?;
        self.put_part(name, &bytes)?;
        self.encoded = bytes;
        Ok(())
    }

    /// Makes the whole file durable, still under its temporary name, so that it can be judged before it is published.
    ///
    /// # Errors
    /// `MissingTensor` if one is not whole; `Io`.
    pub fn seal(self) -> Result<Sealed, Error> {
        self.draft.seal()
    }
}

/// How many bytes a file of these tensors takes, its metadata apart.
pub fn bytes_of(entries: &[Entry]) -> u64 {
    let one = |e: &Entry| e.dtype.bytes_of(&e.shape).unwrap_or(usize::MAX) as u64;
    entries.iter().map(|e| one(e).saturating_add(256)).fold(0, u64::saturating_add)
}

/// Magic, version, counts, metadata and where each tensor will lie, padded to the alignment.
fn header(path: &Path, entries: &[Entry], metadata: &Metadata) -> Result<Vec<u8>, Error> {
    let (count, values) = metadata.encode();
    let mut out = b"GGUF".to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((entries.len() as u64).to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(values);
    let mut at = 0usize;
    for Entry { name, dtype, shape } in entries {
        let kind = dtype.to_ggml().ok_or_else(|| Error::StoredType {
            path: path.to_path_buf(),
            tensor: name.clone(),
            found: dtype.to_string(),
            supported: GGUF_SUPPORTED.to_string(),
        })?;
        out.extend(text(name));
        out.extend((shape.len() as u32).to_le_bytes());
        // Innermost dimension first, the reverse of every other format here.
        shape.iter().rev().for_each(|size| out.extend((*size as u64).to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend((at as u64).to_le_bytes());
        let end = dtype.bytes_of(shape).and_then(|size| at.checked_add(size)).and_then(|end| end.checked_next_multiple_of(ALIGNMENT));
        at = end.ok_or_else(|| {
            let expected = format!("a size that fits, its last dimension a multiple of {}", dtype.block_elements());
            Error::malformed(path, format!("tensor `{name}`"), format!("{dtype} of shape {shape:?}"), expected)
        })?;
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    Ok(out)
}
