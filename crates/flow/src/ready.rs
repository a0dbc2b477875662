//! A model in memory, with its threads: what training, measuring and talking begin with.

use crate::{Error, Watch};
use engine::Cx;
use model::weights::Hold;
use model::{Adapter, Folder, Weights};
use record::recipe::Precision;
use record::{Recipe, RunFolder};
use std::path::Path;

/// A loaded model.
pub struct Ready {
    /// The threads.
    pub cx: Cx,
    /// Its files.
    pub folder: Folder,
    /// Its weights.
    pub weights: Weights,
}

/// How a precision suits this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The CPU multiplies it.
    Fast,
    /// It is imitated, step by step.
    Slow,
}

/// Names the precision that this machine trains `recipe` in, where it leaves the choice, and tells how that suits it.
pub fn settle(recipe: &mut Recipe) -> Fit {
    settle_for(engine::cpu::lanes::multiplies_pairs(), recipe)
}

fn settle_for(multiplies_pairs: bool, recipe: &mut Recipe) -> Fit {
    if recipe.train.precision == Precision::Auto {
        recipe.train.precision = if multiplies_pairs { Precision::Bf16 } else { Precision::F32 };
    }
    if recipe.train.precision == Precision::Bf16 && !multiplies_pairs { Fit::Slow } else { Fit::Fast }
}

/// Opens and loads the model at `path` in float32 (threads 0: all cores).
///
/// # Errors
/// What is wrong with its files.
pub fn load(path: &Path, threads: usize, watch: &mut dyn Watch) -> Result<Ready, Error> {
    load_in(Precision::F32, path, threads, watch)
}

/// As [`load`], in the precision of a settled recipe: for training.
///
/// # Errors
/// As [`load`].
pub fn load_to_teach(recipe: &Recipe, path: &Path, threads: usize, watch: &mut dyn Watch) -> Result<Ready, Error> {
    load_in(recipe.train.precision, path, threads, watch)
}

fn load_in(precision: Precision, path: &Path, threads: usize, watch: &mut dyn Watch) -> Result<Ready, Error> {
    let cx = Cx::new(threads).map_err(Error::Threads)?;
    let folder = Folder::open(path)?;
    watch.begin("loading the model", 100);
    let hold = if precision == Precision::Bf16 { Hold::Bf16 } else { Hold::F32 };
    let weights = Weights::load(&cx, &folder.files, &folder.dims, hold, &mut |done, of| watch.advance((100 * done / of.max(1)) as u64))?;
    watch.end();
    Ok(Ready { cx, folder, weights })
}

/// The trained adapter of a run.
///
/// # Errors
/// A run that has not finished, or an adapter that does not fit the model.
pub fn adapter_of(ready: &Ready, run: &RunFolder) -> Result<Adapter, Error> {
    if !run.adapter().is_dir() {
        return Err(Error::NotYet { path: run.path().into(), what: "adapter", why: "its training has not finished" });
    }
    Ok(Adapter::load(&ready.folder.dims, &run.adapter())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_settled_by_the_machine_and_a_slow_wish_is_told() {
        let settled = |wish, has| {
            let mut recipe = Recipe::default();
            recipe.train.precision = wish;
            let fit = settle_for(has, &mut recipe);
            (recipe.train.precision, fit)
        };
        assert_eq!(settled(Precision::Auto, true), (Precision::Bf16, Fit::Fast));
        assert_eq!(settled(Precision::Auto, false), (Precision::F32, Fit::Fast));
        assert_eq!(settled(Precision::F32, true), (Precision::F32, Fit::Fast));
        assert_eq!(settled(Precision::Bf16, false), (Precision::Bf16, Fit::Slow));
    }
}
