//! A row as checks see it: whatever it is, it has a place and a name, and what is wrong with it is a fact like any other.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use text::Message;

use crate::error::{Error, Fault, Result};
use crate::example::Source;
use crate::pairs::{Pair, pair};
use crate::read::{ReadOptions, check, rows, shape};

/// One row of a file.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its field `id`, else its line.
    pub id: String,
    /// The file that it is in.
    pub file: PathBuf,
    /// From 1.
    pub line: u32,
    /// What it says.
    pub content: Content,
    /// The row as it was read; null where it is no JSON.
    pub raw: Value,
}

/// What a row says.
#[derive(Debug, Clone)]
pub enum Content {
    /// A conversation, whose last message is the assistant's.
    Chat { messages: Vec<Message>, tools: Option<Value>, tags: Map<String, Value> },
    /// A better and a worse answer.
    Pair(Box<Pair>),
    /// A text without an answer: the field `text`, or `instruction`, `prompt` or `input` alone.
    Text { text: String, tags: Map<String, Value> },
    /// Nothing that can be used.
    Broken(Fault),
}

/// Reads every row of a file, good or not.
///
/// # Errors
/// A file that cannot be read, holds no row, or is not UTF-8.
pub fn items(path: &Path) -> Result<Vec<Item>> {
    let bytes = std::fs::read(path).map_err(|why| Error::Read { path: path.to_path_buf(), why })?;
    parse_items(&bytes, path)
}

/// The same of a file's content.
///
/// # Errors
/// As [`items`].
pub fn parse_items(bytes: &[u8], path: &Path) -> Result<Vec<Item>> {
    if let Some(found) = rows::foreign_encoding(bytes) {
        return Err(Error::Encoding { path: path.to_path_buf(), found });
    }
    let rows = rows::rows(bytes);
    if rows.is_empty() {
        return Err(Error::Empty { path: path.to_path_buf() });
    }
    Ok(rows.into_iter().map(|row| item(row, path)).collect())
}

fn item(row: rows::Row, path: &Path) -> Item {
    let (raw, content) = match row.value {
        Ok(value) => {
            let source = Source { file: path.to_path_buf(), line: row.line };
            (value.clone(), content(value, source).unwrap_or_else(Content::Broken))
        }
        Err(fault) => (Value::Null, Content::Broken(fault)),
    };
    let id = match raw.get("id") {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => row.line.to_string(),
    };
    Item { id, file: path.to_path_buf(), line: row.line, content, raw }
}

/// Fields that hold a text which nothing answers.
const TEXTS: [&str; 4] = ["text", "instruction", "prompt", "input"];

fn content(value: Value, source: Source) -> std::result::Result<Content, Fault> {
    let has = |field: &str| value.get(field).is_some();
    if crate::pairs::is_pair(&value) {
        return Ok(Content::Pair(Box::new(pair(value, source, &ReadOptions::default())?)));
    }
    let answered = ["messages", "conversations", "contents", "response", "output", "completion"].iter().any(|field| has(field));
    if !answered && let Some(field) = TEXTS.iter().find(|field| value.get(**field).is_some_and(Value::is_string)) {
        let Value::Object(mut tags) = value else { unreachable!("only an object has fields") };
        return Ok(Content::Text { text: shape::text(&mut tags, field)?, tags });
    }
    let shape::Row { messages, tools, tags } = shape::row(value)?;
    check::conversation(&messages)?;
    Ok(Content::Chat { messages, tools, tags })
}

impl Item {
    /// A field that belongs to the row itself, such as `group`, `at` or `author`.
    pub fn tag(&self, name: &str) -> Option<&Value> {
        self.raw.get(name)
    }

    /// All that is asked, in order and without the system prompt: every message before the last answer, or the text.
    pub fn prompt(&self) -> String {
        let said = |messages: &[Message]| {
            let asked = messages.iter().filter(|m| !check::is_instruction(&m.role)).map(|m| m.content.as_str());
            asked.collect::<Vec<_>>().join("\n")
        };
        match &self.content {
            Content::Chat { messages, .. } => said(&messages[..messages.len() - 1]),
            Content::Pair(pair) => said(&pair.chosen.messages[..pair.chosen.messages.len() - 1]),
            Content::Text { text, .. } => text.clone(),
            Content::Broken(_) => String::new(),
        }
    }

    /// The last answer, or the better one of two; nothing where none is.
    pub fn answer(&self) -> Option<&str> {
        match &self.content {
            Content::Chat { messages, .. } => messages.last().map(|m| m.content.as_str()),
            Content::Pair(pair) => pair.chosen.messages.last().map(|m| m.content.as_str()),
            Content::Text { .. } | Content::Broken(_) => None,
        }
    }
}
