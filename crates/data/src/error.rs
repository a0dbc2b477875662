//! What can be wrong with data, as facts.

use std::fmt;
use std::path::PathBuf;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// How many faults of one file are told in full.
const SHOWN: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {why}", path.display())]
    Read { path: PathBuf, why: std::io::Error },
    /// The file holds no row.
    #[error("{}: found no row, expected one JSON object a line or a JSON array of objects", path.display())]
    Empty { path: PathBuf },
    /// The file is not in UTF-8.
    #[error("{}: found text in {found}, expected UTF-8", path.display())]
    Encoding { path: PathBuf, found: &'static str },
    /// A file of ours cannot be written.
    #[error("cannot write {}: {why}", path.display())]
    Write { path: PathBuf, why: std::io::Error },
    /// A file of ours cannot be written whole.
    #[error(transparent)]
    Record(#[from] record::Error),
    /// Input and output are one file.
    #[error("{}: found the input named as the output too, expected another file", path.display())]
    SameFile { path: PathBuf },
    /// The key file cannot be made.
    #[error("cannot make the key file {}: {why}", path.display())]
    MakeKey { path: PathBuf, why: std::io::Error },
    /// The file is no key.
    #[error("{}: found no key, expected the line `tunesmith key 1` and one of 64 hexadecimal digits", path.display())]
    NotAKey { path: PathBuf },
    /// The file is no map of pseudonyms.
    #[error("{}: found no map of pseudonyms, expected the .map file that was written beside the cleaned one", path.display())]
    NotAMap { path: PathBuf },
    /// The map was sealed with another key, or changed since.
    #[error("{}: the key does not open it: another key sealed it, or it was changed", path.display())]
    WrongKey { path: PathBuf },
    /// The system gives no random bytes.
    #[error("cannot make a key: {why}")]
    Random { why: String },
    /// Somebody asked to stop.
    #[error("stopped; nothing was written")]
    Stopped,
    /// Some rows cannot be used. All are counted, the first five are told.
    #[error("{}: {} of {rows} rows cannot be used{}", path.display(), faults.len(), Shown(faults))]
    Rows { path: PathBuf, rows: usize, faults: Vec<RowFault> },
    /// A row could not be rendered or tokenised.
    #[error("{} line {line}: {why}", path.display())]
    Render { path: PathBuf, line: u32, why: text::Error },
    /// Examples that do not fit the context, under the policy that refuses them.
    #[error(
        "{} line {line}: {tokens} tokens, longer than the context of {limit} tokens ({count} of {examples} examples are too long)",
        path.display()
    )]
    TooLong { path: PathBuf, line: u32, tokens: usize, limit: usize, count: usize, examples: usize },
    /// A side of a pair with several answers, of which the template rewrites the earlier ones.
    #[error(
        "{} line {line}: found a side with {answers} answers after the prompt, expected one: the chat template shows earlier answers otherwise later",
        path.display()
    )]
    PairTurns { path: PathBuf, line: u32, answers: usize },
    /// Nothing is left to learn from.
    #[error("no example is left: {rows} rows read, {too_long} longer than the context of {limit} tokens")]
    NothingLeft { rows: usize, too_long: usize, limit: usize },
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub struct RowFault {
    /// From 1.
    pub line: u32,
    pub fault: Fault,
}

/// What is wrong with one row. `message` is the index in the row's conversation, from 0.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error("column {column}: not valid JSON: {why}; found {found:?}")]
    Json { column: usize, why: String, found: String },
    #[error("byte {byte} of the line: found {found:#04x}, expected UTF-8")]
    NotUtf8 { byte: usize, found: u8 },
    #[error("found {found}, expected a JSON object")]
    NotObject { found: &'static str },
    #[error("found the fields [{}], expected {expected}", found.join(", "))]
    Fields { found: Vec<String>, expected: String },
    #[error("field `{field}`: found {found}, expected {expected}")]
    FieldType { field: String, found: String, expected: &'static str },
    #[error("message {message}: found the role `{found}`, expected {expected}")]
    Role { message: usize, found: String, expected: String },
    #[error("the conversation ends with the role `{found}`, expected `assistant`")]
    LastRole { found: String },
    #[error("message {message}: the assistant's answer is empty")]
    EmptyAnswer { message: usize },
    #[error("found a pair of `chosen` and `rejected`, expected one conversation (pairs are learned with train.objective = \"dpo\")")]
    Preferences,
    #[error("`chosen` and `rejected` are the same answer, expected a better and a worse one")]
    SamePair,
    #[error("no message in the conversation")]
    NoMessage,
    #[error("no answer to learn: every assistant message has the weight 0")]
    NoAnswer,
}

/// The first faults, one a line, and how many more there are.
struct Shown<'a>(&'a [RowFault]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for RowFault { line, fault } in self.0.iter().take(SHOWN) {
            write!(f, "\n  line {line}: {fault}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
