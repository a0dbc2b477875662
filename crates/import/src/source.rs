//! What a source is: told by its name and its first bytes, read row by row.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::row::{Quarantined, Row};
use crate::tickets;

/// Something that rows come from.
pub trait Source {
    /// The next row, or what could not become one; nothing at the end.
    ///
    /// # Errors
    /// [`Error::Cut`] where nothing more of this source can be read; any other error ends the import, which can be resumed.
    fn next(&mut self) -> Result<Option<std::result::Result<Row, Quarantined>>>;

    /// Bytes of the source that were read so far, as they lie on disk; 0 where nobody knows.
    fn bytes(&self) -> u64;
}

/// The kinds of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One JSON value a line.
    Jsonl,
    /// One JSON array, or JSON values one after the other, each over several lines.
    Json,
    /// One text a line.
    Text,
    /// Rows of cells, between which stands a comma, semicolon, tab or bar.
    Csv,
    /// A sheet of a workbook.
    Xlsx,
    Parquet,
    Sqlite,
    Postgres,
    /// A folder of mails, an mbox, a Maildir, or one mail.
    Mail,
    /// Tickets with their comments, as Zendesk exports them.
    Zendesk,
    /// Conversations with their parts, as Intercom exports them.
    Intercom,
    /// JSON of another ticket system, whose fields a mapping names.
    Mapped,
    /// MySQL or MariaDB.
    Mysql,
}

/// All of them.
pub const KINDS: [Kind; 13] = [
    Kind::Jsonl,
    Kind::Json,
    Kind::Text,
    Kind::Csv,
    Kind::Xlsx,
    Kind::Parquet,
    Kind::Sqlite,
    Kind::Postgres,
    Kind::Mysql,
    Kind::Mail,
    Kind::Zendesk,
    Kind::Intercom,
    Kind::Mapped,
];

impl Kind {
    /// As the account names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Jsonl => "jsonl",
            Kind::Json => "json",
            Kind::Text => "text",
            Kind::Csv => "csv",
            Kind::Xlsx => "xlsx",
            Kind::Parquet => "parquet",
            Kind::Sqlite => "sqlite",
            Kind::Postgres => "postgres",
            Kind::Mail => "mail",
            Kind::Zendesk => "zendesk",
            Kind::Intercom => "intercom",
            Kind::Mapped => "mapped",
            Kind::Mysql => "mysql",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Kind> {
        KINDS.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether its rows are conversations that are put together of several messages.
    pub fn is_talk(self) -> bool {
        matches!(self, Kind::Mail | Kind::Zendesk | Kind::Intercom | Kind::Mapped)
    }

    /// Whether its rows come from a query, in an order that may change.
    pub fn is_database(self) -> bool {
        self == Kind::Sqlite || self.is_server()
    }

    /// Whether it is no file.
    pub fn is_server(self) -> bool {
        matches!(self, Kind::Postgres | Kind::Mysql)
    }
}

/// Says what a source is.
///
/// # Errors
/// A file that cannot be opened, or that is none of the kinds.
pub fn kind_of(name: &str) -> Result<Kind> {
    if ["postgres://", "postgresql://"].iter().any(|scheme| name.starts_with(scheme)) {
        return Ok(Kind::Postgres);
    }
    if ["mysql://", "mariadb://"].iter().any(|scheme| name.starts_with(scheme)) {
        return Ok(Kind::Mysql);
    }
    let path = file_of(name);
    if path.is_dir() {
        return Ok(Kind::Mail);
    }
    let start = start_of(&path)?;
    if let Some(kind) = by_content(name, &start)? {
        return Ok(kind);
    }
    let extension = extension(&path);
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(first, Some(b'{' | b'['))
        && !is_packed(&path)
        && let Some(system) = tickets::recognised(&path)?
    {
        return Ok(if matches!(system, tickets::System::Intercom) { Kind::Intercom } else { Kind::Zendesk });
    }
    Ok(match (extension.as_str(), first) {
        ("eml" | "mbox", _) => Kind::Mail,
        (_, Some(b'F')) if start.starts_with(b"From ") => Kind::Mail,
        ("csv" | "tsv" | "tab", _) => Kind::Csv,
        ("txt" | "text", _) => Kind::Text,
        ("jsonl" | "ndjson" | "json", Some(b'[')) => Kind::Json,
        ("jsonl" | "ndjson", _) => Kind::Jsonl,
        ("json", _) => json_by_lines(&start),
        (_, Some(b'{')) => json_by_lines(&start),
        (_, Some(b'[')) => Kind::Json,
        _ => {
            return Err(Error::Unreadable {
                name: name.to_string(),
                found: format!("a file of an unknown kind (`.{extension}`)"),
                expected: "one of .jsonl, .json, .csv, .tsv, .txt (each also as .gz), .xlsx, .parquet, .db, .sqlite, .mbox, .eml, a folder of mails, postgres:// or mysql://",
            });
        }
    })
}

/// The file of a source, whose name may end with `#sheet`.
pub(crate) fn file_of(name: &str) -> PathBuf {
    match name.split_once('#') {
        Some((file, _)) if !Path::new(name).exists() => PathBuf::from(file),
        _ => PathBuf::from(name),
    }
}

/// The first bytes of a file, unpacked.
fn start_of(path: &Path) -> Result<Vec<u8>> {
    const START: u64 = 1 << 12;
    let read = |mut reader: Box<dyn Read>| {
        let mut start = Vec::new();
        // A packed file that is cut still has a beginning.
        let ended = reader.by_ref().take(START).read_to_end(&mut start);
        if start.is_empty() { ended.map(|_| start) } else { Ok(start) }
    };
    let open = || File::open(path).map(|file| Box::new(file) as Box<dyn Read>);
    let start = open().and_then(read).map_err(|e| Error::io("open", path, e))?;
    if !is_gzip(&start) {
        return Ok(start);
    }
    let unpacked = open().map(|file| Box::new(flate2::read::MultiGzDecoder::new(file)) as Box<dyn Read>).and_then(read);
    unpacked.map_err(|e| Error::io("unpack", path, e))
}

pub(crate) fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1F, 0x8B])
}

/// Whether the file is packed, which exports of ticket systems are not.
fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// Formats that say what they are, and those that nobody can read.
fn by_content(name: &str, start: &[u8]) -> Result<Option<Kind>> {
    let refused = |found: &str, expected| Err(Error::Unreadable { name: name.to_string(), found: found.to_string(), expected });
    match start {
        _ if start.starts_with(b"PAR1") => Ok(Some(Kind::Parquet)),
        _ if start.starts_with(b"PARE") => refused("an encrypted Parquet file", "a plain one"),
        _ if start.starts_with(b"SQLite format 3\0") => Ok(Some(Kind::Sqlite)),
        _ if start.starts_with(b"PK\x03\x04") => Ok(Some(Kind::Xlsx)),
        _ if start.starts_with(&[0xD0, 0xCF, 0x11, 0xE0]) => {
            refused("a workbook with a password, or one in the old .xls format", "an .xlsx file without a password")
        }
        _ => Ok(None),
    }
}

/// The extension in lower case, that of `.gz` aside.
fn extension(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').map_or("", |(_, extension)| extension).to_string()
}

/// A file that begins with an object: one a line, or each over several lines.
fn json_by_lines(start: &[u8]) -> Kind {
    let mut lines = start.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let whole = serde_json::from_slice::<serde::de::IgnoredAny>(first).is_ok();
    // A line that is longer than what was looked at may be anything; a line each is the commoner.
    if whole || lines.next().is_none() { Kind::Jsonl } else { Kind::Json }
}
