//! Many runs of one recipe side by side: ranks, rates and passes, as a grid or by successive halving, with a comparison.
//!
//! A sweep is a folder: `sweep.json` holds the plan, each trial is a run, `sweep.html` compares them. All trials share
//! data, split and order. Halving trains every trial for a part of its steps, keeps the better half by validation loss,
//! and goes on with that, which costs nothing twice since a resumed run is exact. What was decided is not written down:
//! it follows from the logs of the runs, so an interrupted sweep goes on where it stopped.

use crate::{Error, Prepared, Ready, Watch, teach, write_pack};
use eval::report::sweep::{Sweep, Trial as Row, sweep as page};
use record::{Event, Recipe, RunFolder};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use train::{Abort, About, End, Start};

const PLAN: &str = "sweep.json";
const PAGE: &str = "sweep.html";
const FAILED: &str = "failed.txt";
const VERSION: u64 = 1;
/// Steps of a trial are cut into so many parts; halving ends after 1, 2, 4 and all of them.
const PARTS: u64 = 8;

/// Values to try; an empty list leaves the recipe's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axes {
    pub ranks: Vec<u32>,
    pub rates: Vec<f64>,
    pub epochs: Vec<f64>,
}

/// One run of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub name: String,
    /// Overrides of the recipe, as `section.key=value`.
    pub changes: Vec<String>,
    pub steps: u64,
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub trials: Vec<Trial>,
    /// Parts of [`PARTS`] after which the better half goes on; the last one is all of them.
    pub rungs: Vec<u64>,
    /// Steps of all trials together, at most.
    pub steps: u64,
}

/// One trial's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    pub name: String,
    pub changes: Vec<String>,
    /// The lowest validation, and its step.
    pub best: Option<(u64, f64)>,
    pub steps: u64,
    pub fate: String,
}

/// What a sweep found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether all was done that was planned.
    pub finished: bool,
    /// The best first.
    pub ranked: Vec<Ranked>,
    pub page: PathBuf,
}

/// Plans a sweep over `units` examples: all combinations, whole if that takes at most `budget` steps, else by as few
/// halvings as it takes.
///
/// # Errors
/// [`Error::Sweep`] when there is nothing to compare, or no plan within the budget; a value that no recipe takes.
pub fn plan(recipe: &Recipe, axes: &Axes, budget: Option<u64>, units: usize) -> Result<Plan, Error> {
    let trials = trials(recipe, axes, units)?;
    if trials.len() < 2 {
        let expected = "at least two combinations of --rank, --lr and --epochs".to_string();
        return Err(Error::Sweep { what: "has nothing to compare", found: format!("{} run", trials.len()), expected });
    }
    let cost = |rungs: &[u64]| {
        let mut steps: Vec<u64> = trials.iter().map(|t| t.steps).collect();
        // At most: the longest trials may be the ones that stay.
        steps.sort_unstable_by(|a, b| b.cmp(a));
        let (mut total, mut before, mut stay) = (0, 0, steps.len());
        for rung in rungs {
            total += steps[..stay].iter().map(|s| part(*s, *rung) - part(*s, before)).sum::<u64>();
            (before, stay) = (*rung, stay.div_ceil(2));
        }
        total
    };
    let halvings: [&[u64]; 4] = [&[8], &[4, 8], &[2, 4, 8], &[1, 2, 4, 8]];
    let fits = |rungs: &&&[u64]| budget.is_none_or(|budget| cost(rungs) <= budget);
    match halvings.iter().find(fits) {
        Some(rungs) => Ok(Plan { steps: cost(rungs), rungs: rungs.to_vec(), trials }),
        None => Err(Error::Sweep {
            what: "does not fit its budget",
            found: format!("{} steps", budget.unwrap_or(0)),
            expected: format!("at least {} for {} runs, or fewer of them", cost(halvings[3]), trials.len()),
        }),
    }
}

