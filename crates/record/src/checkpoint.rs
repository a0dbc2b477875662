//! Checkpoints: a folder that is whole, or is not there.
//!
//! A checkpoint is written under a temporary name, hashed, synced and renamed; old ones are
//! removed only afterwards. At every moment of a crash the newest whole one can be found.
//!
//! `state.json` says where the run stood; `manifest.json` holds size and SHA-256 of each file.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic::{self, TEMPORARY};
use crate::error::{Error, Result};
use crate::hash;

/// The version of `state.json` and `manifest.json`.
pub const VERSION: u64 = 1;
const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";

/// Where the run stood. Times and paths are left out, so that equal runs write equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Steps of the run that are done.
    pub step: u64,
    /// Passes over the data that are done.
    pub epoch: u64,
    /// Examples of the current pass that are done.
    pub cursor: u64,
    /// Length of the event log.
    pub events_bytes: u64,
    /// Updates that the optimizer made; it lags behind `step` when steps were skipped.
    pub optimizer_step: u64,
    /// [`crate::Recipe::fingerprint`].
    pub fingerprint: String,
    /// SHA-256 of the pack.
    pub pack: String,
}

/// The points at which the writing of a checkpoint can be stopped, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The caller's files are written.
    Files,
    /// `state.json` is written.
    State,
    /// `manifest.json` is written.
    Manifest,
    /// Everything is durable, under the temporary name.
    Synced,
    /// The checkpoint has its name.
    Renamed,
    /// Old checkpoints are removed.
    Pruned,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; 6] = [Stage::Files, Stage::State, Stage::Manifest, Stage::Synced, Stage::Renamed, Stage::Pruned];

    fn name(self) -> &'static str {
        match self {
            Stage::Files => "files",
            Stage::State => "state",
            Stage::Manifest => "manifest",
            Stage::Synced => "synced",
            Stage::Renamed => "renamed",
            Stage::Pruned => "pruned",
        }
    }
}

/// Which checkpoints stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// So many of the newest ones, one at least.
    pub newest: u32,
    /// And that of this step, however old: the best one so far.
    pub also: Option<u64>,
}

impl From<u32> for Keep {
    fn from(newest: u32) -> Keep {
        Keep { newest, also: None }
    }
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub struct Draft {
    folder: PathBuf,
    path: PathBuf,
    step: u64,
}

/// A whole checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub path: PathBuf,
    pub state: State,
}

/// What [`latest`] found.
#[derive(Debug)]
pub struct Latest {
    pub checkpoint: Option<Checkpoint>,
    /// Newer checkpoints that are damaged, with what is wrong with each.
    pub damaged: Vec<(PathBuf, Error)>,
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    version: u64,
    #[serde(flatten)]
    state: State,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u64,
    files: Vec<Entry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Begins the checkpoint of a step in `folder` (`RunFolder::checkpoints`).
///
/// Removes what an interrupted writing left there, so the caller must hold the run's lock.
/// `need` is how many bytes the caller will write.
///
/// # Errors
/// [`Error::NoSpace`] before anything is written.
pub fn begin(folder: &Path, step: u64, need: u64) -> Result<Draft> {
    std::fs::create_dir_all(folder).map_err(|source| Error::io("make the folder", folder, source))?;
    for path in entries(folder)? {
        if name_of(&path).starts_with(TEMPORARY) {
            remove_all(&path)?;
        }
    }
    // State, manifest and the folders' own blocks.
    const OURS: u64 = 64 * 1024;
    atomic::require_space(&folder.join(name(step)), need.saturating_add(OURS))?;
    let path = folder.join(format!("{TEMPORARY}{}", name(step)));
    std::fs::create_dir(&path).map_err(|source| Error::io("make the folder", &path, source))?;
    Ok(Draft { folder: folder.to_path_buf(), path, step })
}

impl Draft {
    /// The folder into which the caller writes its files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finishes the checkpoint and removes those that `keep` does not name; this one always stays.
    pub fn commit(self, state: &State, keep: impl Into<Keep>) -> Result<Checkpoint> {
        self.commit_with(state, keep.into(), &|_| ControlFlow::Continue(()))
    }

