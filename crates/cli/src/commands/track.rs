//! `tunesmith track`: send what trackers have missed; and trackers beside a run that trains.

use crate::fault::{Fault, Kind};
use crate::place;
use crate::ui::Ui;
use flow::{Prepared, Watch};
use record::{Event, Recipe, RunFolder};
use serde_json::{Value, json};
use std::path::PathBuf;
use track::{Ended, Live, Login, Options, Told};
use train::End;

const EXAMPLE: &str = "\
Examples:
  tunesmith track runs/tickets-1
  tunesmith track runs/tickets-1 --set track.mlflow=http://mlflow:5000
  tunesmith train --set track.tensorboard=true      trackers follow a run by themselves

The environment says who sends: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or
MLFLOW_TRACKING_TOKEN.";

/// Send what trackers of a run have missed
///
/// Reads the run's own record and sends what an MLflow server does not have yet: after it was away,
/// after the run was killed, or when a report was made since. Files for Weights & Biases and
/// TensorBoard are brought up to date and closed. Nothing is sent twice.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct TrackArgs {
    /// Folder of the run
    run: PathBuf,
    /// Change one setting of the recipe, such as track.mlflow (can be repeated)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    changes: Vec<String>,
}

pub fn run(args: &TrackArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let (run, recipe) = place::run(&args.run)?;
    let recipe = place::changed(recipe, &args.changes)?;
    let options = options(&recipe);
    if options.is_empty() {
        let what =
            format!("the recipe of {} names no tracker: track.mlflow, track.wandb and track.tensorboard are not set", run.path().display());
        return Err(
            Fault::new(Kind::Yours, what).hint(format!("name one: tunesmith track {} --set track.tensorboard=true", run.path().display()))
        );
    }

    // Plan and do.
    let told = track::send(&run, &options).map_err(|e| Fault::from(&e))?;

    // Say.
    for one in &told {
        let state = if one.complete { "all is there" } else { "not all is there" };
        ui.say(format!("{}: {state}, {} points sent now: {}", one.name, one.points, one.place));
    }
    if let Some(fault) = told.iter().find(|one| !one.complete).map(fault_of) {
        return Err(fault);
    }
    told.iter().flat_map(|one| one.faults.iter().map(|e| format!("{}: {e}", one.name))).for_each(|line| ui.warn(&line));
    ui.json(json!({ "run": run.path(), "trackers": told.iter().map(figures).collect::<Vec<_>>() }));
    Ok(())
}

/// Runs `work` while the trackers of the recipe follow the run; they can neither stop nor slow it.
pub fn beside<E>(run: &RunFolder, recipe: &Recipe, ui: &mut Ui, work: impl FnOnce(&mut dyn Watch) -> Result<End, E>) -> Result<End, E> {
    let options = options(recipe);
    if options.is_empty() {
        return work(ui);
    }
    let live = match track::start(run, &options) {
        Ok(live) => live,
        Err(error) => {
            ui.warn(&format!("nobody is told of this run now: {error}; later: tunesmith track {}", run.path().display()));
            return work(ui);
        }
    };
    let ended = work(&mut Both { ui, live: &live });
    live.lines().iter().for_each(|line| ui.warn(line));
    let how = match &ended {
        Ok(end) if end.finished => Ended::Finished,
        Ok(_) => Ended::Stopped,
        Err(_) => Ended::Failed,
    };
    match live.stop(how) {
        Ok(told) => say(run, &told, ui),
        Err(error) => ui.warn(&error.to_string()),
    }
    ended
}

/// What the recipe asks for and the environment knows.
fn options(recipe: &Recipe) -> Options {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let login = match (set("MLFLOW_TRACKING_USERNAME"), set("MLFLOW_TRACKING_PASSWORD"), set("MLFLOW_TRACKING_TOKEN")) {
        (Some(user), Some(password), _) => Login::Password { user, password },
        (_, _, Some(token)) => Login::Token(token),
        _ => Login::Nobody,
    };
    Options::of(recipe, set("USER").or_else(|| set("USERNAME")), login)
}

/// After a run: where to look, and what to do about what is missing.
fn say(run: &RunFolder, told: &[Told], ui: &mut Ui) {
    for one in told {
        if one.complete {
            ui.say(format!("{}: {}", one.name, one.place));
            one.faults.iter().for_each(|error| ui.warn(&format!("{}: {error}", one.name)));
            continue;
        }
        let why = one.faults.last().map_or(String::new(), |error| format!(" ({error})"));
        ui.warn(&format!("{} does not know all of this run{why}; send the rest later: tunesmith track {}", one.name, run.path().display()));
    }
}

fn fault_of(told: &Told) -> Fault {
    match told.faults.last() {
        Some(error) => {
            let fault = Fault::from(error);
            Fault { what: format!("{} does not know all of this run: {}", told.name, fault.what), ..fault }
        }
        None => Fault::new(Kind::Machine, format!("{} does not know all of this run", told.name)).hint("run the same command again"),
    }
}

fn figures(told: &Told) -> Value {
    let refused: Vec<String> = told.faults.iter().map(ToString::to_string).collect();
    json!({ "name": told.name, "place": told.place, "points": told.points, "complete": told.complete, "refused": refused })
}

/// The terminal, which also hears what the trackers have to say.
struct Both<'a> {
    ui: &'a mut Ui,
    live: &'a Live,
}

impl Watch for Both<'_> {
    fn begin(&mut self, what: &str, of: u64) {
        self.ui.begin(what, of);
    }

    fn advance(&mut self, done: u64) {
        Watch::advance(self.ui, done);
    }

    fn end(&mut self) {
        self.ui.end();
    }

    fn note(&mut self, text: &str) {
        self.ui.note(text);
    }

    fn prepared(&mut self, prepared: &Prepared) {
        self.ui.prepared(prepared);
    }

    fn event(&mut self, event: &Event) {
        self.ui.event(event);
        self.live.lines().iter().for_each(|line| self.ui.warn(line));
    }
}
