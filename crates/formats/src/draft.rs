//! A file of tensors in the making: a temporary name until it is whole, and nothing left of one that stops.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::atomic::{sync_folder, temporary_beside};
use crate::{Dtype, Error};

/// What a tensor will be; the bytes follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    pub dtype: Dtype,
    /// Row-major, outermost first.
    pub shape: Vec<usize>,
}

/// The growing file, under a temporary name in the target's folder. Dropped before [`Draft::seal`], it is removed.
#[derive(Debug)]
pub(crate) struct Draft {
    target: PathBuf,
    temporary: PathBuf,
    out: Option<BufWriter<fs::File>>,
    entries: Vec<Entry>,
    next: usize,
    /// Bytes of the next tensor that were written.
    filled: usize,
}

impl Draft {
    /// Starts a file that will hold these tensors in this order.
    pub fn create(path: &Path, entries: &[Entry]) -> Result<Draft, Error> {
        let mut names = BTreeSet::new();
        for entry in entries {
            let part = || format!("tensor `{}`", entry.name);
            if !names.insert(entry.name.as_str()) {
                return Err(Error::malformed(path, part(), "the name twice", "each name once"));
            }
            if entry.dtype.bytes_of(&entry.shape).is_none() {
                let found = format!("{} of shape {:?}", entry.dtype, entry.shape);
                return Err(Error::malformed(path, part(), found, "a size that fits"));
            }
        }
        let temporary = temporary_beside(path)?;
        let file = fs::File::create(&temporary).map_err(|e| Error::io(path, "create", e))?;
        let out = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(Draft { target: path.to_path_buf(), temporary, out, entries: entries.to_vec(), next: 0, filled: 0 })
    }

    /// Writes bytes that belong to no tensor.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.out {
            Some(out) => out.write_all(bytes).map_err(|e| Error::io(&self.target, "write", e)),
            None => Ok(()),
        }
    }

    /// The tensor whose bytes are due, if it has this name.
    pub fn due(&self, name: &str) -> Result<&Entry, Error> {
        let part = format!("tensor {}", self.next);
        match self.entries.get(self.next) {
            Some(entry) if entry.name == name => Ok(entry),
            Some(entry) => Err(Error::malformed(&self.target, part, format!("`{name}`"), format!("`{}`", entry.name))),
            None => Err(Error::malformed(&self.target, part, format!("`{name}`"), "the end of the file")),
        }
    }

    /// Writes the due tensor's bytes, all of them.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let size = size_of(self.due(name)?);
        if bytes.len() != size - self.filled {
            return Err(self.fault(name, bytes.len(), format!("{} bytes", size - self.filled)));
        }
        self.put_part(name, bytes)
    }

    /// Writes the next bytes of the due tensor.
    pub fn put_part(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let left = size_of(self.due(name)?) - self.filled;
        if bytes.len() > left {
            return Err(self.fault(name, bytes.len(), format!("at most {left} bytes")));
        }
        self.write(bytes)?;
        self.filled += bytes.len();
        if bytes.len() == left {
            self.next += 1;
            self.filled = 0;
        }
        Ok(())
    }

    /// Whether no tensor is begun and not whole.
    pub fn between_tensors(&self) -> bool {
        self.filled == 0
    }

    fn fault(&self, name: &str, found: usize, expected: String) -> Error {
        Error::malformed(&self.target, format!("tensor `{name}`"), format!("{found} bytes"), expected)
    }

    /// Makes the whole file durable, still under its temporary name.
    pub fn seal(mut self) -> Result<Sealed, Error> {
        if let Some(entry) = self.entries.get(self.next) {
            return Err(Error::MissingTensor { path: self.target.clone(), tensor: entry.name.clone() });
        }
        let sealed = Sealed { target: self.target.clone(), temporary: self.temporary.clone(), published: false };
        let done = match self.out.take() {
            Some(out) => out.into_inner().map_err(|e| e.into_error()).and_then(|file| file.sync_all()),
            None => Ok(()),
        };
        // A failure drops `sealed`, and with it the file.
        done.map_err(|e| Error::io(&self.target, "write", e))?;
        Ok(sealed)
    }
}

fn size_of(entry: &Entry) -> usize {
    entry.dtype.bytes_of(&entry.shape).unwrap_or(usize::MAX)
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            // Nothing can be reported from here; a leftover has a name that says it is one.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// A whole file that has not got its name yet. Dropped, it is removed.
#[derive(Debug)]
pub struct Sealed {
    target: PathBuf,
    temporary: PathBuf,
    published: bool,
}

impl Sealed {
    /// Where it lies for now, to be read and judged.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the file its name, replacing one that was there.
    ///
    /// # Errors
    /// `Io`.
    pub fn publish(mut self) -> Result<(), Error> {
        fs::rename(&self.temporary, &self.target).map_err(|e| Error::io(&self.target, "rename a temporary file to", e))?;
        self.published = true;
        sync_folder(&self.target)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
