//! Opens a GGUF file: header, metadata, and where each tensor lies.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::cursor::Cursor;
use crate::dtype::{GGUF_SUPPORTED, ggml_name};
use crate::error::brief;
use crate::map::Mapped;
use crate::{Dtype, Error, Tensor};

/// A metadata value. Arrays stay in the file and are decoded when asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    /// Single-precision values carry their shortest decimal form, so that 1e-5 stays 1e-5.
    Float(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// Where an array of scalars or strings lies in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    kind: u32,
    count: usize,
    bytes: Range<usize>,
}

#[derive(Debug)]
struct Info {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

/// An open GGUF file, mapped into memory; version 2 or 3, little-endian.
#[derive(Debug)]
pub struct File {
    mapped: Mapped,
    version: u32,
    metadata: BTreeMap<String, Value>,
    /// Where each value lies, from its type on.
    spans: BTreeMap<String, Range<usize>>,
    tensors: Vec<Info>,
    index: BTreeMap<String, usize>,
}

const MAX_DIMENSIONS: u32 = 4;
pub(super) const STRING: u32 = 8;
pub(super) const ARRAY: u32 = 9;

impl File {
    /// Opens and validates a file: after this every tensor is known to lie inside it.
    ///
    /// # Errors
    /// A file that is cut short, no GGUF, big-endian, of another version, that uses a block type we do not read, or
    /// whose header contradicts itself.
    pub fn open(path: &Path) -> Result<File, Error> {
        let mapped = Mapped::open(path)?;
        let mut cursor = Cursor { path, bytes: mapped.bytes(), at: 0 };
        let magic: [u8; 4] = cursor.array(&|| "the magic number".into())?;
        if &magic != b"GGUF" {
            let found = format!("bytes {magic:02x?}");
            return Err(Error::malformed(path, "the magic number", found, "\"GGUF\""));
        }
        let version = cursor.u32(&|| "the version".into())?;
        if version.swap_bytes() == 2 || version.swap_bytes() == 3 {
            return Err(Error::malformed(path, "the byte order", "big-endian", "little-endian"));
        }
        if version != 2 && version != 3 {
            return Err(Error::malformed(path, "the version", version, "2 or 3"));
        }
        let tensor_count = cursor.u64(&|| "the number of tensors".into())?;
        let value_count = cursor.u64(&|| "the number of metadata values".into())?;
        // A key takes at least 8 + 1 + 4 bytes with its value, a tensor entry 8 + 4 + 8 + 4 + 8.
        cursor.check_count(value_count, 13, "metadata values")?;
        cursor.check_count(tensor_count, 24, "tensors")?;
        let (metadata, spans) = read_metadata(&mut cursor, value_count)?;
        let entries = read_entries(&mut cursor, tensor_count)?;
        let alignment = alignment(path, &metadata)?;
        let tensors = place(path, mapped.bytes().len(), cursor.at, alignment, entries)?;
        let index = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(File { mapped, version, metadata, spans, tensors, index })
    }

    /// Gives the pages that were read back to the system: a tensor that was decoded needs them no longer.
    pub fn release(&self) {
        self.mapped.release();
    }

    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        &self.mapped.path
    }

    /// The format version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// A metadata value as stored.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A metadata value as its bytes, type first: what a writer needs to carry it over.
    pub(crate) fn raw(&self, key: &str) -> Option<&[u8]> {
        Some(&self.mapped.bytes()[self.spans.get(key)?.clone()])
    }

