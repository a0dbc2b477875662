//! The binary `tunesmith`: parse, call one library function, print.

mod clock;
mod commands;
mod fault;
mod figures;
mod memory;
mod place;
mod show;
mod stop;
mod ui;

use clap::{Parser, Subcommand};
use fault::{Fault, Kind};
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use ui::{Style, Ui};

const EXAMPLES: &str = "\
Begin here:
  tunesmith demo                              the whole way, on support tickets that are built in
  tunesmith train tunesmith.toml              the same on your own data
  tunesmith eval runs/tickets-1               base against tuned, on held-out examples
  tunesmith chat runs/tickets-1               talk to the result
  tunesmith plan --model llama-3.1-8b --gpu h200   what would fit on a GPU that need not be here

Exit codes: 0 done, 1 the input is at fault, 2 usage, 3 a gate failed, 4 the machine, 5 a bug of ours.";

/// From a team's tickets to a fine-tuned and measured language model
#[derive(Parser)]
#[command(name = "tunesmith", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object on standard output; progress goes to standard error
    #[arg(long, global = true)]
    json: bool,
    /// Print results only
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    Cost(commands::cost::CostArgs),
    Demo(commands::demo::DemoArgs),
    Data(commands::data::DataArgs),
    Train(commands::train::TrainArgs),
    Lr(commands::lr::LrArgs),
    Sweep(commands::sweep::SweepArgs),
    Eval(commands::eval::EvalArgs),
    Chat(commands::chat::ChatArgs),
    Merge(commands::merge::MergeArgs),
    Export(commands::export::ExportArgs),
    Pull(commands::pull::PullArgs),
    Recipe(commands::recipe::RecipeArgs),
    Plan(commands::plan::PlanArgs),
    Track(commands::track::TrackArgs),
    Doctor(commands::doctor::DoctorArgs),
}

fn main() -> ExitCode {
    fault::on_panic();
    let words: Vec<OsString> = std::env::args_os().collect();
    // A fault of usage must be JSON too, and then there are no parsed arguments to ask.
    let json = words.iter().any(|word| word == "--json");
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => return refused(&error, json),
    };
    let mut ui = Ui::new(Style::of_this_terminal(cli.json, cli.quiet));
    if let Err(fault) = stop::listen() {
        return ui.fault(&fault);
    }
    let ran = catch_unwind(AssertUnwindSafe(|| run(&cli.command, &mut ui)));
    match ran {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(fault)) => ui.fault(&fault),
        Err(_) => ui.bug(),
    }
}

fn run(command: &Command, ui: &mut Ui) -> Result<(), Fault> {
    match command {
        Command::Cost(args) => commands::cost::run(args, ui),
        Command::Demo(args) => commands::demo::run(args, ui),
        Command::Data(args) => commands::data::run(args, ui),
        Command::Train(args) => commands::train::run(args, ui),
        Command::Lr(args) => commands::lr::run(args, ui),
        Command::Sweep(args) => commands::sweep::run(args, ui),
        Command::Eval(args) => commands::eval::run(args, ui),
        Command::Chat(args) => commands::chat::run(args, ui),
        Command::Merge(args) => commands::merge::run(args, ui),
        Command::Export(args) => commands::export::run(args, ui),
        Command::Pull(args) => commands::pull::run(args, ui),
        Command::Recipe(args) => commands::recipe::run(args, ui),
        Command::Plan(args) => commands::plan::run(args, ui),
        Command::Track(args) => commands::track::run(args, ui),
        Command::Doctor(args) => commands::doctor::run(args, ui),
    }
}

/// Help and version come this way too: they are no fault.
fn refused(error: &clap::Error, json: bool) -> ExitCode {
    let asked = error.exit_code() == 0;
    // Nothing can be told to a closed terminal.
    let _ = error.print();
    if asked {
        return ExitCode::SUCCESS;
    }
    if json {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let fault = Fault::new(Kind::Usage, first).hint("see the options: tunesmith help");
        ui::print(&fault.to_json().to_string());
    }
    ExitCode::from(Kind::Usage.code())
}
