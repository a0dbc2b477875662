//! `tunesmith sweep`: many runs of a recipe side by side, and which settings were best.

use super::train::{USUAL, fitted};
use crate::fault::{Fault, Kind};
use crate::ui::Ui;
use crate::{clock, place, show, stop};
use flow::{Axes, Outcome, Plan};
use model::Folder;
use record::Recipe;
use serde_json::json;
use std::path::{Path, PathBuf};
use train::About;

const EXAMPLE: &str = "\
Examples:
  tunesmith sweep --rank 8,16,32 --lr 1e-4,2e-4,5e-4
  tunesmith sweep tickets.toml --lr 1e-4,2e-4,5e-4 --epochs 1,2,3 --budget 600
  tunesmith sweep --resume runs/tickets-sweep-1";

/// Share of the training examples that a sweep holds out where the recipe holds none.
const SHARE: &str = "0.1";

/// Compare ranks, learning rates and passes
///
/// Every combination is trained on the same examples and validated on the same others. With a budget that does not
/// suffice for all, the worse half is left behind again and again (successive halving). Ctrl-C stops and saves;
/// `--resume` goes on.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct SweepArgs {
    /// The recipe to vary
    #[arg(default_value = USUAL)]
    recipe: PathBuf,
    /// Ranks to try
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    rank: Vec<u32>,
    /// Learning rates to try
    #[arg(long, value_name = "X,X", value_delimiter = ',')]
    lr: Vec<f64>,
    /// Passes over the data to try
    #[arg(long, value_name = "X,X", value_delimiter = ',')]
    epochs: Vec<f64>,
    /// Steps of all runs together, at most
    #[arg(long, value_name = "STEPS")]
    budget: Option<u64>,
    /// Folder of the sweep; new or empty (default: runs/<recipe>-sweep-<n>)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Go on with the sweep in this folder
    #[arg(long, value_name = "SWEEP", conflicts_with_all = ["recipe", "rank", "lr", "epochs", "budget", "out", "changes", "dry_run"])]
    resume: Option<PathBuf>,
    /// Change one setting of the recipe (can be repeated)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    changes: Vec<String>,
    /// Show what would be run, and stop
    #[arg(long)]
    dry_run: bool,
    /// Threads; 0 means all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

pub fn run(args: &SweepArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let recipe = match &args.resume {
        Some(folder) => resumed(folder, ui)?,
        None => fresh(args, ui)?,
    };
    let path = place::model(&recipe.model.base, ui)?;
    let mut folder = Folder::open(&path)?;
    let recipe = match &args.resume {
        Some(_) => recipe,
        None => place::suited(recipe, &args.recipe, &args.changes, &folder, ui)?,
    };
    flow::pin(&mut folder, &recipe);

    // Plan.
    let prepared = flow::prepare(&recipe, &folder)?;
    let plan = match &args.resume {
        Some(folder) => Plan::open(folder)?,
        None => {
            let axes = Axes { ranks: args.rank.clone(), rates: args.lr.clone(), epochs: args.epochs.clone() };
            let plan = flow::plan(&recipe, &axes, args.budget, prepared.units())?;
            tell(&plan, ui);
            plan
        }
    };
    if args.dry_run {
        ui.say("Nothing was written.");
        let trials = plan.trials.iter().map(|t| json!({ "name": t.name, "steps": t.steps })).collect::<Vec<_>>();
        ui.json(json!({ "dry_run": true, "trials": trials, "steps": plan.steps, "rounds": plan.rungs.len() }));
        return Ok(());
    }
    // All trials compute the same layers twice: what the largest of them needs.
    let (largest, material) = (plan.largest(&recipe)?, prepared.material());
    let mut recipe = recipe;
    recipe.train.recompute = fitted(&largest, &folder, None, &material, args.threads, ui)?.train.recompute;
    let ready = flow::load_to_teach(&recipe, folder, args.threads, ui)?;

    // Do.
    let abort = stop::hear();
    let about = About { time: clock::now(), program: env!("CARGO_PKG_VERSION") };
    let place = match (&args.resume, &args.out) {
        (Some(folder), _) | (None, Some(folder)) => folder.clone(),
        (None, None) => numbered(&place::stem(&args.recipe)),
    };
    if args.resume.is_none() {
        flow::begin_sweep(&recipe, &plan, &place)?;
    }
    let outcome = flow::sweep(&ready, &recipe, &prepared, &plan, &place, &about, abort, ui)?;
    stop::unheard();

    // Say.
    say(&outcome, &place, ui);
    Ok(())
}

