//! Sheets of a workbook, cell by cell.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use calamine::{Data, DataRef, Reader, Xlsx, XlsxError, open_workbook};
use serde_json::{Map, Value, json};

use super::csv::names;
use super::piped::{Pipe, Piped, piped};
use super::{Record, short};
use crate::error::{Error, Result};
use crate::row::{Fix, Place, Quarantined};
use crate::source::file_of;
use crate::when;

type Book = Xlsx<BufReader<File>>;

/// The sheets that hold something, as `file#sheet`; one that was named is itself.
pub(super) fn sheets(name: &str) -> Result<Vec<String>> {
    let path = file_of(name);
    let mut book = book(name, &path)?;
    let found = book.sheet_names();
    if let Some((_, sheet)) = name.split_once('#').filter(|_| !Path::new(name).exists()) {
        if !found.iter().any(|one| one == sheet) {
            let found = format!("no sheet `{sheet}`, but [{}]", found.join(", "));
            return Err(Error::Unreadable { name: path.display().to_string(), found, expected: "the name of one of its sheets" });
        }
        return Ok(vec![name.to_string()]);
    }
    let full = found.into_iter().filter(|sheet| {
        // A sheet of drawings has no cells; one that is broken is told when it is read.
        book.worksheet_cells_reader(sheet).map_or(true, |mut cells| !matches!(cells.next_cell(), Ok(None)))
    });
    let full: Vec<String> = full.map(|sheet| format!("{name}#{sheet}")).collect();
    if full.is_empty() {
        return Err(Error::Unreadable { name: name.to_string(), found: "a workbook without a cell".into(), expected: "a sheet with rows" });
    }
    Ok(full)
}

pub(super) fn open(name: &str, path: &Path) -> Result<Piped> {
    let sheet = name.rsplit_once('#').map(|(_, sheet)| sheet.to_string()).unwrap_or_default();
    let mut book = book(name, path)?;
    let size = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?.len();
    let facts = Map::from_iter([("sheet".to_string(), json!(sheet))]);
    let name = name.to_string();
    Ok(piped(&name.clone(), facts, move |pipe| rows(&mut book, &name, &sheet, size, pipe)))
}

fn book(name: &str, path: &Path) -> Result<Book> {
    let unreadable = |found: String| Error::Unreadable { name: name.to_string(), found, expected: "a whole .xlsx workbook" };
    open_workbook(path).map_err(|error| match error {
        XlsxError::Password => unreadable("a workbook with a password".into()),
        XlsxError::Io(source) => Error::io("open", path, source),
        other => unreadable(format!("a damaged one ({other})")),
    })
}

/// Cells come one by one and only where something is; they become rows here.
fn rows(book: &mut Book, name: &str, sheet: &str, size: u64, pipe: &mut Pipe) -> Result<()> {
    let cut = |line: Option<u64>, error: XlsxError| {
        let place = Place { file: name.to_string(), line, message: None };
        Error::Cut { place, why: format!("the sheet is damaged ({error}): what follows cannot be read") }
    };
    let mut cells = book.worksheet_cells_reader(sheet).map_err(|e| cut(None, e))?;
    let all = u64::from(cells.dimensions().end.0.max(1));
    let mut table = Table { name, columns: None };
    let mut row: (u32, Vec<(u32, Value)>) = (0, Vec::new());
    loop {
        let cell = cells.next_cell().map_err(|e| cut(Some(u64::from(row.0) + 1), e))?;
        let at = cell.as_ref().map(|cell| cell.get_position());
        if at.is_none_or(|(line, _)| line != row.0) && !row.1.is_empty() {
            let (line, values) = (row.0, std::mem::take(&mut row.1));
            pipe.at(size * u64::from(line) / all);
            if table.row(line, values, pipe).is_err() {
                return Ok(());
            }
        }
        let (Some(cell), Some((line, column))) = (cell, at) else { return Ok(()) };
        row.0 = line;
        let value = value(cell.get_value());
        if !value.is_null() {
            row.1.push((column, value));
        }
    }
}

struct Table<'a> {
    name: &'a str,
    /// The names by position, once the first row was seen.
    columns: Option<Vec<(u32, String)>>,
}

impl Table<'_> {
    fn row(&mut self, line: u32, values: Vec<(u32, Value)>, pipe: &mut Pipe) -> std::result::Result<(), super::piped::Gone> {
        let place = Place { file: self.name.to_string(), line: Some(u64::from(line) + 1), message: None };
        let Some(columns) = &self.columns else {
            let cells: Vec<String> = values.iter().map(|(_, value)| text(value)).collect();
            let (names, headed) = names(cells);
            self.columns = Some(values.iter().map(|(at, _)| *at).zip(names).collect());
            return if headed { Ok(()) } else { self.row(line, values, pipe) };
        };
        let named = |at: u32| columns.iter().find(|(column, _)| *column == at).map(|(_, name)| name.clone());
        let mut fixed = Vec::new();
        let mut fields: Map<String, Value> = columns.iter().map(|(_, name)| (name.clone(), json!(""))).collect();
        for (at, value) in values {
            if let Some(error) = value.get("error").and_then(Value::as_str) {
                let raw = short(&Value::Object(fields).to_string());
                let why = format!("found the error {error} in column {}, expected a value; mend the formula", at + 1);
                return pipe.send(Err(Quarantined { source: place, why, raw }));
            }
            let name = named(at).unwrap_or_else(|| {
                let name = format!("column{}", at + 1);
                fixed.push(Fix { what: "unnamed_cell", before: text(&value), after: name.clone() });
                name
            });
            fields.insert(name, value);
        }
        pipe.send(Ok(Record { place, fields, fixed }))
    }
}

/// A cell's value; an error of a formula as an object, which no cell can be.
fn value(cell: &DataRef<'_>) -> Value {
    match Data::from(cell.clone()) {
        Data::Empty => Value::Null,
        Data::Int(number) => json!(number),
        // Excel knows no whole numbers.
        Data::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => json!(number as i64),
        Data::Float(number) => json!(number),
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => json!(text),
        Data::Bool(yes) => json!(yes),
        Data::DateTime(time) if time.is_duration() => json!(time.as_f64()),
        Data::DateTime(time) => {
            let (year, month, day, hour, minute, second, _) = time.to_ymd_hms_milli();
            let date = [year.into(), month.into(), day.into()];
            json!(when::rfc3339(date, [hour.into(), minute.into(), second.into()], "Z"))
        }
        Data::Error(error) => json!({ "error": error.to_string() }),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}
