//! A sheet that comes back: JSONL or CSV as spreadsheets save it, compared with what was drawn.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::cells::{Record, records};
use super::drawn::Drawn;
use super::error::{Error, Result};
use super::sheet::{COLUMNS, cut, unguarded};
use crate::read::rows;

/// What a reviewer says of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Defect,
}

/// The verdicts on a sample, one a drawn row in the order of the sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Reviewed {
    pub verdicts: Vec<Option<Verdict>>,
    /// What is wrong, of defects.
    pub kinds: Vec<String>,
    pub comments: Vec<String>,
}

/// A row of the sheet: its line, and its cells by the names of [`COLUMNS`].
struct Line {
    line: usize,
    cells: [String; 7],
}

/// The hash of the sample that a sheet belongs to, by the name of its first row.
///
/// # Errors
/// A sheet that cannot be read, or has no row.
pub fn ref_of(path: &Path) -> Result<String> {
    let lines = lines(path)?;
    let not = |why: &str| Error::Sheet { path: path.to_path_buf(), why: why.into() };
    let first = lines.first().ok_or_else(|| not("found no row, expected the sheet of `tunesmith data sample`"))?;
    let hash = first.cells[0].strip_prefix('s').and_then(|name| name.split_once('-')).map(|(hash, _)| hash.to_string());
    hash.ok_or_else(|| not(&format!("line {}: found the ref `{}`, expected one such as s1a2b3c4d-001", first.line, first.cells[0])))
}

/// Reads a sheet. All that does not fit the sample is told at once.
///
/// # Errors
/// A sheet that cannot be read, rows that are missing, foreign, twice there or changed, or other verdicts than ok and defect.
pub fn read_review(path: &Path, drawn: &Drawn) -> Result<Reviewed> {
    let lines = lines(path)?;
    let places: HashMap<&str, usize> = drawn.rows.iter().enumerate().map(|(at, row)| (row.name.as_str(), at)).collect();
    let count = drawn.rows.len();
    let mut reviewed = Reviewed { verdicts: vec![None; count], kinds: vec![String::new(); count], comments: vec![String::new(); count] };
    let mut seen: Vec<Option<usize>> = vec![None; count];
    let mut problems = Vec::new();
    for line in &lines {
        let [name, id, prompt, answer, verdict, kind, comment] = &line.cells;
        let Some(&at) = places.get(name.as_str()) else {
            problems.push(format!("line {}: the row `{name}` is none of this sample's", line.line));
            continue;
        };
        if let Some(before) = seen[at].replace(line.line) {
            problems.push(format!("line {}: the row {name} stands in line {before} already", line.line));
            continue;
        }
        let row = &drawn.rows[at];
        for (what, found, expected) in [("id", id, &row.id), ("prompt", prompt, &row.prompt), ("answer", answer, &row.answer)] {
            if !same(found, expected) {
                problems.push(format!(
                    "line {}: the {what} of {name} was changed: found `{}`, expected `{}`",
                    line.line,
                    start(found),
                    start(expected)
                ));
            }
        }
        match verdict.trim().to_lowercase().as_str() {
            "" => {}
            "ok" => reviewed.verdicts[at] = Some(Verdict::Ok),
            "defect" => reviewed.verdicts[at] = Some(Verdict::Defect),
            other => problems.push(format!("line {}: the verdict of {name} is `{}`, expected ok or defect", line.line, start(other))),
        }
        let kind = kind.trim().to_lowercase();
        reviewed.kinds[at] = if kind.is_empty() { "other".into() } else { kind };
        reviewed.comments[at] = comment.clone();
    }
    for (row, _) in drawn.rows.iter().zip(&seen).filter(|(_, seen)| seen.is_none()) {
        problems.push(format!("the row {} (example {}) is missing", row.name, row.id));
    }
    if !problems.is_empty() {
        return Err(Error::Mismatch { path: path.to_path_buf(), problems });
    }
    if reviewed.verdicts.iter().all(Option::is_none) {
        return Err(Error::NoVerdict { path: path.to_path_buf(), rows: count });
    }
    Ok(reviewed)
}

/// Whether a cell holds a text: ends of lines, spaces around it, the guard before formulas, a cut, and how a
/// spreadsheet writes a number make no difference.
fn same(found: &str, expected: &str) -> bool {
    let plain = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n").trim().to_string();
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let alike = |a: &str, b: &str| plain(a) == plain(b) || (number(a).is_some() && number(a) == number(b));
    alike(found, expected) || alike(unguarded(found), expected) || alike(unguarded(found), &cut(expected))
}

fn start(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    if start.len() < text.len() { format!("{start}...") } else { start }
}

fn lines(path: &Path) -> Result<Vec<Line>> {
    let bytes = std::fs::read(path).map_err(|why| crate::Error::Read { path: path.to_path_buf(), why })?;
    let not = |why: String| Error::Sheet { path: path.to_path_buf(), why };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Err(not("found text that is not UTF-8, expected UTF-8: save it as `CSV UTF-8`".into()));
    };
    let text = text.trim_start_matches('\u{feff}');
    match text.trim_start().starts_with('{') {
        true => objects(text.as_bytes(), &not),
        false => cells(text, &not),
    }
}

fn objects(bytes: &[u8], not: &dyn Fn(String) -> Error) -> Result<Vec<Line>> {
    let line = |row: rows::Row| {
        let value = row.value.map_err(|fault| not(format!("line {}: {fault}", row.line)))?;
        let cell = |name: &str| match value.get(name) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        Ok(Line { line: row.line as usize, cells: COLUMNS.map(cell) })
    };
    rows::rows(bytes).into_iter().map(line).collect()
}

fn cells(text: &str, not: &dyn Fn(String) -> Error) -> Result<Vec<Line>> {
    let head = text.lines().next().unwrap_or_default();
    // Spreadsheets write what their country puts between columns; no name of ours holds such a sign.
    let between = [',', ';', '\t'].into_iter().max_by_key(|sign| head.matches(*sign).count()).unwrap_or(',');
    let records = records(text, between).map_err(|line| not(format!("line {line}: a quote begins here and never ends")))?;
    let Some(((_, headers), records)) = records.split_first() else { return Ok(Vec::new()) };
    let place = |name: &str| headers.iter().position(|header| header.trim().eq_ignore_ascii_case(name));
    let places = COLUMNS.map(place);
    for name in ["ref", "verdict"] {
        if place(name).is_none() {
            return Err(not(format!("line 1: found the columns [{}], expected `{name}` among them", start(&headers.join(", ")))));
        }
    }
    let full = |record: &&Record| record.1.iter().any(|cell| !cell.trim().is_empty());
    let line = |(line, cells): &Record| Line {
        line: *line,
        cells: places.map(|place| place.and_then(|at| cells.get(at)).cloned().unwrap_or_default()),
    };
    Ok(records.iter().filter(full).map(line).collect())
}
