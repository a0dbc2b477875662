//! What preferences are measured against: how likely the model at the start held each answer of every pair.

use crate::{Error, Material};
use serde::{Deserialize, Serialize};
use std::path::Path;

const VERSION: u64 = 1;

/// Log-probabilities of a pair: chosen, rejected.
pub type Pair = [f64; 2];

/// How likely the model at the start held the answers of every pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    /// Of the training pairs, replayed ones after them.
    pub train: Vec<Pair>,
    /// Of the validation pairs.
    pub validation: Vec<Pair>,
}

/// The file: bits of f64, since a decimal text might lose the last one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    train_pack: String,
    validation_pack: Option<String>,
    train: Vec<[u64; 2]>,
    validation: Vec<[u64; 2]>,
}

impl Reference {
    /// Reads what was written for these packs; nothing if there is none, or one for other packs.
    pub fn load(path: &Path, material: &Material) -> Option<Reference> {
        let file: File = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let fits = file.version == VERSION && file.train_pack == material.sha && file.validation_pack == material.validation_sha;
        let whole = file.train.len() * 2 == material.sequences().len() && file.validation.len() * 2 == material.validation.len();
        let floats = |pairs: Vec<[u64; 2]>| pairs.into_iter().map(|pair| pair.map(f64::from_bits)).collect();
        (fits && whole).then(|| Reference { train: floats(file.train), validation: floats(file.validation) })
    }

    /// Writes it for these packs.
    ///
    /// # Errors
    /// What the disk says.
    pub fn save(&self, path: &Path, material: &Material) -> Result<(), Error> {
        let bits = |pairs: &[Pair]| pairs.iter().map(|pair| pair.map(f64::to_bits)).collect();
        let file = File {
            version: VERSION,
            train_pack: material.sha.clone(),
            validation_pack: material.validation_sha.clone(),
            train: bits(&self.train),
            validation: bits(&self.validation),
        };
        let text = serde_json::to_vec(&file).map_err(|cause| Error::Io { path: path.into(), source: cause.into() })?;
        Ok(record::atomic::write(path, &text)?)
    }
}
