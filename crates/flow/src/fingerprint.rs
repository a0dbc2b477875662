//! Which base an adapter belongs to: a fingerprint that costs no more than opening the files, and what differs.
//!
//! Every tensor counts with its name, type, shape and its first and last 64 stored bytes, in the order of the names. Another
//! training of the same architecture differs in nearly every tensor; the same weights in another file format do as well,
//! and are taken for another base: their numbers differ where the format rounds.

use crate::Error;
use model::Folder;
use record::RunFolder;
use record::hash;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const VERSION: u64 = 1;
/// Bytes at each end of a tensor that count.
const ENDS: usize = 64;
/// The file in a run, and in the adapter that it publishes.
const FILE: &str = "base.json";

/// What is known of a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Where it was found.
    pub name: String,
    /// Number of tensors.
    pub tensors: u64,
    /// SHA-256 over names and shapes.
    pub layout: String,
    /// SHA-256 over names, types, shapes and the ends of the bytes.
    pub weights: String,
}

/// The fingerprint of an opened model.
///
/// # Errors
/// A tensor that cannot be reached.
pub fn fingerprint(folder: &Folder) -> Result<Base, Error> {
    let mut names: Vec<&str> = folder.files.names().collect();
    names.sort_unstable();
    let (mut layout, mut weights) = (String::new(), String::new());
    for name in &names {
        let tensor = folder.files.tensor(name).map_err(model::Error::from)?.tensor;
        let bytes = tensor.bytes;
        let ends = [&bytes[..ENDS.min(bytes.len())], &bytes[bytes.len().saturating_sub(ENDS)..]].concat();
        layout.push_str(&format!("{name} {:?}\n", tensor.shape));
        weights.push_str(&format!("{name} {:?} {:?} {} {}\n", tensor.shape, tensor.dtype, bytes.len(), hash::sha256(&ends)));
    }
    // The system maps 64 KiB around each byte that is looked at: a page for every end would stay for the whole run.
    folder.files.release();
    let (layout, weights) = (hash::sha256(layout.as_bytes()), hash::sha256(weights.as_bytes()));
    Ok(Base { name: folder.path.display().to_string(), tensors: names.len() as u64, layout, weights })
}

impl Base {
    fn to_json(&self) -> Value {
        json!({ "version": VERSION, "name": self.name, "tensors": self.tensors, "layout": self.layout, "weights": self.weights })
    }

    fn read(path: &Path) -> Result<Option<Base>, Error> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path: path.into(), source }),
        };
        let damaged = |found: &str| Error::Read {
            path: path.into(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, found.to_string()),
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(|cause| damaged(&cause.to_string()))?;
        let text = |name: &str| value[name].as_str().map(str::to_string);
        let base =
            || Some(Base { name: text("name")?, tensors: value["tensors"].as_u64()?, layout: text("layout")?, weights: text("weights")? });
        match value["version"].as_u64() {
            Some(VERSION) => base().map(Some).ok_or_else(|| damaged("a field of the fingerprint is missing")),
            found => Err(damaged(&format!("version {found:?}, expected {VERSION}"))),
        }
    }

    /// Refuses a base other than the one that `of` was made for.
    fn require(&self, known: &Base, of: &Path) -> Result<(), Error> {
        if self.weights == known.weights {
            return Ok(());
        }
        let what = match (self.tensors == known.tensors, self.layout == known.layout) {
            (false, _) => format!("{} tensors, expected {}", self.tensors, known.tensors),
            (true, false) => "tensors of other names or shapes".to_string(),
            (true, true) => "the same architecture with other weights, or stored in another format".to_string(),
        };
        Err(Error::OtherBase { path: of.into(), found: self.name.clone(), what, expected: known.name.clone() })
    }
}

/// Notes the base of a run that begins; of one that goes on, refuses another.
///
/// # Errors
/// [`Error::OtherBase`] with what differs.
pub fn note_base(folder: &Folder, run: &RunFolder) -> Result<(), Error> {
    let base = fingerprint(folder)?;
    match Base::read(&run.base())? {
        Some(known) => base.require(&known, run.path()),
        None => Ok(record::atomic::write(&run.base(), format!("{:#}\n", base.to_json()).as_bytes())?),
    }
}

/// Whether an older adapter is known to belong to this base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its fingerprint says so.
    Known,
    /// It carries none: another tool made it, and only its shapes can be compared.
    Unknown,
}

/// The adapter's own folder, given that or its run; with what is known of its base.
///
/// # Errors
/// [`Error::NotAnAdapter`], or [`Error::OtherBase`] with what differs.
pub fn older_adapter(folder: &Folder, from: &Path) -> Result<(PathBuf, Origin), Error> {
    let holds = |path: &PathBuf| path.join("adapter_config.json").is_file();
    let own = [from.to_path_buf(), from.join("adapter")].into_iter().find(holds);
    let own = own.ok_or_else(|| Error::NotAnAdapter { path: from.into() })?;
    let known = match Base::read(&own.join(FILE))? {
        Some(known) => Some(known),
        None => own.parent().map_or(Ok(None), |run| Base::read(&run.join(FILE)))?,
    };
    match known {
        None => Ok((own, Origin::Unknown)),
        Some(known) => fingerprint(folder)?.require(&known, &own).map(|()| (own, Origin::Known)),
    }
}
