//! One JSON object a line.

use std::path::Path;

use serde_json::{Map, Value};

use super::lines::{Bytes, Line, Lines};
use super::{Read, Record, Records, decode, encoding_fact, short, too_long};
use crate::error::Result;
use crate::row::{Fix, Place, Quarantined};

pub(super) struct Jsonl {
    lines: Lines,
}

impl Jsonl {
    pub(super) fn open(name: &str, path: &Path) -> Result<Jsonl> {
        Ok(Jsonl { lines: Lines::of(Bytes::open(name, path)?) })
    }
}

impl Records for Jsonl {
    fn next(&mut self) -> Result<Option<Read>> {
        let Some((number, line)) = self.lines.next()? else { return Ok(None) };
        let place = self.lines.bytes.place(number);
        Ok(Some(match line {
            Line::TooLong { bytes, start } => Err(too_long(place, bytes, &start)),
            Line::Whole(line) => match decode(&self.lines.bytes.decoding, &line, &place) {
                Ok((text, fixed)) => record(place, &text, fixed),
                Err(broken) => Err(broken),
            },
        }))
    }

    fn bytes(&self) -> u64 {
        self.lines.bytes.read()
    }

    fn facts(&self) -> Map<String, Value> {
        Map::from_iter([encoding_fact(&self.lines.bytes.decoding)])
    }
}

/// The object that a text holds.
pub(super) fn record(place: Place, text: &str, fixed: Vec<Fix>) -> Read {
    let broken = |place: Place, why: String| Quarantined { source: place, why, raw: short(text) };
    match serde_json::from_str::<Value>(text.trim()) {
        Ok(Value::Object(fields)) => Ok(Record { place, fields, fixed }),
        Ok(Value::String(text)) => Ok(Record { place, fields: Map::from_iter([("text".to_string(), Value::String(text))]), fixed }),
        Ok(other) => Err(broken(place, format!("found {}, expected an object", crate::shape::kind(&other)))),
        Err(error) => {
            let why = error.to_string();
            let why = why.split(" at line ").next().unwrap_or_default();
            Err(broken(place, format!("not valid JSON at column {}: {why}", error.column())))
        }
    }
}
