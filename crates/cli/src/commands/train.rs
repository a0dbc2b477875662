//! `tunesmith train`: run a recipe to its end, or onward from where it stopped.

use super::track;
use crate::fault::{Fault, Kind};
use crate::ui::Ui;
use crate::{clock, figures, memory, place, show, stop};
use flow::{Room, Watch};
use model::Folder;
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
    /// Go on with the run in this folder, from its newest checkpoint, on the kind of device where it began
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

/// A run whose device is not here: what its recipe says cannot be changed any more.
fn elsewhere(e: flow::Error) -> Fault {
    let mut fault = Fault::from(e);
    fault.hints.retain(|hint| !hint.contains("--set"));
    fault.hint("a run goes on where it began; on the CPU it begins anew: tunesmith train RECIPE --set train.device=cpu")
}

fn fresh(args: &TrainArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve: every fault of the user's shows here, before anything is written.
    let recipe = place::recipe_to_teach(&args.recipe, &args.changes, ui)?;
    flow::gpu(&recipe)?;
    if let Some(out) = &args.out {
        place::require_empty(out)?;
    }
    let path = place::model(&recipe.model.base, ui)?;
    let mut folder = Folder::open(&path)?;
    let recipe = place::suited(recipe, &args.recipe, &args.changes, &folder, ui)?;
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
    let free = place::free(&recipe)?;
    let room = flow::foresee(&recipe, &folder, None, &prepared.material(), args.threads, free)?;
    if args.plan {
        foreseen(args, &room, free, ui);
        return Ok(());
    }
    let settled = settle(&recipe, &room, free, ui)?;
    let ready = flow::load_to_teach(&recipe, folder, args.threads, ui)?;

    // Do.
    let abort = stop::hear();
    let run = place::new_run(args.out.as_deref(), &place::stem(&args.recipe), &recipe)?;
    let about = About { time: clock::now(), program: env!("CARGO_PKG_VERSION") };
    let written = flow::write_pack(&prepared, &recipe, &ready.folder, &run);
    let teach = |watch: &mut dyn Watch| flow::teach(&ready, &settled, &run, &about, Start::Fresh, abort, watch);
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
    flow::gpu(&recipe).map_err(elsewhere)?;
    let model = place::model(&recipe.model.base, ui)?;

    // Plan: the data is as it was when the run began; only a run that died before its first step lacks its packs.
    let mut folder = Folder::open(&model)?;
    flow::pin(&mut folder, &recipe);
    // The training pack is written last.
    if !run.pack().is_file() {
        flow::write_pack(&flow::prepare(&recipe, &folder)?, &recipe, &folder, &run)?;
    }
    let material = train::Material::read(&run, &recipe, folder.dims.vocab)?;
    let recipe = fitted(&recipe, &folder, Some(&run), &material, args.threads, ui)?;
    drop(material);
    let ready = flow::load_to_teach(&recipe, folder, args.threads, ui)?;
    let begun =
        events.iter().find_map(|e| if let Event::Started { steps, device, .. } = e { Some((*steps, device.as_str())) } else { None });
    let (steps, device) = begun.unwrap_or_default();
    ui.expect(steps);
    let here = ready.place().name();
    if !device.is_empty() && device != here {
        ui.warn(&format!("begun on {device}, and goes on on {here}: from here on its bits are not those of a run that stayed there"));
    }

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
fn foreseen(args: &TrainArgs, room: &Room, free: Option<u64>, ui: &mut Ui) {
    let plan = &room.plan;
    let fits = free.map(|free| plan.peak_bytes <= free);
    ui.say(format!("\nMemory {}", plan.when));
    show::buffers(&plan.buffers).iter().for_each(|line| ui.say(line));
    let have = free.map_or("this system does not say what is free".to_string(), |n| format!("this machine can spare {}", show::bytes(n)));
    ui.say(format!("{:>10}  at the peak; {have}", show::bytes(plan.peak_bytes)));
    ui.say(twice(room));
    ui.json(json!({
        "plan": true, "peak_bytes": plan.peak_bytes, "when": plan.when, "fits": fits, "free_bytes": free,
        "recompute": { "layers": room.again, "of": room.layers, "all_peak_bytes": room.least_bytes },
        "micro_tokens": { "fits": room.smaller, "keeps_everything": room.keeping },
        "buffers": show::buffer_figures(&plan.buffers),
    }));
    ui.next(&[(again(args), "train it")]);
}

/// What is computed a second time, and how to have it otherwise.
fn twice(room: &Room) -> String {
    let peak = room.plan.peak_bytes;
    let other = match room.keeping {
        Some(tokens) => format!("smaller micro-batches need none of it: --set train.micro_tokens={tokens}"),
        None if room.least_bytes < peak => format!("{} if all layers were: --set train.recompute=all", show::bytes(room.least_bytes)),
        None if room.again > 0 => "without it more memory is needed: --set train.recompute=none".to_string(),
        None => "it would save nothing here".to_string(),
    };
    match room.again {
        0 => format!("Computed twice: nothing; {other}"),
        n if n == room.layers => format!("Computed twice: all {n} layers, from their inputs, to the same bits; {other}"),
        n => format!("Computed twice: the first {n} of {} layers, from their inputs, to the same bits; {other}", room.layers),
    }
}

/// The command without what made it stop.
fn again(args: &TrainArgs) -> String {
    let changes: String = args.changes.iter().map(|change| format!(" --set '{change}'")).collect();
    format!("tunesmith train {}{changes}", args.recipe.display())
}

/// The recipe with what is left to this machine's memory settled; what does not fit is refused before it is loaded.
pub fn fitted(
    recipe: &Recipe,
    folder: &Folder,
    run: Option<&RunFolder>,
    material: &train::Material,
    threads: usize,
    ui: &mut Ui,
) -> Result<Recipe, Fault> {
    let free = place::free(recipe)?;
    settle(recipe, &flow::foresee(recipe, folder, run, material, threads, free)?, free, ui)
}

fn settle(recipe: &Recipe, room: &Room, free: Option<u64>, ui: &mut Ui) -> Result<Recipe, Fault> {
    require(room, free)?;
    if room.again > 0 {
        ui.tell(twice(room));
    }
    Ok(room.settle(recipe))
}

/// Refuses a run that would end in the middle for want of memory.
fn require(room: &Room, free: Option<u64>) -> Result<(), Fault> {
    let Some(free) = free.filter(|free| room.plan.peak_bytes > *free) else { return Ok(()) };
    let (needs, has) = (show::bytes(room.plan.peak_bytes), show::bytes(free));
    let fault = Fault::new(Kind::Machine, format!("this run needs {needs} of memory {}; found {has} free", room.plan.when));
    let fault = match room.least_bytes <= free {
        true => fault.hint("layers computed a second time, the same result: --set train.recompute=auto"),
        false => fault,
    };
    let fault = match room.smaller {
        Some(tokens) => {
            fault.hint(format!("the largest micro-batches that fit, the same result but for rounding: --set train.micro_tokens={tokens}"))
        }
        None if room.least_bytes <= free => fault,
        None => fault.hint("a smaller model, or a machine with more memory"),
    };
    Err(fault.hint("what needs it: tunesmith train --plan"))
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
    use plan::cpu::Plan;

    #[test]
    fn a_run_that_needs_more_than_there_is_is_refused() {
        let room = |peak_bytes, smaller| room(peak_bytes, peak_bytes, 30, smaller, None);
        assert!(require(&room(10 << 20, None), Some(10 << 20)).is_ok());
        assert!(require(&room(10 << 20, None), None).is_ok());
        let fault = require(&room(3 << 30, Some(512)), Some(1 << 30)).unwrap_err();
        assert_eq!(fault.kind, Kind::Machine);
        assert_eq!(fault.what, "this run needs 3.00 GiB of memory in training; found 1.00 GiB free");
        assert!(fault.hints[0].contains("train.micro_tokens=512"), "{fault}");
        let fault = require(&room(3 << 30, None), Some(1 << 30)).unwrap_err();
        assert!(fault.hints[0].contains("smaller model"), "{fault}");
    }

    /// A plan of a model of 30 layers.
    fn room(peak_bytes: u64, least_bytes: u64, again: usize, smaller: Option<u32>, keeping: Option<u32>) -> Room {
        Room { plan: Plan { peak_bytes, buffers: Vec::new(), when: "in training" }, again, layers: 30, least_bytes, smaller, keeping }
    }

    #[test]
    fn a_run_that_would_fit_if_layers_were_computed_twice_is_told_so() {
        let fault = require(&room(3 << 30, 1 << 30, 0, Some(64), None), Some(2 << 30)).unwrap_err();
        assert!(fault.hints[0].ends_with("--set train.recompute=auto") && fault.hints[1].ends_with("train.micro_tokens=64"), "{fault}");
        let fault = require(&room(3 << 30, 1 << 30, 0, None, None), Some(2 << 30)).unwrap_err();
        assert!(!fault.to_string().contains("smaller model"), "{fault}");
    }

    #[test]
    fn what_is_computed_twice_is_named_with_what_to_do() {
        let gib = 1 << 30;
        for (room, text) in [
            (room(gib, gib, 0, None, None), "Computed twice: nothing; it would save nothing here"),
            (room(2 * gib, gib, 0, None, None), "Computed twice: nothing; 1.00 GiB if all layers were: --set train.recompute=all"),
            (
                room(gib, gib >> 1, 12, None, Some(512)),
                "Computed twice: the first 12 of 30 layers, from their inputs, to the same bits; smaller micro-batches need none of it: --set train.micro_tokens=512",
            ),
            (
                room(gib, gib, 30, None, None),
                "Computed twice: all 30 layers, from their inputs, to the same bits; without it more memory is needed: --set train.recompute=none",
            ),
        ] {
            assert_eq!(twice(&room), text);
        }
    }
}
