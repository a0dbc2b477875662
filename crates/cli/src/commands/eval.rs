//! `tunesmith eval`: base and tuned model on the same held-out examples.

use crate::fault::Fault;
use crate::ui::Ui;
use crate::{clock, figures, place, show};
use flow::Answerer;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLE: &str = "\
Examples:
  tunesmith eval runs/tickets-1
  tunesmith eval runs/tickets-1 --device cpu   in float32, though there is a GPU";

/// Compare a trained run with its base on the held-out examples
///
/// Three arms answer the same questions: the base with the plain prompt, the base with a good
/// few-shot prompt, and the tuned model. Writes eval/ and report.html into the run.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct EvalArgs {
    /// Folder of the run
    run: PathBuf,
    /// Where the answers are made: auto takes a GPU where there is one and the model answers there, else the CPU
    #[arg(long, value_name = "auto|cpu|cuda", value_enum, hide_possible_values = true, default_value_t = place::On::Auto)]
    device: place::On,
    /// Threads; 0 means all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

pub fn run(args: &EvalArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let (run, recipe) = place::run(&args.run)?;
    place::require_trained(&run)?;
    let path = place::model(&recipe.model.base, ui)?;

    // Plan.
    let answerer = Answerer::open(&path, Some((&run, &recipe)), args.device.into(), args.threads, ui)?;
    let prepared = flow::prepare(&recipe, answerer.folder())?;

    // Do.
    let found = flow::measure(&answerer, &recipe, &run, &prepared, &clock::today(), ui)?;

    // Say.
    show::measured(&found).iter().for_each(|line| ui.say(line));
    ui.say(format!("\nReport: {}", found.report.display()));
    let mut all = figures::measured(&found);
    all.insert("seconds".into(), json!(found.seconds));
    all.insert("run".into(), json!(run.path()));
    ui.json(all.into());
    let name = run.path().display();
    let mut next = vec![
        (format!("tunesmith chat {name}"), "talk to it"),
        (format!("tunesmith merge {name}"), "write a Hugging Face folder for servers"),
    ];
    if recipe.track.mlflow.is_some() {
        next.push((format!("tunesmith track {name}"), "send the report to MLflow"));
    }
    ui.next(&next);
    Ok(())
}
