//! A model in memory, with its threads: what training, measuring and talking begin with.

use crate::device::{self, Choice};
use crate::{Error, Watch};
use engine::Cx;
use engine::cuda::Gpu;
use model::weights::{Hold, Scheme};
use model::{Folder, Weights};
use record::recipe::{Precision, Storage};
use record::{Recipe, recipe};
use std::path::Path;
use std::sync::Arc;

/// A loaded model.
pub struct Ready {
    /// The threads.
    pub cx: Cx,
    /// Its files.
    pub folder: Folder,
    /// Its weights.
    pub weights: Weights,
    /// How they are held.
    pub hold: Hold,
    /// The GPU that it is trained on; its weights are copied there when training begins.
    pub gpu: Option<Arc<Gpu>>,
}

impl Ready {
    /// Where training makes its numbers.
    pub fn place(&self) -> train::Place<'_> {
        match &self.gpu {
            Some(gpu) => train::Place::Gpu(gpu, &self.folder),
            None => train::Place::Cpu(&self.cx, &self.weights),
        }
    }
}

/// What a recipe was settled to.
pub struct Settled {
    /// How its precision suits this machine.
    pub fit: Fit,
    /// Where it is trained.
    pub choice: Choice,
}

/// How a precision suits this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The CPU multiplies it.
    Fast,
    /// It is imitated, step by step.
    Slow,
}

/// Names where and in which precision this machine trains `recipe`, and the day (`2026-03-31`) that a template is told, where
/// it leaves the choice; tells how that suits the machine.
pub fn settle(recipe: &mut Recipe, today: &str) -> Settled {
    if recipe.data.clock.is_none() {
        recipe.data.clock = Some(today.to_string());
    }
    let choice = device::choose(recipe);
    let pairs = engine::cpu::lanes::multiplies_pairs() || matches!(choice, Choice::Gpu { .. });
    Settled { fit: settle_for(pairs, recipe), choice }
}

fn settle_for(multiplies_pairs: bool, recipe: &mut Recipe) -> Fit {
    if recipe.train.precision == Precision::Auto {
        recipe.train.precision = if multiplies_pairs { Precision::Bf16 } else { Precision::F32 };
    }
    if recipe.train.precision == Precision::Bf16 && !multiplies_pairs { Fit::Slow } else { Fit::Fast }
}

/// Pins the day that the model's chat template is told to the recipe's, so that training, measuring and answering see
/// the same one.
pub fn pin(folder: &mut Folder, recipe: &Recipe) {
    if let Some(moment) = recipe.data.clock.as_deref().and_then(moment) {
        folder.chat.template.set_clock(moment);
    }
}

/// Midnight of a day such as `2026-03-31`; a recipe holds no other form.
fn moment(day: &str) -> Option<text::Moment> {
    let mut parts = day.splitn(3, '-');
    let (year, month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(text::Moment { year, month, day, hour: 0, minute: 0, second: 0 })
}

/// Loads what is opened already as a settled recipe trains it; nothing is frozen where all weights are trained (threads 0: all
/// cores).
///
/// # Errors
/// What is wrong with its files.
pub fn load_to_teach(recipe: &Recipe, folder: Folder, threads: usize, watch: &mut dyn Watch) -> Result<Ready, Error> {
    match device::gpu(recipe)? {
        None => load_in(hold_to_teach(recipe), folder, threads, watch),
        gpu => Ok(Ready { gpu, ..load_in(None, folder, threads, watch)? }),
    }
}

/// How a settled recipe holds what is frozen; none where nothing is.
pub(crate) fn hold_to_teach(recipe: &Recipe) -> Option<Hold> {
    match recipe.train.precision {
        _ if recipe.train.method == recipe::Method::Full => None,
        Precision::Bf16 if recipe.model.storage == Storage::Full => Some(Hold::Bf16),
        _ => Some(hold(recipe)),
    }
}

/// Opens and loads the model at `path`, quantised as a run's recipe says: an adapter means what it was trained to mean on that
/// base alone.
///
/// # Errors
/// As [`load_to_teach`].
pub fn load_as_trained(recipe: &Recipe, path: &Path, threads: usize, watch: &mut dyn Watch) -> Result<Ready, Error> {
    load_in(Some(hold(recipe)), Folder::open(path)?, threads, watch)
}

pub(crate) fn hold(recipe: &Recipe) -> Hold {
    match scheme(recipe) {
        Some(scheme) => Hold::Quantised(scheme),
        None if recipe.model.storage == Storage::Stored => Hold::Stored,
        None => Hold::F32,
    }
}

/// How a recipe has matrices quantised.
pub(crate) fn scheme(recipe: &Recipe) -> Option<Scheme> {
    match recipe.model.storage {
        Storage::Nf4 => Some(Scheme::Nf4 { double: true }),
        Storage::Int8 => Some(Scheme::Int8),
        Storage::Full | Storage::Fp8 | Storage::Stored => None,
    }
}

pub(crate) fn load_in(hold: Option<Hold>, folder: Folder, threads: usize, watch: &mut dyn Watch) -> Result<Ready, Error> {
    let cx = Cx::new(threads).map_err(Error::Threads)?;
    let weights = match hold {
        Some(hold) => {
            watch.begin("loading the model", 100);
            let mut tell = |done: usize, of: usize| watch.advance((100 * done / of.max(1)) as u64);
            let weights = Weights::load(&cx, &folder.files, &folder.dims, hold, &mut tell)?;
            watch.end();
            weights
        }
        None => Weights::none(&folder.dims),
    };
    // Where nothing is frozen, nothing was rounded.
    Ok(Ready { cx, folder, weights, hold: hold.unwrap_or(Hold::F32), gpu: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_settled_once() {
        let mut recipe = Recipe::default();
        settle(&mut recipe, "2026-03-31");
        settle(&mut recipe, "2026-04-01");
        assert_eq!(recipe.data.clock.as_deref(), Some("2026-03-31"));
        let found = moment("2026-03-31").expect("a day");
        assert_eq!((found.year, found.month, found.day), (2026, 3, 31));
    }

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
