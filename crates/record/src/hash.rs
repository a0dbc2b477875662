//! SHA-256 as lower-case hex, and JSON in one spelling only.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The SHA-256 of some bytes, 64 lower-case hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 and the length in bytes of a file, read in pieces.
pub fn sha256_file(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path).map_err(|source| Error::io("open", path, source))?;
    let mut digest = Sha256::new();
    let mut piece = vec![0u8; 1 << 16];
    let mut length = 0u64;
    loop {
        let got = file.read(&mut piece).map_err(|source| Error::io("read", path, source))?;
        if got == 0 {
            return Ok((hex(&digest.finalize()), length));
        }
        digest.update(&piece[..got]);
        length += got as u64;
    }
}

/// JSON without spaces and with the keys of every object in order, so that equal values
/// have equal bytes.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(&mut out, value);
    out
}

fn write_canonical(out: &mut String, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(out, &map[key]);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(out, item);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)] as char);
        out.push(DIGITS[usize::from(byte & 15)] as char);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sha256_of_the_standard_example() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_file_hashes_like_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let bytes: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(sha256_file(&path).unwrap(), (sha256(&bytes), 200_000));
    }

    #[test]
    fn canonical_json_ignores_the_order_of_keys() {
        let one = json!({"b": [1, {"y": 0.1, "x": null}], "a": "q\"\n"});
        let other = json!({"a": "q\"\n", "b": [1, {"x": null, "y": 0.1}]});
        assert_eq!(canonical(&one), canonical(&other));
        assert_eq!(canonical(&one), "{\"a\":\"q\\\"\\n\",\"b\":[1,{\"x\":null,\"y\":0.1}]}");
    }
}