    /// All metadata keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// Tensor names in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|t| t.name.as_str())
    }

    /// A tensor by its GGUF name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let info = &self.tensors[*self.index.get(name)?];
        Some(Tensor { name: &info.name, dtype: info.dtype, shape: info.shape.clone(), bytes: &self.mapped.bytes()[info.bytes.clone()] })
    }

    /// A text value; an error if the key holds something else.
    pub fn string(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(other) => Err(self.wrong(key, other, "text")),
        }
    }

    /// A whole number that is not negative; an error if the key holds something else.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(n)) => Ok(Some(*n)),
            Some(Value::Signed(n)) if *n >= 0 => Ok(Some(*n as u64)),
            Some(other) => Err(self.wrong(key, other, "a whole number")),
        }
    }

    /// A number; an error if the key holds something else.
    pub fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) => Ok(Some(*x)),
            Some(Value::Unsigned(n)) => Ok(Some(*n as f64)),
            Some(Value::Signed(n)) => Ok(Some(*n as f64)),
            Some(other) => Err(self.wrong(key, other, "a number")),
        }
    }

    /// True or false; an error if the key holds something else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(other) => Err(self.wrong(key, other, "true or false")),
        }
    }

    /// A list of texts; an error if the key holds something else or a text is not UTF-8.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>, Error> {
        let array = match self.get(key) {
            None => return Ok(None),
            Some(Value::Array(a)) if a.kind == STRING => a,
            Some(other) => return Err(self.wrong(key, other, "a list of texts")),
        };
        let mut cursor = Cursor { path: self.path(), bytes: &self.mapped.bytes()[array.bytes.clone()], at: 0 };
        (0..array.count).map(|i| cursor.string(&|| format!("item {i} of `{key}`")).map(str::to_string)).collect::<Result<_, _>>().map(Some)
    }

    /// A list of numbers of any scalar kind; an error if the key holds something else.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, Error> {
        let array = match self.get(key) {
            None => return Ok(None),
            Some(Value::Array(a)) if a.kind != STRING => a,
            Some(other) => return Err(self.wrong(key, other, "a list of numbers")),
        };
        let mut cursor = Cursor { path: self.path(), bytes: &self.mapped.bytes()[array.bytes.clone()], at: 0 };
        let part = || format!("`{key}`");
        (0..array.count)
            .map(|_| match read_scalar(&mut cursor, array.kind, &part)? {
                Value::Unsigned(n) => Ok(n as f64),
                Value::Signed(n) => Ok(n as f64),
                Value::Float(x) => Ok(x),
                other => Err(self.wrong(key, &other, "a list of numbers")),
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    pub(crate) fn wrong(&self, key: &str, found: &Value, expected: &str) -> Error {
        Error::field(self.path(), key, describe(found), expected)
    }
}

pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Unsigned(n) => n.to_string(),
        Value::Signed(n) => n.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::String(s) => format!("\"{}\"", brief(s)),
        Value::Array(a) if a.kind == STRING => format!("a list of {} texts", a.count),
        Value::Array(a) => format!("a list of {} numbers", a.count),
    }
}

type Metadata = (BTreeMap<String, Value>, BTreeMap<String, Range<usize>>);

fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata, Error> {
    let (mut out, mut spans) = (BTreeMap::new(), BTreeMap::new());
    for i in 0..count {
        let key = cursor.string(&|| format!("the key of metadata value {i}"))?.to_string();
        let part = || format!("metadata value `{}`", brief(&key));
        let start = cursor.at;
        let kind = cursor.u32(&part)?;
        let value = if kind == ARRAY { read_array(cursor, &part)? } else { read_scalar(cursor, kind, &part)? };
        if out.contains_key(&key) {
            return Err(Error::malformed(cursor.path, part(), "the key twice", "each key once"));
        }
        spans.insert(key.clone(), start..cursor.at);
        out.insert(key, value);
    }
    Ok((out, spans))
}

/// Bytes of a scalar of this kind; none for strings, arrays and unknown kinds.
fn scalar_size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn read_scalar(cursor: &mut Cursor<'_>, kind: u32, part: &dyn Fn() -> String) -> Result<Value, Error> {
    Ok(match kind {
        0 => Value::Unsigned(u64::from(cursor.array::<1>(part)?[0])),
        1 => Value::Signed(i64::from(i8::from_le_bytes(cursor.array(part)?))),
        2 => Value::Unsigned(u64::from(u16::from_le_bytes(cursor.array(part)?))),
        3 => Value::Signed(i64::from(i16::from_le_bytes(cursor.array(part)?))),
        4 => Value::Unsigned(u64::from(cursor.u32(part)?)),
        5 => Value::Signed(i64::from(i32::from_le_bytes(cursor.array(part)?))),
        6 => {
            let single = f32::from_le_bytes(cursor.array(part)?);
            Value::Float(single.to_string().parse().unwrap_or(f64::from(single)))
        }
        7 => Value::Bool(cursor.array::<1>(part)?[0] != 0),
        STRING => Value::String(cursor.string(part)?.to_string()),
        10 => Value::Unsigned(cursor.u64(part)?),
        11 => Value::Signed(i64::from_le_bytes(cursor.array(part)?)),
        12 => Value::Float(f64::from_le_bytes(cursor.array(part)?)),
        other => return Err(Error::malformed(cursor.path, part(), format!("value type {other}"), "a type from 0 to 12")),
    })
}

