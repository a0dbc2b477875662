//! `tunesmith lr`: which learning rate to begin with, tried on the recipe's own data.

use super::train::{USUAL, fitted};
use crate::fault::Fault;
use crate::ui::Ui;
use crate::{place, stop};
use flow::Rate;
use model::Folder;
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use train::range::{Range, USUAL as RANGE};

const EXAMPLE: &str = "\
Examples:
  tunesmith lr
  tunesmith lr tickets.toml --steps 60 --out rate.html";

/// Try which learning rate to begin with
///
/// Trains for about a hundred steps with a rate that rises from step to step, until the loss goes up; nothing of the
/// training is kept. A quarter of the rate from which the loss went up is suggested, which runs with warm-up and decay
/// bear well; the rate at which it fell fastest is told beside it, for the careful.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct LrArgs {
    /// The recipe to try
    #[arg(default_value = USUAL)]
    recipe: PathBuf,
    /// Change one setting of the recipe (can be repeated)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    changes: Vec<String>,
    /// Steps of the test
    #[arg(long, value_name = "N", default_value_t = RANGE.steps, value_parser = clap::value_parser!(u64).range(30..=10_000))]
    steps: u64,
    /// Page with the curve
    #[arg(long, value_name = "FILE", default_value = "learning-rate.html")]
    out: PathBuf,
    /// Threads; 0 means all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

pub fn run(args: &LrArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let recipe = place::recipe_to_teach(&args.recipe, &args.changes, ui)?;
    let path = place::model(&recipe.model.base, ui)?;
    let mut folder = Folder::open(&path)?;
    let recipe = place::suited(recipe, &args.recipe, &args.changes, &folder, ui)?;
    flow::pin(&mut folder, &recipe);

    // Plan.
    let prepared = flow::prepare(&recipe, &folder)?;
    let recipe = fitted(&recipe, &folder, None, &prepared.material(), args.threads, ui)?;
    let ready = flow::load_to_teach(&recipe, folder, args.threads, ui)?;
    let range = Range { steps: args.steps, ..RANGE };

    // Do.
    let abort = stop::hear();
    let stopped = || abort.load(Ordering::Relaxed);
    let command = format!("tunesmith train {}", args.recipe.display());
    let next = [(command.clone(), "train with the recipe's own rate, or with the one above by --set train.lr=...".to_string())];
    let found = flow::find_rate(&ready, &recipe, &prepared, &range, &args.out, &next, &stopped, ui)?;
    stop::unheard();

    // Say.
    say(&found, &command, ui);
    Ok(())
}

fn say(rate: &Rate, command: &str, ui: &mut Ui) {
    let found = &rate.found;
    for line in plot(&found.points.iter().map(|p| (p.lr, p.smooth)).collect::<Vec<_>>()) {
        ui.tell(line);
    }
    ui.say(rate.sentence());
    if let Some(page) = &rate.page {
        ui.say(format!("Curve: {}", page.display()));
    }
    ui.json(json!({
        "suggestion": found.suggestion, "steepest": found.steepest, "blew_up": found.blew_up, "steps": found.points.len(),
        "set": found.suggestion.map(|lr| format!("train.lr={lr:e}")), "page": rate.page,
        "points": found.points.iter().map(|p| json!({ "lr": p.lr, "loss": p.loss, "smooth": p.smooth })).collect::<Vec<_>>(),
    }));
    match found.suggestion {
        Some(lr) => ui.next(&[(format!("{command} --set train.lr={lr:e}"), "train with it")]),
        None if rate.page.is_none() => ui.next(&[(command.replacen("train", "lr", 1), "try the whole range")]),
        None => {}
    }
}

/// The curve in twelve lines of text.
fn plot(points: &[(f64, f64)]) -> Vec<String> {
    const ROWS: usize = 12;
    let (low, high) = points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| (low.min(p.1), high.max(p.1)));
    if points.is_empty() || high <= low {
        return Vec::new();
    }
    let row = |at: usize| {
        let marks: String = points.iter().map(|p| if level(p.1, low, high, ROWS) == at { '*' } else { ' ' }).collect();
        format!("  {:8.3} |{}", high - (high - low) * at as f64 / (ROWS - 1) as f64, marks.trim_end())
    };
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    let below = format!("  {:8}  {:<width$}{last:.1e}", "rate", format!("{first:.1e}"), width = points.len().saturating_sub(8).max(10));
    std::iter::once(String::new()).chain((0..ROWS).map(row)).chain([below, String::new()]).collect()
}

/// The line of a value, from 0 at the top.
fn level(value: f64, low: f64, high: f64, rows: usize) -> usize {
    ((high - value) / (high - low) * (rows - 1) as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use super::plot;

    #[test]
    fn a_curve_is_drawn_from_its_highest_to_its_lowest_point() {
        let lines = plot(&[(1e-6, 3.0), (1e-5, 2.0), (1e-4, 1.0), (1e-3, 3.0)]);
        assert_eq!((lines[1].as_str(), lines[12].as_str()), ("     3.000 |*  *", "     1.000 |  *"));
        assert!(lines[13].contains("1.0e-6") && lines[13].ends_with("1.0e-3"), "{}", lines[13]);
        assert!(plot(&[]).is_empty() && plot(&[(1e-6, 2.0), (1e-5, 2.0)]).is_empty());
    }
}
