//! `tunesmith train`: run a recipe to its end, or onward from where it stopped.

use super::track;
use crate::fault::{Fault, Kind};
use crate::ui::Ui;
use crate::{clock, figures, memory, place, show, stop};
use flow::{Ready, Room, Watch};
use model::Folder;
use plan::cpu::Plan;
use record::{Event, Recipe, RunFolder};
use serde_json::json;
use std::path::{Path, PathBuf};
use train::{About, End, Start};

/// The recipe that is meant when none is named.
pub const USUAL: &str = "tunesmith.toml";

const EXAMPLE: &str = "\
Examples:
  tunesmith train --dry-run                  read everything, show what would be trained, stop
  tunesmith train --plan                     every buffer of the run on this machine, and stop
  tunesmith train tickets.toml --set train.lr=1e-3
  tunesmith train --resume runs/tickets-1    go on where it stopped";

/// Train from a recipe
///
/// Reads RECIPE, checks everything that can be checked before the first step, shows what is trained,
/// then trains. Stop with Ctrl-C: the current step is finished and saved; `--resume` goes on as if
/// nothing had happened.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct TrainArgs {
    /// The recipe to run
    #[arg(default_value = USUAL)]
    recipe: PathBuf,
    /// Folder of the run; new or empty (default: runs/<recipe>-<n>)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Go on with the run in this folder, from its newest checkpoint
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "out", "changes", "dry_run", "plan"])]
    resume: Option<PathBuf>,
    /// Change one setting of the recipe (can be repeated)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    changes: Vec<String>,
    /// Show what would be trained, and stop
    #[arg(long)]
    dry_run: bool,
    /// Show what the run would need in memory, and stop
    #[arg(long, conflicts_with = "dry_run")]
    plan: bool,
    /// Threads; 0 means all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

pub fn run(args: &TrainArgs, ui: &mut Ui) -> Result<(), Fault> {
    match &args.resume {
        Some(run) => resume(args, run, ui),
        None => fresh(args, ui),
    }
}

fn fresh(args: &TrainArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve: every fault of the user's shows here, before anything is written.
    let recipe = place::recipe_to_teach(&args.recipe, &args.changes, ui)?;
    if let Some(out) = &args.out {
        place::require_empty(out)?;
    }
    let path = place::model(&recipe.model.base, ui)?;
    let mut folder = Folder::open(&path)?;
    flow::pin(&mut folder, &recipe);

    // Plan.
    show::settings(&recipe).iter().for_each(|line| ui.tell(line));
    let prepared = flow::prepare(&recipe, &folder)?;
    ui.prepared(&prepared);
    let parameters = flow::parameters(&recipe, &folder)?;
    if let Some(from) = &recipe.adapter.from
        && flow::older_adapter(&folder, from)?.1 == flow::Origin::Unknown
    {
        ui.warn(&format!("{} does not say which base it was made for; only its shapes were compared", from.display()));
    }
    let steps = train::step::steps_of(&recipe.train, prepared.units());
    if args.dry_run {
        let f = &prepared.facts;
        ui.say(format!("\nIt would take {steps} steps and train {} parameters. Nothing was written.", show::count(parameters as u64)));
        ui.json(json!({
            "dry_run": true, "steps": steps, "parameters": parameters, "examples": f.examples, "tokens": f.tokens,
            "supervised_tokens": f.learned_tokens, "too_long": f.too_long.len(), "held_out": prepared.held_out.len(),
            "pairs": f.pairs, "replay": prepared.replay.len() / prepared.kind.width(),
            "validation": prepared.validation.len() / prepared.kind.width(), "rewritten": f.rewritten.len(), "turns": f.turns, "notes": recipe.notes(),
        }));
        ui.next(&[(again(args), "train it")]);
        return Ok(());
    }
    let free = memory::free();
    let room = flow::foresee(&recipe, &folder, None, &prepared.material(), args.threads, free)?;
    if args.plan {
        foreseen(args, &room.plan, free, ui);
        return Ok(());
    }
    require(&room, free)?;
    let ready = flow::load_to_teach(&recipe, &path, args.threads, ui)?;

    // Do.
    let abort = stop::hear();
    let run = place::new_run(args.out.as_deref(), &place::stem(&args.recipe), &recipe)?;
    let about = About { time: clock::now(), program: env!("CARGO_PKG_VERSION") };
    let written = flow::write_pack(&prepared, &recipe, &ready.folder, &run);
    let teach = |watch: &mut dyn Watch| flow::teach(&ready, &recipe, &run, &about, Start::Fresh, abort, watch);
    let end = written.and_then(|()| track::beside(&run, &recipe, ui, teach));
    let end = end.inspect_err(|_| place::take_back(&run))?;

    // Say.
    say(&run, &end, ui);
    Ok(())
}