/// Steps over an array and remembers where it lies; strings are stepped over one by one, so a lying count ends at the
/// end of the file and never in memory.
fn read_array(cursor: &mut Cursor<'_>, part: &dyn Fn() -> String) -> Result<Value, Error> {
    let kind = cursor.u32(part)?;
    let count = cursor.u64(part)?;
    let start = cursor.at;
    match (kind, scalar_size(kind)) {
        (_, Some(size)) => {
            cursor.check_count(count, size, &format!("items of {}", part()))?;
            cursor.take(count * size, part)?;
        }
        (STRING, None) => {
            cursor.check_count(count, 8, &format!("items of {}", part()))?;
            for _ in 0..count {
                let length = cursor.u64(part)?;
                cursor.take(length, part)?;
            }
        }
        _ => {
            let found = format!("an array of value type {kind}");
            return Err(Error::malformed(cursor.path, part(), found, "an array of scalars or texts"));
        }
    }
    Ok(Value::Array(Array { kind, count: count as usize, bytes: start..cursor.at }))
}

struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    size: usize,
    offset: u64,
}

fn read_entries(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Entry>, Error> {
    let mut out = Vec::new();
    for i in 0..count {
        let name = cursor.string(&|| format!("the name of tensor {i}"))?.to_string();
        let part = || format!("tensor `{}`", brief(&name));
        let dimensions = cursor.u32(&part)?;
        if dimensions > MAX_DIMENSIONS {
            let expected = format!("at most {MAX_DIMENSIONS}");
            return Err(Error::malformed(cursor.path, part(), format!("{dimensions} dimensions"), expected));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = cursor.u64(&part)?;
            let size = usize::try_from(size)
                .map_err(|_| Error::malformed(cursor.path, part(), format!("a dimension of {size}"), "one that fits"))?;
            shape.push(size);
        }
        shape.reverse();
        let id = cursor.u32(&part)?;
        let offset = cursor.u64(&part)?;
        let dtype = Dtype::from_ggml(id).ok_or_else(|| Error::StoredType {
            path: cursor.path.to_path_buf(),
            tensor: brief(&name),
            found: ggml_name(id),
            supported: GGUF_SUPPORTED.to_string(),
        })?;
        let size = dtype.bytes_of(&shape).ok_or_else(|| {
            let expected = format!("a size that fits, its last dimension a multiple of {}", dtype.block_elements());
            Error::malformed(cursor.path, part(), format!("{dtype} of shape {shape:?}"), expected)
        })?;
        out.push(Entry { name, dtype, shape, size, offset });
    }
    Ok(out)
}

fn alignment(path: &Path, metadata: &BTreeMap<String, Value>) -> Result<u64, Error> {
    match metadata.get("general.alignment") {
        None => Ok(32),
        Some(Value::Unsigned(n)) if n.is_power_of_two() && *n <= 1 << 20 => Ok(*n),
        Some(other) => Err(Error::field(path, "general.alignment", describe(other), "a power of two, at most 1048576")),
    }
}

/// Turns offsets into byte ranges of the file: inside it, aligned, and no two sharing a byte.
fn place(path: &Path, len: usize, header: usize, alignment: u64, entries: Vec<Entry>) -> Result<Vec<Info>, Error> {
    let data = (header as u64).next_multiple_of(alignment);
    let mut out = Vec::with_capacity(entries.len());
    for entry in entries {
        let part = format!("tensor `{}`", brief(&entry.name));
        if !entry.offset.is_multiple_of(alignment) {
            let found = format!("offset {}", entry.offset);
            return Err(Error::malformed(path, part, found, format!("a multiple of {alignment}")));
        }
        let start = data.saturating_add(entry.offset);
        let end = start.saturating_add(entry.size as u64);
        if end > len as u64 {
            return Err(Error::truncated(path, part, len as u64, end));
        }
        let bytes = start as usize..end as usize;
        out.push(Info { name: entry.name, dtype: entry.dtype, shape: entry.shape, bytes });
    }
    let mut order: Vec<&Info> = out.iter().filter(|t| !t.bytes.is_empty()).collect();
    order.sort_by_key(|t| t.bytes.start);
    if let Some(pair) = order.windows(2).find(|pair| pair[0].bytes.end > pair[1].bytes.start) {
        let part = format!("tensor `{}`", brief(&pair[1].name));
        let found = format!("bytes shared with `{}`", brief(&pair[0].name));
        return Err(Error::malformed(path, part, found, "bytes of its own"));
    }
    let mut names: Vec<&str> = out.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::malformed(path, format!("tensor `{}`", brief(pair[0])), "the name twice", "each name once"));
    }
    Ok(out)
}
