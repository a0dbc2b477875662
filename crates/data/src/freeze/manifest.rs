//! A frozen dataset on disk: `train.jsonl`, `eval.jsonl`, and `manifest.json`, which names sources, steps, settings and hashes.
//!
//! There is no time in it: the same sources, settings and version of the tool make the same bytes.

use std::path::{Path, PathBuf};

use record::hash::{canonical, sha256};
use serde_json::{Map, Value, json};

use super::content::row_hash;
use super::error::{Error, Result};
use super::split::{Facts, Split};
use super::steps::SourceFile;
use crate::item::Item;

/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";
/// What a manifest calls itself.
const FORMAT: &str = "tunesmith.dataset";
const VERSION: u64 = 1;

/// The settings of a split, as the manifest repeats them.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Name and version of the tool.
    pub tool: String,
    /// Every setting by its name.
    pub all: Map<String, Value>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Frozen {
    pub folder: PathBuf,
    pub manifest: Value,
    /// Whether the very same was there already.
    pub unchanged: bool,
}

/// Writes the folder whole or not at all. What is frozen there already stays: the same is left, another one is refused.
///
/// # Errors
/// Another dataset or other files in the folder, or what the file system says.
pub fn freeze(items: &[Item], split: &Split, sources: &[SourceFile], settings: &Settings, out: &Path) -> Result<Frozen> {
    let side = |held: bool| items.iter().zip(&split.held).filter(move |(_, h)| **h == held).map(|(item, _)| &item.raw);
    let (train, eval) = (Part::of(side(false)), Part::of(side(true)));
    let mut manifest = Map::new();
    manifest.insert("format".into(), json!(FORMAT));
    manifest.insert("version".into(), json!(VERSION));
    manifest.insert("tool".into(), json!(settings.tool));
    manifest.insert("content".into(), json!(sha256(format!("{} {}", train.content, eval.content).as_bytes())));
    manifest.insert("files".into(), json!({ "train": train.to_json("train.jsonl"), "eval": eval.to_json("eval.jsonl") }));
    manifest.insert("settings".into(), Value::Object(settings.all.clone()));
    manifest.insert("facts".into(), facts(&split.facts));
    manifest.insert("sources".into(), sources.iter().map(SourceFile::to_json).collect());
    let seal = seal(&manifest);
    manifest.insert("seal".into(), json!(seal));
    let manifest = Value::Object(manifest);
    let frozen = |unchanged, manifest| Ok(Frozen { folder: out.to_path_buf(), manifest, unchanged });
    if out.exists() {
        let empty = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
        match read_manifest(out) {
            Ok(there) if there == manifest => return frozen(true, there),
            _ if empty => {}
            _ => return Err(Error::Taken { path: out.to_path_buf() }),
        }
    }
    let text = format!("{manifest:#}\n");
    record::atomic::replace_folder::<Error>(out, &mut |draft| {
        record::atomic::write(&draft.join("train.jsonl"), &train.bytes)?;
        record::atomic::write(&draft.join("eval.jsonl"), &eval.bytes)?;
        record::atomic::write(&draft.join(MANIFEST), text.as_bytes())?;
        Ok(())
    })?;
    frozen(false, manifest)
}

/// One of the two files.
struct Part {
    bytes: Vec<u8>,
    rows: usize,
    content: String,
}

impl Part {
    fn of<'a>(rows: impl Iterator<Item = &'a Value>) -> Part {
        let mut bytes = Vec::new();
        let mut hashes = Vec::new();
        for row in rows {
            bytes.extend_from_slice(row.to_string().as_bytes());
            bytes.push(b'\n');
            hashes.push(row_hash(row));
        }
        Part { bytes, rows: hashes.len(), content: content(hashes) }
    }

    fn to_json(&self, name: &str) -> Value {
        json!({ "file": name, "rows": self.rows, "bytes": self.bytes.len(), "sha256": sha256(&self.bytes), "content": self.content })
    }
}

/// The hash of some rows, whatever their order and the order of their fields is.
pub(super) fn content(mut hashes: Vec<String>) -> String {
    hashes.sort_unstable();
    sha256(hashes.join("\n").as_bytes())
}

/// The hash of a manifest without its seal.
pub(super) fn seal(manifest: &Map<String, Value>) -> String {
    let mut manifest = manifest.clone();
    manifest.shift_remove("seal");
    sha256(canonical(&Value::Object(manifest)).as_bytes())
}

/// Reads a folder's manifest.
///
/// # Errors
/// A folder without one, or one of another version.
pub fn read_manifest(folder: &Path) -> Result<Value> {
    let not = |why: String| Error::NotFrozen { path: folder.to_path_buf(), why };
    let text = std::fs::read_to_string(folder.join(MANIFEST)).map_err(|e| not(format!("{MANIFEST}: {e}")))?;
    let manifest: Value = serde_json::from_str(&text).map_err(|e| not(format!("{MANIFEST} is no JSON: {e}")))?;
    match (manifest["format"].as_str(), manifest["version"].as_u64()) {
        (Some(FORMAT), Some(VERSION)) => Ok(manifest),
        (found, version) => {
            let found = format!("{} {}", found.unwrap_or("no format"), version.map_or("without version".into(), |v| v.to_string()));
            Err(not(format!("{MANIFEST} names {found}, expected {FORMAT} {VERSION}")))
        }
    }
}

/// The facts as machines read them.
pub(super) fn facts(facts: &Facts) -> Value {
    let labels: Map<String, Value> = facts.labels.iter().map(|l| (l.label.clone(), json!({ "train": l.train, "eval": l.eval }))).collect();
    json!({
        "train": facts.train,
        "eval": facts.eval,
        "wanted": facts.wanted,
        "units": facts.units,
        "largest_unit": facts.largest,
        "group_field": facts.group,
        "groups": facts.groups,
        "grouped_rows": facts.grouped,
        "duplicate_clusters": facts.clusters,
        "rows_in_clusters": facts.clustered,
        "labels_from": facts.labels_from,
        "labels": labels,
        "cutoff_seconds": facts.cutoff,
        "interval_of_80_percent": [facts.at_80.0, facts.at_80.1],
    })
}
