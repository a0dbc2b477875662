//! A JSON array, or JSON values one after the other: each is cut out by its brackets, so that a broken one costs itself only.

use std::io::{self, BufRead};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::lines::Bytes;
use super::{LONGEST, Read, Records, decode, encoding_fact, jsonl, short, too_long};
use crate::error::{Error, Result};
use crate::row::Quarantined;

pub(super) struct Json {
    bytes: Bytes,
    line: u64,
    part: Part,
}

/// Where in the file we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Begin,
    Array,
    Stream,
    Ended,
}

/// A value as it stands in the file.
struct Cut {
    line: u64,
    text: Vec<u8>,
    length: u64,
}

impl Json {
    pub(super) fn open(name: &str, path: &Path) -> Result<Json> {
        Ok(Json { bytes: Bytes::open(name, path)?, line: 1, part: Part::Begin })
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            match self.bytes.reader.fill_buf() {
                Ok(piece) => return Ok(piece.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.bytes.failed(self.line, error)),
            }
        }
    }

    fn take(&mut self, byte: u8) {
        self.line += u64::from(byte == b'\n');
        self.bytes.reader.consume(1);
    }

    /// Passes over what stands between values; says what comes then.
    fn between(&mut self) -> Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            let mark = matches!(byte, 0xEF | 0xBB | 0xBF) && self.part == Part::Begin;
            let comma = byte == b',' && self.part == Part::Array;
            if !byte.is_ascii_whitespace() && !comma && !mark {
                return Ok(Some(byte));
            }
            self.take(byte);
        }
        Ok(None)
    }

    /// Takes one value out of the file. Brackets within texts do not count.
    fn value(&mut self) -> Result<(Cut, bool)> {
        let mut cut = Cut { line: self.line, text: Vec::new(), length: 0 };
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        while let Some(byte) = self.peek()? {
            let closes = matches!(byte, b']' | b'}');
            if !quoted && depth == 0 && cut.length > 0 && (closes || byte == b',' || byte.is_ascii_whitespace()) {
                return Ok((cut, true));
            }
            self.take(byte);
            cut.length += 1;
            if cut.length <= LONGEST as u64 {
                cut.text.push(byte);
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'[' | b'{' if !quoted => depth += 1,
                b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !quoted && depth == 0 && (closes || byte == b'"') {
                return Ok((cut, true));
            }
        }
        let whole = !quoted && depth == 0;
        Ok((cut, whole))
    }

    fn ended_early(&self, line: u64, raw: &[u8]) -> Error {
        let begun = if raw.is_empty() { String::new() } else { format!(", within the value that begins on line {line}") };
        let found: String = short(&String::from_utf8_lossy(raw)).chars().take(60).collect();
        let why = format!("the file ends in the middle of its JSON{begun}: {found}");
        Error::Cut { place: self.bytes.place(line), why }
    }
}

impl Records for Json {
    fn next(&mut self) -> Result<Option<Read>> {
        if self.part == Part::Begin {
            self.part = match self.between()? {
                Some(b'[') => {
                    self.take(b'[');
                    Part::Array
                }
                _ => Part::Stream,
            };
        }
        if self.part == Part::Ended {
            return Ok(None);
        }
        match self.between()? {
            None if self.part == Part::Array => return Err(self.ended_early(self.line, b"")),
            None => return Ok(None),
            Some(b']') if self.part == Part::Array => {
                self.take(b']');
                self.part = Part::Ended;
                let Some(_) = self.between()? else { return Ok(None) };
                let why = "found more after the end of the array, expected the end of the file; what follows was not read".to_string();
                return Ok(Some(Err(Quarantined { source: self.bytes.place(self.line), why, raw: String::new() })));
            }
            Some(_) => {}
        }
        let (cut, whole) = self.value()?;
        let place = self.bytes.place(cut.line);
        if cut.length > LONGEST as u64 {
            return Ok(Some(Err(too_long(place, cut.length, &cut.text[..1 << 12]))));
        }
        if !whole {
            return Err(self.ended_early(cut.line, &cut.text));
        }
        Ok(Some(match decode(&self.bytes.decoding, &cut.text, &place) {
            Ok((text, fixed)) => jsonl::record(place, &text, fixed),
            Err(broken) => Err(broken),
        }))
    }

    fn bytes(&self) -> u64 {
        self.bytes.read()
    }

    fn facts(&self) -> Map<String, Value> {
        let shape = if self.part == Part::Stream { "values" } else { "array" };
        Map::from_iter([encoding_fact(&self.bytes.decoding), ("layout".to_string(), json!(shape))])
    }
}
