//! The run file of Weights & Biases, which `wandb sync` sends to their server or one's own.
//!
//! Facts (checked with wandb 0.31.0): seven bytes of header, then LevelDB's log framing in
//! blocks of 32768 bytes counted from the file's start, with a plain CRC-32 over type and
//! bytes; each entry is a protobuf `Record`: header, run, history rows, summary, exit.
//! `wandb sync` adds all rows of a file to those that the server has. So a file that was synced
//! is left alone, and what comes later goes into a second file of the same run.

use std::path::{Path, PathBuf};

use record::{RunFolder, hash};
use serde_json::{Map, Value, json};

use crate::Ended;
use crate::curve::{Row, Teller, setting};
use crate::error::{Error, Result};
use crate::mirror::Form;
use crate::wire::{Message, crc32};

const HEADER: [u8; 7] = [b':', b'W', b'&', b'B', 0xe1, 0xbe, 0];
const BLOCK: usize = 32_768;
/// Bytes before each piece of a record: sum, length, type.
const FRAME: usize = 7;
/// The oldest reader that understands the file, as the SDK writes it.
const OLDEST_READER: &str = "0.70.0";

/// Fields of `Record`.
mod field {
    pub const NUMBER: u32 = 1;
    pub const HISTORY: u32 = 2;
    pub const SUMMARY: u32 = 3;
    pub const RUN: u32 = 17;
    pub const EXIT: u32 = 18;
    pub const HEADER: u32 = 21;
}

pub(crate) struct Wandb {
    project: String,
    settings: Vec<(String, String)>,
    id: String,
    /// Bytes and records so far.
    at: usize,
    records: u64,
    /// A row is written when a later step begins: all that belongs to a step is one row.
    row: Option<(u64, Map<String, Value>)>,
    summary: Map<String, Value>,
    passed: f64,
    /// The last step that the server has from older files.
    synced: Option<u64>,
}

impl Wandb {
    pub fn new(project: &str, settings: &[(String, String)]) -> Wandb {
        let (project, settings) = (project.to_string(), settings.to_vec());
        Wandb { project, settings, id: String::new(), at: 0, records: 0, row: None, summary: Map::new(), passed: 0.0, synced: None }
    }

    fn record(&mut self, field: u32, message: Message) -> Vec<u8> {
        self.records += 1;
        let record = Message::new().whole(field::NUMBER, self.records).message(field, message);
        let bytes = framed(self.at, &record.into_bytes());
        self.at += bytes.len();
        bytes
    }

    /// The row that was held back.
    fn flush(&mut self) -> Vec<u8> {
        let Some((step, row)) = self.row.take() else { return Vec::new() };
        let mut history = Message::new();
        for (key, value) in &row {
            history = history.message(1, item(key, value));
        }
        self.record(field::HISTORY, history.message(2, Message::new().whole(1, step)))
    }

    fn config(&self, started: &Row) -> Message {
        let mut sections: Map<String, Value> = Map::new();
        for (key, value) in &self.settings {
            let (section, name) = key.split_once('.').unwrap_or(("recipe", key));
            if let Some(section) = sections.entry(section).or_insert_with(|| json!({})).as_object_mut() {
                section.insert(name.to_string(), setting(value));
            }
        }
        let facts: Map<String, Value> = started.words.iter().map(|(key, value)| (key.clone(), setting(value))).collect();
        sections.insert("run".into(), facts.into());
        sections.iter().fold(Message::new(), |config, (key, value)| config.message(1, keyed(key, value)))
    }
}

impl Form for Wandb {
    fn name(&self) -> &'static str {
        "Weights & Biases"
    }

    fn place(&mut self, run: &RunFolder, started: &Row, how: Ended) -> Result<PathBuf> {
        let all = run.track().join("wandb");
        let mut known = folders(&all);
        let newest = known.pop();
        self.synced = known.iter().filter_map(|(folder, _)| synced(folder)).max();
        let (folder, id) = match newest {
            None => {
                let place = std::path::absolute(run.path()).unwrap_or_else(|_| run.path().to_path_buf());
                let id = hash::sha256(format!("{} {:?}", place.display(), started.words).as_bytes())[..8].to_string();
                (named(&all, started, 0, &id), id)
            }
            Some((folder, id)) => match synced(&folder) {
                Some(step) if how == Ended::Running || last_step(run)? > step => {
                    self.synced = self.synced.max(Some(step));
                    (named(&all, started, known.len() + 1, &id), id)
                }
                _ => (folder, id),
            },
        };
        for part in ["files", "logs"] {
            let part = folder.join(part);
            std::fs::create_dir_all(&part).map_err(|source| Error::io("make the folder", &part, source))?;
        }
        self.id = id;
        Ok(folder.join(format!("run-{}.wandb", self.id)))
    }

    fn head(&mut self, run: &RunFolder, started: &Row) -> Vec<u8> {
        (self.at, self.records, self.row, self.passed) = (HEADER.len(), 0, None, 0.0);
        self.summary.clear();
        let versions = Message::new().text(1, concat!("tunesmith ", env!("CARGO_PKG_VERSION"))).text(2, OLDEST_READER);
        // Whole seconds came from the record.
        let began = Message::new().whole(1, started.time as u64);
        let about = Message::new().text(1, &self.id).text(3, &self.project).message(4, self.config(started));
        let about = about.text(8, &run.name()).text(10, "tunesmith").message(17, began);
        let header = self.record(field::HEADER, Message::new().message(1, versions));
        [&HEADER[..], &header, &self.record(field::RUN, about)].concat()
    }

    fn row(&mut self, row: Row) -> Vec<u8> {
        self.passed = row.passed;
        if row.starts() {
            return Vec::new();
        }
        let mut bytes = Vec::new();
        if self.row.as_ref().is_some_and(|(step, _)| *step != row.step) {
            bytes = self.flush();
        }
        let mut at_server = Map::new();
        let held = if self.synced.is_some_and(|step| row.step <= step) {
            &mut at_server
        } else {
            &mut self.row.get_or_insert_with(|| (row.step, Map::new())).1
        };
        let numbers = row.points.iter().map(|(key, value)| (key.clone(), number(*value)));
        let words = row.words.iter().map(|(key, value)| (key.clone(), json!(value)));
        let marks = [("_step", json!(row.step)), ("_timestamp", json!(row.time)), ("_runtime", json!(row.passed))];
        for (key, value) in numbers.chain(words).chain(marks.map(|(key, value)| (key.to_string(), value))) {
            self.summary.insert(key.clone(), value.clone());
            held.insert(key, value);
        }
        bytes
    }

    fn tail(&mut self, how: Ended) -> Vec<u8> {
        let row = self.flush();
        let summary = self.summary.iter().fold(Message::new(), |all, (key, value)| all.message(1, keyed(key, value)));
        // What their SDK reports: done, failed, and interrupted by the user.
        let code = match how {
            Ended::Finished | Ended::Running => 0,
            Ended::Failed => 1,
            Ended::Stopped => 255,
        };
        // A run of some years has seconds that fit.
        let exit = Message::new().whole(1, code).whole(2, self.passed as u64);
        [row, self.record(field::SUMMARY, summary), self.record(field::EXIT, exit)].concat()
    }
}

