//! A file's bytes to JSON values, each with its line.

use serde_json::Value;

use crate::error::Fault;

/// Bytes of a broken line that an error shows.
const SHOWN: usize = 40;

/// One row: where it begins, and its value or what is wrong with it.
pub(crate) struct Row {
    pub line: u32,
    pub value: Result<Value, Fault>,
}

/// The encoding of a file that is surely not UTF-8, by its byte order mark.
pub(crate) fn foreign_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xFF, 0xFE, ..] => Some("UTF-16 (little endian)"),
        [0xFE, 0xFF, ..] => Some("UTF-16 (big endian)"),
        [0x1F, 0x8B, ..] => Some("gzip"),
        _ => None,
    }
}

/// All rows of a file. A byte order mark, CRLF and blank lines are accepted.
pub(crate) fn rows(bytes: &[u8]) -> Vec<Row> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    match bytes.iter().position(|byte| !byte.is_ascii_whitespace()) {
        Some(start) if bytes[start] == b'[' => array(bytes, start),
        Some(_) => lines(bytes),
        None => Vec::new(),
    }
}

fn lines(bytes: &[u8]) -> Vec<Row> {
    let numbered = bytes.split(|byte| *byte == b'\n').zip(1u32..);
    numbered.filter(|(line, _)| !line.trim_ascii().is_empty()).map(|(bytes, line)| Row { line, value: line_value(bytes) }).collect()
}

fn line_value(bytes: &[u8]) -> Result<Value, Fault> {
    let line = utf8(bytes.trim_ascii_end())?;
    serde_json::from_str(line).map_err(|error| broken(line, error.column(), &error))
}

fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Fault::NotUtf8 { byte: at + 1, found: bytes[at] }
    })
}

/// A syntax error, with the text from where it was noticed.
fn broken(line: &str, column: usize, error: &serde_json::Error) -> Fault {
    let mut from = column.saturating_sub(1).min(line.len());
    while !line.is_char_boundary(from) {
        from -= 1;
    }
    let rest: String = line[from..].chars().take(SHOWN).collect();
    let found = if rest.is_empty() { "the end of the line".into() } else { rest };
    let why = error.to_string();
    let why = why.split(" at line ").next().unwrap_or_default().to_string();
    Fault::Json { column, why, found }
}

/// The elements of one big array. After a broken element nothing more can be told apart, so it is the last row.
fn array(bytes: &[u8], open: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut at = open + 1;
    // The line is counted from where it was last known.
    let (mut line, mut counted) = (1, 0);
    loop {
        at += bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        line += bytes[counted..at].iter().filter(|byte| **byte == b'\n').count() as u32;
        counted = at;
        if bytes.get(at) == Some(&b']') && rows.is_empty() {
            break;
        }
        let mut values = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<Value>();
        let value = match values.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                rows.push(broken_element(bytes, at, line, &error));
                return rows;
            }
            None => {
                rows.push(unended(line));
                return rows;
            }
        };
        rows.push(Row { line, value: Ok(value) });
        at += values.byte_offset();
        at += bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b']') => break,
            other => {
                let line = line + bytes[counted..at].iter().filter(|byte| **byte == b'\n').count() as u32;
                rows.push(other.map_or_else(|| unended(line), |_| unseparated(bytes, at, line)));
                return rows;
            }
        }
    }
    at += 1;
    at += bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    if at < bytes.len() {
        line += bytes[counted..at].iter().filter(|byte| **byte == b'\n').count() as u32;
        let why = "expected nothing after the end of the array".into();
        rows.push(Row { line, value: Err(Fault::Json { column: column(bytes, at), why, found: start(&bytes[at..]) }) });
    }
    rows
}

fn broken_element(bytes: &[u8], at: usize, line: u32, error: &serde_json::Error) -> Row {
    let line = line + u32::try_from(error.line().saturating_sub(1)).unwrap_or(u32::MAX);
    let before = if error.line() == 1 { column(bytes, at) - 1 } else { 0 };
    let why = error.to_string().split(" at line ").next().unwrap_or_default().to_string();
    let text = bytes[at..].split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let found = start(text.get(error.column().saturating_sub(1)..).unwrap_or_default());
    Row { line, value: Err(Fault::Json { column: before + error.column(), why, found }) }
}

fn unended(line: u32) -> Row {
    let why = "the array has no closing bracket".into();
    Row { line, value: Err(Fault::Json { column: 1, why, found: "the end of the file".into() }) }
}

fn unseparated(bytes: &[u8], at: usize, line: u32) -> Row {
    let why = "expected `,` or `]` after an element".into();
    Row { line, value: Err(Fault::Json { column: column(bytes, at), why, found: start(&bytes[at..]) }) }
}

/// The column of a byte, from 1.
fn column(bytes: &[u8], at: usize) -> usize {
    at - bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1) + 1
}

fn start(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).lines().next().unwrap_or_default().to_string()
}
