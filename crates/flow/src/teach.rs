//! Training a prepared run on a loaded model.

use crate::fingerprint::{note_base, older_adapter};
use crate::{Error, Ready, Watch};
use model::adapter::{AdapterConfig, Targets};
use model::{Adapter, Folder};
use record::{Recipe, RunFolder, recipe};
use std::path::Path;
use train::{Abort, About, End, Start};

/// The PEFT configuration that a recipe describes.
pub fn adapter_config(recipe: &Recipe, base: &str) -> AdapterConfig {
    let a = &recipe.adapter;
    let targets = match &a.targets {
        recipe::Targets::AllLinear => Targets::AllLinear,
        recipe::Targets::Suffixes(list) => Targets::List(list.clone()),
        recipe::Targets::Pattern(text) => Targets::Regex(text.clone()),
    };
    let mut config = AdapterConfig::new(a.rank as usize, a.alpha, targets);
    config.use_rslora = a.rslora;
    config.use_dora = recipe.train.method == recipe::Method::Dora;
    config.lora_dropout = a.dropout;
    config.rank_pattern = a.rank_pattern.iter().map(|(name, rank)| (name.clone(), *rank as usize)).collect();
    config.alpha_pattern = a.alpha_pattern.clone();
    config.modules_to_save = a.modules_to_save.clone();
    config.base_model_name_or_path = Some(base.to_string());
    config.task_type = Some("CAUSAL_LM".to_string());
    config
}

/// Runs the recipe of `run` to its end, or until `abort`; the pack must have been written.
///
/// # Errors
/// As [`train::run`].
pub fn teach(
    ready: &Ready,
    recipe: &Recipe,
    run: &RunFolder,
    about: &About,
    start: Start,
    abort: &Abort,
    watch: &mut dyn Watch,
) -> Result<End, Error> {
    note_base(&ready.folder, run)?;
    if let Some(from) = &recipe.adapter.from
        && !run.start().is_dir()
    {
        // A copy, so that the run goes on to the same bytes whatever becomes of the original.
        let (own, _) = older_adapter(&ready.folder, from)?;
        record::atomic::replace_folder(&run.start(), &mut |draft| copy(&own, draft))?;
    }
    let adapter = match &recipe.adapter.from {
        Some(_) => Adapter::load(&ready.folder.dims, &run.start())?,
        None => starting_adapter(recipe, &ready.folder)?,
    };
    Ok(train::run(&ready.cx, &ready.weights, adapter, recipe, run, about, start, abort, &mut |event| watch.event(event))?)
}

/// The adapter that a run of this recipe begins with: a fresh one, or an older one that belongs to this base.
///
/// # Errors
/// Targets that match nothing, an adapter of another base or one that is damaged.
pub fn starting_adapter(recipe: &Recipe, folder: &Folder) -> Result<Adapter, Error> {
    match &recipe.adapter.from {
        Some(from) => Ok(Adapter::load(&folder.dims, &older_adapter(folder, from)?.0)?),
        None => Ok(Adapter::new(&folder.dims, adapter_config(recipe, &folder.path.display().to_string()), recipe.train.seed)?),
    }
}

/// The files of an adapter.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    for name in ["adapter_config.json", model::adapter::WEIGHTS_FILE] {
        std::fs::copy(from.join(name), to.join(name)).map_err(|source| Error::Read { path: from.join(name), source })?;
    }
    Ok(())
}