/// A history item: its key as a path of one part.
fn item(key: &str, value: &Value) -> Message {
    Message::new().text(2, key).text(16, &spelled(value))
}

fn keyed(key: &str, value: &Value) -> Message {
    Message::new().text(1, key).text(16, &spelled(value))
}

/// JSON, but for numbers that JSON lacks: Python's words for them, which their reader takes.
fn spelled(value: &Value) -> String {
    match value.as_str() {
        Some(word @ ("NaN" | "Infinity" | "-Infinity")) => word.to_string(),
        _ => value.to_string(),
    }
}

fn number(value: f64) -> Value {
    let word = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    serde_json::Number::from_f64(value).map_or_else(|| word.into(), Value::Number)
}

/// The folders of a run's files, the oldest first, each with the run's id.
fn folders(all: &Path) -> Vec<(PathBuf, String)> {
    let id = |path: PathBuf| {
        let id = path.file_name()?.to_str()?.strip_prefix("offline-run-")?.rsplit('-').next()?.to_string();
        Some((path, id))
    };
    let mut folders: Vec<(PathBuf, String)> =
        std::fs::read_dir(all).into_iter().flatten().flatten().filter_map(|entry| id(entry.path())).collect();
    folders.sort();
    folders
}

/// A new folder's name: a second for each older one, since `wandb sync` goes by the time in the name.
fn named(all: &Path, started: &Row, older: usize, id: &str) -> PathBuf {
    // Whole seconds came from the record.
    all.join(format!("offline-run-{}-{id}", moment(started.time as u64 + older as u64)))
}

/// The last step that `wandb sync` has sent from a folder: it leaves a mark and the summary that it saw.
fn synced(folder: &Path) -> Option<u64> {
    let mark = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".wandb.synced");
    std::fs::read_dir(folder).ok()?.flatten().any(mark).then_some(())?;
    let summary: Value = serde_json::from_slice(&std::fs::read(folder.join("files/wandb-summary.json")).ok()?).ok()?;
    // A step is far below 2^53.
    summary["_step"].as_f64().map(|step| step as u64)
}

fn last_step(run: &RunFolder) -> Result<u64> {
    let mut teller = Teller::default();
    let events = record::event::read(&run.events())?.events;
    Ok(events.iter().map(|event| teller.tell(event).step).max().unwrap_or(0))
}

/// Seconds since 1970 as `20260101_235959`, in UTC.
fn moment(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year:04}{:02}{:02}_{:02}{:02}{:02}", month + 1, days + 1, second / 3600, second / 60 % 60, second % 60)
}

/// One record in pieces that no block's end divides.
fn framed(mut at: usize, mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + FRAME);
    let mut first = true;
    loop {
        let mut room = BLOCK - at % BLOCK;
        if room < FRAME {
            out.resize(out.len() + room, 0);
            at += room;
            room = BLOCK;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(room - FRAME));
        let kind = match (first, rest.is_empty()) {
            (true, true) => 1u8,
            (true, false) => 2,
            (false, false) => 3,
            (false, true) => 4,
        };
        out.extend_from_slice(&crc32(&[&[kind], piece]).to_le_bytes());
        // A piece is shorter than a block.
        out.extend_from_slice(&(piece.len() as u16).to_le_bytes());
        out.push(kind);
        out.extend_from_slice(piece);
        at += FRAME + piece.len();
        if rest.is_empty() {
            return out;
        }
        (bytes, first) = (rest, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(moment(0), "19700101_000000");
        assert_eq!(moment(951_782_400 + 86_399), "20000229_235959");
        assert_eq!(moment(1_767_225_600), "20260101_000000");
        assert_eq!(moment(4_107_542_400), "21000301_000000");
    }

    #[test]
    fn a_number_that_json_lacks_has_a_word() {
        let words = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5].map(|value| spelled(&number(value)));
        assert_eq!(words, ["NaN", "Infinity", "-Infinity", "1.5"]);
    }
}
