//! Records to rows: by their shape, or by the roles of their columns.

use std::collections::VecDeque;

use record::hash;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::records::{Read, Record, Records, short};
use crate::roles::{Role, Roles};
use crate::row::{Place, Quarantined, Row};
use crate::shape::{self, Content, Shape};
use crate::source::Source;
use crate::{roles, when};

/// Records that are looked at before the first row is made.
const SAMPLE: usize = 256;

/// The rows of a source of records.
pub(crate) struct Rows {
    records: Box<dyn Records>,
    ahead: VecDeque<Read>,
    /// Where the source ends in the sample already.
    failure: Option<Error>,
    roles: Roles,
    /// Of most rows.
    pub shape: Option<&'static Shape>,
    /// The user named question or answer: shapes do not count.
    told: bool,
    /// What stands before the line in the name of a row that has none; of a database its rows have no lines.
    prefix: String,
    by_content: bool,
}

impl Rows {
    /// Looks at the first records and finds out what they mean.
    pub(crate) fn of(name: &str, mut records: Box<dyn Records>, told: &[(Role, String)], prefix: String, by_content: bool) -> Result<Rows> {
        let mut ahead = VecDeque::new();
        let mut failure = None;
        while ahead.len() < SAMPLE {
            match records.next() {
                Ok(Some(read)) => ahead.push_back(read),
                Ok(None) => break,
                // A source that ends early has rows; one that fails now has none that would be lost.
                Err(error @ Error::Cut { .. }) => {
                    failure = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let sample: Vec<&Map<String, Value>> = ahead.iter().filter_map(|read| read.as_ref().ok()).map(|record| &record.fields).collect();
        let speaks = told.iter().any(|(role, column)| matches!(role, Role::Question | Role::Answer) && !column.is_empty());
        let shape = if speaks { None } else { commonest(&sample) };
        let roles = if sample.is_empty() { Roles::default() } else { roles::find(name, &sample, shape, told)? };
        Ok(Rows { records, ahead, failure, roles, shape, told: speaks, prefix, by_content })
    }

    pub(crate) fn roles(&self) -> &Roles {
        &self.roles
    }

    pub(crate) fn facts(&self) -> Map<String, Value> {
        self.records.facts()
    }

    /// The names of all columns of the sample.
    pub(crate) fn columns(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for record in self.ahead.iter().filter_map(|read| read.as_ref().ok()) {
            let new: Vec<String> = record.fields.keys().filter(|name| !names.contains(name)).cloned().collect();
            names.extend(new);
        }
        names
    }

    fn row(&self, record: Record) -> std::result::Result<Row, Quarantined> {
        let raw = || short(&Value::Object(record.fields.clone()).to_string());
        let Record { place, mut fields, mut fixed } = record.clone();
        let shape = shape::of(&fields).filter(|_| !self.told);
        let content = match shape {
            Some(shape) => shape.take(&mut fields),
            None => self.by_roles(&mut fields),
        };
        let content = match content {
            Ok(content) => content,
            Err(why) => return Err(Quarantined { source: place, why, raw: raw() }),
        };
        fixed.extend(content.fixed);
        let mut own = |role: Role| self.roles.column(role).and_then(|column| fields.shift_remove(column)).and_then(word);
        let (id, group, author) = (own(Role::Id), own(Role::Group), own(Role::Author));
        let at = self.time(&mut fields);
        if let Some(label) = self.roles.column(Role::Label).and_then(|column| fields.shift_remove(column)) {
            fields.insert("label".to_string(), label);
        }
        fields.retain(|_, value| !shape::is_empty(value));
        let id = id.unwrap_or_else(|| self.name(&place, &record.fields));
        // Our own fields keep their names.
        let tags =
            fields.into_iter().map(|(name, value)| if OURS.contains(&&name[..]) { (format!("{name}_"), value) } else { (name, value) });
        Ok(Row { id, content: content.fields, source: place, group, at, author, fixed, tags: tags.collect() })
    }

    /// A name for a row that has none: where it stands, or what it says.
    fn name(&self, place: &Place, fields: &Map<String, Value>) -> String {
        match place.line.filter(|_| !self.by_content) {
            Some(line) => format!("{}:{line}", self.prefix),
            None => format!("{}:{}", self.prefix, &hash::sha256(hash::canonical(&Value::Object(fields.clone())).as_bytes())[..16]),
        }
    }

    /// The time of a row; what cannot be read stays where it was.
    fn time(&self, fields: &mut Map<String, Value>) -> Option<String> {
        let column = self.roles.column(Role::Time)?;
        let text = fields.get(column).cloned().and_then(word)?;
        let at = when::parse(&text)?;
        fields.shift_remove(column);
        Some(at)
    }

    fn by_roles(&self, fields: &mut Map<String, Value>) -> std::result::Result<Content, String> {
        let column = |role: Role| self.roles.column(role);
        let Some(question) = column(Role::Question) else {
            let found: Vec<&str> = fields.keys().map(String::as_str).collect();
            return Err(format!("found the fields [{}], expected the shape of the other rows", found.join(", ")));
        };
        let mut fixed = Vec::new();
        let mut text = |fields: &mut Map<String, Value>, column: &str| {
            let value = fields.shift_remove(column);
            match value.filter(|value| !shape::is_empty(value)) {
                Some(value) => shape::text(Some(value), column, &mut fixed),
                None => Err(format!("column `{column}` is empty, expected a text")),
            }
        };
        let asked = text(fields, question)?;
        let system = column(Role::System).and_then(|column| text(fields, column).ok());
        let mut content = match (column(Role::Answer), column(Role::Label)) {
            (Some(answer), _) => shape::pair(system, asked, text(fields, answer)?)?,
            // The label stays beside the answer that it is.
            (None, Some(label)) => {
                let kept = fields.get(label).cloned();
                let content = shape::pair(system, asked, text(fields, label)?)?;
                fields.extend(kept.map(|value| (label.to_string(), value)));
                content
            }
            (None, None) => Content { fields: Map::from_iter([("text".to_string(), json!(asked))]), fixed: Vec::new() },
        };
        content.fixed.extend(fixed);
        Ok(content)
    }
}

/// Names of fields that rows have from us.
const OURS: [&str; 12] = ["id", "messages", "text", "prompt", "chosen", "rejected", "tools", "source", "group", "at", "author", "fixed"];

/// The shape that most of the rows have, if it is more than half.
fn commonest(sample: &[&Map<String, Value>]) -> Option<&'static Shape> {
    let shapes: Vec<Option<&'static Shape>> = sample.iter().map(|row| shape::of(row)).collect();
    let first = shapes.iter().flatten().max_by_key(|one| shapes.iter().flatten().filter(|other| other.name == one.name).count())?;
    (shapes.iter().flatten().count() * 2 > sample.len()).then_some(*first)
}

/// A word or number as text.
fn word(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_string()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Source for Rows {
    fn next(&mut self) -> Result<Option<std::result::Result<Row, Quarantined>>> {
        let read = match self.ahead.pop_front() {
            Some(read) => Some(read),
            None => match self.failure.take() {
                Some(error) => return Err(error),
                None => self.records.next()?,
            },
        };
        Ok(read.map(|read| read.and_then(|record| self.row(record))))
    }

    fn bytes(&self) -> u64 {
        self.records.bytes()
    }
}
