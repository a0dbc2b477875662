//! The loop of a run: steps, events, checkpoints, the stop on request, and going on from a checkpoint.

use crate::{Error, StepResult, Trainer, state, step};
use engine::Cx;
use model::{Adapter, Weights};
use record::checkpoint::{self, State};
use record::event::{Event, Log};
use record::{Recipe, RunFolder, pack};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Skipped steps in a row after which a run gives up.
const SKIPS_MAX: u64 = 5;

/// How a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the first step; the folder has no events yet.
    Fresh,
    /// From the newest whole checkpoint, or from the first step if there is none.
    Resume,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Whether all steps were done (else it was asked to stop, and saved).
    pub finished: bool,
    /// Steps done.
    pub steps: u64,
    /// Loss of the first step of the run.
    pub loss_first: f64,
    /// Mean loss of the last ten steps.
    pub loss_last: f64,
    /// Seconds of this call.
    pub seconds: f64,
    /// Damaged checkpoints that were passed over, with the reason.
    pub damaged: Vec<String>,
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
/// # Errors
/// The disk, a checkpoint of another run, data without a supervised token, numbers that stay non-finite.
#[allow(clippy::too_many_arguments)]
pub fn run(
    cx: &Cx,
    weights: &Weights,
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
    let pack_sha = record::hash::sha256_file(&folder.pack())?.0;
    let pack = pack::read(&folder.pack())?;
    check(folder, &pack.examples, weights)?;
    let trainer = Trainer::new(cx, weights, &pack.examples, &recipe.train, adapter);
    let log = Log::open(&folder.events())?;
    let mut r = Run { trainer, log, folder, recipe, pack_sha, see, losses: Vec::new(), skips: 0 };
    let (from, damaged) = r.begin(cx, about, start)?;
    let steps = r.trainer.steps();
    let mut done = from;
    while done < steps && !abort.load(Ordering::Relaxed) {
        r.step(done)?;
        done += 1;
        if done < steps && done.is_multiple_of(recipe.train.checkpoint_every as u64) {
            r.checkpoint(done)?;
        }
    }
    let finished = done == steps;
    if finished {
        r.finish(began)?;
    } else {
        r.checkpoint(done)?;
        r.emit(Event::Interrupted { step: done })?;
    }
    let (loss_first, loss_last) = r.first_and_last();
    Ok(End { finished, steps: done, loss_first, loss_last, seconds: began.elapsed().as_secs_f64(), damaged })
}

fn check(folder: &RunFolder, examples: &[pack::Example], weights: &Weights) -> Result<(), Error> {
    let supervised = examples.iter().map(|e| e.learned.iter().skip(1).filter(|&&l| l).count()).sum();
    if supervised == 0 {
        return Err(Error::Nothing { path: folder.pack(), examples: examples.len(), supervised });
    }
    let vocab = weights.dims.vocab;
    for e in examples {
        if let Some(&token) = e.ids.iter().find(|&&t| t as usize >= vocab) {
            return Err(Error::Vocabulary { path: folder.pack(), line: e.source_line, token, vocab });
        }
    }
    Ok(())
}

struct Run<'a> {
    trainer: Trainer<'a>,
    log: Log,
    folder: &'a RunFolder,
    recipe: &'a Recipe,
    pack_sha: String,
    see: &'a mut dyn FnMut(&Event),
    losses: Vec<f64>,
    skips: u64,
}