fn trials(recipe: &Recipe, axes: &Axes, units: usize) -> Result<Vec<Trial>, Error> {
    let or = |empty: bool, own: String, all: Vec<String>| if empty { vec![own] } else { all };
    let ranks = or(axes.ranks.is_empty(), recipe.adapter.rank.to_string(), axes.ranks.iter().map(u32::to_string).collect());
    let rates = or(axes.rates.is_empty(), format!("{:e}", recipe.train.lr), axes.rates.iter().map(|lr| format!("{lr:e}")).collect());
    let epochs = or(axes.epochs.is_empty(), recipe.train.epochs.to_string(), axes.epochs.iter().map(f64::to_string).collect());
    let mut all: Vec<Trial> = Vec::new();
    for rank in &ranks {
        for lr in &rates {
            for passes in &epochs {
                // Alpha follows the rank, so that the scale of the adapter stays what it was.
                let alpha = recipe.adapter.alpha / f64::from(recipe.adapter.rank) * rank.parse::<f64>().unwrap_or(1.0);
                let changes =
                    [("adapter.rank", rank), ("adapter.alpha", &format!("{alpha:?}")), ("train.lr", lr), ("train.epochs", passes)];
                let changes = changes.map(|(key, value)| format!("{key}={value}")).to_vec();
                let mut trial = Trial { name: format!("r{rank}-lr{lr}-e{passes}"), changes, steps: 0 };
                trial.steps = train::step::steps_of(&changed(recipe, &trial)?.train, units);
                if all.iter().all(|known| known.name != trial.name) {
                    all.push(trial);
                }
            }
        }
    }
    Ok(all)
}

/// The recipe of a trial. Validation comes at every eighth of the run, where halving decides.
fn changed(recipe: &Recipe, trial: &Trial) -> Result<Recipe, Error> {
    let mut own = recipe.clone();
    for change in &trial.changes {
        own.set(change)?;
    }
    if trial.steps > 0 {
        own.set(&format!("train.validate_every={}", trial.steps.div_ceil(PARTS)))?;
    }
    own.check()?;
    Ok(own)
}

/// Steps after `parts` of [`PARTS`] parts.
fn part(steps: u64, parts: u64) -> u64 {
    (steps.div_ceil(PARTS) * parts).min(steps)
}

/// Begins a sweep in `folder`, which must be new or empty; `recipe` must validate.
///
/// # Errors
/// What the disk says.
pub fn begin_sweep(recipe: &Recipe, plan: &Plan, folder: &Path) -> Result<(), Error> {
    RunFolder::create_at(folder, recipe)?;
    Ok(record::atomic::write(&folder.join(PLAN), format!("{:#}\n", plan.to_json()).as_bytes())?)
}

/// Runs what is left of the sweep that was begun in `folder`.
///
/// # Errors
/// What the disk says, or a bug. A trial whose numbers explode is told as such, and the others go on.
pub fn sweep(
    ready: &Ready,
    recipe: &Recipe,
    prepared: &Prepared,
    plan: &Plan,
    folder: &Path,
    about: &About,
    abort: &Abort,
    watch: &mut dyn Watch,
) -> Result<Outcome, Error> {
    let mut stay: Vec<&Trial> = plan.trials.iter().collect();
    let mut stopped = false;
    for (at, rung) in plan.rungs.iter().enumerate() {
        for (number, trial) in stay.iter().enumerate() {
            stopped = stopped || abort.load(Ordering::Relaxed);
            if !stopped {
                let rungs = if plan.rungs.len() > 1 { format!("round {} of {}, ", at + 1, plan.rungs.len()) } else { String::new() };
                watch.note(&format!("\n{rungs}run {} of {}: {}", number + 1, stay.len(), trial.name));
                stopped = !climb(ready, recipe, prepared, trial, *rung, folder, about, abort, watch)?;
            }
        }
        write_page(recipe, plan, folder)?;
        if stopped {
            break;
        }
        // All of them have come to this rung: the better half goes on. A log that has gone further is read up to here.
        let mut ranked: Vec<(f64, &Trial)> =
            stay.iter().map(|t| Ok((lowest(folder, t, part(t.steps, *rung))?, *t))).collect::<Result<_, Error>>()?;
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        ranked.retain(|(loss, trial)| loss.is_finite() && !folder.join(&trial.name).join(FAILED).is_file());
        ranked.truncate(stay.len().div_ceil(2));
        if at + 1 < plan.rungs.len() {
            stay = ranked.into_iter().map(|(_, trial)| trial).collect();
        }
    }
    Ok(Outcome { finished: !stopped, ranked: ranked(plan, folder)?, page: folder.join(PAGE) })
}

