//! Reading an event log while it is written: what is new since the last look.
//!
//! A resumed run cuts its log, so a place in it may come to hold other lines. The reader
//! keeps the last line that it saw and looks for it again; when it is gone, the reader
//! begins anew and says so.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::event::{self, Event};

/// Bytes that are read at once; a look at a long log takes several calls.
const PIECE: u64 = 256 << 10;

/// A reader that goes on where it stopped.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    /// Bytes and lines that were read.
    at: u64,
    lines: usize,
    /// The last line that was read, with its line feed.
    last: Vec<u8>,
}

/// What one look found.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    pub events: Vec<Event>,
    /// The log was cut: these events begin at its start again.
    pub cut: bool,
    /// The log holds more whole lines now.
    pub more: bool,
}

impl Follow {
    /// A reader at the start of a log, which need not be there yet.
    pub fn new(path: &Path) -> Follow {
        Follow { path: path.to_path_buf(), at: 0, lines: 0, last: Vec::new() }
    }

    /// The whole lines that came since the last call.
    ///
    /// # Errors
    /// What the disk says; [`Error::BadEvent`] for a line that cannot be read, and then again
    /// on the next call.
    pub fn look(&mut self) -> Result<News> {
        let failed = |source| Error::io("read", &self.path, source);
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound && self.at == 0 => {
                return Ok(News { events: Vec::new(), cut: false, more: false });
            }
            Err(source) => return Err(failed(source)),
        };
        let cut = !self.stands(&mut file).map_err(failed)?;
        if cut {
            (self.at, self.lines, self.last) = (0, 0, Vec::new());
        }
        let bytes = piece(&mut file, self.at).map_err(|source| Error::io("read", &self.path, source))?;
        let length = file.metadata().map_err(|source| Error::io("read", &self.path, source))?.len();
        let mut events = Vec::new();
        let mut lines = self.lines;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            lines += 1;
            events.push(event::parse(&self.path, lines, line)?);
        }
        if let Some(last) = bytes.split_inclusive(|&byte| byte == b'\n').next_back() {
            self.last = last.to_vec();
        }
        self.at += bytes.len() as u64;
        self.lines = lines;
        // A half line may be all that is left; the next look then finds nothing.
        Ok(News { more: !events.is_empty() && length > self.at, events, cut })
    }

    /// Whether the last line that was read is still where it was.
    fn stands(&self, file: &mut File) -> std::io::Result<bool> {
        if file.metadata()?.len() < self.at {
            return Ok(false);
        }
        let mut found = vec![0; self.last.len()];
        file.seek(SeekFrom::Start(self.at - self.last.len() as u64))?;
        file.read_exact(&mut found)?;
        Ok(found == self.last)
    }
}

/// Whole lines from `at` on: about [`PIECE`] bytes, or one line if that is longer.
fn piece(file: &mut File, at: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    loop {
        let got = Read::by_ref(file).take(PIECE).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1);
        if whole.is_some() || got == 0 {
            bytes.truncate(whole.unwrap_or(0));
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Log;

    fn skipped(step: u64, words: usize) -> Event {
        Event::Skipped { step, reason: "x".repeat(words), examples: Vec::new() }
    }

    fn steps(news: &News) -> Vec<u64> {
        let step = |event: &Event| if let Event::Skipped { step, .. } | Event::Resumed { step } = event { *step } else { 0 };
        news.events.iter().map(step).collect()
    }

    #[test]
    fn what_is_new_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut follow = Follow::new(&path);
        assert_eq!(follow.look().unwrap(), News { events: vec![], cut: false, more: false });
        let mut log = Log::open(&path).unwrap();
        log.append(&skipped(1, 3)).unwrap();
        log.append(&skipped(2, 3)).unwrap();
        assert_eq!(steps(&follow.look().unwrap()), [1, 2]);
        assert_eq!(steps(&follow.look().unwrap()), [0u64; 0]);
        log.append(&skipped(3, 3)).unwrap();
        let half = [std::fs::read(&path).unwrap(), b"{\"v\":1,\"ev".to_vec()].concat();
        std::fs::write(&path, half).unwrap();
        let news = follow.look().unwrap();
        assert_eq!((steps(&news), news.more), (vec![3], true));
        assert_eq!(follow.look().unwrap(), News { events: vec![], cut: false, more: false });
    }

    #[test]
    fn a_long_log_and_a_long_line_come_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = Log::open(&path).unwrap();
        let lengths = [200_000, 100_000, 700_000, 10, 10];
        for (at, words) in lengths.into_iter().enumerate() {
            log.append(&skipped(at as u64 + 1, words)).unwrap();
        }
        let mut follow = Follow::new(&path);
        let mut seen = Vec::new();
        let mut looks = 0;
        loop {
            let news = follow.look().unwrap();
            seen.extend(steps(&news));
            looks += 1;
            if !news.more {
                break;
            }
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
        assert!(looks > 2, "{looks}");
    }

    #[test]
    fn a_cut_is_seen_even_when_the_log_has_grown_past_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = Log::open(&path).unwrap();
        log.append(&skipped(1, 3)).unwrap();
        let noted = log.bytes();
        log.append(&skipped(2, 3)).unwrap();
        let mut follow = Follow::new(&path);
        assert_eq!(steps(&follow.look().unwrap()), [1, 2]);
        log.truncate_to(noted).unwrap();
        log.append(&Event::Resumed { step: 1 }).unwrap();
        for step in 2..9 {
            log.append(&skipped(step, 4)).unwrap();
        }
        let news = follow.look().unwrap();
        assert_eq!((steps(&news), news.cut), (vec![1, 1, 2, 3, 4, 5, 6, 7, 8], true));
        log.truncate_to(noted).unwrap();
        let news = follow.look().unwrap();
        assert_eq!((steps(&news), news.cut), (vec![1], true));
    }

    #[test]
    fn damage_names_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = Log::open(&path).unwrap();
        log.append(&skipped(1, 3)).unwrap();
        let mut follow = Follow::new(&path);
        follow.look().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{{\"v\":1,\"event\":\"nothing\"}}\n")).unwrap();
        let error = follow.look().unwrap_err().to_string();
        assert!(error.contains("events.jsonl:2: "), "{error}");
        assert!(follow.look().is_err());
    }
}
