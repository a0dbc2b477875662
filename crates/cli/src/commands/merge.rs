//! `tunesmith merge`: base and adapter to one model that other programs load.

use crate::fault::Fault;
use crate::ui::Ui;
use crate::{figures, place, show};
use export::Precision;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLE: &str = "\
Examples:
  tunesmith merge runs/tickets-1
  tunesmith merge runs/tickets-1 --dtype bfloat16 --out tickets-model";

/// Merge a run's adapter into its base
///
/// Writes a Hugging Face folder, opens it again and compares its logits with base and adapter; a
/// model that answers otherwise is refused (exit code 3) and not kept.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct MergeArgs {
    /// Folder of the run
    run: PathBuf,
    /// Folder of the model; new or empty (default: merged/ in the run)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// How weights are stored: float32 is exact, bfloat16 half the size
    #[arg(long, value_enum, default_value = "float32")]
    dtype: Dtype,
    /// Threads; 0 means all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Dtype {
    #[value(name = "float32")]
    F32,
    #[value(name = "bfloat16")]
    Bf16,
}

pub fn run(args: &MergeArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let (run, recipe) = place::run(&args.run)?;
    place::require_trained(&run)?;
    if let Some(out) = &args.out {
        place::require_empty(out)?;
    }
    let path = place::model(&recipe.model.base, ui)?;
    let precision = match args.dtype {
        Dtype::F32 => Precision::F32,
        Dtype::Bf16 => Precision::Bf16,
    };

    // Plan: the held-out examples are what the result is compared on.
    let mut ready = flow::load_as_trained(&recipe, &path, args.threads, ui)?;
    flow::pin(&mut ready.folder, &recipe);
    let prepared = flow::prepare(&recipe, &ready.folder)?;

    // Do.
    let merged = flow::combine(&ready, &run, &prepared, precision, args.out.as_deref(), ui)?;

    // Say.
    ui.say(show::merged(&merged));
    ui.say(format!("Model: {}", merged.path.display()));
    let mut all = figures::into_map(figures::merged(&merged));
    all.insert("run".into(), json!(run.path()));
    ui.json(all.into());
    ui.next(&[(format!("tunesmith chat {}", merged.path.display()), "talk to the merged model")]);
    Ok(())
}