    /// As [`Draft::commit`]; `hook` is told each stage and can stop there, as a crash would:
    /// nothing is cleaned up, and the answer is [`Error::Stopped`].
    pub fn commit_with(self, state: &State, keep: impl Into<Keep>, hook: &dyn Fn(Stage) -> ControlFlow<()>) -> Result<Checkpoint> {
        let whole = self.folder.join(name(self.step));
        let pass = |stage: Stage| match hook(stage) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped { path: whole.clone(), stage: stage.name() }),
        };
        if state.step != self.step {
            return Err(Error::Unwritable {
                path: whole,
                what: "the state's step".to_string(),
                found: state.step.to_string(),
                expected: self.step.to_string(),
            });
        }
        pass(Stage::Files)?;
        write_json(&self.path.join(STATE), &StateFile { version: VERSION, state: state.clone() })?;
        pass(Stage::State)?;
        let manifest = Manifest { version: VERSION, files: measure(&self.path)? };
        write_json(&self.path.join(MANIFEST), &manifest)?;
        pass(Stage::Manifest)?;
        sync_all(&self.path)?;
        pass(Stage::Synced)?;
        // A damaged checkpoint of the same step gives way; an older whole one still stands.
        set_aside(&self.folder, &whole)?;
        std::fs::rename(&self.path, &whole).map_err(|source| Error::io("rename", &self.path, source))?;
        atomic::sync_folder(&self.folder)?;
        pass(Stage::Renamed)?;
        prune(&self.folder, self.step, keep.into())?;
        pass(Stage::Pruned)?;
        Ok(Checkpoint { path: whole, state: state.clone() })
    }
}

/// The newest checkpoint of `folder` that is whole, byte by byte.
///
/// A damaged one is passed over and reported.
pub fn latest(folder: &Path) -> Result<Latest> {
    let mut damaged = Vec::new();
    if folder.exists() {
        for (step, path) in steps(folder)?.into_iter().rev() {
            match verify(&path, step) {
                Ok(checkpoint) => return Ok(Latest { checkpoint: Some(checkpoint), damaged }),
                Err(error) => damaged.push((path, error)),
            }
        }
    }
    Ok(Latest { checkpoint: None, damaged })
}

/// The checkpoint of one step, verified byte by byte.
///
/// # Errors
/// [`Error::Damaged`] or [`Error::Io`] when it is not whole.
pub fn at(folder: &Path, step: u64) -> Result<Checkpoint> {
    verify(&folder.join(name(step)), step)
}

fn verify(path: &Path, step: u64) -> Result<Checkpoint> {
    let manifest: Manifest = read_json(&path.join(MANIFEST))?;
    require_version(&path.join(MANIFEST), "manifest", manifest.version)?;
    for entry in &manifest.files {
        let file = path.join(&entry.name);
        let (sha256, bytes) = hash::sha256_file(&file)?;
        if bytes != entry.bytes {
            return Err(Error::damaged(&file, "the size", bytes, entry.bytes));
        }
        if sha256 != entry.sha256 {
            return Err(Error::damaged(&file, "the sha256", sha256, &entry.sha256));
        }
    }
    let state: StateFile = read_json(&path.join(STATE))?;
    require_version(&path.join(STATE), "state", state.version)?;
    if state.state.step != step {
        return Err(Error::damaged(&path.join(STATE), "the step", state.state.step, step));
    }
    if !manifest.files.iter().any(|entry| entry.name == STATE) {
        return Err(Error::damaged(&path.join(MANIFEST), "its list of files", "without state.json", "one with it"));
    }
    Ok(Checkpoint { path: path.to_path_buf(), state: state.state })
}

/// Name, size and hash of each file, in the order of names.
fn measure(folder: &Path) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        if !path.is_file() {
            return Err(Error::Unwritable {
                path: folder.to_path_buf(),
                what: format!("`{}`", name_of(&path)),
                found: "no file".to_string(),
                expected: "files only".to_string(),
            });
        }
        let (sha256, bytes) = hash::sha256_file(&path)?;
        found.push(Entry { name: name_of(&path), bytes, sha256 });
    }
    Ok(found)
}

