//! Parquet, row by row.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Number, Value, json};

use super::Record;
use super::piped::{Piped, piped};
use crate::error::{Error, Result};
use crate::row::Place;
use crate::when;

pub(super) fn open(name: &str, path: &Path) -> Result<Piped> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let size = file.metadata().map_err(|e| Error::io("open", path, e))?.len();
    let reader = SerializedFileReader::new(file).map_err(|error| Error::Unreadable {
        name: name.to_string(),
        found: format!("a cut or damaged file ({error})"),
        expected: "a whole Parquet file, which ends with its table of contents",
    })?;
    let about = reader.metadata().file_metadata();
    let expected = about.num_rows().max(0) as u64;
    let all = expected.max(1);
    let facts = Map::from_iter([("rows".to_string(), json!(about.num_rows()))]);
    let name = name.to_string();
    Ok(piped(&name.clone(), facts, move |pipe| {
        let mut done = 0u64;
        for row in RowIter::from_file_into(Box::new(reader)) {
            let place = Place { file: name.clone(), line: Some(done + 1), message: None };
            let row = row.map_err(|error| Error::Cut {
                place: place.clone(),
                why: format!("a page is damaged or of an unknown kind ({error}): from row {} on nothing can be read", done + 1),
            })?;
            done += 1;
            pipe.at(((size as f64) * (done as f64 / all as f64)) as u64);
            if pipe.send(Ok(Record { place, fields: fields(row), fixed: Vec::new() })).is_err() {
                return Ok(());
            }
        }
        if done < expected {
            let place = Place { file: name.clone(), line: Some(done + 1), message: None };
            return Err(Error::Cut { place, why: format!("found {done} rows, expected {expected}") });
        }
        Ok(())
    }))
}

fn fields(row: Row) -> Map<String, Value> {
    row.into_columns().into_iter().map(|(name, field)| (name, value(&field))).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(yes) => json!(yes),
        Field::Byte(n) => json!(n),
        Field::Short(n) => json!(n),
        Field::Int(n) => json!(n),
        Field::Long(n) => json!(n),
        Field::UByte(n) => json!(n),
        Field::UShort(n) => json!(n),
        Field::UInt(n) => json!(n),
        Field::ULong(n) => json!(n),
        Field::Float16(n) => number(n.to_f64()),
        Field::Float(n) => number(f64::from(*n)),
        Field::Double(n) => number(*n),
        Field::Str(text) => json!(text),
        // Older writers do not say that their bytes are text.
        Field::Bytes(bytes) => json!(String::from_utf8_lossy(bytes.data())),
        Field::Date(days) => json!(when::of_seconds(i64::from(*days) * 86_400).chars().take(10).collect::<String>()),
        Field::TimestampMillis(ms) => json!(when::of_seconds(ms.div_euclid(1000))),
        Field::TimestampMicros(us) => json!(when::of_seconds(us.div_euclid(1_000_000))),
        Field::Group(row) => row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            map.entries().iter().map(|(key, field)| (key.to_string().trim_matches('"').to_string(), value(field))).collect()
        }
        other => json!(other.to_string()),
    }
}

fn number(n: f64) -> Value {
    Number::from_f64(n).map_or(Value::Null, Value::Number)
}
