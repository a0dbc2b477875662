//! What an import makes of a source: rows, and what could not become one.

use serde_json::{Map, Value, json};

/// Where a row came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named, with the member of an archive or the sheet of a workbook behind `#`; of a database its name
    /// without password.
    pub file: String,
    /// Line, row or message in it, from 1.
    pub line: Option<u64>,
    /// The id of a message or ticket.
    pub message: Option<String>,
}

impl Place {
    /// As it is written beside each row.
    pub fn to_json(&self) -> Value {
        let mut place = Map::from_iter([("file".to_string(), json!(self.file))]);
        place.extend(self.line.map(|line| ("line".to_string(), json!(line))));
        place.extend(self.message.as_ref().map(|id| ("message".to_string(), json!(id))));
        Value::Object(place)
    }
}

/// A change that was made on the way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What was done, one word or two with underscores: `encoding`, `quote_cut`, `signature_cut`, `html_to_text`.
    pub what: &'static str,
    /// What was there, as far as it is short.
    pub before: String,
    /// What is there now.
    pub after: String,
}

/// A row that was kept. Written as one JSON object a line: `id`, then `messages` (or `text`, or `prompt`, `chosen` and
/// `rejected`), `tools`, `source`, `group`, `at`, `author`, `fixed`, then all other columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Unique in the import, and the same when it is made again.
    pub id: String,
    /// The fields that say something, in one of the shapes that `data` reads.
    pub content: Map<String, Value>,
    pub source: Place,
    /// Rows of one thread or customer, which a split keeps together.
    pub group: Option<String>,
    /// When it was said: RFC 3339.
    pub at: Option<String>,
    /// Who answered.
    pub author: Option<String>,
    pub fixed: Vec<Fix>,
    /// Columns without a role.
    pub tags: Map<String, Value>,
}

/// A row that was not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarantined {
    pub source: Place,
    /// What is wrong: what was found, what was expected, how to mend it.
    pub why: String,
    /// The row as it was read, as far as it is short.
    pub raw: String,
}

impl Row {
    /// As it is written.
    pub fn to_json(&self) -> Value {
        let mut row = Map::from_iter([("id".to_string(), json!(self.id))]);
        row.extend(self.content.clone());
        row.insert("source".into(), self.source.to_json());
        let optional = [("group", &self.group), ("at", &self.at), ("author", &self.author)];
        row.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_string(), json!(value.as_ref()?)))));
        if !self.fixed.is_empty() {
            let fixed = self.fixed.iter().map(|f| json!({ "what": f.what, "before": f.before, "after": f.after }));
            row.insert("fixed".into(), fixed.collect());
        }
        for (name, value) in &self.tags {
            row.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Value::Object(row)
    }
}

impl Quarantined {
    /// As it is written.
    pub fn to_json(&self) -> Value {
        json!({ "source": self.source.to_json(), "why": self.why, "raw": self.raw })
    }
}
