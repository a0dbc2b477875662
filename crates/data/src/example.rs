//! The canonical example: a conversation, and where it came from.

use std::path::PathBuf;

use serde_json::{Map, Value};
use text::Message;

/// Where a row stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub file: PathBuf,
    /// From 1; of a JSON array, the line on which the element begins.
    pub line: u32,
}

/// One conversation to learn from or to be tested on.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// In order; the last one is the assistant's.
    pub messages: Vec<Message>,
    /// Descriptions of the tools that the assistant could call, as the row gave them.
    pub tools: Option<Value>,
    pub source: Source,
    /// All other fields of the row, as found.
    pub tags: Map<String, Value>,
}
