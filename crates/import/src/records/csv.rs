//! Tables as text. A quote that does not fit costs its own row, never those behind it.

mod split;

use std::collections::VecDeque;
use std::path::Path;

use serde_json::{Map, Value, json};

use self::split::Splitter;
use super::lines::{Bytes, Line, Lines};
use super::{LONGEST, Read, Record, Records, decode, encoding_fact, short, too_long};
use crate::error::Result;
use crate::row::{Fix, Place, Quarantined};

/// Lines over which one row may go; a quote that is open for longer was never meant to be.
const TALLEST: usize = 5000;

pub(super) struct Csv {
    lines: Lines,
    delimiter: char,
    columns: Vec<String>,
    headed: bool,
    /// A first row that was no header.
    first: Option<Cut>,
    /// Lines that were read ahead and are rows of their own.
    ahead: VecDeque<(u64, Line)>,
}

/// The cells of a row, or why there are none.
type Cut = std::result::Result<Cells, Quarantined>;

struct Cells {
    place: Place,
    values: Vec<String>,
    raw: String,
    fixed: Vec<Fix>,
}

/// The names of a table's columns, and whether its first row is they.
pub(super) fn names(first: Vec<String>) -> (Vec<String>, bool) {
    if split::is_header(&first) { (split::named(first), true) } else { (split::named(vec![String::new(); first.len()]), false) }
}

impl Csv {
    pub(super) fn open(name: &str, path: &Path) -> Result<Csv> {
        let bytes = Bytes::open(name, path)?;
        let start = bytes.decoding.sample(&bytes.start);
        let told = start.lines().next().and_then(|line| line.strip_prefix("sep=")).map(|sign| sign.chars().next().unwrap_or(','));
        let delimiter = told.unwrap_or_else(|| split::delimiter(&start));
        let mut csv = Csv { lines: Lines::of(bytes), delimiter, columns: Vec::new(), headed: false, first: None, ahead: VecDeque::new() };
        if told.is_some() {
            csv.lines.any()?;
        }
        match csv.cells()? {
            Some(Ok(cells)) => {
                (csv.columns, csv.headed) = names(cells.values.clone());
                csv.first = (!csv.headed).then_some(Ok(cells));
            }
            broken => csv.first = broken,
        }
        Ok(csv)
    }

    /// The next row's cells. A row over several lines must be whole in every way: else its first line is put aside, and
    /// the others are looked at anew.
    fn cells(&mut self) -> Result<Option<Cut>> {
        let Some((number, line)) = self.line()? else { return Ok(None) };
        let place = self.lines.bytes.place(number);
        let bytes = match line {
            Line::Whole(bytes) => bytes,
            Line::TooLong { bytes, start } => return Ok(Some(Err(too_long(place, bytes, &start)))),
        };
        let (first, mut fixed) = match decode(&self.lines.bytes.decoding, &bytes, &place) {
            Ok(decoded) => decoded,
            Err(broken) => return Ok(Some(Err(broken))),
        };
        let mut splitter = Splitter::new(self.delimiter);
        splitter.feed(&first);
        let mut raw = first.clone();
        let mut more = Vec::new();
        while splitter.open && more.len() < TALLEST && raw.len() < LONGEST {
            let Some((number, line)) = self.any()? else { break };
            let text = match &line {
                Line::Whole(bytes) => decode(&self.lines.bytes.decoding, bytes, &place).ok(),
                Line::TooLong { .. } => None,
            };
            more.push((number, line));
            let Some((text, fixes)) = text else { break };
            splitter.feed(&text);
            raw.push('\n');
            raw.push_str(&text);
            fixed.extend(fixes);
        }
        let expected = self.columns.len();
        let fits = expected == 0 || splitter.cells.len() == expected;
        let (tall, whole) = (!more.is_empty(), splitter.strict && fits);
        if splitter.open || (tall && !whole) {
            more.into_iter().rev().for_each(|line| self.ahead.push_front(line));
            let why = "a quote is opened and not closed; expected one before the next delimiter, or two for one within a text".to_string();
            return Ok(Some(Err(Quarantined { source: place, why, raw: short(&first) })));
        }
        if !splitter.strict && fits {
            fixed.push(Fix { what: "quote", before: short(&raw), after: "quotes within a cell taken as they stand".into() });
        }
        Ok(Some(Ok(Cells { place, values: splitter.cells, raw, fixed })))
    }

    /// The next line that holds something.
    fn line(&mut self) -> Result<Option<(u64, Line)>> {
        loop {
            match self.any()? {
                Some((_, Line::Whole(bytes))) if bytes.trim_ascii().is_empty() => {}
                line => return Ok(line),
            }
        }
    }

    fn any(&mut self) -> Result<Option<(u64, Line)>> {
        match self.ahead.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.lines.any(),
        }
    }

    fn record(&self, mut cells: Cells) -> Read {
        let (found, expected) = (cells.values.len(), self.columns.len());
        if found > expected && cells.values[expected..].iter().all(|cell| cell.trim().is_empty()) {
            cells.values.truncate(expected);
            cells.fixed.push(Fix { what: "empty_cells", before: format!("{found} cells"), after: format!("{expected} cells") });
        }
        if cells.values.len() != expected {
            let why =
                format!("found {found} cells, expected {expected}; is a delimiter missing, or one too many in a text without quotes?");
            return Err(Quarantined { source: cells.place, why, raw: short(&cells.raw) });
        }
        let fields = self.columns.iter().cloned().zip(cells.values.into_iter().map(Value::String)).collect();
        Ok(Record { place: cells.place, fields, fixed: cells.fixed })
    }
}

impl Records for Csv {
    fn next(&mut self) -> Result<Option<Read>> {
        let cut = match self.first.take() {
            Some(first) => Some(first),
            None => self.cells()?,
        };
        Ok(cut.map(|cut| cut.and_then(|cells| self.record(cells))))
    }

    fn bytes(&self) -> u64 {
        self.lines.bytes.read()
    }

    fn facts(&self) -> Map<String, Value> {
        let delimiter = ("delimiter".to_string(), json!(self.delimiter.to_string()));
        Map::from_iter([encoding_fact(&self.lines.bytes.decoding), delimiter, ("header".to_string(), json!(self.headed))])
    }
}
