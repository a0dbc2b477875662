//! GGUF files put together field by field.

use std::fs;
use std::path::{Path, PathBuf};

use formats::gguf;

use crate::words;

/// Header bytes, and the data of the tensors added with [`Gguf::floats`].
pub struct Gguf {
    header: Vec<u8>,
    data: Vec<u8>,
}

impl Gguf {
    pub fn magic(magic: &[u8]) -> Gguf {
        Gguf { header: magic.to_vec(), data: Vec::new() }
    }

    /// Version 3 with these counts of tensors and metadata values.
    pub fn new(tensors: u64, values: u64) -> Gguf {
        Gguf::magic(b"GGUF").u32(3).u64(tensors).u64(values)
    }

    pub fn u32(mut self, n: u32) -> Gguf {
        self.header.extend(n.to_le_bytes());
        self
    }

    pub fn u64(mut self, n: u64) -> Gguf {
        self.header.extend(n.to_le_bytes());
        self
    }

    pub fn text(mut self, s: &str) -> Gguf {
        self = self.u64(s.len() as u64);
        self.header.extend(s.as_bytes());
        self
    }

    pub fn value(self, key: &str, value: &str) -> Gguf {
        self.text(key).u32(8).text(value)
    }

    pub fn number(self, key: &str, value: u32) -> Gguf {
        self.text(key).u32(4).u32(value)
    }

    pub fn float(self, key: &str, value: f32) -> Gguf {
        self.text(key).u32(6).u32(value.to_bits())
    }

    /// The entry of a tensor of one dimension.
    pub fn tensor(self, name: &str, size: u64, kind: u32, offset: u64) -> Gguf {
        self.text(name).u32(1).u64(size).u32(kind).u64(offset)
    }

    /// A tensor of single-precision numbers, dimensions as GGUF writes them (innermost first). Tensors come last.
    pub fn floats(mut self, name: &str, dimensions: &[u64], values: &[f32]) -> Gguf {
        self = self.text(name).u32(dimensions.len() as u32);
        for size in dimensions {
            self = self.u64(*size);
        }
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        let offset = self.data.len() as u64;
        self.data.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        self.u32(0).u64(offset)
    }

    pub fn write(mut self, folder: &Path) -> PathBuf {
        let path = folder.join("m.gguf");
        self.header.resize(self.header.len().next_multiple_of(32), 0);
        self.header.extend(&self.data);
        fs::write(&path, self.header).unwrap();
        path
    }

    /// The error of opening it with `data` zero bytes after the header.
    pub fn fault(mut self, data: usize) -> String {
        let folder = tempfile::tempdir().unwrap();
        self.data = vec![0; data];
        words(gguf::File::open(&self.write(folder.path())), folder.path())
    }
}
