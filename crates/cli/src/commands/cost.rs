//! `tunesmith cost`: what each way costs, and where they break even.

use crate::clock;
use crate::fault::{Fault, Kind};
use crate::place;
use crate::ui::Ui;
use advise::cost::{self, Bill, Book, Cents, Cost, Given, words};
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Examples:
  tunesmith cost --set api=claude-haiku-4.5 --set base=llama-3.1-8b --set gpu=h200 \\
      --set calls=1000000 --set tokens_in=1000 --set tokens_out=300
  tunesmith cost --inputs team.toml --set people=0.3 --out decision --xlsx cost.xlsx
  tunesmith cost --inputs decision/cost.json --set calls=2000000     an earlier result, changed

A file of inputs has the same names; a figure may bring its range and its source:
  api = \"claude-haiku-4.5\"
  base = \"llama-3.1-8b\"
  gpu = \"h200\"
  managed = \"fireworks-8b\"         left out unless it is named
  calls = { value = 900000, low = 700000, high = 1500000, source = \"gateway log, October\" }
  tokens_in = 1000
  tokens_out = 300
  [[scenario]]
  name = \"the merger\"
  set = { calls = \"x3\", people = 1 }

On the command line a range is --set calls=900000:700000:1500000 (value, P10, P90). months (12),
draws (10000) and seed (1) are set in the same way.";

/// What each way costs, and where they break even
///
/// Counts an API, managed fine-tuning and self-hosting over a year: tokens, training, GPUs in steps,
/// people, retraining. Prints every figure that it used with its source and its day; prices are in one
/// dated file, which `--print prices` shows and --prices replaces in part.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct CostArgs {
    /// A file of inputs (TOML), or the cost.json of an earlier run
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Set one input (can be repeated)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    changes: Vec<String>,
    /// Prices of your own, in the form of the built-in file; they go before it
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Write cost.md, cost.json and cost.html into this new folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Write a workbook with live formulas
    #[arg(long, value_name = "FILE")]
    xlsx: Option<PathBuf>,
    /// Print a built-in file and end
    #[arg(long, value_enum, value_name = "WHAT")]
    print: Option<Print>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Print {
    /// Prices and throughputs, each with its day and source
    Prices,
    /// What each input means, what it may be, and its default with the reason
    Inputs,
    /// The scenarios that are told beside every result
    Scenarios,
}

impl Print {
    fn text(self) -> &'static str {
        match self {
            Print::Prices => cost::PRICES,
            Print::Inputs => cost::INPUTS,
            Print::Scenarios => cost::SCENARIOS,
        }
    }
}

pub fn run(args: &CostArgs, ui: &mut Ui) -> Result<(), Fault> {
    if let Some(what) = args.print {
        ui.say(what.text().trim_end());
        ui.json(serde_json::json!({ "text": what.text() }));
        return Ok(());
    }

    // Resolve.
    let mut book = Book::builtin()?;
    if let Some(path) = &args.prices {
        book.add(&path.display().to_string(), &text(path)?)?;
    }
    let mut given = Given::default();
    if let Some(path) = &args.inputs {
        given.read(&path.display().to_string(), &text(path)?, &book)?;
    }
    args.changes.iter().try_for_each(|change| given.set("--set", change, &book))?;
    args.out.as_deref().map_or(Ok(()), place::require_empty)?;
    args.xlsx.as_deref().map_or(Ok(()), place::require_new)?;

    // Plan and do.
    let cost = cost::count(&given, &book, &clock::today())?;
    let written = write(args, &cost, &book)?;

    // Say.
    cost.warnings.iter().for_each(|line| ui.warn(line));
    say(&cost, ui);
    written.iter().for_each(|path| ui.say(format!("Written: {}", path.display())));
    let mut all = cost::json(&cost);
    all["written"] = serde_json::json!(written);
    ui.json(all);
    ui.next(&onward(args));
    Ok(())
}

fn text(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path).map_err(|e| Fault::new(Kind::of_io(&e), format!("cannot read {}: {e}", path.display())))
}

