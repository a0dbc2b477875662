//! The event log: one line of JSON for each thing that happened in a run.
//!
//! Each line is `{"v":1,"event":"step",...}`. A line is written in one call, so a process
//! that dies can leave only a half last line; the reader passes over it and reports any
//! other damage. A resumed run first cuts the log to the length its checkpoint noted, so
//! that no step is logged twice.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The version of a line.
pub const VERSION: u64 = 1;

/// What can happen in a run. The set is closed: a reader can match all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The first line of a run.
    Started {
        /// Seconds since 1970, from the caller's clock.
        time: u64,
        /// The version of the program.
        program: String,
        /// The base model as the recipe names it.
        base: String,
        /// SHA-256 of the settings that determine the bits.
        fingerprint: String,
        /// SHA-256 of the pack.
        pack: String,
        examples: u64,
        /// Steps that the whole run will take.
        steps: u64,
        /// Parameters that are trained.
        parameters: u64,
        threads: u32,
        /// Where the numbers are made: `cpu`, or the GPU with its library of products and our kernels, on which its bits depend.
        #[serde(default)]
        device: String,
    },
    /// The run goes on after the checkpoint of this step.
    Resumed { step: u64 },
    /// One optimizer step.
    Step {
        /// Counts from 1.
        step: u64,
        /// Passes over the data so far, as a fraction.
        epoch: f64,
        /// Mean loss of the step's supervised tokens, in nats.
        loss: f64,
        lr: f64,
        /// L2 norm of the gradient before clipping.
        grad_norm: f64,
        supervised_tokens: u64,
        /// Tokens that went through the model.
        computed_tokens: u64,
        /// Tokens that would have gone through it without shared prefixes.
        unshared_tokens: u64,
        step_ms: f64,
        /// On a GPU: the time that the step's operations take at the rate at which the device multiplies, over the step's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        light: Option<f64>,
    },
    /// A checkpoint is whole on disk; `path` is relative to the run's folder.
    Checkpoint { step: u64, path: String },
    /// The user asked for a stop; the run can be resumed.
    Interrupted { step: u64 },
    /// Examples of older tasks are mixed in.
    Mixed {
        /// Examples of the new task.
        examples: u64,
        /// Examples of older tasks.
        replay: u64,
        /// Their share of what a step sees, on average.
        share: f64,
    },
    /// How a step's pairs stand, where preferences are learned.
    Preference {
        step: u64,
        /// How much more the chosen answers are preferred than at the start, on average: the z of the loss.
        margin: f64,
        /// The share of the pairs whose chosen answer is.
        preferred: f64,
    },
    /// The loss of examples that are not trained on.
    Validation {
        /// Steps done; 0 is the model as it came.
        step: u64,
        /// Mean loss of their supervised tokens, in nats; of their pairs where preferences are learned.
        loss: f64,
        examples: u64,
        supervised_tokens: u64,
        /// Whether it is the lowest of the trained ones so far.
        best: bool,
        validation_ms: f64,
    },
    /// Validation did not get better for as long as the recipe allows: the run ends before its last step.
    EarlyStop { step: u64, best_step: u64, best_loss: f64, validations: u64 },
    /// The adapter of this step is the run's result.
    Published {
        step: u64,
        /// Its loss on the validation examples, if there are any.
        validation_loss: Option<f64>,
    },
    /// What the curves say about the learning rate.
    Advice {
        step: u64,
        /// `noisy`, `diverging`, `flat` or `overfitting`.
        finding: String,
        /// What was seen and what to do, for people.
        text: String,
        /// The learning rate to try next, where another one would help.
        lr: Option<f64>,
    },
    /// The run is done.
    Finished { steps: u64, loss_first: f64, loss_last: f64, seconds: f64 },
    /// A step changed nothing, for this reason.
    Skipped {
        step: u64,
        reason: String,
        /// Its examples, as `train.jsonl line 17`.
        #[serde(default)]
        examples: Vec<String>,
    },
    /// A step was a spike and counted even so, as the recipe wants.
    Spike { step: u64, reason: String, examples: Vec<String> },
    /// The run went back to the numbers of the checkpoint of step `to` and goes on after `step`: all updates between
    /// are undone, and their examples are passed over.
    Rewound { step: u64, to: u64, reason: String, examples: Vec<String> },
}

