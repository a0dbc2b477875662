//! `tunesmith data`: from logs, mail and databases to a dataset that can be trusted; one file for each command.

mod check;
mod clean;
mod diff;
mod emit;
mod import;
mod sample;
mod split;

use crate::fault::Fault;
use crate::ui::Ui;

/// From logs, mail and databases to a dataset that can be trusted
#[derive(clap::Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Import(import::ImportArgs),
    Clean(clean::CleanArgs),
    Check(Box<check::CheckArgs>),
    Sample(sample::SampleArgs),
    Split(split::SplitArgs),
    Diff(diff::DiffArgs),
    Emit(emit::EmitArgs),
}

pub fn run(args: &DataArgs, ui: &mut Ui) -> Result<(), Fault> {
    match &args.command {
        Command::Import(args) => import::run(args, ui),
        Command::Clean(args) => clean::run(args, ui),
        Command::Check(args) => check::run(args, ui),
        Command::Sample(args) => sample::run(args, ui),
        Command::Split(args) => split::run(args, ui),
        Command::Diff(args) => diff::run(args, ui),
        Command::Emit(args) => emit::run(args, ui),
    }
}
