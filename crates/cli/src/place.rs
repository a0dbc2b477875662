//! Where things lie: a recipe, a run, a model; the user's words become paths here.

use crate::fault::{Fault, Kind};
use crate::ui::Ui;
use crate::{clock, memory};
use flow::Choice;
use model::Folder;
use record::event::Event;
use record::recipe::{Device, Storage};
use record::{Recipe, RunFolder};
use std::path::{Path, PathBuf};

/// Where answers are made, as a flag says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum On {
    /// The first GPU where there is one and the model runs on it, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl From<On> for Device {
    fn from(on: On) -> Device {
        match on {
            On::Auto => Device::Auto,
            On::Cpu => Device::Cpu,
            On::Cuda => Device::Cuda,
        }
    }
}

/// Where runs go unless told otherwise.
pub const RUNS: &str = "runs";

/// The recipe in `path` with `changes` of the form `section.key=value`.
pub fn recipe(path: &Path, changes: &[String]) -> Result<Recipe, Fault> {
    let recipe = Recipe::read(path)?;
    changed(recipe, changes)
}

/// As [`recipe`], with what it leaves to this machine decided: for training.
pub fn recipe_to_teach(path: &Path, changes: &[String], ui: &mut Ui) -> Result<Recipe, Fault> {
    let mut recipe = recipe(path, changes)?;
    recipe.check()?;
    recipe.notes().iter().for_each(|note| ui.warn(note));
    settle(&mut recipe, ui);
    Ok(recipe)
}

/// Decides what the recipe leaves to this machine and to the day, and warns of what it does badly.
pub fn settle(recipe: &mut Recipe, ui: &mut Ui) {
    let settled = flow::settle(recipe, &clock::today());
    match settled.choice {
        Choice::Cpu => {}
        Choice::NotGpu(why) => ui.warn(&format!("this run is trained on the CPU, not on a GPU: {why}")),
        Choice::Gpu { rounded, .. } if rounded => {
            ui.tell("A GPU trains in bf16, whatever train.precision says; --set train.device=cpu for f32")
        }
        Choice::Gpu { .. } => {}
    }
    if settled.fit == flow::Fit::Slow {
        ui.warn("this CPU has no instruction for bf16 products and imitates them, far slower than f32; a new run takes the better: --set train.precision=auto");
    }
}

/// `recipe`, settled, for this model: one that left the choice to the machine is trained on the CPU where a GPU does not train
/// the model.
pub fn suited(mut recipe: Recipe, path: &Path, changes: &[String], folder: &Folder, ui: &mut Ui) -> Result<Recipe, Fault> {
    let Err(why) = flow::suits(&recipe, folder) else { return Ok(recipe) };
    let asked = self::recipe(path, changes)?.train;
    if asked.device != Device::Auto || recipe.model.storage == Storage::Fp8 {
        return Err(why.into());
    }
    ui.warn(&format!("this run is trained on the CPU, not on a GPU: {why}"));
    (recipe.train.device, recipe.train.precision) = (Device::Cpu, asked.precision);
    settle(&mut recipe, ui);
    Ok(recipe)
}

/// Bytes that a run of a settled recipe can have where it is trained, if that is known.
pub fn free(recipe: &Recipe) -> Result<Option<u64>, Fault> {
    Ok(flow::gpu_free(recipe)?.or_else(memory::free))
}

/// `recipe` with `changes`.
pub fn changed(mut recipe: Recipe, changes: &[String]) -> Result<Recipe, Fault> {
    for change in changes {
        recipe.set(change)?;
    }
    Ok(recipe)
}

/// A run and its recipe.
pub fn run(path: &Path) -> Result<(RunFolder, Recipe), Fault> {
    let run = RunFolder::open(path)?;
    let recipe = Recipe::read(&run.recipe())?;
    Ok((run, recipe))
}

/// The model that `name` means, downloaded if it is not here yet.
pub fn model(name: &str, ui: &mut Ui) -> Result<PathBuf, Fault> {
    let options = hub::Options::from_env()?;
    Ok(hub::resolve(name, &options, ui)?.path)
}

/// What a run of this recipe is called: the file's name, or its folder's where that says nothing.
pub fn stem(recipe: &Path) -> String {
    let own = recipe.file_stem().unwrap_or_default();
    let folder = || Some(std::path::absolute(recipe).ok()?.parent()?.file_name()?.to_os_string());
    let name = if own == "tunesmith" || own == "recipe" { folder().unwrap_or_else(|| own.to_os_string()) } else { own.to_os_string() };
    let fits = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = name.to_string_lossy().chars().map(fits).take(60).collect();
    let name = name.trim_matches(['.', '-']);
    if name.is_empty() { "run".to_string() } else { name.to_string() }
}

/// A new run folder: at `out`, or numbered below [`RUNS`].
pub fn new_run(out: Option<&Path>, stem: &str, recipe: &Recipe) -> Result<RunFolder, Fault> {
    match out {
        Some(path) => Ok(RunFolder::create_at(path, recipe)?),
        None => Ok(RunFolder::create(Path::new(RUNS), stem, recipe)?),
    }
}

/// Takes a run folder back in which nothing has happened yet, so that a failed start leaves nothing.
pub fn take_back(run: &RunFolder) {
    if events(run).is_empty() {
        // The reason is about to be told; a folder that stays is only untidy.
        let _ = std::fs::remove_dir_all(run.path());
    }
}

/// What is known to have happened in a run.
pub fn events(run: &RunFolder) -> Vec<Event> {
    record::event::read(&run.events()).map(|log| log.events).unwrap_or_default()
}

/// Refuses a run that has nothing to show yet, before a model is loaded for it.
pub fn require_trained(run: &RunFolder) -> Result<(), Fault> {
    if run.adapter().is_dir() {
        return Ok(());
    }
    let (path, what, why) = (run.path().into(), "adapter", "its training has not finished");
    Err(flow::Error::NotYet { path, what, why }.into())
}

/// Refuses a folder for output that holds somebody's files.
pub fn require_empty(path: &Path) -> Result<(), Fault> {
    let used = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    };
    if used {
        let what = format!("cannot write {}: found a folder in use, expected a new or an empty one", path.display());
        return Err(Fault::new(Kind::Yours, what).hint("choose another one: --out FOLDER"));
    }
    Ok(())
}

/// Refuses a file for output that is there already, or whose folder is not.
pub fn require_new(path: &Path) -> Result<(), Fault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
    let (found, hint) = match folder {
        _ if path.exists() => ("a file or folder of this name, expected none".to_string(), "choose another one: --out FILE".to_string()),
        Some(folder) => (format!("no folder {}", folder.display()), format!("make it: mkdir -p {}", folder.display())),
        None => return Ok(()),
    };
    Err(Fault::new(Kind::Yours, format!("cannot write {}: found {found}", path.display())).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_called_like_its_recipe_or_its_folder() {
        let of = |p: &str| stem(Path::new(p));
        assert_eq!(of("/a/tickets/tunesmith.toml"), "tickets");
        assert_eq!(of("/a/tickets/fast one.toml"), "fast-one");
        assert_eq!(of("/a/..b/...toml"), "run");
    }
}
