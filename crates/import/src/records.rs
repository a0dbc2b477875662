//! What tables and logs hold: records of named values, before anybody knows what they mean.

mod csv;
mod json;
mod jsonl;
mod lines;
mod mysql;
mod parquet;
mod piped;
mod plain;
mod postgres;
mod server;
mod sqlite;
mod xlsx;

use serde_json::{Map, Value, json};

use crate::encoding::Decoding;
use crate::error::Result;
use crate::row::{Fix, Place, Quarantined};
use crate::source::{Kind, file_of};

pub use server::Login;

/// The longest row that is read, in bytes. Longer ones are put aside without being held.
pub(crate) const LONGEST: usize = 32 << 20;
/// Characters of a row that a quarantine shows.
const SHOWN: usize = 400;

/// Named values, and where they stood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub place: Place,
    pub fields: Map<String, Value>,
    pub fixed: Vec<Fix>,
}

/// A record, or what could not become one.
pub(crate) type Read = std::result::Result<Record, Quarantined>;

/// A source of records.
pub(crate) trait Records {
    /// The next one; nothing at the end.
    fn next(&mut self) -> Result<Option<Read>>;

    /// Bytes on disk that were read so far.
    fn bytes(&self) -> u64;

    /// What was found out about the source: encoding, delimiter, header.
    fn facts(&self) -> Map<String, Value>;
}

/// What a database is asked, and by whom.
#[derive(Debug, Clone, Default)]
pub struct Asking {
    /// The query of all databases.
    pub query: Option<String>,
    /// Who asks PostgreSQL, where its address has no user or password.
    pub postgres: Login,
    /// Who asks MySQL.
    pub mysql: Login,
}

/// Opens a source.
pub(crate) fn open(name: &str, kind: Kind, asking: &Asking) -> Result<Box<dyn Records>> {
    let path = file_of(name);
    Ok(match kind {
        Kind::Jsonl => Box::new(jsonl::Jsonl::open(name, &path)?),
        Kind::Json => Box::new(json::Json::open(name, &path)?),
        Kind::Text => Box::new(plain::Text::open(name, &path)?),
        Kind::Csv => Box::new(csv::Csv::open(name, &path)?),
        Kind::Xlsx => Box::new(xlsx::open(name, &path)?),
        Kind::Parquet => Box::new(parquet::open(name, &path)?),
        Kind::Sqlite => Box::new(sqlite::open(name, &path, asking.query.as_deref())?),
        Kind::Postgres => Box::new(postgres::Postgres::open(name, asking)?),
        Kind::Mail | Kind::Zendesk | Kind::Intercom | Kind::Mapped => unreachable!("conversations are opened by threads"),
        Kind::Mysql => Box::new(mysql::Mysql::open(name, asking)?),
    })
}

/// The sources that a name stands for: a workbook is one for each sheet that holds something.
pub(crate) fn parts(name: &str, kind: Kind) -> Result<Vec<String>> {
    match kind {
        Kind::Xlsx => xlsx::sheets(name),
        _ => Ok(vec![name.to_string()]),
    }
}

/// How a source is called where people see it: of a database without password.
pub fn shown(name: &str, kind: Kind) -> String {
    if kind.is_server() { server::shown(name, kind) } else { name.to_string() }
}

/// The first characters of what a quarantine shows.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// A row that is too long to be held.
fn too_long(place: Place, bytes: u64, start: &[u8]) -> Quarantined {
    let why = format!("found a row of {bytes} bytes, expected at most {LONGEST}; is a line's end missing, or a file inside of it?");
    Quarantined { source: place, why, raw: short(&String::from_utf8_lossy(start)) }
}

/// The text of a line; a line in another encoding than its file is fixed.
fn decode(decoding: &Decoding, bytes: &[u8], place: &Place) -> std::result::Result<(String, Vec<Fix>), Quarantined> {
    decoding.text(bytes).map_err(|why| Quarantined { source: place.clone(), why, raw: short(&String::from_utf8_lossy(bytes)) })
}

fn encoding_fact(decoding: &Decoding) -> (String, Value) {
    ("encoding".to_string(), json!(decoding.name()))
}
