//! `tunesmith demo`: the whole way on built-in data, from tickets to a measured and merged model.

use super::train::{fitted, say};
use crate::fault::Fault;
use crate::ui::Ui;
use crate::{clock, figures, place, show, stop};
use flow::Demo;
use model::Folder;
use record::RunFolder;
use serde_json::json;
use std::path::{Path, PathBuf};
use train::About;

const EXAMPLE: &str = "\
Examples:
  tunesmith demo
  tunesmith demo --json > result.json";

/// Train, measure and merge a small model on built-in support tickets
///
/// Everything an own project does, on 1,200 tickets of an invented company: a quarter of an hour on
/// two cores, after one download of about 100 to 270 MB.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct DemoArgs {
    /// Folder for the data and the run
    #[arg(long, value_name = "FOLDER", default_value = place::RUNS)]
    out: PathBuf,
    /// Change one setting of the recipe (can be repeated)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    changes: Vec<String>,
    /// Threads; 0 means all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

pub fn run(args: &DemoArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let data = args.out.join("northwind");
    let path = flow::write_example(&data)?;
    let recipe = place::recipe_to_teach(&path, &args.changes, ui)?;
    ui.tell("Northwind is an invented company; the task: a support ticket in, its intent, product, priority and needs_human out, as JSON.");
    ui.tell(format!("Data:  {}", data.display()));
    let model = place::model(&recipe.model.base, ui)?;
    ui.tell(format!("Model: {}", model.display()));

    // Plan.
    let mut folder = Folder::open(&model)?;
    let recipe = place::suited(recipe, &path, &args.changes, &folder, ui)?;
    show::settings(&recipe).iter().for_each(|line| ui.tell(line));
    flow::pin(&mut folder, &recipe);
    let prepared = flow::prepare(&recipe, &folder)?;
    let settled = fitted(&recipe, &folder, None, &prepared.material(), args.threads, ui)?;

    // Do.
    let abort = stop::hear();
    let run = RunFolder::create(&args.out, "northwind", &recipe)?;
    let about = About { time: clock::now(), program: env!("CARGO_PKG_VERSION") };
    let done = flow::demo(&settled, folder, &run, &prepared, args.threads, &about, abort, &clock::today(), ui);
    let done = done.inspect_err(|_| place::take_back(&run))?;

    // Say.
    tell(&run, &done, ui);
    Ok(())
}

fn tell(run: &RunFolder, done: &Demo, ui: &mut Ui) {
    let (Some(measured), Some(merged)) = (&done.measured, &done.merged) else {
        return say(run, &done.end, ui);
    };
    let end = &done.end;
    ui.say(format!(
        "\nTrained {} steps in {}, loss {:.4} to {:.4}.",
        end.steps,
        show::duration(end.seconds),
        end.loss_first,
        end.loss_last
    ));
    show::measured(measured).iter().for_each(|line| ui.say(line));
    ui.say(format!("\n{}", show::proven("Merged", &merged.proof)));
    let places: [(&str, &Path); 4] =
        [("Report", &measured.report), ("Run", run.path()), ("Adapter", &run.adapter()), ("Merged model", &merged.path)];
    for (what, path) in places {
        ui.say(format!("{what:<13} {}", path.display()));
    }
    ui.say(format!("All of it took {}, downloads apart.", show::duration(done.seconds)));
    let mut all = figures::measured(measured);
    all.insert("seconds".into(), json!(done.seconds));
    all.insert("run".into(), json!(run.path()));
    all.insert("merged".into(), figures::proven(&merged.path, &merged.proof).into());
    ui.json(all.into());
    let name = run.path().display();
    ui.next(&[
        (format!("open {}", measured.report.display()), "the report, in a browser"),
        (format!("tunesmith chat {name}"), "give it a ticket of your own"),
        (format!("tunesmith merge {name} --dtype bfloat16 --out northwind-model"), "half the size, for servers"),
        ("tunesmith recipe".to_string(), "all settings; copy tunesmith.toml and name your own data"),
    ]);
}
