//! `tunesmith data split`: training and held-out examples in a folder that notices when it is changed.

use crate::clock;
use crate::fault::{Fault, Kind};
use crate::ui::Ui;
use data::freeze::{Facts, Frozen, Settings, Size, SplitOptions, freeze, source, split, verify};
use flow::Watch;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLE: &str = "\
Examples:
  tunesmith data split tickets.jsonl
  tunesmith data split tickets.jsonl faq.jsonl --label intent --eval-size 200 --out v2
  tunesmith data split tickets.jsonl --by-time        the newest are held out
  tunesmith data split --verify tickets-frozen";

/// Split into training and held-out examples, and freeze them
///
/// Examples of one thread or customer (the field `group`) and examples with nearly the same prompt stay on
/// one side. Every label has its share of the held-out ones. The same rows and seed give the same bytes,
/// and rows that are added later move few. The folder holds train.jsonl, eval.jsonl and manifest.json,
/// which names sources, steps, settings and hashes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct SplitArgs {
    /// Files of examples
    #[arg(required_unless_present = "verify")]
    files: Vec<PathBuf>,
    /// Held-out examples: a number, a share such as 20%, or auto
    #[arg(long, default_value = "auto", value_name = "auto|N|P%")]
    eval_size: String,
    /// With auto: how exactly a rate is to be known, in points to either side
    #[arg(long, default_value_t = 7.0, value_name = "POINTS")]
    width: f64,
    /// Keep examples with the same value of this field together; `group` where nothing is said
    #[arg(long, value_name = "FIELD")]
    group: Option<String>,
    /// The column, or field of a JSON answer, whose values keep their shares
    #[arg(long, value_name = "FIELD")]
    label: Option<String>,
    /// Hold out the newest, by the field `at`
    #[arg(long)]
    by_time: bool,
    /// Another seed holds out others
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder to make; NAME-frozen beside the first file where nothing is said
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Say whether a frozen folder is still what its manifest says, and make nothing
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["files", "group", "label", "by_time", "out"])]
    verify: Option<PathBuf>,
}

pub fn run(args: &SplitArgs, ui: &mut Ui) -> Result<(), Fault> {
    if let Some(folder) = &args.verify {
        return check(folder, ui);
    }
    // Resolve.
    let options = SplitOptions {
        size: size(&args.eval_size, args.width)?,
        seed: args.seed,
        group: args.group.clone(),
        label: args.label.clone(),
        by_time: args.by_time,
    };
    let out = args.out.clone().unwrap_or_else(|| beside(&args.files[0], "-frozen"));
    let mut items = Vec::new();
    let mut sources = Vec::new();
    for file in &args.files {
        let rows = data::items(file)?;
        sources.push(source(file, rows.len())?);
        items.extend(rows);
    }

    // Plan and do.
    ui.begin("looking for what belongs together", 0);
    let began = Instant::now();
    let made = split(&items, &options);
    ui.end();
    let made = made?;
    let seconds = began.elapsed().as_secs_f64();
    let tool = format!("tunesmith {}", env!("CARGO_PKG_VERSION"));
    let frozen = freeze(&items, &made, &sources, &Settings { tool, all: settings(args) }, &out)?;

    // Say.
    say(&made.facts, &frozen, ui);
    ui.json(json!({ "folder": out, "unchanged": frozen.unchanged, "seconds": seconds, "manifest": frozen.manifest }));
    let path = out.display();
    ui.next(&[
        (format!("tunesmith train --set data.train={path}/train.jsonl --set data.eval={path}/eval.jsonl"), "train on it"),
        (format!("tunesmith data split --verify {path}"), "see later whether it is still the same"),
    ]);
    Ok(())
}

/// What the manifest repeats. Where the folder lies makes no difference to what is in it.
fn settings(args: &SplitArgs) -> Map<String, Value> {
    let all = json!({
        "eval_size": args.eval_size,
        "width": args.width,
        "group": args.group,
        "label": args.label,
        "by_time": args.by_time,
        "seed": args.seed,
    });
    all.as_object().cloned().unwrap_or_default()
}

