//! Plain text: one text a line.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::lines::{Bytes, Line, Lines};
use super::{Read, Record, Records, decode, encoding_fact, too_long};
use crate::error::Result;

pub(super) struct Text {
    lines: Lines,
}

impl Text {
    pub(super) fn open(name: &str, path: &Path) -> Result<Text> {
        Ok(Text { lines: Lines::of(Bytes::open(name, path)?) })
    }
}

impl Records for Text {
    fn next(&mut self) -> Result<Option<Read>> {
        let Some((number, line)) = self.lines.next()? else { return Ok(None) };
        let place = self.lines.bytes.place(number);
        Ok(Some(match line {
            Line::TooLong { bytes, start } => Err(too_long(place, bytes, &start)),
            Line::Whole(line) => decode(&self.lines.bytes.decoding, &line, &place).map(|(text, fixed)| {
                let fields = Map::from_iter([("text".to_string(), json!(text))]);
                Record { place, fields, fixed }
            }),
        }))
    }

    fn bytes(&self) -> u64 {
        self.lines.bytes.read()
    }

    fn facts(&self) -> Map<String, Value> {
        Map::from_iter([encoding_fact(&self.lines.bytes.decoding)])
    }
}
