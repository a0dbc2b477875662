//! One file of rows to examples: JSON lines or a JSON array, in any of the shapes that training data comes in.

pub(crate) mod check;
mod contents;
pub(crate) mod rows;
pub(crate) mod shape;

use std::path::Path;

use text::Message;

use crate::error::{Error, Result, RowFault};
use crate::example::{Example, Source};

/// What reading may add to the rows.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// A system prompt for the conversations that have none.
    pub system: Option<String>,
}

/// Reads a file. Every row is used, or the error counts all rows that cannot be.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Vec<Example>> {
    let bytes = std::fs::read(path).map_err(|why| Error::Read { path: path.to_path_buf(), why })?;
    parse(&bytes, path, options)
}

/// Reads the content of a file; `path` is only told in sources and errors.
pub fn parse(bytes: &[u8], path: &Path, options: &ReadOptions) -> Result<Vec<Example>> {
    parse_rows(bytes, path, &|value, source| example(value, source, options))
}

/// Makes something of every row; faults of all rows are gathered.
pub(crate) fn parse_rows<T>(
    bytes: &[u8],
    path: &Path,
    make: &dyn Fn(serde_json::Value, Source) -> std::result::Result<T, crate::Fault>,
) -> Result<Vec<T>> {
    if let Some(found) = rows::foreign_encoding(bytes) {
        return Err(Error::Encoding { path: path.to_path_buf(), found });
    }
    let rows = rows::rows(bytes);
    if rows.is_empty() {
        return Err(Error::Empty { path: path.to_path_buf() });
    }
    let count = rows.len();
    let mut examples = Vec::with_capacity(count);
    let mut faults = Vec::new();
    for row in rows {
        let line = row.line;
        let source = Source { file: path.to_path_buf(), line };
        match row.value.and_then(|value| make(value, source)) {
            Ok(example) => examples.push(example),
            Err(fault) => faults.push(RowFault { line, fault }),
        }
    }
    if faults.is_empty() { Ok(examples) } else { Err(Error::Rows { path: path.to_path_buf(), rows: count, faults }) }
}

fn example(value: serde_json::Value, source: Source, options: &ReadOptions) -> std::result::Result<Example, crate::Fault> {
    let shape::Row { mut messages, tools, tags } = shape::row(value)?;
    check::conversation(&messages)?;
    if let Some(system) = &options.system
        && !check::is_instruction(&messages[0].role)
    {
        messages.insert(0, Message::system(system));
    }
    Ok(Example { messages, tools, source, tags })
}
