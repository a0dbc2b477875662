//! Rows of a PostgreSQL server by a query, in a transaction that can only read, a few hundred at a time.

mod wire;

use std::collections::VecDeque;

use serde_json::{Map, Number, Value, json};

use self::wire::Wire;
use super::server::address::Address;
use super::server::{Failure, shown};
use super::{Asking, Read, Record, Records};
use crate::error::{Error, Result};
use crate::row::Place;
use crate::source::Kind;

/// Rows that are asked for at once.
const AT_ONCE: i32 = 500;

pub(super) struct Postgres {
    name: String,
    query: String,
    wire: Wire,
    columns: Vec<(String, u32)>,
    waiting: VecDeque<Vec<Option<String>>>,
    more: bool,
    done: u64,
}

impl Postgres {
    pub(super) fn open(url: &str, asking: &Asking) -> Result<Postgres> {
        let name = shown(url, Kind::Postgres);
        let address = Address::parse(url, &asking.postgres).map_err(|found| Error::Unreadable {
            name: name.clone(),
            found,
            expected: "postgres://USER@HOST:PORT/DATABASE, with ?sslmode=disable, prefer or require",
        })?;
        let failed = |failure: Failure| failure.told(&name, 0);
        let mut wire = Wire::connect(&address).map_err(failed)?;
        wire.ask("begin transaction isolation level repeatable read, read only").map_err(failed)?;
        let Some(query) = asking.query.clone() else {
            let tables = wire.ask(TABLES).map_err(failed)?;
            return Err(Error::NoQuery { name, tables });
        };
        let columns = wire.open_portal(&query).map_err(failed)?;
        if columns.is_empty() {
            return Err(Error::Database { name, why: "found a query that gives no rows, expected one that reads some".into() });
        }
        Ok(Postgres { name, query, wire, columns, waiting: VecDeque::new(), more: true, done: 0 })
    }
}

/// The tables that one may read.
const TABLES: &str = "select table_schema || '.' || table_name from information_schema.tables \
                      where table_schema not in ('pg_catalog', 'information_schema') order by 1 limit 40";

impl Records for Postgres {
    fn next(&mut self) -> Result<Option<Read>> {
        while self.waiting.is_empty() && self.more {
            self.more = self.wire.fetch(AT_ONCE, &mut self.waiting).map_err(|failure| failure.told(&self.name, self.done))?;
        }
        let Some(cells) = self.waiting.pop_front() else { return Ok(None) };
        self.done += 1;
        let place = Place { file: self.name.clone(), line: Some(self.done), message: None };
        let fields = self.columns.iter().zip(cells).map(|((column, kind), cell)| (column.clone(), value(*kind, cell)));
        Ok(Some(Ok(Record { place, fields: fields.collect(), fixed: Vec::new() })))
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn facts(&self) -> Map<String, Value> {
        Map::from_iter([("query".to_string(), json!(self.query)), ("tls".to_string(), json!(self.wire.is_private()))])
    }
}

/// What a cell's text means, by the number of its type.
fn value(kind: u32, cell: Option<String>) -> Value {
    let Some(text) = cell else { return Value::Null };
    match kind {
        // bool
        16 => json!(text == "t"),
        // int8, int2, int4, oid
        20 | 21 | 23 | 26 => text.parse::<i64>().map_or(Value::String(text), |n| json!(n)),
        // float4, float8, numeric: the last may have more digits than a number here
        700 | 701 | 1700 => match text.parse::<f64>().ok().and_then(Number::from_f64) {
            Some(number) if number.to_string() == text => Value::Number(number),
            _ => Value::String(text),
        },
        // json, jsonb
        114 | 3802 => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        _ => Value::String(text),
    }
}
