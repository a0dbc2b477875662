//! What can stop an import.

use std::io;
use std::path::PathBuf;

use crate::row::Place;

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can stop an import. Of a single row that is wrong, [`crate::Quarantined`] tells.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system said no.
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// One of our own files.
    #[error(transparent)]
    Record(#[from] record::Error),
    /// A source that cannot be opened as what it is.
    #[error("{name}: found {found}, expected {expected}")]
    Unreadable { name: String, found: String, expected: &'static str },
    /// A source that ends in the middle: what came before it was read, what follows never can be.
    #[error("{}: {why}", place.file)]
    Cut { place: Place, why: String },
    /// Columns whose meaning nobody knows.
    #[error("{name}: found the columns [{}], and none of them is surely {missing}", found.join(", "))]
    Roles { name: String, found: Vec<String>, missing: &'static str },
    /// A role was given to a column that is not there.
    #[error("{name}: no column `{column}` for the role {role}; found [{}]", found.join(", "))]
    NoColumn { name: String, column: String, role: &'static str, found: Vec<String> },
    /// A database that was named without saying which rows.
    #[error("{name}: which rows? {}", if tables.is_empty() { "it holds no table".into() } else { format!("it holds the tables [{}]", tables.join(", ")) })]
    NoQuery { name: String, tables: Vec<String> },
    /// A database that refused something.
    #[error("{name}: {why}")]
    Database { name: String, why: String },
    /// A database that cannot be reached, or went away.
    #[error("{name}: {why}, after {rows} rows")]
    Away { name: String, why: String, rows: u64 },
    /// The output is there, and no import made it.
    #[error("{path} is there already, and no import made it")]
    Exists { path: PathBuf },
    /// An interrupted import into the same place was another one.
    #[error("{path}: found an interrupted import that differs in {differs}, expected the same command")]
    Other { path: PathBuf, differs: String },
    /// A folder or file without a mail.
    #[error("{}: no mail was found: expected .eml files, an mbox or a Maildir (cur, new, tmp){}", path.display(), .seen.as_ref().map(|s| format!("; found {s}")).unwrap_or_default())]
    NoMail { path: PathBuf, seen: Option<String> },
    /// Mails of which nobody answers another.
    #[error("{}: nobody answers a mail of somebody else in these {mails} mails, so it cannot be guessed who is an agent", path.display())]
    NoAgent { path: PathBuf, mails: usize },
    /// What was given as an agent.
    #[error("{given:?} is no agent: expected a domain such as @firm.example or an address such as help@firm.example")]
    BadAgent { given: String },
    /// An export without tickets.
    #[error("{}: no tickets were found: expected {expected}; found {found}", path.display())]
    NoTickets { path: PathBuf, expected: String, found: String },
    /// A mapping that cannot work.
    #[error("mapping: {what}")]
    Mapping { what: String },
    /// The journal of an interrupted import cannot be followed.
    #[error("{path}: found {found}, expected the journal of an interrupted import")]
    Journal { path: PathBuf, found: String },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Error {
        Error::Io { action, path: path.into(), source }
    }
}