fn sync_all(folder: &Path) -> Result<()> {
    for path in entries(folder)? {
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(|source| Error::io("sync", &path, source))?;
    }
    atomic::sync_folder(folder)
}

/// Keeps what `keep` names of the checkpoints up to `step`; later ones belong to a course of the
/// run that was left, since the run went on from an earlier checkpoint.
fn prune(folder: &Path, step: u64, keep: Keep) -> Result<()> {
    let (past, later): (Vec<_>, Vec<_>) = steps(folder)?.into_iter().partition(|(number, _)| *number <= step);
    let surplus = past.len().saturating_sub(keep.newest.max(1) as usize);
    for (_, path) in past.iter().take(surplus).filter(|(number, _)| Some(*number) != keep.also).chain(&later) {
        set_aside(folder, path)?;
    }
    atomic::sync_folder(folder)
}

/// Removes a checkpoint: first its name, so that it is never seen half.
fn set_aside(folder: &Path, path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let aside = folder.join(format!("{TEMPORARY}old-{}", name_of(path)));
    std::fs::rename(path, &aside).map_err(|source| Error::io("rename", path, source))?;
    remove_all(&aside)
}

fn remove_all(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.map_err(|source| Error::io("remove", path, source))
}

/// `step-000123`.
fn name(step: u64) -> String {
    format!("step-{step:06}")
}

/// The checkpoints of a folder, oldest first.
fn steps(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        let number = name_of(&path).strip_prefix("step-").and_then(|digits| digits.parse().ok());
        if let Some(number) = number.filter(|_| path.is_dir()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// What a folder holds, in the order of names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::io("read the folder", folder, source);
    let list = std::fs::read_dir(folder).map_err(failed)?;
    let mut found = list.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    found.sort();
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|cause| Error::damaged(path, "the content", cause, "JSON"))?;
    text.push(b'\n');
    std::fs::write(path, text).map_err(|source| Error::io("write", path, source))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|source| Error::io("read", path, source))?;
    serde_json::from_slice(&bytes).map_err(|cause| Error::damaged(path, "the content", cause, "the fields of this version"))
}

