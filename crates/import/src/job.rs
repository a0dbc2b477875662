//! The import itself: row by row from the sources into files, in steps that survive an interruption.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use record::{atomic, hash};
use serde_json::Value;

use crate::account::{Account, Made};
use crate::error::{Error, Result};
use crate::journal::{Growing, Moment, Out, part_of};
use crate::planned::{Plan, Planned};
use crate::records::short;
use crate::row::{Fix, Quarantined, Row};

/// Time and rows after which what was written is made safe.
const SAFE_AFTER: Duration = Duration::from_secs(3);
const SAFE_ROWS: u64 = 50_000;
/// Rows between two looks at the clock.
const LOOK: u64 = 500;

/// How far an import is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    pub rows: u64,
    pub quarantined: u64,
    /// Of all files together; servers have no size.
    pub bytes: u64,
    pub of_bytes: u64,
}

/// How an import ended.
#[derive(Debug)]
pub enum Done {
    /// Everything is there.
    Finished(Box<Account>),
    /// Somebody asked to stop; the same command goes on.
    Stopped { rows: u64 },
}

/// Imports what is planned into `out`; goes on where the same import was interrupted, unless `fresh`.
///
/// # Errors
/// A database that went away, a disk that is full: what was read is kept, and the same command goes on. An output that no
/// import made is left alone.
pub fn import(plan: Plan, out: &Out, fresh: bool, stop: &AtomicBool, watch: &mut dyn FnMut(Progress)) -> Result<Done> {
    let others = [&out.rows, &out.quarantine].into_iter().find(|path| path.exists() && !out.account.exists() && !out.journal.exists());
    if let Some(path) = others {
        return Err(Error::Exists { path: path.clone() });
    }
    if fresh {
        out.forget()?;
    }
    let Plan { mut sources, identity } = plan;
    let moment = match Moment::last(out, &identity)? {
        Some(moment) => moment,
        None => {
            out.forget()?;
            Moment::begin(identity, sources.len())
        }
    };
    if moment.finished {
        return finish(&sources, &moment, out);
    }
    let mut job = Job::open(moment, out)?;
    for at in job.moment.source..sources.len() {
        let before: u64 = sources[..at].iter().map(|one| one.bytes).sum();
        let all: u64 = sources.iter().map(|one| one.bytes).sum();
        let mut watch = |job: &Job<'_>, bytes: u64| {
            let of = |count: fn(&crate::Counts) -> u64| job.moment.counts.iter().map(count).sum();
            watch(Progress { rows: of(|c| c.rows), quarantined: of(|c| c.quarantined), bytes: before + bytes, of_bytes: all });
        };
        if !job.source(at, &mut sources[at], stop, &mut watch)? {
            return Ok(Done::Stopped { rows: job.moment.counts.iter().map(|c| c.rows).sum() });
        }
    }
    job.moment.source = sources.len();
    job.moment.finished = true;
    job.make_safe()?;
    let moment = job.moment.clone();
    drop(job);
    finish(&sources, &moment, out)
}

/// An import under way.
struct Job<'a> {
    out: &'a Out,
    moment: Moment,
    rows: Growing,
    quarantine: Growing,
    seen: Growing,
    /// Rows of the database that is read now, which an earlier sitting wrote, and how often.
    written: HashMap<[u8; 16], u32>,
    /// Hashes of the names that were given, and how often they were asked for.
    names: HashMap<u64, u32>,
    safe: Instant,
    since: u64,
}