fn resume(args: &TrainArgs, path: &Path, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let (run, mut recipe) = place::run(path)?;
    let events = place::events(&run);
    let end = End::of(&events);
    if end.finished && run.adapter().is_dir() {
        ui.say(format!("{} is finished already.", run.path().display()));
        say(&run, &end, ui);
        return Ok(());
    }
    place::settle(&mut recipe, ui);
    let model = place::model(&recipe.model.base, ui)?;

    // Plan: it was made when the run began; only a run that died before its first step lacks the pack.
    if run.pack().is_file() {
        let (free, folder) = (memory::free(), Folder::open(&model)?);
        let material = train::Material::read(&run, &recipe, folder.dims.vocab)?;
        require(&flow::foresee(&recipe, &folder, Some(&run), &material, args.threads, free)?, free)?;
    }
    let mut ready = flow::load_to_teach(&recipe, &model, args.threads, ui)?;
    flow::pin(&mut ready.folder, &recipe);
    // The training pack is written last.
    if !run.pack().is_file() {
        pack(&ready, &recipe, &run)?;
    }
    let steps = events.iter().find_map(|e| if let Event::Started { steps, .. } = e { Some(*steps) } else { None });
    ui.expect(steps.unwrap_or(0));

    // Do.
    let abort = stop::hear();
    let about = About { time: clock::now(), program: env!("CARGO_PKG_VERSION") };
    let teach = |watch: &mut dyn Watch| flow::teach(&ready, &recipe, &run, &about, Start::Resume, abort, watch);
    let end = track::beside(&run, &recipe, ui, teach)?;

    // Say.
    end.damaged.iter().for_each(|line| ui.warn(&format!("a damaged checkpoint was passed over: {line}")));
    say(&run, &end, ui);
    Ok(())
}

/// Shows the plan of a recipe.
fn foreseen(args: &TrainArgs, plan: &Plan, free: Option<u64>, ui: &mut Ui) {
    let fits = free.map(|free| plan.peak_bytes <= free);
    ui.say(format!("\nMemory {}", plan.when));
    show::buffers(&plan.buffers).iter().for_each(|line| ui.say(line));
    let have = free.map_or("this system does not say what is free".to_string(), |n| format!("this machine can spare {}", show::bytes(n)));
    ui.say(format!("{:>10}  at the peak; {have}", show::bytes(plan.peak_bytes)));
    ui.json(json!({
        "plan": true, "peak_bytes": plan.peak_bytes, "when": plan.when, "fits": fits, "free_bytes": free,
        "buffers": show::buffer_figures(&plan.buffers),
    }));
    ui.next(&[(again(args), "train it")]);
}

/// The command without what made it stop.
fn again(args: &TrainArgs) -> String {
    let changes: String = args.changes.iter().map(|change| format!(" --set '{change}'")).collect();
    format!("tunesmith train {}{changes}", args.recipe.display())
}

/// Refuses a run that would end in the middle for want of memory.
fn require(room: &Room, free: Option<u64>) -> Result<(), Fault> {
    let Some(free) = free.filter(|free| room.plan.peak_bytes > *free) else { return Ok(()) };
    let (needs, has) = (show::bytes(room.plan.peak_bytes), show::bytes(free));
    let fault = Fault::new(Kind::Machine, format!("this run needs {needs} of memory {}; found {has} free", room.plan.when));
    let fault = match room.smaller {
        Some(tokens) => fault.hint(format!("smaller micro-batches, the same result: --set train.micro_tokens={tokens}")),
        None => fault.hint("a smaller model, or a machine with more memory"),
    };
    Err(fault.hint("what needs it: tunesmith train --plan"))
}

fn pack(ready: &Ready, recipe: &Recipe, run: &RunFolder) -> Result<(), Fault> {
    let prepared = flow::prepare(recipe, &ready.folder)?;
    Ok(flow::write_pack(&prepared, recipe, &ready.folder, run)?)
}

/// The end of a run and what to do with it; `demo` ends so too when it is stopped.
pub fn say(run: &RunFolder, end: &End, ui: &mut Ui) {
    let name = run.path().display();
    let mut all = figures::trained(end);
    all.insert("run".into(), json!(run.path()));
    all.insert("peak_bytes".into(), json!(memory::peak()));
    if !end.finished {
        ui.say(format!("Stopped after step {} as asked, and saved in {name}.", end.steps));
        ui.json(all.into());
        ui.next(&[(format!("tunesmith train --resume {name}"), "go on as if nothing had happened")]);
        return;
    }
    let time = show::duration(end.seconds);
    ui.say(format!("Trained {} steps in {time}, loss {:.4} to {:.4} (mean of the last ten).", end.steps, end.loss_first, end.loss_last));
    show::course(end).iter().for_each(|line| ui.say(line));
    ui.say(format!("Adapter: {} (PEFT's form)", run.adapter().display()));
    all.insert("adapter".into(), json!(run.adapter()));
    all.insert("seconds".into(), json!(end.seconds));
    ui.json(all.into());
    ui.next(&[
        (format!("tunesmith eval {name}"), "compare it with its base on the held-out examples"),
        (format!("tunesmith chat {name}"), "talk to it"),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_needs_more_than_there_is_is_refused() {
        let room = |peak_bytes, smaller| Room { plan: Plan { peak_bytes, buffers: Vec::new(), when: "in training" }, smaller };
        assert!(require(&room(10 << 20, None), Some(10 << 20)).is_ok());
        assert!(require(&room(10 << 20, None), None).is_ok());
        let fault = require(&room(3 << 30, Some(512)), Some(1 << 30)).unwrap_err();
        assert_eq!(fault.kind, Kind::Machine);
        assert_eq!(fault.what, "this run needs 3.00 GiB of memory in training; found 1.00 GiB free");
        assert!(fault.hints[0].contains("train.micro_tokens=512"), "{fault}");
        let fault = require(&room(3 << 30, None), Some(1 << 30)).unwrap_err();
        assert!(fault.hints[0].contains("smaller model"), "{fault}");
    }
}
