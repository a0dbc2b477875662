//! How far an import has come: what is written up to here is sound, what follows is cut off when it goes on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use record::atomic;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::account::Counts;
use crate::error::{Error, Result};

/// The files of an import.
#[derive(Debug, Clone)]
pub struct Out {
    /// The rows that were kept.
    pub rows: PathBuf,
    /// The others, each with the reason.
    pub quarantine: PathBuf,
    pub account: PathBuf,
    pub(crate) journal: PathBuf,
    /// What was read of databases, so that it is not written twice.
    pub(crate) seen: PathBuf,
}

impl Out {
    /// Beside `rows`, and called after it.
    pub fn of(rows: &Path) -> Out {
        let name = rows.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(".jsonl").unwrap_or(&name);
        let beside = |end: &str| rows.with_file_name(format!("{name}.{end}"));
        Out {
            rows: rows.to_path_buf(),
            quarantine: beside("quarantine.jsonl"),
            account: beside("import.json"),
            journal: beside("import.journal"),
            seen: beside("import.seen"),
        }
    }

    /// Forgets an import that was interrupted.
    pub(crate) fn forget(&self) -> Result<()> {
        for path in [&self.journal, &part_of(&self.rows), &part_of(&self.quarantine), &self.seen] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", path, error)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The name of a file that is not finished.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.part"))
}

/// A moment of an import. All before it is on disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moment {
    pub version: u32,
    /// What must be the same when it goes on.
    pub identity: Map<String, Value>,
    /// The source that is read, and how many of its rows are done.
    pub source: usize,
    pub read: u64,
    pub rows_bytes: u64,
    pub quarantine_bytes: u64,
    pub seen_bytes: u64,
    pub counts: Vec<Counts>,
    /// All rows are written: only the names are missing.
    pub finished: bool,
}

const VERSION: u32 = 1;

impl Moment {
    pub(crate) fn begin(identity: Map<String, Value>, sources: usize) -> Moment {
        Moment { version: VERSION, identity, counts: vec![Counts::default(); sources], ..Moment::default() }
    }

    /// The last moment of an interrupted import, which must be the same one.
    pub(crate) fn last(out: &Out, identity: &Map<String, Value>) -> Result<Option<Moment>> {
        let path = &out.journal;
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        let journal = |found: String| Error::Journal { path: path.clone(), found };
        let moment: Moment = serde_json::from_slice(&text).map_err(|e| journal(format!("something else ({e})")))?;
        if moment.version != VERSION {
            return Err(journal(format!("version {}", moment.version)));
        }
        let differs = identity.iter().find(|(name, value)| moment.identity.get(*name) != Some(*value));
        match differs {
            Some((name, _)) => Err(Error::Other { path: path.clone(), differs: name.clone() }),
            None => Ok(Some(moment)),
        }
    }

    pub(crate) fn write(&self, out: &Out) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Error::io("write", &out.journal, e.into()))?;
        Ok(atomic::write(&out.journal, &text)?)
    }
}

/// A file that grows, and can be cut to what it was at some moment.
pub(crate) struct Growing {
    path: PathBuf,
    file: BufWriter<File>,
    pub bytes: u64,
}

impl Growing {
    /// Opens it, cut to `bytes`. Nobody else may write it.
    pub(crate) fn open(path: PathBuf, bytes: u64) -> Result<Growing> {
        let io = |action, error| Error::io(action, &path, error);
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(|e| io("open", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Journal { path, found: "another import that writes here now".into() });
            }
            Err(TryLockError::Error(error)) => return Err(io("lock", error)),
        }
        let found = file.metadata().map_err(|e| io("open", e))?.len();
        if found < bytes {
            return Err(Error::Journal { path, found: format!("{found} bytes, fewer than the {bytes} of its journal") });
        }
        file.set_len(bytes).map_err(|e| io("cut", e))?;
        file.seek(SeekFrom::End(0)).map_err(|e| io("open", e))?;
        Ok(Growing { path, file: BufWriter::with_capacity(1 << 16, file), bytes })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| Error::io("write", &self.path, e))
    }

    /// Empties it.
    pub(crate) fn empty(&mut self) -> Result<()> {
        let emptied = self.file.flush().and_then(|()| self.file.get_ref().set_len(0)).and_then(|()| self.file.rewind());
        emptied.map_err(|e| Error::io("cut", &self.path, e))?;
        self.bytes = 0;
        Ok(())
    }

    /// All that was written is on disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.file.flush().and_then(|()| self.file.get_ref().sync_data()).map_err(|e| Error::io("write", &self.path, e))
    }
}
