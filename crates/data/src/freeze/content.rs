//! The hash of a row: of what it says, or of all of it.

use record::hash::{canonical, sha256};
use serde_json::Value;

use crate::item::Item;

/// Fields that tell where a row came from, and nothing that is learned.
const PROVENANCE: [&str; 3] = ["id", "source", "fixed"];

/// The SHA-256 of what a row says: the same wherever it lies, whatever its number is.
pub fn content(item: &Item) -> String {
    let mut raw = item.raw.clone();
    if let Value::Object(row) = &mut raw {
        for field in PROVENANCE {
            row.shift_remove(field);
        }
    }
    row_hash(&raw)
}

/// The SHA-256 of a row, whatever the order of its fields is.
pub fn row_hash(row: &Value) -> String {
    sha256(canonical(row).as_bytes())
}