fn require_version(path: &Path, what: &'static str, found: u64) -> Result<()> {
    if found != VERSION {
        return Err(Error::Version { path: path.to_path_buf(), what, found, expected: VERSION });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(step: u64) -> State {
        State { step, events_bytes: step * 100, fingerprint: "f".into(), pack: "p".into(), ..State::default() }
    }

    fn weights(step: u64) -> Vec<u8> {
        (0..5000u64).map(|i| (i * step) as u8).collect()
    }

    fn draft(folder: &Path, step: u64) -> Draft {
        let draft = begin(folder, step, 5000).unwrap();
        std::fs::write(draft.path().join("adapter.safetensors"), weights(step)).unwrap();
        draft
    }

    fn save(folder: &Path, step: u64, keep: u32) -> Checkpoint {
        draft(folder, step).commit(&state(step), keep).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        entries(folder).unwrap().iter().map(|path| name_of(path)).collect()
    }

    #[test]
    fn the_newest_is_found_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("checkpoints");
        assert!(latest(&folder).unwrap().checkpoint.is_none());
        for step in [50, 100, 150] {
            let made = save(&folder, step, 2);
            assert_eq!(latest(&folder).unwrap().checkpoint, Some(made));
        }
        assert_eq!(names(&folder), ["step-000100", "step-000150"]);
        save(&folder, 1_000_000, 1);
        assert_eq!(names(&folder), ["step-1000000"]);
    }

    #[test]
    fn the_best_one_stays_however_old() {
        let dir = tempfile::tempdir().unwrap();
        let best = save(dir.path(), 10, 2);
        for step in [20, 30, 40] {
            draft(dir.path(), step).commit(&state(step), Keep { newest: 2, also: Some(10) }).unwrap();
        }
        assert_eq!(names(dir.path()), ["step-000010", "step-000030", "step-000040"]);
        assert_eq!(at(dir.path(), 10).unwrap(), best);
        assert_eq!(latest(dir.path()).unwrap().checkpoint.unwrap().state.step, 40);
        std::fs::write(best.path.join("adapter.safetensors"), [0; 5000]).unwrap();
        assert!(at(dir.path(), 10).unwrap_err().to_string().contains("the sha256 is"));
        save(dir.path(), 50, 2);
        assert_eq!(names(dir.path()), ["step-000040", "step-000050"], "it goes when another one is best");
    }

    #[test]
    fn equal_states_write_equal_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (save(&dir.path().join("a"), 7, 1), save(&dir.path().join("b"), 7, 1));
        for file in [STATE, MANIFEST] {
            assert_eq!(std::fs::read(one.path.join(file)).unwrap(), std::fs::read(other.path.join(file)).unwrap());
        }
    }

    #[test]
    fn a_crash_at_any_stage_leaves_a_whole_checkpoint() {
        for stage in Stage::ALL {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path();
            save(folder, 50, 1);
            let stop = |at| if at == stage { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let error = draft(folder, 100).commit_with(&state(100), 1, &stop).unwrap_err();
            assert!(error.to_string().ends_with(&format!("stopped at {}", stage.name())), "{error}");

            let found = latest(folder).unwrap();
            let expected = if matches!(stage, Stage::Renamed | Stage::Pruned) { 100 } else { 50 };
            assert_eq!(found.checkpoint.unwrap().state, state(expected), "{stage:?}");
            assert!(found.damaged.is_empty());

            // The resumed run writes on, and the leftovers are gone.
            save(folder, 150, 1);
            assert_eq!(names(folder), ["step-000150"], "{stage:?}");
        }
    }

    #[test]
    fn damage_is_passed_over_and_reported() {
        type Case = (&'static str, fn(&Path));
        let cases: [Case; 6] = [
            ("the sha256 is", |path| {
                let mut bytes = std::fs::read(path.join("adapter.safetensors")).unwrap();
                bytes[4000] ^= 1;
                std::fs::write(path.join("adapter.safetensors"), bytes).unwrap();
            }),
            ("the size is 10, expected 5000", |path| std::fs::write(path.join("adapter.safetensors"), [0; 10]).unwrap()),
            ("cannot open", |path| std::fs::remove_file(path.join("adapter.safetensors")).unwrap()),
            ("cannot read", |path| std::fs::remove_file(path.join(MANIFEST)).unwrap()),
            ("the content is", |path| std::fs::write(path.join(MANIFEST), "{").unwrap()),
            ("manifest version 2, expected 1", |path| std::fs::write(path.join(MANIFEST), "{\"version\":2,\"files\":[]}").unwrap()),
        ];
        for (part, harm) in cases {
            let dir = tempfile::tempdir().unwrap();
            save(dir.path(), 50, 2);
            let newest = save(dir.path(), 100, 2);
            harm(&newest.path);
            let found = latest(dir.path()).unwrap();
            assert_eq!(found.checkpoint.unwrap().state.step, 50);
            let [(path, error)] = found.damaged.as_slice() else { panic!("one is damaged") };
            assert_eq!(path, &newest.path);
            assert!(error.to_string().contains(part), "{error}");

            // A run that goes on from 50 replaces the damaged one and never counts it as kept.
            save(dir.path(), 75, 1);
            assert_eq!(names(dir.path()), ["step-000075"]);
        }
    }

    #[test]
    fn a_damaged_checkpoint_of_the_same_step_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let old = save(dir.path(), 50, 2);
        std::fs::remove_file(old.path.join(MANIFEST)).unwrap();
        let new = save(dir.path(), 50, 2);
        assert_eq!(latest(dir.path()).unwrap().checkpoint, Some(new));
    }

    #[test]
    fn too_little_space_is_told_before_writing() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), 50, 1);
        let error = begin(dir.path(), 100, u64::MAX).unwrap_err();
        assert!(error.to_string().contains("step-000100: it needs"), "{error}");
        assert_eq!(names(dir.path()), ["step-000050"]);
    }

    #[test]
    fn a_state_of_another_step_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = draft(dir.path(), 100).commit(&state(99), 1).unwrap_err().to_string();
        assert!(error.contains("the state's step is 99, expected 100"), "{error}");
    }
}
