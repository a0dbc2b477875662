//! Typed access to the fields of a JSON object from a file, with errors that name file and field.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::Error;
use crate::error::brief;

/// A JSON object and where it came from.
pub(crate) struct Fields<'a> {
    pub path: &'a Path,
    /// Put before field names in errors, such as `rope_scaling.`.
    pub prefix: &'a str,
    pub object: &'a Map<String, Value>,
}

/// A field that is absent and one that is null mean the same in every file we read.
impl<'a> Fields<'a> {
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|v| !v.is_null())
    }

    pub fn fault(&self, field: &str, expected: impl ToString) -> Error {
        let found = self.get(field).map_or("nothing".to_string(), |v| brief(&v.to_string()));
        Error::field(self.path, format!("{}{field}", self.prefix), found, expected)
    }

    /// A whole number from 0 to 2^31 - 1, the range of every size and id in these files.
    pub fn size(&self, field: &str) -> Result<Option<usize>, Error> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_u64().or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && *x >= 0.0).map(|x| x as u64)) {
            Some(n) if n < 1 << 31 => Ok(Some(n as usize)),
            _ => Err(self.fault(field, "a whole number from 0 to 2147483647")),
        }
    }

    /// A whole number that must be there and not be 0.
    pub fn needed(&self, field: &str) -> Result<usize, Error> {
        match self.size(field)? {
            Some(n) if n > 0 => Ok(n),
            _ => Err(self.fault(field, "a whole number above 0")),
        }
    }

    pub fn float(&self, field: &str) -> Result<Option<f64>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(x) if x.is_finite() => Ok(Some(x)),
                _ => Err(self.fault(field, "a number")),
            },
        }
    }

    pub fn bool(&self, field: &str) -> Result<Option<bool>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(_) => Err(self.fault(field, "true or false")),
        }
    }

    pub fn text(&self, field: &str) -> Result<Option<&'a str>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(_) => Err(self.fault(field, "a text")),
        }
    }

    pub fn texts(&self, field: &str) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let items =
            value.as_array().and_then(|items| items.iter().map(|i| i.as_str().map(str::to_string)).collect::<Option<Vec<String>>>());
        items.map(Some).ok_or_else(|| self.fault(field, "a list of texts"))
    }

    pub fn floats(&self, field: &str) -> Result<Option<Vec<f64>>, Error> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let items = value.as_array().and_then(|items| items.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
        items.map(Some).ok_or_else(|| self.fault(field, "a list of numbers"))
    }

    pub fn object(&self, field: &str) -> Result<Option<&'a Map<String, Value>>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(o)) => Ok(Some(o)),
            Some(_) => Err(self.fault(field, "an object")),
        }
    }

    /// Token ids: one number or a list; negative numbers stand for "none" in old files.
    pub fn ids(&self, field: &str) -> Result<Option<Vec<u32>>, Error> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let one = std::slice::from_ref(value);
        let items = value.as_array().map_or(one, Vec::as_slice);
        let mut out = Vec::new();
        for item in items {
            match item.as_i64() {
                Some(n) if n < 0 => {}
                Some(n) if n <= i64::from(i32::MAX) => out.push(n as u32),
                _ => return Err(self.fault(field, "a token id or a list of them")),
            }
        }
        Ok(Some(out))
    }

    pub fn id(&self, field: &str) -> Result<Option<u32>, Error> {
        Ok(self.ids(field)?.and_then(|ids| ids.first().copied()))
    }
}

/// Reads a JSON file that must hold an object.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>, Error> {
    parse_object(path, &fs::read(path).map_err(|e| Error::io(path, "read", e))?)
}

/// As [`read_object`], of bytes that were read before.
pub(crate) fn parse_object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Error::malformed(path, "the content", brief(&other.to_string()), "a JSON object")),
        Err(source) => Err(Error::Json { path: PathBuf::from(path), source }),
    }
}

/// As [`read_object`], or none if there is no such file.
pub(crate) fn read_object_if_there(path: &Path) -> Result<Option<Map<String, Value>>, Error> {
    if path.exists() { read_object(path).map(Some) } else { Ok(None) }
}