impl Event {
    /// JSON has no word for NaN, so a log that held one could not be read again.
    fn require_finite(&self, path: &Path) -> Result<()> {
        let numbers: &[(&str, f64)] = match self {
            Event::Step { epoch, loss, lr, grad_norm, step_ms, .. } => {
                &[("epoch", *epoch), ("loss", *loss), ("lr", *lr), ("grad_norm", *grad_norm), ("step_ms", *step_ms)]
            }
            Event::Finished { loss_first, loss_last, seconds, .. } => {
                &[("loss_first", *loss_first), ("loss_last", *loss_last), ("seconds", *seconds)]
            }
            Event::Mixed { share, .. } => &[("share", *share)],
            Event::Preference { margin, preferred, .. } => &[("margin", *margin), ("preferred", *preferred)],
            Event::Validation { loss, validation_ms, .. } => &[("loss", *loss), ("validation_ms", *validation_ms)],
            Event::EarlyStop { best_loss, .. } => &[("best_loss", *best_loss)],
            Event::Published { validation_loss: Some(loss), .. } => &[("validation_loss", *loss)],
            Event::Advice { lr: Some(lr), .. } => &[("lr", *lr)],
            _ => &[],
        };
        for (name, number) in numbers {
            if !number.is_finite() {
                return Err(Error::Unwritable {
                    path: path.to_path_buf(),
                    what: format!("`{name}` of an event"),
                    found: number.to_string(),
                    expected: "a finite number".to_string(),
                });
            }
        }
        Ok(())
    }
}

/// A line: the version, then the event.
#[derive(Serialize)]
struct Line<'a> {
    v: u64,
    #[serde(flatten)]
    event: &'a Event,
}

/// What [`read`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    pub events: Vec<Event>,
    /// Bytes of a half-written last line; 0 when the log ends with a whole line.
    pub half_bytes: u64,
}

/// An event log that is open for writing.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Log {
    /// Opens a log for appending and makes it when there is none.
    ///
    /// A half-written last line is cut off: nothing can be appended to it.
    pub fn open(path: &Path) -> Result<Log> {
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(|source| Error::io("open", path, source))?;
        let length = whole_length(&mut file).map_err(|source| Error::io("read", path, source))?;
        let mut log = Log { file, path: path.to_path_buf(), bytes: 0 };
        log.cut(length)?;
        Ok(log)
    }

    /// Writes one line and hands it to the operating system.
    ///
    /// When the write fails (a full disk), the half line is taken back.
    pub fn append(&mut self, event: &Event) -> Result<()> {
        event.require_finite(&self.path)?;
        let line = Line { v: VERSION, event };
        let mut text = serde_json::to_string(&line).map_err(|cause| Error::Unwritable {
            path: self.path.clone(),
            what: "an event".to_string(),
            found: cause.to_string(),
            expected: "finite numbers".to_string(),
        })?;
        text.push('\n');
        if let Err(source) = self.file.write_all(text.as_bytes()) {
            // Best effort: the reader passes over a half line as well.
            let _ = self.file.set_len(self.bytes);
            return Err(Error::io("append to", &self.path, source));
        }
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// The length of the log; what a checkpoint notes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the lines so far durable; done before a checkpoint notes the length.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|source| Error::io("sync", &self.path, source))
    }

    /// Cuts the log to the length that a checkpoint noted.
    ///
    /// # Errors
    /// [`Error::ShortLog`] when the log is shorter than that: lines were lost.
    pub fn truncate_to(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.bytes {
            return Err(Error::ShortLog { path: self.path.clone(), found: self.bytes, expected: bytes });
        }
        self.cut(bytes)
    }

    fn cut(&mut self, bytes: u64) -> Result<()> {
        self.file.set_len(bytes).and_then(|()| self.file.sync_all()).map_err(|source| Error::io("truncate", &self.path, source))?;
        self.bytes = bytes;
        Ok(())
    }
}