/// Brings a trial to its rung; false when the user asked to stop.
fn climb(
    ready: &Ready,
    recipe: &Recipe,
    prepared: &Prepared,
    trial: &Trial,
    rung: u64,
    folder: &Path,
    about: &About,
    abort: &Abort,
    watch: &mut dyn Watch,
) -> Result<bool, Error> {
    let path = folder.join(&trial.name);
    let target = part(trial.steps, rung);
    if path.join(FAILED).is_file() || is_there(&path, target)? {
        return Ok(true);
    }
    let own = changed(recipe, trial)?;
    let run = if path.join("recipe.toml").is_file() { RunFolder::open(&path)? } else { RunFolder::create_at(&path, &own)? };
    if !run.pack().is_file() {
        write_pack(prepared, &own, &ready.folder, &run)?;
    }
    let start = if run.events().is_file() { Start::Resume } else { Start::Fresh };
    let halt = Abort::new(abort.load(Ordering::Relaxed));
    let mut told = Told { watch, target, halt: &halt, abort };
    match teach(ready, &own, &run, about, start, &halt, &mut told) {
        Ok(end) => Ok(end.finished || end.steps >= target),
        // Too high a rate is an answer too.
        Err(Error::Train(cause @ train::Error::NotFinite { .. })) => {
            record::atomic::write(&path.join(FAILED), format!("{cause}\n").as_bytes())?;
            watch.note(&format!("{}: {cause}", trial.name));
            Ok(true)
        }
        Err(other) => Err(other),
    }
}

/// Whether a run has come so far, saved it, and was not left in the middle of a step.
fn is_there(path: &Path, target: u64) -> Result<bool, Error> {
    let events = events(path)?;
    let end = End::of(&events);
    let saved = events.iter().rev().find_map(|e| if let Event::Checkpoint { step, .. } = e { Some(*step) } else { None });
    Ok(end.finished || saved.is_some_and(|step| step >= target))
}

fn events(path: &Path) -> Result<Vec<Event>, Error> {
    let log = path.join("events.jsonl");
    if log.is_file() { Ok(record::event::read(&log)?.events) } else { Ok(Vec::new()) }
}

/// The lowest validation of a trial in its first `steps` steps; infinite if there is none.
fn lowest(folder: &Path, trial: &Trial, steps: u64) -> Result<f64, Error> {
    let all = End::of(&events(&folder.join(&trial.name))?).validations;
    Ok(all.into_iter().filter(|(step, _)| *step > 0 && *step <= steps).map(|(_, loss)| loss).fold(f64::INFINITY, f64::min))
}

/// Stops a run at its rung, and when the user asks.
struct Told<'a> {
    watch: &'a mut dyn Watch,
    target: u64,
    halt: &'a Abort,
    abort: &'a Abort,
}

impl Watch for Told<'_> {
    fn begin(&mut self, what: &str, of: u64) {
        self.watch.begin(what, of);
    }
    fn advance(&mut self, done: u64) {
        self.watch.advance(done);
    }
    fn end(&mut self) {
        self.watch.end();
    }
    fn note(&mut self, text: &str) {
        self.watch.note(text);
    }
    fn prepared(&mut self, prepared: &Prepared) {
        self.watch.prepared(prepared);
    }
    fn event(&mut self, event: &Event) {
        let done = match event {
            Event::Step { step, .. } | Event::Skipped { step, .. } | Event::Rewound { step, .. } => *step,
            _ => 0,
        };
        if done >= self.target || self.abort.load(Ordering::Relaxed) {
            self.halt.store(true, Ordering::Relaxed);
        }
        match event {
            // The run has come to its rung; the sweep goes on.
            Event::Interrupted { .. } | Event::Finished { .. } => self.watch.end(),
            _ => self.watch.event(event),
        }
    }
}

