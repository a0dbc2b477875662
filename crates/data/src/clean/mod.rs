//! `data clean`: a file of rows is read twice; first to know what is in it, then to write it repaired and without personal data.

mod boilerplate;
mod change;
mod draw;
mod escapes;
mod html;
mod lines;
mod mail;
mod mojibake;
mod place_names;
mod pseudonym;
mod repair;
mod restore;
mod row;
mod splice;
#[cfg(test)]
mod tests;
mod unicode;
mod vault;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::error::{Error, Result, RowFault};
use crate::private::Kind;
use boilerplate::Repeats;
use change::Change;
use lines::{Batch, Lines};
use pseudonym::{Census, Pseudonyms};
pub use restore::{Restored, restore};
use row::{Plan, Seen};
use vault::Key;

/// What stands in the place of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hide {
    /// Others of the same kind, the same for the same value.
    Pseudonyms,
    /// The kind in brackets.
    Tags,
    /// Themselves.
    Nothing,
}

/// What is done to a file.
#[derive(Debug, Clone)]
pub struct CleanOptions {
    /// Repair texts: encoding, HTML, escapes, blanks, debris of mail and forms.
    pub repair: bool,
    /// Make typographic quotes straight.
    pub quotes: bool,
    /// Cut lines that repeat over many rows.
    pub boilerplate: bool,
    pub hide: Hide,
    /// The kinds that are hidden.
    pub kinds: Vec<Kind>,
    /// Let the check digits of pseudonyms be right.
    pub valid: bool,
    /// Tell personal data in the list of changes.
    pub show: bool,
}

