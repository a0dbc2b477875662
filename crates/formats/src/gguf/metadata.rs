//! The metadata of a GGUF file that is to be written.

use super::File;
use super::file::{ARRAY, STRING};

/// Keys with their values, in the order in which they will lie in the file. A key that is set again keeps its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Each value as its bytes, type first.
    entries: Vec<(String, Vec<u8>)>,
}

const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;

impl Metadata {
    /// Sets a whole number.
    pub fn number(&mut self, key: &str, value: u32) {
        self.set(key, U32, &value.to_le_bytes());
    }

    /// Sets a number in single precision.
    pub fn float(&mut self, key: &str, value: f32) {
        self.set(key, F32, &value.to_le_bytes());
    }

    /// Sets true or false.
    pub fn flag(&mut self, key: &str, value: bool) {
        self.set(key, BOOL, &[u8::from(value)]);
    }

    /// Sets a text.
    pub fn text(&mut self, key: &str, value: &str) {
        self.set(key, STRING, &text(value));
    }

    /// Sets a list of texts.
    pub fn texts(&mut self, key: &str, values: &[String]) {
        self.list(key, STRING, values.len(), values.iter().flat_map(|v| text(v)));
    }

    /// Sets a list of numbers in single precision.
    pub fn floats(&mut self, key: &str, values: &[f32]) {
        self.list(key, F32, values.len(), values.iter().flat_map(|v| v.to_le_bytes()));
    }

    /// Sets a list of whole numbers.
    pub fn integers(&mut self, key: &str, values: &[i32]) {
        self.list(key, I32, values.len(), values.iter().flat_map(|v| v.to_le_bytes()));
    }

    /// Takes every value of `file` whose key is wanted, byte for byte.
    pub fn carry(&mut self, file: &File, wanted: impl Fn(&str) -> bool) {
        for key in file.keys().filter(|key| wanted(key)) {
            if let Some(bytes) = file.raw(key) {
                self.put(key, bytes.to_vec());
            }
        }
    }

    /// Whether a key is set.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(k, _)| k == key)
    }

    fn set(&mut self, key: &str, kind: u32, bytes: &[u8]) {
        self.put(key, [&kind.to_le_bytes()[..], bytes].concat());
    }

    fn list(&mut self, key: &str, kind: u32, count: usize, bytes: impl Iterator<Item = u8>) {
        let mut all = Vec::new();
        all.extend(kind.to_le_bytes());
        all.extend((count as u64).to_le_bytes());
        all.extend(bytes);
        self.set(key, ARRAY, &all);
    }

    fn put(&mut self, key: &str, bytes: Vec<u8>) {
        match self.entries.iter_mut().find(|(k, _)| k == key) {
            Some(entry) => entry.1 = bytes,
            None => self.entries.push((key.to_string(), bytes)),
        }
    }

    /// The number of keys, and the bytes of all keys and values.
    pub(super) fn encode(&self) -> (u64, Vec<u8>) {
        let mut out = Vec::new();
        for (key, value) in &self.entries {
            out.extend(text(key));
            out.extend(value);
        }
        (self.entries.len() as u64, out)
    }
}

/// A text as the format writes it: its length in bytes, then the bytes.
pub(super) fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}