fn size(text: &str, width: f64) -> Result<Size, Fault> {
    let wrong = || {
        let what = format!("--eval-size is `{text}`, expected auto, a number such as 200, or a share such as 20%");
        Fault::new(Kind::Usage, what).hint("let the wanted width decide: --eval-size auto --width 7")
    };
    if text == "auto" {
        if !(0.5..=25.0).contains(&width) {
            return Err(Fault::new(Kind::Usage, format!("--width is {width}, expected points from 0.5 to 25")).hint("--width 5"));
        }
        return Ok(Size::Auto { half_width: width / 100.0 });
    }
    match text.strip_suffix('%') {
        Some(share) => match share.trim().parse::<f64>() {
            Ok(share) if share > 0.0 && share < 50.0 => Ok(Size::Share(share / 100.0)),
            _ => Err(wrong()),
        },
        None => text.parse().ok().filter(|rows| *rows > 0).map(Size::Rows).ok_or_else(wrong),
    }
}

/// A name beside a file: its own without the ending, and `end`.
pub(super) fn beside(file: &Path, end: &str) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{stem}{end}"))
}

fn say(facts: &Facts, frozen: &Frozen, ui: &mut Ui) {
    let state = if frozen.unchanged { "was frozen already, the very same" } else { "frozen" };
    ui.say(format!("{} ({state}): {} to train on, {} held out", frozen.folder.display(), facts.train, facts.eval));
    let (low, high) = facts.at_80;
    ui.say(format!("  a rate of 80 % on the held-out ones would be known as {:.1} to {:.1} %", 100.0 * low, 100.0 * high));
    if facts.groups > 0 {
        ui.say(format!("  {} groups by `{}` stay together ({} examples)", facts.groups, facts.group, facts.grouped));
    }
    ui.say(format!("  {} clusters of nearly the same prompt stay together ({} examples)", facts.clusters, facts.clustered));
    if let Some(cutoff) = facts.cutoff {
        ui.say(format!(
            "  held out is what was last touched at {} or later; training sees nothing of that time",
            clock::date(u64::try_from(cutoff).unwrap_or(0))
        ));
    }
    match &facts.labels_from {
        Some(from) => {
            let none = facts.labels.iter().filter(|label| label.eval == 0).count();
            ui.say(format!(
                "  {} labels by {from}{}",
                facts.labels.len(),
                if none > 0 { format!(", {none} of them too rare to be held out") } else { String::new() }
            ));
        }
        None => ui.say("  no labels: --label FIELD gives each its share"),
    }
    if facts.eval < 50 {
        ui.warn(&format!("{} held-out examples tell little: 50 and more are better, 200 good", facts.eval));
    }
    if facts.eval.abs_diff(facts.wanted) * 10 > facts.wanted {
        ui.warn(&format!("{} were to be held out: the largest unit that stays together has {} examples", facts.wanted, facts.largest));
    } else if facts.largest * 4 > facts.train + facts.eval {
        ui.warn(&format!("{} of {} examples hang together: they all stand on one side", facts.largest, facts.train + facts.eval));
    }
}

fn check(folder: &Path, ui: &mut Ui) -> Result<(), Fault> {
    let found = verify(folder)?;
    let facts = json!({ "folder": folder, "same": found.problems.is_empty(), "problems": found.problems, "notes": found.notes });
    found.notes.iter().for_each(|note| ui.warn(note));
    if found.problems.is_empty() {
        let [train, eval] = ["train", "eval"].map(|side| found.manifest["files"][side]["rows"].clone());
        ui.say(format!("{}: the same as when it was frozen, {train} rows to train on, {eval} held out", folder.display()));
        ui.json(facts);
        return Ok(());
    }
    let fault = Fault::new(Kind::Gate, format!("{} is not what was frozen", folder.display())).found(facts);
    let fault = found.problems.into_iter().fold(fault, Fault::cause);
    Err(fault.hint("take the folder from where it is kept, or freeze the changed rows as a version of their own: tunesmith data split FILE --out FOLDER"))
}
