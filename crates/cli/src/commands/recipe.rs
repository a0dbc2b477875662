//! `tunesmith recipe`: every setting with its value, who chose it, and why.

use crate::fault::Fault;
use crate::place;
use crate::show;
use crate::ui::Ui;
use record::Recipe;
use record::recipe::{Line, Origin};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Examples:
  tunesmith recipe                          what a run would be, here and now
  tunesmith recipe --set train.lr=1e-3
  tunesmith recipe runs/tickets-1/recipe.toml";

/// Print every setting with its value, its source and its reason
///
/// Without RECIPE: tunesmith.toml of this folder, or the defaults if there is none.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct RecipeArgs {
    /// The recipe to explain
    recipe: Option<PathBuf>,
    /// Change one setting (can be repeated)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    changes: Vec<String>,
}

pub fn run(args: &RecipeArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let usual = Path::new(super::train::USUAL);
    let path = args.recipe.as_deref().or_else(|| usual.exists().then_some(usual));
    let recipe = match path {
        Some(path) => place::recipe(path, &args.changes)?,
        None => place::changed(Recipe::default(), &args.changes)?,
    };

    // Plan and do.
    let lines = recipe.explain();

    // Say.
    let refs: Vec<&Line> = lines.iter().collect();
    for line in show::setting_lines(&refs) {
        ui.say(line.trim_start());
    }
    ui.json(json!({ "settings": lines.iter().map(setting).collect::<Vec<_>>(), "fingerprint": recipe.fingerprint() }));
    let name = path.map_or(String::new(), |p| format!(" {}", p.display()));
    ui.next(&[(format!("tunesmith train{name} --dry-run"), "read the data and show what would be trained")]);
    Ok(())
}

fn setting(line: &Line) -> Value {
    let from = match line.from {
        Origin::Default => "default",
        Origin::File => "file",
        Origin::Flag => "flag",
    };
    json!({ "key": line.key, "value": line.value, "from": from, "reason": line.reason })
}
