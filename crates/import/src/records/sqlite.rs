//! Rows of an SQLite file: of a query, or of its only table.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde_json::{Map, Number, Value, json};

use super::piped::{Pipe, Piped, piped};
use super::{Record, short};
use crate::error::{Error, Result};
use crate::row::{Fix, Place};

pub(super) fn open(name: &str, path: &Path, query: Option<&str>) -> Result<Piped> {
    // A file that is not there is not made.
    std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    let refused = |error: &rusqlite::Error| refused(name, error);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| refused(&e))?;
    let query = match query {
        Some(query) => query.to_string(),
        None => only_table(name, &connection)?,
    };
    let statement = connection.prepare(&query).map_err(|e| refused(&e))?;
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(Error::Database {
            name: name.to_string(),
            why: "found a query that changes something, expected one that reads rows".into(),
        });
    }
    drop(statement);
    let facts = Map::from_iter([("query".to_string(), json!(query))]);
    let name = name.to_string();
    Ok(piped(&name.clone(), facts, move |pipe| rows(&connection, &name, &query, pipe)))
}

/// A query of the only table, where there is one.
fn only_table(name: &str, connection: &Connection) -> Result<String> {
    let list = "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%' order by name";
    let mut statement = connection.prepare(list).map_err(|e| refused(name, &e))?;
    let found = statement.query_map([], |row| row.get::<_, String>(0)).and_then(Iterator::collect::<rusqlite::Result<Vec<String>>>);
    let tables = found.map_err(|e| refused(name, &e))?;
    match &tables[..] {
        [table] => Ok(format!("select * from \"{}\"", table.replace('"', "\"\""))),
        _ => Err(Error::NoQuery { name: name.to_string(), tables }),
    }
}

fn rows(connection: &Connection, name: &str, query: &str, pipe: &mut Pipe) -> Result<()> {
    let mut done = 0u64;
    let failed = |error: rusqlite::Error, done: u64| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
            Error::Away { name: name.to_string(), why: error.to_string(), rows: done }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Cut {
            place: Place { file: name.to_string(), line: Some(done + 1), message: None },
            why: format!("the file is damaged ({error}): from row {} on nothing can be read", done + 1),
        },
        _ => refused(name, &error),
    };
    let mut statement = connection.prepare(query).map_err(|e| failed(e, 0))?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_string).collect();
    let mut rows = statement.query([]).map_err(|e| failed(e, 0))?;
    while let Some(row) = rows.next().map_err(|e| failed(e, done))? {
        done += 1;
        let place = Place { file: name.to_string(), line: Some(done), message: None };
        let mut record = Record { place, fields: Map::new(), fixed: Vec::new() };
        for (at, column) in columns.iter().enumerate() {
            let found = row.get_ref(at).map_err(|e| failed(e, done))?;
            let value = value(found, &mut record.fixed);
            record.fields.insert(column.clone(), value);
        }
        if pipe.send(Ok(record)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn value(found: ValueRef<'_>, fixed: &mut Vec<Fix>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => json!(n),
        ValueRef::Real(n) => Number::from_f64(n).map_or(Value::Null, Value::Number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                fixed.push(Fix { what: "encoding", before: "bytes that are no UTF-8".into(), after: short(&text) });
                json!(text)
            }
        },
    }
}

fn refused(name: &str, error: &rusqlite::Error) -> Error {
    Error::Database { name: name.to_string(), why: error.to_string() }
}
