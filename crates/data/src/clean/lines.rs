//! A file of rows in batches: each line with its number and its own line end, so that what is not changed stays as it is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use crate::error::{Error, Fault, Result, RowFault};
use crate::read::rows;

/// Bytes of a batch, about.
const BATCH: usize = 1 << 20;

/// One line.
pub(super) struct Line {
    /// From 1.
    pub line: u32,
    pub bytes: Vec<u8>,
}

impl Line {
    pub(super) fn is_blank(&self) -> bool {
        self.bytes.trim_ascii().is_empty()
    }

    /// The row and what stands around it.
    pub(super) fn parts(&self) -> std::result::Result<(&str, &str, &str), Fault> {
        let text = std::str::from_utf8(&self.bytes).map_err(|error| {
            let at = error.valid_up_to();
            Fault::NotUtf8 { byte: at + 1, found: self.bytes[at] }
        })?;
        let row = text.trim_start_matches('\u{feff}').trim();
        let start = text.len() - text.trim_start_matches('\u{feff}').trim_start().len();
        Ok((&text[..start], row, &text[start + row.len()..]))
    }
}

/// Some lines, and where in the file they end.
pub(super) struct Batch {
    pub rows: Vec<Line>,
    pub end: u64,
}

/// The lines of a file.
pub(super) struct Lines {
    input: BufReader<File>,
    /// Elements of one big array; it is read as a whole, and each is written on a line of its own.
    elements: Option<std::vec::IntoIter<Line>>,
    path: std::path::PathBuf,
    line: u32,
    at: u64,
    pub size: u64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Lines> {
        let failed = |why| Error::Read { path: path.to_path_buf(), why };
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let mut input = BufReader::with_capacity(1 << 16, file);
        let head = input.fill_buf().map_err(failed)?.to_vec();
        if let Some(found) = rows::foreign_encoding(&head) {
            return Err(Error::Encoding { path: path.to_path_buf(), found });
        }
        let first = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&head).trim_ascii_start().first().copied();
        let mut lines = Lines { input, elements: None, path: path.to_path_buf(), line: 0, at: 0, size: meta.len() };
        if first == Some(b'[') {
            lines.elements = Some(lines.array()?.into_iter());
        }
        Ok(lines)
    }

    fn array(&mut self) -> Result<Vec<Line>> {
        let failed = |why| Error::Read { path: self.path.clone(), why };
        self.input.rewind().map_err(failed)?;
        let mut bytes = Vec::new();
        self.input.read_to_end(&mut bytes).map_err(failed)?;
        self.at = self.size;
        let (mut lines, mut faults) = (Vec::new(), Vec::new());
        for row in rows::rows(&bytes) {
            match row.value {
                Ok(value) => lines.push(Line { line: row.line, bytes: format!("{value}\n").into_bytes() }),
                Err(fault) => faults.push(RowFault { line: row.line, fault }),
            }
        }
        if faults.is_empty() { Ok(lines) } else { Err(Error::Rows { path: self.path.clone(), rows: lines.len() + faults.len(), faults }) }
    }

    /// The next lines; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Batch>> {
        let mut batch = Batch { rows: Vec::new(), end: self.at };
        let mut bytes = 0;
        while bytes < BATCH {
            let Some(line) = self.line()? else { break };
            bytes += line.bytes.len();
            batch.rows.push(line);
        }
        batch.end = self.at;
        Ok((!batch.rows.is_empty()).then_some(batch))
    }

    fn line(&mut self) -> Result<Option<Line>> {
        if let Some(elements) = &mut self.elements {
            return Ok(elements.next());
        }
        let mut bytes = Vec::new();
        let read = self.input.read_until(b'\n', &mut bytes).map_err(|why| Error::Read { path: self.path.clone(), why })?;
        self.at += read as u64;
        self.line = self.line.saturating_add(1);
        Ok((read > 0).then_some(Line { line: self.line, bytes }))
    }
}
