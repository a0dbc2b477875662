//! Training a prepared run on a loaded model.

use crate::fingerprint::{note_base, older_adapter};
use crate::{Error, Ready, Watch};
use model::adapter::{AdapterConfig, Targets};
use model::{Adapter, Dims, Folder, Places};
use record::{Recipe, RunFolder, recipe};
use std::path::Path;
use train::{Abort, About, End, Start};

/// The PEFT configuration that a recipe describes, for a base of these sizes.
fn adapter_config(recipe: &Recipe, dims: &Dims, base: &str) -> AdapterConfig {
    let a = &recipe.adapter;
    let targets = match &a.targets {
        recipe::Targets::AllLinear => Targets::AllLinear,
        recipe::Targets::Suffixes(list) => Targets::List(list.clone()),
        recipe::Targets::Pattern(text) => Targets::Regex(text.clone()),
    };
    let mut config = AdapterConfig::new(a.rank as usize, a.alpha, targets);
    if let (Some(_), recipe::Targets::Suffixes(list)) = (&dims.experts, &a.targets) {
        // PEFT reaches the stacked weights of experts as parameters, by these names.
        let experts = list.iter().filter(|name| ["gate_up_proj", "down_proj"].contains(&name.as_str()));
        config.target_parameters = experts.map(|name| format!("mlp.experts.{name}")).collect();
    }
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

/// How many parameters a recipe trains.
///
/// # Errors
/// As [`beginning`].
pub fn parameters(recipe: &Recipe, folder: &Folder) -> Result<usize, Error> {
    Ok(places(recipe, folder, None)?.len())
}

/// What a recipe trains, and where it lies. A run that has begun keeps a copy of the adapter that it trains on.
pub(crate) fn places(recipe: &Recipe, folder: &Folder, run: Option<&RunFolder>) -> Result<Places, Error> {
    let dims = &folder.dims;
    if let Some(from) = &recipe.adapter.from {
        let kept = run.map(RunFolder::start).filter(|kept| kept.is_dir());
        let own = kept.map_or_else(|| Ok::<_, Error>(older_adapter(folder, from)?.0), Ok)?;
        return Ok(Adapter::load(dims, &own)?.places);
    }
    if recipe.train.method == recipe::Method::Full {
        return Ok(Places::of_model(dims));
    }
    Ok(Places::of_adapter(dims, &adapter_config(recipe, dims, &recipe.model.base))?)
}

/// What training begins with: a fresh adapter, an older one of the same base, or all weights of the base.
///
/// A run keeps a copy of the older adapter, so that it goes on to the same bytes whatever becomes of the original.
///
/// # Errors
/// Targets that match nothing, settings that contradict each other, a damaged base, an adapter of another base.
pub(crate) fn beginning(ready: &Ready, recipe: &Recipe, run: Option<&RunFolder>, watch: &mut dyn Watch) -> Result<Adapter, Error> {
    if let Some(from) = &recipe.adapter.from {
        let kept = run.map(RunFolder::start);
        if let Some(kept) = kept.as_ref().filter(|kept| !kept.is_dir()) {
            let (own, _) = older_adapter(&ready.folder, from)?;
            record::atomic::replace_folder(kept, &mut |draft| copy(&own, draft))?;
        }
        let own = kept.map_or_else(|| Ok::<_, Error>(older_adapter(&ready.folder, from)?.0), Ok)?;
        let mut adapter = Adapter::load(&ready.folder.dims, &own)?;
        if adapter.config.use_dora && recipe.adapter.dropout > 0.0 {
            let (what, found) = ("adapter.dropout beside an older DoRA adapter".to_string(), recipe.adapter.dropout.to_string());
            return Err(model::Error::Unsupported { what, found, supported: "0".to_string() }.into());
        }
        // Everything else is the older adapter's own; dropout belongs to the training that begins.
        adapter.config.lora_dropout = recipe.adapter.dropout;
        adapter.places = Places::of_adapter(&ready.folder.dims, &adapter.config)?;
        return Ok(adapter);
    }
    if recipe.train.method == recipe::Method::Full {
        watch.begin("loading the model", 100);
        let mut tell = |done: usize, of: usize| watch.advance((100 * done / of.max(1)) as u64);
        let all = Adapter::of_model(&ready.folder.dims, &ready.folder.files, &mut tell)?;
        watch.end();
        return Ok(all);
    }
    let config = adapter_config(recipe, &ready.folder.dims, &ready.folder.path.display().to_string());
    let mut adapter = Adapter::new(&ready.folder.dims, config, recipe.train.seed)?;
    match &ready.gpu {
        Some(_) => adapter.begin_at_files(&ready.folder.files, crate::ready::scheme(recipe))?,
        None => adapter.begin_at(&ready.folder.files, &ready.weights)?,
    }
    Ok(adapter)
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
    let adapter = beginning(ready, recipe, Some(run), watch)?;
    Ok(train::run(ready.place(), adapter, recipe, run, about, start, abort, &mut |event| watch.event(event))?)
}

/// The files of an adapter.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    for name in ["adapter_config.json", model::adapter::WEIGHTS_FILE] {
        std::fs::copy(from.join(name), to.join(name)).map_err(|source| Error::Read { path: from.join(name), source })?;
    }
    Ok(())
}
