//! The folder of a run, and the lock that gives it one writer.
//!
//! ```text
//! runs/NAME/
//!   recipe.toml               every setting, resolved
//!   train.pack                the tokens that are trained on
//!   validation.pack           tokens whose loss is measured on the way, if there are any
//!   base.json                 which base the adapter belongs to
//!   start/                    the adapter that the run began with, if it was not a fresh one
//!   reference.json            how likely the starting model held each answer, where preferences are learned
//!   events.jsonl              one line for each thing that happened
//!   checkpoints/step-000123/  what a resumed run needs
//!   adapter/                  the final adapter, in PEFT's form
//!   eval/outputs.jsonl        every answer of every arm
//!   eval/scores.json          the figures
//!   report.html               the figures for people
//!   merged/                   base and adapter in one model
//!   lock                      held by the process that writes
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::atomic;
use crate::error::{Error, Result};
use crate::recipe::Recipe;

/// A run on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

/// The right to write a run; given back when dropped or when the process ends, however.
#[derive(Debug)]
pub struct Lock {
    // The operating system ties the lock to the open file.
    _file: File,
}

impl RunFolder {
    /// Makes `runs/STEM-N` with the next free number N and writes the recipe into it.
    pub fn create(runs: &Path, stem: &str, recipe: &Recipe) -> Result<RunFolder> {
        require_name(stem)?;
        std::fs::create_dir_all(runs).map_err(|source| Error::io("make the folder", runs, source))?;
        let mut number = highest(runs, stem)?.saturating_add(1);
        loop {
            let path = runs.join(format!("{stem}-{number}"));
            match std::fs::create_dir(&path) {
                Ok(()) => return RunFolder::fill(path, recipe),
                // Another process took the number since we looked.
                Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => number = number.saturating_add(1),
                Err(source) => return Err(Error::io("make the folder", &path, source)),
            }
        }
    }

    /// Makes a run at a place of the caller's choice, which must be new or empty.
    pub fn create_at(path: &Path, recipe: &Recipe) -> Result<RunFolder> {
        std::fs::create_dir_all(path).map_err(|source| Error::io("make the folder", path, source))?;
        let mut entries = std::fs::read_dir(path).map_err(|source| Error::io("read the folder", path, source))?;
        if entries.next().is_some() {
            return Err(Error::Unwritable {
                path: path.to_path_buf(),
                what: "the folder".to_string(),
                found: "in use".to_string(),
                expected: "a new or an empty one".to_string(),
            });
        }
        RunFolder::fill(path.to_path_buf(), recipe)
    }

    /// Opens a run that exists; it is one when it holds a recipe.
    pub fn open(path: &Path) -> Result<RunFolder> {
        let run = RunFolder { path: path.to_path_buf() };
        if !path.is_dir() {
            return Err(Error::NotARun { path: path.to_path_buf(), missing: "the folder" });
        }
        if !run.recipe().is_file() {
            return Err(Error::NotARun { path: path.to_path_buf(), missing: "recipe.toml" });
        }
        Ok(run)
    }

    fn fill(path: PathBuf, recipe: &Recipe) -> Result<RunFolder> {
        let run = RunFolder { path };
        let text = recipe.with_absolute_paths()?.to_toml();
        atomic::write(&run.recipe(), text.as_bytes())?;
        atomic::sync_folder(atomic::folder_of(&run.path))?;
        Ok(run)
    }

    /// Takes the lock, or says who holds it.
    ///
    /// A process that died holds nothing, so its run can be taken over at once.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.path.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| Error::io("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The number only helps the reader of the message; without it the message stands.
                let _ = file.read_to_string(&mut text);
                return Err(Error::Locked { path: self.path.clone(), pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path, source)),
        }
        let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        noted.map_err(|source| Error::io("write", &path, source))?;
        Ok(Lock { _file: file })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's name, as in `tickets-3`.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    pub fn pack(&self) -> PathBuf {
        self.path.join("train.pack")
    }

    pub fn validation_pack(&self) -> PathBuf {
        self.path.join("validation.pack")
    }

    pub fn base(&self) -> PathBuf {
        self.path.join("base.json")
    }

    pub fn start(&self) -> PathBuf {
        self.path.join("start")
    }

    pub fn reference(&self) -> PathBuf {
        self.path.join("reference.json")
    }

    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub fn adapter(&self) -> PathBuf {
        self.path.join("adapter")
    }

    pub fn eval(&self) -> PathBuf {
        self.path.join("eval")
    }

    pub fn outputs(&self) -> PathBuf {
        self.path.join("eval/outputs.jsonl")
    }

    pub fn scores(&self) -> PathBuf {
        self.path.join("eval/scores.json")
    }

    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    pub fn merged(&self) -> PathBuf {
        self.path.join("merged")
    }
}

/// The highest N of the folders `STEM-N`; 0 when there is none.
fn highest(runs: &Path, stem: &str) -> Result<u64> {
    let failed = |source| Error::io("read the folder", runs, source);
    let mut highest = 0;
    for entry in std::fs::read_dir(runs).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(stem)?.strip_prefix('-')?.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(highest)
}

fn require_name(stem: &str) -> Result<()> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if stem.is_empty() || stem.len() > 100 || stem.starts_with('.') || !stem.chars().all(fits) {
        return Err(Error::BadName { found: stem.to_string() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_from_the_highest() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("deep/runs");
        let make = || RunFolder::create(&runs, "tickets", &Recipe::default()).unwrap().name();
        assert_eq!((make(), make()), ("tickets-1".to_string(), "tickets-2".to_string()));
        std::fs::create_dir(runs.join("tickets-10")).unwrap();
        std::fs::create_dir(runs.join("tickets-x")).unwrap();
        std::fs::remove_dir_all(runs.join("tickets-1")).unwrap();
        assert_eq!(make(), "tickets-11");
        let run = RunFolder::open(&runs.join("tickets-2")).unwrap();
        assert_eq!(Recipe::read(&run.recipe()).unwrap().fingerprint(), Recipe::default().fingerprint());
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for stem in ["", "../x", "a/b", ".hidden", "a b\n"] {
            let error = RunFolder::create(dir.path(), stem, &Recipe::default()).unwrap_err();
            assert!(error.to_string().contains("cannot name a run"), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_in_use_is_refused_and_a_stranger_is_no_run() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("letter.txt"), "").unwrap();
        let error = RunFolder::create_at(dir.path(), &Recipe::default()).unwrap_err().to_string();
        assert!(error.contains("is in use, expected a new or an empty one"), "{error}");
        let error = RunFolder::open(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("is not a run: recipe.toml is missing"), "{error}");
        let error = RunFolder::open(&dir.path().join("no")).unwrap_err().to_string();
        assert!(error.ends_with("is not a run: the folder is missing"), "{error}");
    }

    #[test]
    fn one_writer_at_a_time_and_a_dead_one_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(dir.path(), "a", &Recipe::default()).unwrap();
        // What a process that was killed leaves behind.
        std::fs::write(run.path().join("lock"), "4194304999\n").unwrap();
        let held = run.lock().unwrap();
        let error = run.lock().unwrap_err().to_string();
        assert!(error.contains(&format!("by process {}", std::process::id())), "{error}");
        drop(held);
        run.lock().unwrap();
    }
}