/// Everything is made before the first file is written.
fn write(args: &CostArgs, cost: &Cost, book: &Book) -> Result<Vec<PathBuf>, Fault> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    if let Some(folder) = &args.out {
        let again = format!("tunesmith cost --inputs {}", folder.join("cost.json").display());
        let json = format!("{:#}\n", cost::json(cost));
        files.push((folder.join("cost.json"), json.into_bytes()));
        files.push((folder.join("cost.md"), cost::markdown(cost, &again).into_bytes()));
        files.push((folder.join("cost.html"), cost::page(cost, book, &again).into_bytes()));
    }
    if let Some(path) = &args.xlsx {
        let bytes = cost::workbook(cost, book).map_err(|e| Fault::new(Kind::Ours, format!("cannot make the workbook: {e}")))?;
        files.push((path.clone(), bytes));
    }
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(|e| Fault::new(Kind::of_io(&e), format!("cannot make {}: {e}", folder.display())))?;
    }
    files.iter().try_for_each(|(path, bytes)| record::atomic::write(path, bytes))?;
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

fn say(cost: &Cost, ui: &mut Ui) {
    ui.say(words::headline(cost));
    words::details(cost).iter().for_each(|line| ui.say(line));
    for bill in &cost.bills {
        ui.say(format!("\n{}, USD over {} months", cost::named(cost, bill.way), cost.case.months));
        paid(bill).iter().for_each(|line| ui.say(line));
    }
    ui.say("\nWhat matters most: what self-hosting saves over the API when one input goes from its P10 to its P90");
    for swing in cost.tornado.iter().take(7) {
        let [from, to] = [swing.low, swing.high].map(words::figure);
        let [first, second] = [swing.at_low, swing.at_high].map(|usd| Cents::round(usd).to_string());
        ui.say(format!("  {:<16} {from:>12} to {to:<12} {first:>16} to {second}", swing.name.text()));
    }
    scenarios(cost, ui);
    ui.say("\nWhat it is computed from; change any of it with --set NAME=VALUE");
    for value in cost.case.values.iter().filter(|value| cost.case.counts(value.name)) {
        let range = Some(words::range(value)).filter(|range| !range.is_empty()).map_or(String::new(), |range| format!("{range}; "));
        ui.say(format!("  {:<16} {:>12}  {range}{}", value.name.text(), words::figure(value.value), words::origin(value)));
    }
}

fn paid(bill: &Bill) -> Vec<String> {
    let rows = bill.rows.iter().filter(|row| row.total() != Cents(0));
    let mut lines: Vec<String> = rows.map(|row| format!("  {:<30} {:>16}", row.title, row.total().to_string())).collect();
    lines.push(format!("  {:<30} {:>16}", "all", bill.total.to_string()));
    lines
}

fn scenarios(cost: &Cost, ui: &mut Ui) {
    let width = cost.scenarios.iter().map(|told| told.name.chars().count()).max().unwrap_or(0);
    let head: String = cost.bills.iter().map(|bill| format!(" {:>20}", bill.way.title())).collect();
    ui.say(format!("\n{:<width$}  {head}  self-hosting from", "What else might be", width = width));
    for told in &cost.scenarios {
        let rest = match &told.why_not {
            Some(why) => format!(" not counted: {why}"),
            None => {
                let stays = told.meeting.as_ref().and_then(|meeting| meeting.stays).map_or("never".to_string(), cost::grouped);
                let totals: String = told.totals.iter().map(|(_, total)| format!(" {:>20}", total.to_string())).collect();
                format!("{totals}  {stays:>17}")
            }
        };
        ui.say(format!("  {:<width$}{rest}", told.name));
    }
}

fn onward(args: &CostArgs) -> Vec<(String, &'static str)> {
    match &args.out {
        Some(folder) => {
            let earlier = folder.join("cost.json");
            vec![(format!("tunesmith cost --inputs {}", earlier.display()), "the same again, or changed with --set")]
        }
        None => {
            let inputs = args.inputs.as_ref().map_or(String::new(), |path| format!(" --inputs {}", path.display()));
            let set: String = args.changes.iter().map(|change| format!(" --set {change}")).collect();
            vec![(
                format!("tunesmith cost{inputs}{set} --out decision --xlsx cost.xlsx"),
                "a page, a document and a workbook for the manager",
            )]
        }
    }
}
