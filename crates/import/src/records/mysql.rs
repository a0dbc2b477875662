//! Rows of a MySQL or MariaDB server by a query, in a transaction that can only read, as the server sends them.

mod packet;
mod wire;

use serde_json::{Map, Number, Value, json};

use self::wire::Wire;
use super::server::address::Address;
use super::server::{Failure, shown};
use super::{Asking, Read, Record, Records};
use crate::error::{Error, Result};
use crate::row::Place;
use crate::source::Kind;

pub(super) struct Mysql {
    name: String,
    query: String,
    wire: Wire,
    columns: Vec<(String, u8)>,
    done: u64,
}

impl Mysql {
    pub(super) fn open(url: &str, asking: &Asking) -> Result<Mysql> {
        let name = shown(url, Kind::Mysql);
        let address = Address::parse(url, &asking.mysql).map_err(|found| Error::Unreadable {
            name: name.clone(),
            found,
            expected: "mysql://USER@HOST:PORT/DATABASE, with ?sslmode=disable, prefer or require",
        })?;
        let failed = |failure: Failure| failure.told(&name, 0);
        let mut wire = Wire::connect(&address).map_err(failed)?;
        wire.run("set session transaction read only").map_err(failed)?;
        wire.run("start transaction with consistent snapshot, read only").map_err(failed)?;
        let Some(query) = asking.query.clone() else {
            wire.ask(TABLES).map_err(failed)?;
            let mut tables = Vec::new();
            while let Some(row) = wire.next().map_err(failed)? {
                tables.extend(row.into_iter().flatten());
            }
            return Err(Error::NoQuery { name, tables });
        };
        let columns = wire.ask(&query).map_err(failed)?;
        if columns.is_empty() {
            return Err(Error::Database { name, why: "found a query that gives no rows, expected one that reads some".into() });
        }
        Ok(Mysql { name, query, wire, columns, done: 0 })
    }
}

/// The tables that one may read.
const TABLES: &str = "select table_name from information_schema.tables where table_schema = database() order by 1 limit 40";

impl Records for Mysql {
    fn next(&mut self) -> Result<Option<Read>> {
        let Some(cells) = self.wire.next().map_err(|failure| failure.told(&self.name, self.done))? else { return Ok(None) };
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
fn value(kind: u8, cell: Option<String>) -> Value {
    let Some(text) = cell else { return Value::Null };
    match kind {
        // tinyint, smallint, int, bigint, mediumint, year
        1 | 2 | 3 | 8 | 9 | 13 => text.parse::<i64>().map_or(Value::String(text), |n| json!(n)),
        // decimal, float, double, new decimal: a decimal may have more digits than a number here
        0 | 4 | 5 | 246 => match text.parse::<f64>().ok().and_then(Number::from_f64) {
            Some(number) if number.to_string() == text => Value::Number(number),
            _ => Value::String(text),
        },
        // json
        245 => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        _ => Value::String(text),
    }
}
