//! Whether a frozen dataset is still what its manifest says.

use std::path::Path;

use record::hash::sha256_file;
use serde_json::Value;

use super::content::row_hash;
use super::error::Result;
use super::manifest::{MANIFEST, content, read_manifest, seal};
use crate::read::rows;

/// What was compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    pub manifest: Value,
    /// What is not as it was; nothing where all is.
    pub problems: Vec<String>,
    /// What has changed outside of the folder: sources.
    pub notes: Vec<String>,
}

/// Compares a folder with its manifest.
///
/// # Errors
/// A folder that is no frozen dataset.
pub fn verify(folder: &Path) -> Result<Verified> {
    let manifest = read_manifest(folder)?;
    let mut problems = Vec::new();
    if manifest.as_object().map(seal).as_deref() != manifest["seal"].as_str() {
        problems.push(format!("{MANIFEST} itself was changed: its seal does not fit"));
    }
    for side in ["train", "eval"] {
        problems.extend(changed(folder, &manifest["files"][side]));
    }
    let mut notes = Vec::new();
    for source in manifest["sources"].as_array().into_iter().flatten() {
        let file = source["file"].as_str().unwrap_or_default();
        match sha256_file(Path::new(file)) {
            Ok((hash, _)) if source["sha256"] == hash => {}
            Ok(_) => notes.push(format!("the source {file} has changed since")),
            Err(_) => notes.push(format!("the source {file} is not there any more")),
        }
    }
    Ok(Verified { manifest, problems, notes })
}

/// What is not as the manifest says of a file.
fn changed(folder: &Path, told: &Value) -> Option<String> {
    let name = told["file"].as_str().unwrap_or_default();
    let path = folder.join(name);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(why) => return Some(format!("{name}: {why}")),
    };
    if told["sha256"] == record::hash::sha256(&bytes) {
        return None;
    }
    let rows = rows::rows(&bytes);
    let broken = rows.iter().find(|row| row.value.is_err()).map(|row| row.line);
    let hashes: Vec<String> = rows.iter().filter_map(|row| row.value.as_ref().ok()).map(row_hash).collect();
    let expected = told["rows"].as_u64().unwrap_or(0);
    Some(if let Some(line) = broken {
        format!("{name}: line {line} is no JSON any more")
    } else if hashes.len() as u64 != expected {
        format!("{name}: found {} rows, expected {expected}", hashes.len())
    } else if told["content"] == content(hashes) {
        format!("{name}: the rows are the same, their order or spelling is another")
    } else {
        format!("{name}: {expected} rows as expected, and some of them were changed")
    })
}
