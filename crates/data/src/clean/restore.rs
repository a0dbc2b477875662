//! Brings back what pseudonyms stand for, in the cleaned file or any other that has them.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;

use super::Progress;
use super::lines::{Line, Lines};
use super::splice::{edit, escapes_letters};
use super::vault::Key;
use crate::error::{Error, Fault, Result, RowFault};
use crate::spoken::json_inside;

/// What was brought back.
#[derive(Debug)]
pub struct Restored {
    pub rows: u64,
    pub values: u64,
}

/// Writes `file` to `out` with the values of `map` in the place of their pseudonyms.
///
/// # Errors
/// A key that does not fit the map, rows that are no JSON, files that cannot be read or written.
pub fn restore(file: &Path, out: &Path, key_file: &Path, map: &Path, progress: Progress) -> Result<Restored> {
    let bytes = Key::open(key_file)?.unseal(map)?;
    let finder = Finder::new(&bytes).ok_or_else(|| Error::NotAMap { path: map.to_path_buf() })?;
    let mut restored = Restored { rows: 0, values: 0 };
    let mut lines = Lines::open(file)?;
    let mut fault = None;
    let written = record::atomic::write_with(out, |out| {
        let mut go = || -> Result<()> {
            while let Some(batch) = lines.next()? {
                for line in &batch.rows {
                    let row = finder.row(line, &mut restored.values).map_err(|fault| {
                        let faults = vec![RowFault { line: line.line, fault }];
                        Error::Rows { path: file.to_path_buf(), rows: restored.rows as usize + 1, faults }
                    })?;
                    restored.rows += u64::from(!line.is_blank());
                    out.write_all(row.as_deref().unwrap_or(&line.bytes)).map_err(|why| Error::Write { path: file.to_path_buf(), why })?;
                }
                if !progress("restoring", batch.end, lines.size) {
                    return Err(Error::Stopped);
                }
            }
            Ok(())
        };
        go().map_err(|error| {
            fault = Some(error);
            std::io::ErrorKind::Interrupted.into()
        })
    });
    match fault {
        Some(fault) => Err(fault),
        None => {
            written?;
            Ok(restored)
        }
    }
}

/// All pseudonyms of a map, looked for at once.
struct Finder {
    pseudonyms: AhoCorasick,
    values: Vec<String>,
    /// Whether the file that was hidden writes letters beyond ASCII as escapes.
    escaped: bool,
}

/// The way back, as it was sealed.
#[derive(serde::Deserialize)]
struct Way {
    escaped: bool,
    /// Pseudonym, value, kind.
    entries: Vec<(String, String, String)>,
}

impl Finder {
    fn new(map: &[u8]) -> Option<Finder> {
        let Way { escaped, entries } = serde_json::from_slice(map).ok()?;
        let mut back: HashMap<String, String> = HashMap::new();
        for (new, value, kind) in &entries {
            // A name may be written in other letters by whoever took it up: a model, a colleague.
            if kind == "name" && value.chars().skip(1).all(|c| !c.is_uppercase()) && value.chars().all(char::is_alphabetic) {
                back.entry(new.to_lowercase()).or_insert_with(|| value.to_lowercase());
                back.entry(new.to_uppercase()).or_insert_with(|| value.to_uppercase());
            }
        }
        back.extend(entries.into_iter().map(|(new, value, _)| (new, value)));
        let (new, values): (Vec<String>, Vec<String>) = back.into_iter().unzip();
        let pseudonyms = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&new).ok()?;
        Some(Finder { pseudonyms, values, escaped })
    }

    /// The bytes of a line with values brought back; nothing where none was.
    fn row(&self, line: &Line, count: &mut u64) -> std::result::Result<Option<Vec<u8>>, Fault> {
        if line.is_blank() {
            return Ok(None);
        }
        let (before, json, after) = line.parts()?;
        serde_json::from_str::<Value>(json).map_err(|error| Fault::Json {
            column: error.column(),
            why: error.to_string().split(" at line ").next().unwrap_or_default().to_string(),
            found: json.chars().skip(error.column().saturating_sub(1)).take(40).collect(),
        })?;
        let ascii = escapes_letters(json) || self.escaped && json.is_ascii();
        let row = edit(json, ascii, &mut |_, text, _| {
            if json_inside(text).is_some() {
                return edit(text, escapes_letters(text), &mut |_, text, _| self.text(text, count));
            }
            self.text(text, count)
        });
        Ok(row.map(|row| format!("{before}{row}{after}").into_bytes()))
    }

    fn text(&self, text: &str, count: &mut u64) -> Option<String> {
        let mut out = String::new();
        let mut at = 0;
        for one in self.pseudonyms.find_iter(text) {
            let joined = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            if joined(text[..one.start()].chars().next_back()) || joined(text[one.end()..].chars().next()) {
                continue;
            }
            out.push_str(&text[at..one.start()]);
            out.push_str(&self.values[one.pattern().as_usize()]);
            at = one.end();
            *count += 1;
        }
        out.push_str(&text[at..]);
        (at > 0).then_some(out)
    }
}