impl Run<'_> {
    fn emit(&mut self, event: Event) -> Result<(), Error> {
        self.log.append(&event)?;
        (self.see)(&event);
        Ok(())
    }

    /// Cuts the log to where the checkpoint was, loads it, and returns the steps done.
    fn begin(&mut self, cx: &Cx, about: &About, start: Start) -> Result<(u64, Vec<String>), Error> {
        let mut damaged = Vec::new();
        if start == Start::Resume {
            let latest = checkpoint::latest(&self.folder.checkpoints())?;
            damaged = latest.damaged.into_iter().map(|(path, e)| format!("{}: {e}", path.display())).collect();
            if let Some(c) = latest.checkpoint {
                let other =
                    |what, found: &str, expected: String| Error::Other { path: c.path.clone(), what, found: found.into(), expected };
                if c.state.fingerprint != self.recipe.fingerprint() {
                    return Err(other("settings", &c.state.fingerprint, self.recipe.fingerprint()));
                }
                if c.state.pack != self.pack_sha {
                    return Err(other("data", &c.state.pack, self.pack_sha.clone()));
                }
                self.log.truncate_to(c.state.events_bytes)?;
                state::load(&mut self.trainer, &c.path)?;
                self.trainer.updates = c.state.optimizer_step;
                self.losses = logged_losses(self.folder)?;
                self.emit(Event::Resumed { step: c.state.step })?;
                return Ok((c.state.step, damaged));
            }
        }
        self.log.truncate_to(0)?;
        let event = Event::Started {
            time: about.time,
            program: about.program.into(),
            base: self.recipe.model.base.clone(),
            fingerprint: self.recipe.fingerprint(),
            pack: self.pack_sha.clone(),
            examples: self.trainer.examples().len() as u64,
            steps: self.trainer.steps(),
            parameters: self.trainer.adapter.params.len() as u64,
            threads: cx.threads() as u32,
        };
        self.emit(event)?;
        Ok((0, damaged))
    }

    fn step(&mut self, number: u64) -> Result<(), Error> {
        let began = Instant::now();
        let r = self.trainer.step(number);
        if let Some(what) = &r.not_finite {
            self.skips += 1;
            if self.skips >= SKIPS_MAX {
                return Err(Error::NotFinite {
                    what: what.clone(),
                    step: number + 1,
                    times: self.skips,
                    lines: self.trainer.lines(number),
                });
            }
            let reason = format!("{what} is not finite; examples: lines {:?}", self.trainer.lines(number));
            return self.emit(Event::Skipped { step: number + 1, reason });
        }
        self.skips = 0;
        self.losses.push(r.loss);
        self.emit(self.event(number, &r, began))
    }

    fn event(&self, number: u64, r: &StepResult, began: Instant) -> Event {
        let per_epoch = step::per_epoch(&self.recipe.train, self.trainer.examples().len());
        Event::Step {
            step: number + 1,
            epoch: (number + 1) as f64 / per_epoch as f64,
            loss: r.loss,
            lr: r.lr,
            grad_norm: r.grad_norm,
            supervised_tokens: r.supervised as u64,
            computed_tokens: r.computed as u64,
            unshared_tokens: r.unshared as u64,
            step_ms: began.elapsed().as_secs_f64() * 1e3,
        }
    }

    fn checkpoint(&mut self, done: u64) -> Result<(), Error> {
        let per_epoch = step::per_epoch(&self.recipe.train, self.trainer.examples().len());
        let draft = checkpoint::begin(&self.folder.checkpoints(), done, state::bytes(&self.trainer))?;
        state::save(&self.trainer, draft.path())?;
        self.log.sync()?;
        let state = State {
            step: done,
            epoch: done / per_epoch,
            cursor: done % per_epoch * self.recipe.train.batch as u64,
            events_bytes: self.log.bytes(),
            optimizer_step: self.trainer.updates,
            fingerprint: self.recipe.fingerprint(),
            pack: self.pack_sha.clone(),
        };
        let c = draft.commit(&state, self.recipe.train.keep)?;
        let path = c.path.strip_prefix(self.folder.path()).unwrap_or(&c.path).display().to_string();
        self.emit(Event::Checkpoint { step: done, path })
    }

    /// Writes the final adapter beside its place, then renames: it is there whole or not at all.
    fn finish(&mut self, began: Instant) -> Result<(), Error> {
        let steps = self.trainer.steps();
        self.checkpoint(steps)?;
        record::atomic::replace_folder(&self.folder.adapter(), &mut |draft| self.trainer.adapter.save(draft).map_err(Error::from))?;
        let (loss_first, loss_last) = self.first_and_last();
        self.emit(Event::Finished { steps, loss_first, loss_last, seconds: began.elapsed().as_secs_f64() })
    }

    fn first_and_last(&self) -> (f64, f64) {
        let last = &self.losses[self.losses.len().saturating_sub(10)..];
        (self.losses.first().copied().unwrap_or(0.0), last.iter().sum::<f64>() / last.len().max(1) as f64)
    }
}

fn logged_losses(folder: &RunFolder) -> Result<Vec<f64>, Error> {
    let events = record::event::read(&folder.events())?.events;
    Ok(events.iter().filter_map(|e| if let Event::Step { loss, .. } = e { Some(*loss) } else { None }).collect())
}
