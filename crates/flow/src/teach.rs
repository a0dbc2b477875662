//! Training a prepared run on a loaded model.

use crate::{Error, Ready, Watch};
use model::Adapter;
use model::adapter::{AdapterConfig, Targets};
use record::{Recipe, RunFolder, recipe};
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
    let config = adapter_config(recipe, &ready.folder.path.display().to_string());
    let adapter = Adapter::new(&ready.folder.dims, config, recipe.train.seed)?;
    Ok(train::run(&ready.cx, &ready.weights, adapter, recipe, run, about, start, abort, &mut |event| watch.event(event))?)
}
