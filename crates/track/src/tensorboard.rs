//! TensorBoard event files: one for each process; the newest holds the whole record, older ones are emptied.
//!
//! Facts (TensorFlow's tfrecord and event.proto, checked with TensorBoard 2.21): a record is
//! `u64 length | u32 masked crc32c(length) | bytes | u32 masked crc32c(bytes)`, little-endian;
//! the first event says `brain.Event:2`; a session log with START makes a reader that is
//! running forget what older files said.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::{Path, PathBuf};

use record::RunFolder;

use crate::Ended;
use crate::curve::Row;
use crate::error::{Error, Result};
use crate::mirror::Form;
use crate::wire::{Message, masked_crc32c};

/// A text's type among TensorFlow's.
const STRING: u64 = 7;
/// Bytes around an event: its length and two sums.
const FRAME: u64 = 16;
/// The session began.
const START: u64 = 1;

pub(crate) struct TensorBoard {
    /// The recipe, shown as a text.
    pub settings: Vec<(String, String)>,
}

impl Form for TensorBoard {
    fn name(&self) -> &'static str {
        "TensorBoard"
    }

    fn place(&mut self, run: &RunFolder, started: &Row, how: Ended) -> Result<PathBuf> {
        let folder = run.track().join("tensorboard");
        std::fs::create_dir_all(&folder).map_err(|source| Error::io("make the folder", &folder, source))?;
        let newest = files(&folder)?.pop();
        let number = newest.as_ref().and_then(|path| path.extension()?.to_str()?.parse::<u64>().ok());
        match (newest, how) {
            (Some(newest), Ended::Finished | Ended::Stopped | Ended::Failed) => Ok(newest),
            // Readers take files in the order of their names.
            _ => {
                let number = number.map_or(0, |number| number + 1);
                Ok(folder.join(format!("events.out.tfevents.{:.0}.tunesmith.{number:05}", started.time)))
            }
        }
    }

    fn head(&mut self, _run: &RunFolder, started: &Row) -> Vec<u8> {
        let version = Message::new().double(1, started.time).text(3, "brain.Event:2");
        let session = Message::new().double(1, started.time).message(7, Message::new().whole(1, START));
        let rows = |pairs: &[(String, String)]| pairs.iter().map(|(key, value)| format!("| {key} | {value} |\n")).collect::<String>();
        let table = format!("| setting | value |\n|---|---|\n{}{}", rows(&started.words), rows(&self.settings));
        let recipe = event(started, Message::new().message(1, text("recipe", &table)));
        [version, session, recipe].map(framed).concat()
    }

    fn row(&mut self, row: Row) -> Vec<u8> {
        if row.starts() || row.points.is_empty() && row.words.is_empty() {
            return Vec::new();
        }
        // TensorBoard keeps curves in float32.
        let mut summary = Message::new();
        for (name, value) in &row.points {
            summary = summary.message(1, Message::new().text(1, name).float(2, *value as f32));
        }
        for (name, value) in &row.words {
            summary = summary.message(1, text(name, value));
        }
        framed(event(&row, summary))
    }

    fn tail(&mut self, _how: Ended) -> Vec<u8> {
        Vec::new()
    }

    fn settle(&mut self, path: &Path) -> Result<()> {
        let older = files(path.parent().unwrap_or(Path::new(".")))?;
        older.iter().filter(|file| *file != path).try_for_each(|file| empty(file).map_err(|source| Error::io("empty", file, source)))
    }
}

/// Cuts a file to its first event, which says its version. A reader that is running would wait for ever beside a file
/// that is gone; at the end of this one it goes on to the next.
fn empty(path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let whole = u64::from_le_bytes(length).saturating_add(FRAME);
    if file.metadata()?.len() > whole { file.set_len(whole) } else { Ok(()) }
}

/// The event files of a folder, the oldest first.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::io("read the folder", folder, source);
    let entries = std::fs::read_dir(folder).map_err(failed)?.collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("events.out.tfevents."));
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(ours).collect();
    files.sort();
    Ok(files)
}

fn event(row: &Row, summary: Message) -> Message {
    Message::new().double(1, row.time).whole(2, row.step).message(5, summary)
}

/// A text as the text plugin shows it: a tensor of one string.
fn text(tag: &str, value: &str) -> Message {
    let shape = Message::new().message(2, Message::new().whole(1, 1));
    let tensor = Message::new().whole(1, STRING).message(2, shape).text(8, value);
    let plugin = Message::new().message(1, Message::new().text(1, "text"));
    Message::new().text(1, tag).message(8, tensor).message(9, plugin)
}

fn framed(event: Message) -> Vec<u8> {
    let bytes = event.into_bytes();
    let length = (bytes.len() as u64).to_le_bytes();
    let sums = [masked_crc32c(&length), masked_crc32c(&bytes)].map(u32::to_le_bytes);
    [&length[..], &sums[0], &bytes, &sums[1]].concat()
}