fn ranked(plan: &Plan, folder: &Path) -> Result<Vec<Ranked>, Error> {
    let one = |trial: &Trial| -> Result<Ranked, Error> {
        let path = folder.join(&trial.name);
        let end = End::of(&events(&path)?);
        let failed = std::fs::read_to_string(path.join(FAILED)).ok();
        let trained = end.validations.iter().copied().filter(|(step, _)| *step > 0 && failed.is_none());
        let best = trained.min_by(|a, b| a.1.total_cmp(&b.1));
        let fate = match failed {
            Some(cause) => cause.trim().to_string(),
            None if end.finished && end.stopped_early => "ended early by validation".to_string(),
            None if end.finished => "finished".to_string(),
            None if end.steps == 0 => "not begun".to_string(),
            None => format!("left after {} of {} steps", end.steps, trial.steps),
        };
        Ok(Ranked { name: trial.name.clone(), changes: trial.changes.clone(), best, steps: end.steps, fate })
    };
    let mut all = plan.trials.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let loss = |r: &Ranked| r.best.map_or(f64::INFINITY, |(_, loss)| loss);
    all.sort_by(|a, b| loss(a).total_cmp(&loss(b)));
    Ok(all)
}

fn write_page(recipe: &Recipe, plan: &Plan, folder: &Path) -> Result<(), Error> {
    let ranked = ranked(plan, folder)?;
    let row = |r: &Ranked| -> Result<Row, Error> {
        let path = folder.join(&r.name);
        let events = events(&path)?;
        let points = |e: &Event| if let Event::Step { step, loss, .. } = e { Some((*step, *loss)) } else { None };
        let took = |e: &Event| if let Event::Step { step_ms, .. } = e { step_ms / 1e3 } else { 0.0 };
        Ok(Row {
            name: r.name.clone(),
            settings: r.changes.iter().map(|change| change.split_once('=').map_or("", |(_, value)| value).to_string()).collect(),
            steps: (r.steps, plan.trials.iter().find(|t| t.name == r.name).map_or(0, |t| t.steps)),
            losses: events.iter().filter_map(points).collect(),
            validations: End::of(&events).validations,
            best: r.best,
            exact: exact(&path),
            seconds: events.iter().map(took).sum(),
            fate: r.fate.clone(),
        })
    };
    let trials = ranked.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let best = ranked.first().filter(|r| r.best.is_some());
    let next = best.map_or(Vec::new(), |r| {
        let set: String = r.changes.iter().map(|change| format!(" --set {change}")).collect();
        let run = folder.join(&r.name);
        vec![
            (format!("tunesmith eval {}", run.display()), "measure the best run on the held-out examples".to_string()),
            (format!("tunesmith train {}{set}", folder.join("recipe.toml").display()), "a run of its own with these settings".to_string()),
        ]
    });
    let method = match plan.rungs.as_slice() {
        [_] => format!("Grid of {} runs, each to its end.", plan.trials.len()),
        rungs => format!(
            "Successive halving of {} runs in {} rounds by validation loss; what was left behind was compared in the middle of its schedule.",
            plan.trials.len(),
            rungs.len()
        ),
    };
    let title = recipe.data.train.display().to_string();
    let axes = ["adapter.rank", "adapter.alpha", "train.lr", "train.epochs"].map(str::to_string).to_vec();
    let s = Sweep { title, subtitle: recipe.model.base.clone(), axes, trials, method, next };
    Ok(record::atomic::write(&folder.join(PAGE), page(&s).as_bytes())?)
}

/// Exact answers of the tuned model, where the run was measured: share and interval.
fn exact(run: &Path) -> Option<(f64, f64, f64)> {
    let scores: Value = serde_json::from_slice(&std::fs::read(run.join("eval/scores.json")).ok()?).ok()?;
    let tuned = &scores["arms"][usize::try_from(scores["tuned"].as_u64()?).ok()?]["exact"];
    Some((tuned["share"].as_f64()?, tuned["low"].as_f64()?, tuned["high"].as_f64()?))
}

impl Plan {
    /// The plan of the sweep in `folder`.
    ///
    /// # Errors
    /// A folder that is no sweep.
    pub fn open(folder: &Path) -> Result<Plan, Error> {
        Plan::read(&folder.join(PLAN))
    }

    /// A recipe that needs as much memory as any of the trials: the largest rank, and as many steps as the longest.
    ///
    /// # Errors
    /// A value that no recipe takes.
    pub fn largest(&self, recipe: &Recipe) -> Result<Recipe, Error> {
        let mut largest = recipe.clone();
        for trial in &self.trials {
            let own = changed(recipe, trial)?;
            largest.adapter.rank = largest.adapter.rank.max(own.adapter.rank);
            largest.train.epochs = largest.train.epochs.max(own.train.epochs);
        }
        Ok(largest)
    }

