//! Training a prepared run on a loaded model.

use crate::{Error, Ready, Watch};
use model::adapter::{AdapterConfig, Targets};
use model::{Adapter, Dims, Places};
use record::{Recipe, RunFolder, recipe};
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
pub fn parameters(recipe: &Recipe, dims: &Dims) -> Result<usize, Error> {
    Ok(places(recipe, dims)?.len())
}

/// Where each matrix that a recipe trains lies.
///
/// # Errors
/// As [`beginning`].
pub(crate) fn places(recipe: &Recipe, dims: &Dims) -> Result<Places, Error> {
    if recipe.train.method == recipe::Method::Full {
        return Ok(Places::of_model(dims));
    }
    Ok(Places::of_adapter(dims, &adapter_config(recipe, dims, &recipe.model.base))?)
}

/// What training begins with: a fresh adapter, or all weights of the base.
///
/// # Errors
/// Targets that match nothing, settings that contradict each other, a damaged base.
fn beginning(ready: &Ready, recipe: &Recipe, watch: &mut dyn Watch) -> Result<Adapter, Error> {
    if recipe.train.method == recipe::Method::Full {
        watch.begin("loading the model", 100);
        let mut tell = |done: usize, of: usize| watch.advance((100 * done / of.max(1)) as u64);
        let all = Adapter::of_model(&ready.folder.dims, &ready.folder.files, &mut tell)?;
        watch.end();
        return Ok(all);
    }
    let config = adapter_config(recipe, &ready.folder.dims, &ready.folder.path.display().to_string());
    let mut adapter = Adapter::new(&ready.folder.dims, config, recipe.train.seed)?;
    adapter.begin_at(&ready.folder.files, &ready.weights)?;
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
    let adapter = beginning(ready, recipe, watch)?;
    Ok(train::run(&ready.cx, &ready.weights, adapter, recipe, run, about, start, abort, &mut |event| watch.event(event))?)
}