fn fresh(args: &SweepArgs, ui: &mut Ui) -> Result<Recipe, Fault> {
    if let Some(out) = &args.out {
        place::require_empty(out)?;
    }
    let mut recipe = place::recipe_to_teach(&args.recipe, &args.changes, ui)?;
    if !recipe.validates() {
        recipe.set(&format!("data.validation_share={SHARE}"))?;
        ui.tell("The recipe validates nothing, so a tenth of the training examples is held out to compare the runs on.");
    }
    Ok(recipe)
}

fn resumed(folder: &Path, ui: &mut Ui) -> Result<Recipe, Fault> {
    if !folder.join("sweep.json").is_file() {
        let what = format!("{} is not a sweep: sweep.json is missing", folder.display());
        return Err(Fault::new(Kind::Yours, what).hint("a sweep is what `tunesmith sweep` makes; list yours: ls runs"));
    }
    let (_, mut recipe) = place::run(folder)?;
    place::settle(&mut recipe, ui);
    Ok(recipe)
}

/// `runs/STEM-sweep-N` with the first free number.
fn numbered(stem: &str) -> PathBuf {
    let of = |n: u32| Path::new(place::RUNS).join(format!("{stem}-sweep-{n}"));
    (1..u32::MAX).map(of).find(|path| !path.exists()).unwrap_or_else(|| of(u32::MAX))
}

fn tell(plan: &Plan, ui: &mut Ui) {
    let rounds = match plan.rungs.len() {
        1 => "each to its end".to_string(),
        n => format!("in {n} rounds, after each of which the better half goes on"),
    };
    ui.tell(format!("\n{} runs, {rounds}: at most {} steps", plan.trials.len(), show::count(plan.steps)));
    for trial in &plan.trials {
        ui.tell(format!("  {:24} {} steps", trial.name, trial.steps));
    }
}

fn say(outcome: &Outcome, folder: &Path, ui: &mut Ui) {
    ui.say("\nRuns by their lowest validation loss:");
    let width = outcome.ranked.iter().map(|r| r.name.len()).max().unwrap_or(0);
    for r in &outcome.ranked {
        let best = r.best.map_or("      none".to_string(), |(step, loss)| format!("{loss:10.4} at step {step}"));
        ui.say(format!("  {:width$}  {best}  ({})", r.name, r.fate));
    }
    ui.say(format!("Comparison: {}", outcome.page.display()));
    let trial = |r: &flow::Ranked| json!({ "name": r.name, "set": r.changes, "validation": r.best.map(|b| b.1), "step": r.best.map(|b| b.0), "steps": r.steps, "fate": r.fate });
    let trials: Vec<_> = outcome.ranked.iter().map(trial).collect();
    ui.json(json!({ "sweep": folder, "finished": outcome.finished, "best": trials.first(), "trials": trials, "report": outcome.page }));
    if !outcome.finished {
        return ui.next(&[(format!("tunesmith sweep --resume {}", folder.display()), "go on where it stopped")]);
    }
    if let Some(best) = outcome.ranked.first() {
        let set: String = best.changes.iter().map(|change| format!(" --set {change}")).collect();
        ui.next(&[
            (format!("tunesmith eval {}", folder.join(&best.name).display()), "measure the best run on the held-out examples"),
            (format!("tunesmith train {}{set}", folder.join("recipe.toml").display()), "a run of its own with these settings"),
        ]);
    }
}
