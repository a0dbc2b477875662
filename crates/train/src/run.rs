//! The loop of a run: steps, validations, checkpoints, the stop on request, and going on from a checkpoint.

use crate::schedule::warmup_steps;
use crate::spike::Usual;
use crate::step::Place;
use crate::watch::{self, Curves, Finding};
use crate::{Course, End, Error, Material, StepResult, Trainer, state, step};
use model::Adapter;
use record::checkpoint::{self, Checkpoint, Keep, State};
use record::event::{Event, Log};
use record::recipe::{Objective, OnSpike};
use record::{Recipe, RunFolder};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Steps in a row that are no numbers, after which a run gives up.
const LOST_MAX: u64 = 5;
/// Spikes in a row after which they are the new level.
const SPIKES_MAX: u64 = 5;

/// How a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the first step; the folder has no events yet.
    Fresh,
    /// From the newest whole checkpoint, or from the first step if there is none.
    Resume,
}

/// A request to stop after the current step.
pub type Abort = AtomicBool;

/// What the first event says beside the numbers.
pub struct About<'a> {
    /// Seconds since 1970.
    pub time: u64,
    /// Version of the program.
    pub program: &'a str,
}

/// Trains until the end or until `abort` is set; `see` gets every event after it was logged.
///
/// `adapter` is what the run begins with, also when it goes on: preferences are measured against it.
///
/// # Errors
/// The disk, a checkpoint of another run, data without a supervised token, numbers that stay non-finite.
#[allow(clippy::too_many_arguments)]
pub fn run(
    place: Place,
    adapter: Adapter,
    recipe: &Recipe,
    folder: &RunFolder,
    about: &About,
    start: Start,
    abort: &Abort,
    see: &mut dyn FnMut(&Event),
) -> Result<End, Error> {
    let _lock = folder.lock()?;
    let began = Instant::now();
    let material = Material::read(folder, recipe, adapter.places.dims().vocab)?;
    let mut trainer = Trainer::new(place, &material, recipe, adapter)?;
    if recipe.train.objective == Objective::Dpo {
        trainer.refer(Some(&folder.reference()), &mut |_, _| {})?;
    }
    let log = Log::open(&folder.events())?;
    let course = Course::new(&material);
    let mut r = Run { trainer, material: &material, course, log, folder, recipe, see, curves: Past::default() };
    let (from, mut damaged) = r.begin(place, about, start)?;
    let mut done = from;
    while done < r.trainer.steps() && !r.course.is_over(&recipe.train) && !abort.load(Ordering::Relaxed) {
        r.step(done)?;
        done += 1;
        let better = r.validate_if_due(done)?;
        if better || (done < r.trainer.steps() && done.is_multiple_of(recipe.train.checkpoint_every as u64)) {
            r.checkpoint(done)?;
        }
    }
    if done == r.trainer.steps() || r.course.is_over(&recipe.train) {
        r.finish(done, began, &mut damaged)?;
    } else {
        r.checkpoint(done)?;
        r.emit(Event::Interrupted { step: done })?;
    }
    let events = record::event::read(&folder.events())?.events;
    Ok(End { steps: done, seconds: began.elapsed().as_secs_f64(), damaged, ..End::of(&events) })
}

/// What the log says of the steps so far.
#[derive(Default)]
struct Past {
    losses: Vec<f64>,
    norms: Vec<f64>,
    validations: Vec<(u64, f64)>,
    /// Findings that were told on the way.
    said: Vec<String>,
}

struct Run<'a> {
    trainer: Trainer<'a>,
    material: &'a Material,
    course: Course,
    log: Log,
    folder: &'a RunFolder,
    recipe: &'a Recipe,
    see: &'a mut dyn FnMut(&Event),
    curves: Past,
}

