//! What became of every row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::planned::Planned;
use crate::row::Row;

/// The rows of one source: `rows` is `kept` and `quarantined` together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub rows: u64,
    pub kept: u64,
    /// Of the kept ones those that were changed.
    pub fixed: u64,
    pub quarantined: u64,
    /// Changes by their kind.
    pub fixes: BTreeMap<String, u64>,
    /// Why the source ends in the middle, where it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cut: Option<String>,
}

impl Counts {
    pub(crate) fn keep(&mut self, row: &Row) {
        self.rows += 1;
        self.kept += 1;
        self.fixed += u64::from(!row.fixed.is_empty());
        for fix in &row.fixed {
            *self.fixes.entry(fix.what.to_string()).or_default() += 1;
        }
    }

    pub(crate) fn put_aside(&mut self) {
        self.rows += 1;
        self.quarantined += 1;
    }

    fn add(&mut self, other: &Counts) {
        self.rows += other.rows;
        self.kept += other.kept;
        self.fixed += other.fixed;
        self.quarantined += other.quarantined;
        for (what, count) in &other.fixes {
            *self.fixes.entry(what.clone()).or_default() += count;
        }
    }
}

/// The account of an import, as it is written.
#[derive(Debug, Clone)]
pub struct Account {
    /// Of all sources together.
    pub all: Counts,
    /// Of each, by its name.
    pub sources: Vec<(String, Counts)>,
    /// The file's content.
    pub json: Value,
}

/// A file that the import made: its name, rows, bytes and hash.
pub(crate) struct Made {
    pub name: String,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
}

impl Account {
    pub(crate) fn of(planned: &[Planned], counts: &[Counts], made: &[Made]) -> Account {
        let mut all = Counts::default();
        counts.iter().for_each(|one| all.add(one));
        let sources: Vec<Value> = planned.iter().zip(counts).map(|(planned, counts)| source(planned, counts)).collect();
        let outputs: Vec<Value> =
            made.iter().map(|m| json!({ "file": m.name, "rows": m.rows, "bytes": m.bytes, "sha256": m.sha256 })).collect();
        let json = json!({
            "version": 1,
            "tunesmith": env!("CARGO_PKG_VERSION"),
            "rows": all.rows, "kept": all.kept, "fixed": all.fixed, "quarantined": all.quarantined, "fixes": all.fixes,
            "sources": sources,
            "outputs": outputs,
        });
        let names = planned.iter().map(|planned| planned.name.clone());
        Account { all, sources: names.zip(counts.iter().cloned()).collect(), json }
    }
}

fn source(planned: &Planned, counts: &Counts) -> Value {
    let mut source = json!({
        "name": planned.name, "kind": planned.kind.name(), "bytes": planned.bytes, "sha256": planned.sha256,
        "columns": planned.columns, "shape": planned.shape, "roles": planned.roles.to_json(), "found": planned.facts,
    });
    if let (Some(source), Ok(Value::Object(counts))) = (source.as_object_mut(), serde_json::to_value(counts)) {
        source.extend(counts);
    }
    source
}
