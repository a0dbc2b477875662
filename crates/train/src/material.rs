//! What a run is made of, as tokens, and which of it a step sees.
//!
//! Each pass over the examples has its own random order. Replayed examples of older tasks join each step by their share;
//! they have an order of their own, pass after pass. All of it is a function of seed and step, so nothing is saved.

use crate::Error;
use model::random::{Stream, order};
use record::pack::{Example, Kind, Meta, Pack};
use record::recipe::{Objective, Recipe, Train};
use record::{RunFolder, pack};
use std::path::{Path, PathBuf};

/// Streams of random numbers from here on order the replayed examples.
const REPLAY: u32 = 1 << 31;

/// The packs of a run. A unit is what a step counts: an example, or a pair of a chosen and a rejected one.
pub struct Material {
    /// Units of the new task, then replayed ones.
    pack: Pack,
    /// Units that are replayed.
    replayed: usize,
    /// Sequences whose loss is measured on the way; empty without validation.
    pub validation: Vec<Example>,
    /// SHA-256 of the file `train.pack`.
    pub sha: String,
    /// SHA-256 of the file `validation.pack`.
    pub validation_sha: Option<String>,
}

impl Material {
    /// Reads what `recipe` needs of the run, for a model with a vocabulary of `vocab` tokens.
    ///
    /// # Errors
    /// A pack that is missing, damaged, of the wrong kind, without anything to learn, or made for another vocabulary.
    pub fn read(folder: &RunFolder, recipe: &Recipe, vocab: usize) -> Result<Material, Error> {
        let (pack, sha) = read(&folder.pack(), recipe, vocab)?;
        let replayed = pack.meta.replay.as_ref().map_or(0, |replay| replay.sequences as usize) / pack.meta.kind.width();
        let mut material = Material { pack, replayed, validation: Vec::new(), sha, validation_sha: None };
        if material.units() == 0 {
            return Err(Error::Nothing { path: folder.pack(), examples: 0, supervised: 0 });
        }
        if recipe.validates() {
            let (pack, sha) = read(&folder.validation_pack(), recipe, vocab)?;
            (material.validation, material.validation_sha) = (pack.examples, Some(sha));
        }
        Ok(material)
    }

    /// What a run will read once its packs are written: sequences of the new task, replayed ones, those of validation.
    pub fn unwritten(kind: Kind, new: &[Example], replay: &[Example], validation: &[Example]) -> Material {
        let meta = Meta { kind, ..Meta::default() };
        let pack = Pack { meta, examples: [new, replay].concat(), sha256: String::new() };
        let replayed = replay.len() / kind.width();
        Material { pack, replayed, validation: validation.to_vec(), sha: String::new(), validation_sha: None }
    }

    /// Units of the new task.
    pub fn units(&self) -> usize {
        self.pack.examples.len() / self.width() - self.replayed
    }

    /// Units that are replayed.
    pub fn replayed(&self) -> usize {
        self.replayed
    }

    /// Sequences of a unit.
    pub fn width(&self) -> usize {
        self.pack.meta.kind.width()
    }

    /// All sequences, unit after unit.
    pub fn sequences(&self) -> &[Example] {
        &self.pack.examples
    }

    /// The sequences of one unit.
    pub fn unit(&self, unit: usize) -> &[Example] {
        &self.pack.examples[unit * self.width()..(unit + 1) * self.width()]
    }

    /// The units of step `step` (from 0).
    pub fn chosen(&self, recipe: &Recipe, step: u64) -> Vec<usize> {
        chosen(&recipe.train, self.units(), self.replayed, recipe.data.replay_weight, step)
    }

    /// The units of a step as a user finds them: `train.jsonl line 17`.
    pub fn names(&self, recipe: &Recipe, step: u64) -> Vec<String> {
        let name = |unit: usize| {
            let meta = &self.pack.meta;
            let replay = meta.replay.as_ref().filter(|_| unit >= self.units());
            let source = PathBuf::from(replay.map_or(&meta.source, |replay| &replay.source));
            let file = source.file_name().map_or_else(|| "the data".into(), |name| name.to_string_lossy().into_owned());
            format!("{file} line {}", self.unit(unit)[0].source_line)
        };
        self.chosen(recipe, step).into_iter().map(name).collect()
    }
}

