//! The files that a dataset was made of, and the accounts of imports and clean-ups that lie beside them.

use std::path::Path;

use record::hash::sha256_file;
use serde_json::{Map, Value, json};

use super::error::Result;

/// Commands that leave an account, in the order in which they are run.
const STEPS: [&str; 3] = ["import", "clean", "check"];
/// The longest text of an account that a manifest repeats.
const LONGEST: usize = 200;

/// A file that examples came from.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceFile {
    /// As it was named.
    pub file: String,
    pub rows: usize,
    pub bytes: u64,
    pub sha256: String,
    /// The accounts beside it.
    pub steps: Vec<Value>,
}

/// Describes a file. An account of `tickets.jsonl` is called `tickets.import.json` or `tickets.jsonl.import.json`.
///
/// # Errors
/// What the file system says.
pub fn source(path: &Path, rows: usize) -> Result<SourceFile> {
    let (sha256, bytes) = sha256_file(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut steps = Vec::new();
    for step in STEPS {
        for begin in [&stem, &name] {
            let account = path.with_file_name(format!("{begin}.{step}.json"));
            if account.is_file() {
                steps.push(described(step, &account)?);
            }
        }
    }
    Ok(SourceFile { file: path.display().to_string(), rows, bytes, sha256, steps })
}

fn described(step: &str, path: &Path) -> Result<Value> {
    let (hash, _) = sha256_file(path)?;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // An account that is no JSON is named with its hash all the same.
    let account = serde_json::from_str::<Value>(&text).map_or(Value::Null, |value| brief(&value, 0));
    Ok(json!({ "step": step, "file": path.display().to_string(), "sha256": hash, "account": account }))
}

/// Counts and settings; lists may hold what people wrote, so only their length is repeated.
fn brief(value: &Value, depth: usize) -> Value {
    match value {
        Value::Array(list) => json!(format!("{} entries", list.len())),
        Value::Object(map) if depth < 3 => {
            map.iter().map(|(key, value)| (key.clone(), brief(value, depth + 1))).collect::<Map<_, _>>().into()
        }
        Value::Object(map) => json!(format!("{} fields", map.len())),
        Value::String(text) if text.chars().count() > LONGEST => json!(text.chars().take(LONGEST).collect::<String>()),
        other => other.clone(),
    }
}

impl SourceFile {
    /// As the manifest has it.
    pub(super) fn to_json(&self) -> Value {
        json!({ "file": self.file, "rows": self.rows, "bytes": self.bytes, "sha256": self.sha256, "steps": self.steps })
    }
}