/// The length up to and with the last line feed, found from the end.
fn whole_length(file: &mut File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut piece = [0u8; 4096];
    while end > 0 {
        let start = end.saturating_sub(piece.len() as u64);
        // At most 4096, so the cast is exact.
        let part = &mut piece[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Reads a whole log.
///
/// A last line without a line feed is passed over, since a process died while writing it;
/// any other line that cannot be read is an error with its number.
pub fn read(path: &Path) -> Result<Events> {
    let bytes = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut events = Vec::new();
    for (index, line) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        events.push(parse(path, index + 1, line)?);
    }
    Ok(Events { events, half_bytes: (bytes.len() - whole) as u64 })
}

/// The event in one line of a log.
pub(crate) fn parse(path: &Path, line: usize, bytes: &[u8]) -> Result<Event> {
    let bad = |message: String| Error::BadEvent { path: path.to_path_buf(), line, message };
    let mut value: serde_json::Value = serde_json::from_slice(bytes).map_err(|cause| bad(cause.to_string()))?;
    let Some(object) = value.as_object_mut() else {
        return Err(bad("it is no object".to_string()));
    };
    match object.remove("v").and_then(|v| v.as_u64()) {
        Some(VERSION) => {}
        Some(found) => {
            return Err(Error::Version { path: path.to_path_buf(), what: "event", found, expected: VERSION });
        }
        None => return Err(bad("the field `v` is missing, expected 1".to_string())),
    }
    serde_json::from_value(value).map_err(|cause| bad(cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Event {
        Event::Step {
            step,
            epoch: 0.25,
            loss: 1.5,
            lr: 2e-4,
            grad_norm: 0.7,
            supervised_tokens: 90,
            computed_tokens: 400,
            unshared_tokens: 900,
            step_ms: 12.5,
            light: None,
        }
    }

    fn log_of(count: u64) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = Log::open(&path).unwrap();
        for number in 1..=count {
            log.append(&step(number)).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn lines_read_back_as_written() {
        let (_dir, path) = log_of(2);
        let mut log = Log::open(&path).unwrap();
        let last = Event::Skipped { step: 3, reason: "a \"quoted\"\nreason".into(), examples: vec!["t.jsonl line 4".into()] };
        log.append(&last).unwrap();
        assert_eq!(log.bytes(), std::fs::metadata(&path).unwrap().len());
        assert_eq!(read(&path).unwrap().events, vec![step(1), step(2), last]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"v\":1,\"event\":\"step\",\"step\":1,"), "{text}");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn numbers_read_back_as_the_same_bits() {
        let (_dir, path) = log_of(0);
        let mut log = Log::open(&path).unwrap();
        // A reader that rounds twice misses each of these by the last bit.
        let losses = [3.818_537_361_121_798_8, 0.000_122_222_222_222_222_21, 18_334.974_750_120_487, 1.0 / 3.0, 5e-324];
        for loss in losses {
            log.append(&Event::Finished { steps: 1, loss_first: loss, loss_last: loss, seconds: 1.0 }).unwrap();
        }
        let read = read(&path).unwrap().events;
        let bits = |e: &Event| if let Event::Finished { loss_first, .. } = e { loss_first.to_bits() } else { 0 };
        assert_eq!(read.iter().map(bits).collect::<Vec<_>>(), losses.map(f64::to_bits));
    }

    #[test]
    fn a_loss_that_is_no_number_is_refused() {
        let (_dir, path) = log_of(1);
        let mut log = Log::open(&path).unwrap();
        let bad = Event::Finished { steps: 1, loss_first: 1.0, loss_last: f64::NAN, seconds: 1.0 };
        let error = log.append(&bad).unwrap_err().to_string();
        assert!(error.contains("`loss_last` of an event is NaN"), "{error}");
        assert_eq!(read(&path).unwrap().events.len(), 1);
    }

    #[test]
    fn a_validation_that_is_no_number_is_refused_and_older_lines_are_read() {
        let (_dir, path) = log_of(1);
        let mut log = Log::open(&path).unwrap();
        let validation = |loss| Event::Validation { step: 1, loss, examples: 2, supervised_tokens: 9, best: false, validation_ms: 1.0 };
        assert!(log.append(&validation(f64::INFINITY)).unwrap_err().to_string().contains("`loss` of an event is inf"));
        log.append(&validation(2.0)).unwrap();
        let old = b"{\"v\":1,\"event\":\"skipped\",\"step\":2,\"reason\":\"r\"}\n";
        OpenOptions::new().append(true).open(&path).unwrap().write_all(old).unwrap();
        let skipped = Event::Skipped { step: 2, reason: "r".into(), examples: Vec::new() };
        assert_eq!(read(&path).unwrap().events, vec![step(1), validation(2.0), skipped]);
    }

    #[test]
    fn a_half_last_line_is_passed_over_and_cut_on_opening() {
        let (_dir, path) = log_of(2);
        let whole = std::fs::read(&path).unwrap();
        let half = [&whole[..], &b"{\"v\":1,\"event\":\"st"[..]].concat();
        std::fs::write(&path, half).unwrap();
        let found = read(&path).unwrap();
        assert_eq!((found.events.len(), found.half_bytes), (2, 18));
        let mut log = Log::open(&path).unwrap();
        log.append(&step(3)).unwrap();
        assert_eq!(read(&path).unwrap().events, vec![step(1), step(2), step(3)]);
    }

    #[test]
    fn a_half_line_longer_than_a_piece_is_cut() {
        let (_dir, path) = log_of(1);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &[b'x'; 9000][..]].concat()).unwrap();
        assert_eq!(Log::open(&path).unwrap().bytes(), whole.len() as u64);
    }

    #[test]
    fn other_damage_names_the_line() {
        let (_dir, path) = log_of(3);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"step\":2", "\"step\":\"two\"", 1)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("events.jsonl:2: "), "{error}");
        std::fs::write(&path, text.replacen("\"v\":1", "\"v\":7", 1)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.ends_with("event version 7, expected 1"), "{error}");
    }

    #[test]
    fn no_step_is_logged_twice_after_a_resume() {
        let (_dir, path) = log_of(2);
        let noted = Log::open(&path).unwrap().bytes();
        {
            let mut killed = Log::open(&path).unwrap();
            killed.append(&step(3)).unwrap();
            killed.append(&step(4)).unwrap();
        }
        let mut log = Log::open(&path).unwrap();
        log.truncate_to(noted).unwrap();
        log.append(&Event::Resumed { step: 2 }).unwrap();
        log.append(&step(3)).unwrap();
        let steps: Vec<u64> = read(&path)
            .unwrap()
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Step { step, .. } => Some(*step),
                _ => None,
            })
            .collect();
        assert_eq!(steps, [1, 2, 3]);
    }

    #[test]
    fn a_log_shorter_than_noted_is_an_error() {
        let (_dir, path) = log_of(1);
        let mut log = Log::open(&path).unwrap();
        let error = log.truncate_to(100_000).unwrap_err().to_string();
        assert!(error.contains("expected at least 100000"), "{error}");
    }

    #[test]
    fn a_full_disk_is_named() {
        // Linux offers a device on which every write fails for want of space.
        let path = Path::new("/dev/full");
        let Ok(file) = OpenOptions::new().write(true).open(path) else {
            return;
        };
        let mut log = Log { file, path: path.to_path_buf(), bytes: 0 };
        let error = log.append(&step(1)).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    }
}
