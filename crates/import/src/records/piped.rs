//! Records of a reader that cannot be left half-way and come back to: it runs in a thread, a few records ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::{Map, Value};

use super::{Read, Records};
use crate::error::{Error, Result};
use crate::row::Place;

/// Batches that may wait.
const WAITING: usize = 4;
/// Records of a batch.
const BATCH: usize = 128;

/// The receiving end.
pub(super) struct Piped {
    name: String,
    news: Receiver<News>,
    batch: std::vec::IntoIter<Read>,
    ended: bool,
    bytes: Arc<AtomicU64>,
    facts: Map<String, Value>,
}

/// What the thread says. It says how it ended: a thread that is just gone has not read everything.
enum News {
    Batch(Vec<Read>),
    Ended(Result<()>),
}

/// The sending end.
pub(super) struct Pipe {
    news: SyncSender<News>,
    batch: Vec<Read>,
    bytes: Arc<AtomicU64>,
}

/// Nobody listens any more.
pub(super) struct Gone;

impl Pipe {
    pub(super) fn send(&mut self, read: Read) -> std::result::Result<(), Gone> {
        self.batch.push(read);
        if self.batch.len() < BATCH { Ok(()) } else { self.flush() }
    }

    /// How much of the source has been read.
    pub(super) fn at(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    fn flush(&mut self) -> std::result::Result<(), Gone> {
        self.news.send(News::Batch(std::mem::take(&mut self.batch))).map_err(|_| Gone)
    }
}

/// Runs `read` in a thread of its own; it ends when nobody listens any more.
pub(super) fn piped(name: &str, facts: Map<String, Value>, read: impl FnOnce(&mut Pipe) -> Result<()> + Send + 'static) -> Piped {
    let (sender, news) = sync_channel(WAITING);
    let bytes = Arc::new(AtomicU64::new(0));
    let mut pipe = Pipe { news: sender, batch: Vec::new(), bytes: bytes.clone() };
    std::thread::spawn(move || {
        let ended = read(&mut pipe);
        if pipe.flush().is_ok() {
            // Whoever has gone does not want to know.
            let _ = pipe.news.send(News::Ended(ended));
        }
    });
    Piped { name: name.to_string(), news, batch: Vec::new().into_iter(), ended: false, bytes, facts }
}

impl Records for Piped {
    fn next(&mut self) -> Result<Option<Read>> {
        loop {
            if let Some(read) = self.batch.next() {
                return Ok(Some(read));
            }
            if self.ended {
                return Ok(None);
            }
            match self.news.recv() {
                Ok(News::Batch(batch)) => self.batch = batch.into_iter(),
                Ok(News::Ended(how)) => {
                    self.ended = true;
                    how?;
                }
                Err(_) => {
                    self.ended = true;
                    let place = Place { file: self.name.clone(), line: None, message: None };
                    return Err(Error::Cut { place, why: "found content that breaks its reader; the rest was not read".into() });
                }
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn facts(&self) -> Map<String, Value> {
        self.facts.clone()
    }
}