    fn to_json(&self) -> Value {
        let trial = |t: &Trial| json!({ "name": t.name, "changes": t.changes, "steps": t.steps });
        json!({ "version": VERSION, "steps": self.steps, "rungs": self.rungs, "trials": self.trials.iter().map(trial).collect::<Vec<_>>() })
    }

    fn read(path: &Path) -> Result<Plan, Error> {
        let failed = |source| Error::Read { path: path.into(), source };
        let damaged = || failed(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no plan of this version"));
        let value: Value = serde_json::from_slice(&std::fs::read(path).map_err(failed)?).map_err(|cause| failed(cause.into()))?;
        let trial = |t: &Value| {
            let changes = t["changes"].as_array()?.iter().map(|c| c.as_str().map(str::to_string)).collect::<Option<_>>()?;
            let name = t["name"].as_str().filter(|name| !name.contains(['/', '\\']) && !name.starts_with('.'))?;
            Some(Trial { name: name.to_string(), changes, steps: t["steps"].as_u64()? })
        };
        let all = || {
            let trials = value["trials"].as_array()?.iter().map(trial).collect::<Option<Vec<_>>>()?;
            let rungs = value["rungs"].as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<_>>>()?;
            let whole = value["version"] == VERSION && !trials.is_empty() && rungs.last() == Some(&PARTS);
            whole.then_some(Plan { trials, rungs, steps: value["steps"].as_u64()? })
        };
        all().ok_or_else(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes() -> Axes {
        Axes { ranks: vec![8, 16], rates: vec![1e-4, 2e-4, 5e-4, 2e-4], epochs: vec![1.0] }
    }

    #[test]
    fn a_grid_is_every_combination_once_and_alpha_follows_the_rank() {
        let plan = plan(&Recipe::default(), &axes(), None, 160).expect("a plan");
        let names: Vec<&str> = plan.trials.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["r8-lr1e-4-e1", "r8-lr2e-4-e1", "r8-lr5e-4-e1", "r16-lr1e-4-e1", "r16-lr2e-4-e1", "r16-lr5e-4-e1"]);
        assert_eq!((plan.rungs.as_slice(), plan.steps), ([8].as_slice(), 60));
        let mut recipe = Recipe::default();
        recipe.set("data.validation_share=0.1").expect("set");
        let own = changed(&recipe, &plan.trials[0]).expect("a recipe");
        assert_eq!((own.adapter.rank, own.adapter.alpha, own.train.validate_every), (8, 16.0, 2));
        assert_eq!(plan.largest(&recipe).expect("a recipe").adapter.rank, 16);
    }

    #[test]
    fn a_budget_is_kept_by_halving() {
        let of = |budget| plan(&Recipe::default(), &axes(), Some(budget), 1280);
        // Six runs of 80 steps: all 480, one halving 6*40 + 3*40, two 6*20 + 3*20 + 2*40, three 6*10 + 3*10 + 2*20 + 1*40.
        for (budget, rungs, steps) in [(480, vec![8], 480), (479, vec![4, 8], 360), (300, vec![2, 4, 8], 260), (200, vec![1, 2, 4, 8], 170)]
        {
            let plan = of(budget).expect("a plan");
            assert_eq!((plan.rungs, plan.steps), (rungs, steps), "{budget}");
        }
        let error = of(169).expect_err("refused").to_string();
        assert!(error.contains("found 169 steps, expected at least 170 for 6 runs"), "{error}");
        let one = Axes { ranks: vec![8], ..Axes::default() };
        assert!(plan(&Recipe::default(), &one, None, 100).expect_err("refused").to_string().contains("nothing to compare"));
        let bad = Axes { ranks: vec![0, 8], ..Axes::default() };
        assert!(plan(&Recipe::default(), &bad, None, 100).expect_err("refused").to_string().contains("`adapter.rank` is 0"));
    }

    #[test]
    fn a_plan_reads_back_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(PLAN);
        let plan = plan(&Recipe::default(), &axes(), Some(300), 1280).expect("a plan");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        write(&plan.to_json().to_string());
        assert_eq!(Plan::read(&path).expect("read"), plan);
        for bad in ["{", "{}", "{\"version\":9}", &plan.to_json().to_string().replace("r8-lr1e-4-e1", "../r8")] {
            write(bad);
            assert!(Plan::read(&path).is_err(), "{bad}");
        }
    }
}