fn read(path: &Path, recipe: &Recipe, vocab: usize) -> Result<(Pack, String), Error> {
    let sha = record::hash::sha256_file(path)?.0;
    let pack = pack::read(path)?;
    let expected = if recipe.train.objective == Objective::Dpo { Kind::Pairs } else { Kind::Answers };
    if pack.meta.kind != expected {
        return Err(Error::Kind { path: path.into(), found: kind(pack.meta.kind), expected: kind(expected) });
    }
    let supervised = pack.examples.iter().map(|e| e.learned.iter().skip(1).filter(|&&l| l).count()).sum();
    if supervised == 0 {
        return Err(Error::Nothing { path: path.into(), examples: pack.examples.len(), supervised });
    }
    for e in &pack.examples {
        if let Some(&token) = e.ids.iter().find(|&&t| t as usize >= vocab) {
            return Err(Error::Vocabulary { path: path.into(), line: e.source_line, token, vocab });
        }
    }
    Ok((pack, sha))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Answers => "answers to learn",
        Kind::Pairs => "pairs of a chosen and a rejected answer",
    }
}

/// Steps of a run over `units` examples, one at least.
pub fn steps_of(t: &Train, units: usize) -> u64 {
    ((per_epoch(t, units) as f64 * t.epochs).round() as u64).max(1)
}

/// Steps of one pass over the data; the last may have fewer examples.
pub fn per_epoch(t: &Train, units: usize) -> u64 {
    units.div_ceil(t.batch as usize) as u64
}

fn chosen(t: &Train, units: usize, replayed: usize, share: f64, step: u64) -> Vec<usize> {
    let (epoch, within) = (step / per_epoch(t, units), (step % per_epoch(t, units)) as usize);
    let from = within * t.batch as usize;
    let mut all = order(t.seed, Stream::Order(epoch as u32), units)[from..units.min(from + t.batch as usize)].to_vec();
    if replayed == 0 {
        return all;
    }
    let drawn = |step: u64| (seen(t, units, step) as f64 * share / (1.0 - share)) as u64;
    let (mut pass, mut places) = (None, Vec::new());
    for draw in drawn(step)..drawn(step + 1) {
        let (now, at) = (draw / replayed as u64, (draw % replayed as u64) as usize);
        if pass != Some(now) {
            (pass, places) = (Some(now), order(t.seed, Stream::Order(REPLAY | now as u32), replayed));
        }
        all.push(units + places[at]);
    }
    all
}

/// Units of the new task that the first `steps` steps see.
fn seen(t: &Train, units: usize, steps: u64) -> u64 {
    let (epochs, within) = (steps / per_epoch(t, units), steps % per_epoch(t, units));
    epochs * units as u64 + (within * u64::from(t.batch)).min(units as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train(batch: u32) -> Train {
        Train { batch, ..Recipe::default().train }
    }

    #[test]
    fn half_a_pass_is_half_its_steps() {
        let steps = |epochs: f64, examples| steps_of(&Train { epochs, ..train(4) }, examples);
        assert_eq!([steps(1.0, 9), steps(2.0, 9), steps(1.5, 16), steps(0.01, 9)], [3, 6, 6, 1]);
    }

    #[test]
    fn replayed_examples_join_by_their_share_and_each_comes_once_a_pass() {
        for (units, replayed, share) in [(100, 40, 0.25), (103, 7, 0.1), (50, 300, 0.6), (9, 5, 0.01)] {
            let t = train(8);
            let steps = 40 * per_epoch(&t, units);
            let all: Vec<usize> = (0..steps).flat_map(|step| chosen(&t, units, replayed, share, step)).collect();
            let old: Vec<usize> = all.iter().filter(|unit| **unit >= units).map(|unit| unit - units).collect();
            assert_eq!(all.len() - old.len(), 40 * units, "the new task keeps its passes");
            let found = old.len() as f64 / all.len() as f64;
            assert!((found - share).abs() < 1.0 / all.len() as f64 + 1e-9, "{found} for {share}");
            for pass in old.chunks(replayed) {
                let mut places = pass.to_vec();
                places.sort_unstable();
                places.dedup();
                assert_eq!(places.len(), pass.len(), "no example twice in a pass");
            }
        }
        assert!(chosen(&train(8), 20, 0, 0.5, 0).iter().all(|unit| *unit < 20));
    }
}
