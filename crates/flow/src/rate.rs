//! The learning-rate range test of a recipe, on its own data and model; nothing of it is kept but a page.

use crate::teach::beginning;
use crate::{Error, Prepared, Ready, Watch};
use eval::report::sweep::{RateTest, rate_test};
use record::Recipe;
use std::path::{Path, PathBuf};
use train::Trainer;
use train::range::{self, Found, Range};

/// What was found, and where it can be looked at.
#[derive(Clone, Debug)]
pub struct Rate {
    pub found: Found,
    /// The curve; none of a test that was stopped, so that an older one stays.
    pub page: Option<PathBuf>,
    /// Steps that the test would have had.
    pub steps: u64,
}

/// Trains with a rate that rises from step to step until the loss goes up, and writes the curve to `page`.
///
/// # Errors
/// A first step that is no number, or what the disk says.
pub fn find_rate(
    ready: &Ready,
    recipe: &Recipe,
    prepared: &Prepared,
    range: &Range,
    page: &Path,
    next: &[(String, String)],
    stop: &dyn Fn() -> bool,
    watch: &mut dyn Watch,
) -> Result<Rate, Error> {
    let material = prepared.material();
    let adapter = beginning(ready, recipe, None, watch)?;
    let mut trainer = Trainer::for_steps(range.steps, ready.place(), &material, recipe, adapter)?;
    if recipe.train.objective == record::recipe::Objective::Dpo {
        trainer.refer(None, &mut |_, _| {})?;
    }
    watch.begin("raising the rate", range.steps);
    let mut done = 0;
    let found = range::find(&mut trainer, range, &mut |_| {
        done += 1;
        watch.advance(done);
        !stop()
    });
    watch.end();
    let mut found = found?;
    if stop() && found.blew_up.is_none() && done < range.steps {
        (found.suggestion, found.steepest) = (None, None);
        return Ok(Rate { found, page: None, steps: range.steps });
    }
    record::atomic::write(page, rate_test(&drawn(recipe, &found, next)).as_bytes())?;
    Ok(Rate { found, page: Some(page.into()), steps: range.steps })
}

fn drawn(recipe: &Recipe, found: &Found, next: &[(String, String)]) -> RateTest {
    let marks = [("steepest fall", found.steepest), ("the loss goes up", found.blew_up), ("suggested", found.suggestion)];
    RateTest {
        title: recipe.data.train.display().to_string(),
        subtitle: format!("{}, {} examples a step", recipe.model.base, recipe.train.batch),
        points: found.points.iter().map(|p| (p.lr, p.loss, p.smooth)).collect(),
        marks: marks.into_iter().filter_map(|(name, lr)| Some((lr?, name.to_string()))).collect(),
        sentence: sentence(found),
        next: next.to_vec(),
    }
}

/// The result in words.
pub(crate) fn sentence(found: &Found) -> String {
    let (Some(lr), Some(steepest)) = (found.suggestion, found.steepest) else {
        return "The loss never fell: no rate can be told from it. Is there something to learn?".to_string();
    };
    match found.blew_up {
        Some(up) => {
            format!("Begin with a rate of {lr:e}: a quarter of {up:.1e}, from which the loss goes up. It falls fastest at {steepest:.1e}.")
        }
        None => format!("Begin with a rate of {lr:e}, where the loss falls fastest; it never went up in this range."),
    }
}

impl Rate {
    /// The result in words.
    pub fn sentence(&self) -> String {
        match self.page {
            Some(_) => sentence(&self.found),
            None => {
                let done = self.found.points.len();
                format!("Stopped after {done} of {} steps: a part of the range tells no rate. Nothing was written.", self.steps)
            }
        }
    }
}