/// How far the work is: the part, bytes done, bytes in all. False asks to stop.
pub type Progress<'a> = &'a mut dyn FnMut(&'static str, u64, u64) -> bool;

/// What was done.
#[derive(Debug)]
pub struct Cleaned {
    pub rows: u64,
    /// Rows that are not as they were.
    pub changed: u64,
    /// Changes by what they are.
    pub changes: BTreeMap<String, u64>,
    /// Values hidden, by kind: how many places, how many distinct ones.
    pub hidden: BTreeMap<Kind, (u64, u64)>,
    /// Lines that repeat, with the number of rows.
    pub repeated: Vec<(String, u64)>,
    pub out: PathBuf,
    pub list: PathBuf,
    pub account: PathBuf,
    /// The sealed map back, where there is a key.
    pub map: Option<PathBuf>,
    /// Whether the key was made now.
    pub new_key: bool,
}

/// Cleans a file into `out`; with a key file, what was hidden can be brought back.
///
/// # Errors
/// A file that cannot be read or written, rows that are no JSON objects, a key that is none. Nothing is written then.
pub fn clean(file: &Path, out: &Path, key_file: Option<&Path>, options: &CleanOptions, progress: Progress) -> Result<Cleaned> {
    let same = |a: &Path, b: &Path| a.canonicalize().ok().is_some_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    if same(file, out) {
        return Err(Error::SameFile { path: out.to_path_buf() });
    }
    let (key, new_key) = match key_file {
        Some(path) => Key::open_or_make(path)?,
        None => (Key::random()?, false),
    };
    let mut plan = Plan::new(options);
    let (census, repeats) = survey(file, &plan, progress)?;
    plan.repeated = repeats.often();
    let distinct = census.distinct();
    plan.pseudonyms = Pseudonyms::draw(&key, census, options.valid);
    let mut cleaned = Cleaned {
        rows: 0,
        changed: 0,
        changes: BTreeMap::new(),
        hidden: distinct.into_iter().map(|(kind, count)| (kind, (0, count))).collect(),
        repeated: plan.repeated.iter().map(|(line, rows)| (line.clone(), *rows)).collect(),
        out: out.to_path_buf(),
        list: beside(out, "changes.jsonl"),
        account: beside(out, "clean.json"),
        map: key_file.filter(|_| options.hide == Hide::Pseudonyms).map(|_| beside(out, "map")),
        new_key,
    };
    cleaned.repeated.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    write(file, &plan, options, progress, &mut cleaned)?;
    if let Some(map) = &cleaned.map {
        record::atomic::write(map, &key.seal(&plan.pseudonyms.to_bytes())?)?;
    }
    let account = serde_json::to_string_pretty(&cleaned.to_json(file)).unwrap_or_default();
    record::atomic::write(&cleaned.account, format!("{account}\n").as_bytes())?;
    Ok(cleaned)
}

/// `OUT.changes.jsonl` and its like.
fn beside(out: &Path, ending: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(ending);
    out.with_file_name(name)
}

/// The first reading: every value that will be hidden, every word that a pseudonym must not be, every line that repeats.
fn survey(file: &Path, plan: &Plan, progress: Progress) -> Result<(Census, Repeats)> {
    let (mut census, mut repeats) = (Census::default(), Repeats::default());
    let mut faults: Vec<RowFault> = Vec::new();
    let mut rows = 0;
    let mut lines = Lines::open(file)?;
    while let Some(batch) = lines.next()? {
        let seen: Vec<_> = batch.rows.par_iter().map(|row| row::survey(row, plan)).collect();
        for (row, seen) in batch.rows.iter().zip(seen) {
            rows += usize::from(!row.is_blank());
            match seen {
                Ok(Seen { values, words, lines, escaped }) => {
                    census.add(values, words, escaped);
                    repeats.add(lines);
                }
                Err(fault) => faults.push(RowFault { line: row.line, fault }),
            }
        }
        if !progress("reading", batch.end, lines.size) {
            return Err(Error::Stopped);
        }
    }
    match (faults.is_empty(), rows) {
        (true, 0) => Err(Error::Empty { path: file.to_path_buf() }),
        (true, _) => Ok((census, repeats)),
        (false, _) => Err(Error::Rows { path: file.to_path_buf(), rows, faults }),
    }
}

/// The second reading: rows and the list of changes, both whole or not at all.
fn write(file: &Path, plan: &Plan, options: &CleanOptions, progress: Progress, cleaned: &mut Cleaned) -> Result<()> {
    let mut fault = None;
    let (out, list) = (cleaned.out.clone(), cleaned.list.clone());
    let written = record::atomic::write_with(&out, |rows_out| {
        record::atomic::write_with(&list, |list_out| {
            let mut lines = Lines::open(file).map_err(std::io::Error::other)?;
            while let Some(batch) = lines.next().map_err(std::io::Error::other)? {
                write_batch(&batch, plan, options, cleaned, rows_out, list_out)?;
                if !progress("writing", batch.end, lines.size) {
                    fault = Some(Error::Stopped);
                    return Err(std::io::ErrorKind::Interrupted.into());
                }
            }
            Ok(())
        })
        .map_err(std::io::Error::other)
    });
    match fault {
        Some(fault) => Err(fault),
        None => Ok(written?),
    }
}

fn write_batch(
    batch: &Batch,
    plan: &Plan,
    options: &CleanOptions,
    cleaned: &mut Cleaned,
    rows_out: &mut impl Write,
    list_out: &mut impl Write,
) -> std::io::Result<()> {
    let made: Vec<_> = batch.rows.par_iter().map(|row| row::clean(row, plan)).collect();
    for (row, made) in batch.rows.iter().zip(made) {
        // The first reading has shown that all rows are sound; one that is not was changed meanwhile.
        let (bytes, changes) = made.map_err(|fault| std::io::Error::other(format!("line {}: {fault}", row.line)))?;
        rows_out.write_all(&bytes)?;
        cleaned.rows += u64::from(!row.is_blank());
        cleaned.changed += u64::from(!changes.is_empty());
        for change in changes {
            cleaned.count(&change);
            writeln!(list_out, "{}", change.to_json(options.show))?;
        }
    }
    Ok(())
}

impl Cleaned {
    fn count(&mut self, change: &Change) {
        *self.changes.entry(change.what.to_string()).or_default() += 1;
        if let Some(kind) = change.kind {
            self.hidden.entry(kind).or_default().0 += 1;
        }
    }

    /// The account, as it is written.
    pub fn to_json(&self, file: &Path) -> Value {
        let hidden = self.hidden.iter().filter(|(_, (places, _))| *places > 0);
        let hidden: serde_json::Map<String, Value> =
            hidden.map(|(kind, (places, distinct))| (kind.name().to_string(), json!({ "places": places, "distinct": distinct }))).collect();
        let repeated: Vec<Value> = self.repeated.iter().map(|(line, rows)| json!({ "line": line, "rows": rows })).collect();
        json!({
            "file": file, "out": self.out, "rows": self.rows, "changed": self.changed, "changes": self.changes, "hidden": hidden,
            "repeated": repeated, "list": self.list, "map": self.map,
        })
    }
}
