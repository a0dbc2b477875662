//! The data of a recipe: read, checked, rendered, packed, with samples to look at before training.

use crate::Error;
use data::{Example, PackFacts, PackOptions, ReadOptions, Sample, TooLong};
use model::Folder;
use record::recipe::OverLong;
use record::{Meta, Recipe, RunFolder};
use std::collections::HashSet;
use std::path::Path;

/// Rendered samples shown before training.
const SAMPLES: usize = 3;

/// Data that is ready to train on and to be tested on.
pub struct Prepared {
    /// Training conversations.
    pub train: Vec<Example>,
    /// Held-out conversations.
    pub held_out: Vec<Example>,
    /// The training conversations as tokens.
    pub packed: Vec<record::Example>,
    /// What was seen while packing.
    pub facts: PackFacts,
    /// A few of them with the trained tokens marked.
    pub samples: Vec<Sample>,
    /// The system prompt, if the recipe names one.
    pub system: Option<String>,
}

/// Reads and packs what `recipe` names, for the model in `folder`.
///
/// # Errors
/// A broken line, an example that is too long, nothing to learn, held-out examples among the training data.
pub fn prepare(recipe: &Recipe, folder: &Folder) -> Result<Prepared, Error> {
    let system = recipe.data.system.as_deref().map(read_text).transpose()?;
    let options = ReadOptions { system: system.clone() };
    let train = data::read(&recipe.data.train, &options)?;
    let held_out = data::read(&recipe.data.eval, &options)?;
    check_leak(&train, &held_out, &recipe.data.eval)?;
    let context = recipe.data.max_tokens.map_or(folder.dims.context, |m| (m as usize).min(folder.dims.context));
    let too_long = match recipe.data.over_long {
        OverLong::Refuse => TooLong::Refuse,
        OverLong::Drop => TooLong::Drop,
    };
    let packed = data::pack(&train, &folder.chat, &PackOptions { context, too_long, render: Default::default() })?;
    let samples = data::sample(&train, &folder.chat, &Default::default(), SAMPLES)?;
    Ok(Prepared { train, held_out, packed: packed.examples, facts: packed.facts, samples, system })
}

fn read_text(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    Ok(text.trim_end().to_string())
}

/// Refuses held-out questions that are trained on, spaces and case apart.
fn check_leak(train: &[Example], held_out: &[Example], path: &Path) -> Result<(), Error> {
    let key = |e: &Example| {
        let asked: Vec<String> = e.messages.iter().filter(|m| m.role == "user").map(|m| m.content.to_lowercase()).collect();
        asked.join("\n").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let known: HashSet<String> = train.iter().map(key).collect();
    let leaked: Vec<&Example> = held_out.iter().filter(|e| known.contains(&key(e))).collect();
    match leaked.first() {
        None => Ok(()),
        Some(first) => Err(Error::Leak { path: path.into(), count: leaked.len(), of: held_out.len(), line: first.source.line }),
    }
}

/// Writes the pack of a run.
///
/// # Errors
/// What the disk says.
pub fn write_pack(prepared: &Prepared, recipe: &Recipe, folder: &Folder, run: &RunFolder) -> Result<(), Error> {
    let tokenizer = folder.chat.tokenizer.to_json()?;
    let meta = Meta {
        vocab: folder.dims.vocab as u32,
        template_sha: record::hash::sha256(folder.chat.template.source().as_bytes()),
        tokenizer_sha: record::hash::sha256(tokenizer.as_bytes()),
        source: recipe.data.train.display().to_string(),
        source_sha: record::hash::sha256_file(&recipe.data.train)?.0,
        system: prepared.system.clone(),
    };
    record::pack::write(&run.pack(), &meta, &prepared.packed)?;
    Ok(())
}