impl<'a> Job<'a> {
    fn open(moment: Moment, out: &'a Out) -> Result<Job<'a>> {
        let rows = Growing::open(part_of(&out.rows), moment.rows_bytes)?;
        let quarantine = Growing::open(part_of(&out.quarantine), moment.quarantine_bytes)?;
        let seen = Growing::open(out.seen.clone(), moment.seen_bytes)?;
        let names = names(&part_of(&out.rows))?;
        let written = written(&out.seen)?;
        let mut job = Job { out, moment, rows, quarantine, seen, written, names, safe: Instant::now(), since: 0 };
        job.make_safe()?;
        Ok(job)
    }

    /// Reads a source to its end; says whether it came there.
    fn source(&mut self, at: usize, planned: &mut Planned, stop: &AtomicBool, watch: &mut dyn FnMut(&Job<'_>, u64)) -> Result<bool> {
        // Rows of a file come in the same order again; those of a database need not.
        let done = if at == self.moment.source && !planned.kind.is_database() { self.moment.read } else { 0 };
        self.moment.source = at;
        let mut met = 0u64;
        loop {
            let next = match planned.source.next() {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(Error::Cut { place, why }) => {
                    self.moment.counts[at].cut = Some(why.clone());
                    Err(Quarantined { source: place, why, raw: String::new() })
                }
                Err(error) => {
                    self.make_safe()?;
                    return Err(error);
                }
            };
            met += 1;
            if met > done && !(planned.kind.is_database() && self.is_written(&next)) {
                self.moment.read = met;
                self.put(at, next, planned.kind.is_database())?;
            }
            if self.moment.counts[at].cut.is_some() {
                break;
            }
            if met.is_multiple_of(LOOK) {
                watch(self, planned.source.bytes());
                if stop.load(Ordering::Relaxed) {
                    self.make_safe()?;
                    return Ok(false);
                }
                if self.since >= SAFE_ROWS || self.safe.elapsed() >= SAFE_AFTER {
                    self.make_safe()?;
                }
            }
        }
        watch(self, planned.bytes);
        (self.moment.source, self.moment.read) = (at + 1, 0);
        self.seen.bytes = 0;
        self.make_safe()?;
        // Only now: a journal must never count on more than is there.
        self.seen.empty()?;
        self.written.clear();
        Ok(true)
    }

    /// Writes a row, or what could not become one.
    fn put(&mut self, at: usize, next: std::result::Result<Row, Quarantined>, from_database: bool) -> Result<()> {
        if from_database {
            self.seen.write(&mark(&next))?;
        }
        let counts = &mut self.moment.counts[at];
        let (file, json) = match next {
            Ok(mut row) => {
                unique(&mut self.names, &mut row);
                counts.keep(&row);
                (&mut self.rows, row.to_json())
            }
            Err(put_aside) => {
                counts.put_aside();
                (&mut self.quarantine, put_aside.to_json())
            }
        };
        self.since += 1;
        let mut line = json.to_string();
        line.push('\n');
        file.write(line.as_bytes())
    }

    /// Whether an earlier sitting wrote this row; each of equal rows counts once.
    fn is_written(&mut self, next: &std::result::Result<Row, Quarantined>) -> bool {
        if self.written.is_empty() {
            return false;
        }
        match self.written.get_mut(&mark(next)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// From here an interrupted import goes on.
    fn make_safe(&mut self) -> Result<()> {
        self.rows.sync()?;
        self.quarantine.sync()?;
        self.seen.sync()?;
        let lengths = [self.rows.bytes, self.quarantine.bytes, self.seen.bytes];
        [self.moment.rows_bytes, self.moment.quarantine_bytes, self.moment.seen_bytes] = lengths;
        self.moment.write(self.out)?;
        (self.safe, self.since) = (Instant::now(), 0);
        Ok(())
    }
}

/// Gives the files their names. Each step can be done again after an interruption.
fn finish(sources: &[Planned], moment: &Moment, out: &Out) -> Result<Done> {
    for path in [&out.rows, &out.quarantine] {
        let part = part_of(path);
        if part.exists() {
            std::fs::rename(&part, path).map_err(|e| Error::io("rename", &part, e))?;
        }
    }
    let kept = moment.counts.iter().map(|c| c.kept).sum();
    let quarantined = moment.counts.iter().map(|c| c.quarantined).sum();
    let made = |(path, rows): (&std::path::PathBuf, u64)| -> Result<Made> {
        let (sha256, bytes) = hash::sha256_file(path)?;
        Ok(Made { name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), rows, bytes, sha256 })
    };
    let made = [(&out.rows, kept), (&out.quarantine, quarantined)].into_iter().map(made).collect::<Result<Vec<Made>>>()?;
    let account = Account::of(sources, &moment.counts, &made);
    atomic::write(&out.account, format!("{:#}\n", account.json).as_bytes())?;
    out.forget()?;
    Ok(Done::Finished(Box::new(account)))
}

/// What a row of a database says, wherever it stood: sixteen bytes of its hash.
fn mark(next: &std::result::Result<Row, Quarantined>) -> [u8; 16] {
    let mut json = match next {
        Ok(row) => row.to_json(),
        Err(put_aside) => put_aside.to_json(),
    };
    if let Value::Object(row) = &mut json {
        row.shift_remove("source");
    }
    let hex = hash::sha256(hash::canonical(&json).as_bytes());
    let mut mark = [0; 16];
    mark.copy_from_slice(&hex.as_bytes()[..16]);
    mark
}

/// The marks that an earlier sitting left.
fn written(path: &Path) -> Result<HashMap<[u8; 16], u32>> {
    let mut marks = HashMap::new();
    let mut file = BufReader::new(File::open(path).map_err(|e| Error::io("open", path, e))?);
    let mut mark = [0; 16];
    while file.read_exact(&mut mark).is_ok() {
        *marks.entry(mark).or_default() += 1;
    }
    Ok(marks)
}

/// No two rows have one name. A name that comes again gets a number, the same when the import is made again.
fn unique(names: &mut HashMap<u64, u32>, row: &mut Row) {
    let asked = names.entry(key(&row.id)).or_default();
    *asked += 1;
    let mut copy = *asked;
    if copy == 1 {
        return;
    }
    let mut name = format!("{}~{copy}", row.id);
    while names.contains_key(&key(&name)) {
        copy += 1;
        name = format!("{}~{copy}", row.id);
    }
    names.insert(key(&name), 1);
    names.insert(key(&row.id), copy);
    row.fixed.push(Fix { what: "id_repeated", before: short(&row.id), after: short(&name) });
    row.id = name;
}

/// The names that an earlier sitting gave: each line begins with one.
fn names(rows: &Path) -> Result<HashMap<u64, u32>> {
    let mut names = HashMap::new();
    let mut file = BufReader::new(File::open(rows).map_err(|e| Error::io("open", rows, e))?);
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line).map_err(|e| Error::io("read", rows, e))? > 0 {
        let start = line.strip_prefix(b"{\"id\":").unwrap_or_default();
        if let Some(Ok(name)) = serde_json::Deserializer::from_slice(start).into_iter::<String>().next() {
            names.insert(key(&name), 1);
        }
        line.clear();
    }
    Ok(names)
}

fn key(name: &str) -> u64 {
    // The same in every process: its keys are fixed.
    BuildHasherDefault::<DefaultHasher>::default().hash_one(name)
}