impl Run<'_> {
    fn emit(&mut self, event: Event) -> Result<(), Error> {
        self.log.append(&event)?;
        self.curves.see(&event);
        (self.see)(&event);
        Ok(())
    }

    /// Cuts the log to where the checkpoint was, loads it, and returns the steps done.
    fn begin(&mut self, place: Place, about: &About, start: Start) -> Result<(u64, Vec<String>), Error> {
        let mut damaged = Vec::new();
        if start == Start::Resume {
            let latest = checkpoint::latest(&self.folder.checkpoints())?;
            damaged = latest.damaged.into_iter().map(|(path, e)| format!("{}: {e}", path.display())).collect();
            if let Some(c) = latest.checkpoint {
                self.go_on(&c)?;
                return Ok((c.state.step, damaged));
            }
        }
        self.log.truncate_to(0)?;
        self.emit(self.started(place, about))?;
        if self.material.replayed() > 0 {
            let (examples, replay) = (self.material.units() as u64, self.material.replayed() as u64);
            self.emit(Event::Mixed { examples, replay, share: self.recipe.data.replay_weight })?;
        }
        self.validate_if_due(0)?;
        if self.recipe.train.on_spike == OnSpike::Rewind {
            // A spike before the first checkpoint has somewhere to go back to.
            self.checkpoint(0)?;
        }
        Ok((0, damaged))
    }

    fn go_on(&mut self, c: &Checkpoint) -> Result<(), Error> {
        let other =
            |what, found: &str, expected: &str| Error::Other { path: c.path.clone(), what, found: found.into(), expected: expected.into() };
        let fingerprint = self.recipe.fingerprint();
        if c.state.fingerprint != fingerprint {
            return Err(other("settings", &c.state.fingerprint, &fingerprint));
        }
        if c.state.pack != self.material.sha {
            return Err(other("data", &c.state.pack, &self.material.sha));
        }
        self.course = Course::load(&c.path, self.material)?;
        self.log.truncate_to(c.state.events_bytes)?;
        state::load(&mut self.trainer, &c.path, c.state.optimizer_step)?;
        record::event::read(&self.folder.events())?.events.iter().for_each(|event| self.curves.see(event));
        self.emit(Event::Resumed { step: c.state.step })
    }

    fn started(&self, place: Place, about: &About) -> Event {
        Event::Started {
            time: about.time,
            program: about.program.into(),
            base: self.recipe.model.base.clone(),
            fingerprint: self.recipe.fingerprint(),
            pack: self.material.sha.clone(),
            examples: (self.material.units() + self.material.replayed()) as u64,
            steps: self.trainer.steps(),
            parameters: self.trainer.adapter.params.len() as u64,
            threads: place.threads() as u32,
            device: place.name(),
        }
    }

    fn step(&mut self, number: u64) -> Result<(), Error> {
        let began = Instant::now();
        let result = self.trainer.measure(number)?;
        let t = &self.recipe.train;
        if let Some(what) = &result.not_finite {
            self.course.lost += 1;
            if self.course.lost >= LOST_MAX {
                let examples = self.material.names(self.recipe, number);
                return Err(Error::NotFinite { what: what.clone(), step: number + 1, times: self.course.lost, examples });
            }
            return self.leave_out(number, format!("{what} is not finite"));
        }
        self.course.lost = 0;
        match self.course.usual.judge(result.loss, result.grad_norm, t.spike) {
            None => self.course.spikes = 0,
            Some(spike) => {
                self.course.spikes += 1;
                let examples = self.material.names(self.recipe, number);
                if self.course.spikes > SPIKES_MAX {
                    let reason = format!("{spike}, for the {}th step in a row: it is taken for the new level", self.course.spikes);
                    self.course.usual = Usual::default();
                    self.emit(Event::Spike { step: number + 1, reason, examples })?;
                } else if t.on_spike == OnSpike::Keep {
                    self.emit(Event::Spike { step: number + 1, reason: spike.to_string(), examples })?;
                } else {
                    return self.leave_out(number, spike.to_string());
                }
            }
        }
        self.course.usual.learn(result.loss, result.grad_norm);
        let lr = self.trainer.rate(number);
        self.trainer.update(&result, lr)?;
        self.emit(self.event(number, &result, lr, began))?;
        match result.preference {
            Some((margin, preferred)) => self.emit(Event::Preference { step: number + 1, margin, preferred }),
            None => Ok(()),
        }
    }

    /// Passes a step over; where the recipe wants it, undoes all updates since the last checkpoint too.
    ///
    /// The run never goes back in its data: it goes on after this step, so it cannot meet the same spike for ever.
    fn leave_out(&mut self, number: u64, reason: String) -> Result<(), Error> {
        let (step, examples) = (number + 1, self.material.names(self.recipe, number));
        let back = match self.recipe.train.on_spike {
            OnSpike::Rewind => checkpoint::latest(&self.folder.checkpoints())?.checkpoint,
            OnSpike::Skip | OnSpike::Keep => None,
        };
        let Some(c) = back else {
            return self.emit(Event::Skipped { step, reason, examples });
        };
        state::load(&mut self.trainer, &c.path, c.state.optimizer_step)?;
        self.emit(Event::Rewound { step, to: c.state.step, reason, examples })?;
        // From here on this is the last checkpoint: an interruption does not undo the way back.
        self.checkpoint(step)
    }

    fn event(&self, number: u64, r: &StepResult, lr: f64, began: Instant) -> Event {
        Event::Step {
            step: number + 1,
            epoch: (number + 1) as f64 / self.per_epoch() as f64,
            loss: r.loss,
            lr,
            grad_norm: r.grad_norm,
            supervised_tokens: r.supervised as u64,
            computed_tokens: r.computed as u64,
            unshared_tokens: r.unshared as u64,
            step_ms: began.elapsed().as_secs_f64() * 1e3,
            light: r.light.map(|seconds| seconds / began.elapsed().as_secs_f64()),
        }
    }

    fn per_epoch(&self) -> u64 {
        step::per_epoch(&self.recipe.train, self.material.units())
    }

    /// Validates where the recipe wants it after `done` steps; whether it was the best one.
    fn validate_if_due(&mut self, done: u64) -> Result<bool, Error> {
        let every = match u64::from(self.recipe.train.validate_every) {
            0 => self.per_epoch(),
            every => every,
        };
        let last = done == self.trainer.steps();
        if !(last || done.is_multiple_of(every)) {
            return Ok(false);
        }
        let mut better = false;
        if self.recipe.validates() {
            better = self.validate(done)?;
        }
        if done > 0 && !last && !self.course.is_over(&self.recipe.train) {
            self.advise(done, &[Finding::Diverging, Finding::Overfitting])?;
        }
        Ok(better)
    }

    fn validate(&mut self, done: u64) -> Result<bool, Error> {
        let began = Instant::now();
        let found = self.trainer.validate()?;
        // The model as it came is told, but it is no result of the run.
        let best = done > 0 && self.course.validated(done, found.loss);
        if !found.loss.is_finite() {
            let reason = "the validation loss is not finite".to_string();
            self.emit(Event::Skipped { step: done, reason, examples: Vec::new() })?;
        } else {
            let examples = (self.material.validation.len() / self.material.width()) as u64;
            let validation_ms = began.elapsed().as_secs_f64() * 1e3;
            let supervised_tokens = found.supervised as u64;
            self.emit(Event::Validation { step: done, loss: found.loss, examples, supervised_tokens, best, validation_ms })?;
        }
        if let Some(b) = self.course.best.filter(|_| self.course.is_over(&self.recipe.train)) {
            let validations = u64::from(self.course.worse);
            self.emit(Event::EarlyStop { step: done, best_step: b.step, best_loss: b.loss(), validations })?;
        }
        Ok(best)
    }

    /// Tells what the curves say, of `findings` those that were not told on the way.
    fn advise(&mut self, done: u64, findings: &[Finding]) -> Result<(), Error> {
        let t = &self.recipe.train;
        let warmup = warmup_steps(t.warmup, self.trainer.steps()) as usize;
        let Past { losses, norms, validations, .. } = &self.curves;
        let all = watch::watch(&Curves { losses, norms, validations, lr: t.lr, warmup });
        let last = done == self.trainer.steps() || self.course.is_over(t);
        for advice in all.into_iter().filter(|advice| findings.contains(&advice.finding)) {
            let finding = advice.finding.name().to_string();
            if last || !self.curves.said.contains(&finding) {
                self.emit(Event::Advice { step: done, finding, text: advice.text, lr: advice.lr })?;
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, done: u64) -> Result<(), Error> {
        let draft = checkpoint::begin(&self.folder.checkpoints(), done, state::bytes(&self.trainer))?;
        state::save(&mut self.trainer, &self.course, draft.path())?;
        self.log.sync()?;
        let state = State {
            step: done,
            epoch: done / self.per_epoch(),
            cursor: done % self.per_epoch() * self.recipe.train.batch as u64,
            events_bytes: self.log.bytes(),
            optimizer_step: self.trainer.updates,
            fingerprint: self.recipe.fingerprint(),
            pack: self.material.sha.clone(),
        };
        let keep = Keep { newest: self.recipe.train.keep, also: self.course.best.map(|best| best.step) };
        let c = draft.commit(&state, keep)?;
        let path = c.path.strip_prefix(self.folder.path()).unwrap_or(&c.path).display().to_string();
        self.emit(Event::Checkpoint { step: done, path })
    }

    /// Writes the best adapter, or the last one without validation, beside its place, then renames: it is there whole or
    /// not at all.
    fn finish(&mut self, done: u64, began: Instant, damaged: &mut Vec<String>) -> Result<(), Error> {
        self.checkpoint(done)?;
        self.advise(done, &[Finding::Diverging, Finding::Noisy, Finding::Flat, Finding::Overfitting])?;
        let mut step = done;
        if let Some(best) = self.course.best.filter(|best| best.step != done) {
            match checkpoint::at(&self.folder.checkpoints(), best.step) {
                Ok(c) => {
                    state::load(&mut self.trainer, &c.path, c.state.optimizer_step)?;
                    step = best.step;
                }
                Err(cause) => damaged.push(format!("the best one, of step {}, so the last one is the result: {cause}", best.step)),
            }
        }
        let (adapter, base) = (&self.trainer.adapter, self.folder.base());
        record::atomic::replace_folder(&self.folder.adapter(), &mut |draft| -> Result<(), Error> {
            adapter.save(draft)?;
            // An adapter that is taken elsewhere still says which base it belongs to.
            if base.is_file() {
                std::fs::copy(&base, draft.join("base.json")).map_err(|source| Error::Io { path: base.clone(), source })?;
            }
            Ok(())
        })?;
        let validation_loss = self.curves.validations.iter().rev().find(|(at, _)| *at == step).map(|(_, loss)| *loss);
        self.emit(Event::Published { step, validation_loss })?;
        let losses = &self.curves.losses;
        let last = &losses[losses.len().saturating_sub(10)..];
        let loss_first = losses.first().copied().unwrap_or(0.0);
        let loss_last = last.iter().sum::<f64>() / last.len().max(1) as f64;
        self.emit(Event::Finished { steps: done, loss_first, loss_last, seconds: began.elapsed().as_secs_f64() })
    }
}

impl Past {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Step { loss, grad_norm, .. } => {
                self.losses.push(*loss);
                self.norms.push(*grad_norm);
            }
            Event::Validation { step, loss, .. } => self.validations.push((*step, *loss)),
            Event::Advice { finding, .. } => self.said.push(finding.clone()),
            _ => {}
        }
    }
}
