//! `tunesmith data sample`: examples for a review by hand, and what the review says of the data.

use super::split::beside;
use crate::fault::{Fault, Kind};
use crate::place;
use crate::ui::Ui;
use data::draw::{
    DrawOptions, Drawn, Estimate, Rate, Stratum, csv, draw, estimate, jsonl, page, read_draw, read_findings, read_review, ref_of,
};
use data::interval::wilson;
use serde_json::json;
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Examples:
  tunesmith data sample tickets.jsonl
  tunesmith data sample tickets.jsonl --size 150 --findings check.json
  tunesmith data sample --read reviewed-1a2b3c4d.csv";

/// Draw examples for a review by hand, or read the review back
///
/// Draws examples by chance, from every label and source in proportion; with --findings a third of them by
/// risk instead. Writes a sheet as NAME.sample.csv, .jsonl and .html (a page that works offline) and
/// remembers the sample in NAME.sample.json. A reviewer fills the columns verdict (ok or defect), kind and
/// comment. --read gives the rate of defects with its interval; what was drawn by risk never counts in it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct SampleArgs {
    /// A file of examples
    #[arg(required_unless_present = "read")]
    file: Option<PathBuf>,
    /// Examples in all; 100 to 200 are a morning's work
    #[arg(long, default_value_t = 150)]
    size: usize,
    /// What `tunesmith data check --json` found
    #[arg(long, value_name = "CHECK.json")]
    findings: Option<PathBuf>,
    /// How many of them by risk; a third of --size with --findings
    #[arg(long, value_name = "N", requires = "findings")]
    risk: Option<usize>,
    /// The column, or field of a JSON answer, whose values are drawn in proportion
    #[arg(long, value_name = "FIELD")]
    label: Option<String>,
    /// Another seed draws others
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write, without ending; NAME.sample beside the file where nothing is said
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Read a reviewed sheet
    #[arg(long, value_name = "REVIEWED", conflicts_with_all = ["file", "findings", "out"])]
    read: Option<PathBuf>,
    /// What was drawn, where it does not lie beside the sheet
    #[arg(long, value_name = "NAME.sample.json", requires = "read")]
    draw: Option<PathBuf>,
    /// How exactly the rate is wanted, in points to either side
    #[arg(long, default_value_t = 3.0, value_name = "POINTS")]
    width: f64,
}

pub fn run(args: &SampleArgs, ui: &mut Ui) -> Result<(), Fault> {
    if !(0.1..=25.0).contains(&args.width) {
        return Err(Fault::new(Kind::Usage, format!("--width is {}, expected points from 0.1 to 25", args.width)).hint("--width 3"));
    }
    match (&args.read, &args.file) {
        (Some(sheet), _) => review(args, sheet, ui),
        (None, Some(file)) => make(args, file, ui),
        (None, None) => Err(Fault::new(Kind::Usage, "no file is named").hint("tunesmith data sample FILE")),
    }
}

fn make(args: &SampleArgs, file: &Path, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let risk = args.risk.unwrap_or(0);
    if args.size == 0 || risk > args.size {
        let what = format!("--size is {} and --risk {risk}, expected one example or more, and no more by risk than in all", args.size);
        return Err(Fault::new(Kind::Usage, what));
    }
    let base = args.out.clone().unwrap_or_else(|| beside(file, ".sample"));
    let paths = ["json", "jsonl", "csv", "html"].map(|end| PathBuf::from(format!("{}.{end}", base.display())));
    if let Some(there) = paths.iter().find(|path| path.exists()) {
        let what = format!("{} is there already, expected none: a review may be under way", there.display());
        return Err(Fault::new(Kind::Yours, what).hint("choose another name: --out PATH; or remove the old sheet"));
    }
    place::require_new(&paths[0])?;
    let findings = args.findings.as_deref().map_or(Ok(Vec::new()), read_findings)?;
    let items = data::items(file)?;

    // Plan and do.
    let options = DrawOptions { size: args.size, risk: args.risk, seed: args.seed, label: args.label.clone() };
    let drawn = draw(file, &items, &findings, &options)?;
    let texts = [format!("{:#}\n", drawn.to_json()), jsonl(&drawn), csv(&drawn), page(&drawn)];
    for (path, text) in paths.iter().zip(&texts) {
        record::atomic::write(path, text.as_bytes())?;
    }

    // Say.
    let expected = foreseen(&drawn, ui);
    ui.json(json!({ "sample": drawn.hash, "files": paths, "random": drawn.of_stratum(Stratum::Random).count(), "of": drawn.of,
        "risk": drawn.of_stratum(Stratum::Risk).count(), "broken": drawn.broken, "labels_from": drawn.labels_from, "expected": expected }));
    let mut next = vec![
        (format!("open {}", paths[3].display()), "review in a browser, and save the verdicts; or fill the .csv in a spreadsheet"),
        (format!("tunesmith data sample --read {}", paths[2].display()), "the rate of defects"),
    ];
    if findings.is_empty() {
        let command = format!("tunesmith data check {} --json > check.json", file.display());
        next.push((command, "then --findings check.json draws some by risk too"));
    }
    ui.next(&next);
    Ok(())
}

/// What the result will tell, said before anybody looks.
fn foreseen(drawn: &Drawn, ui: &mut Ui) -> Vec<serde_json::Value> {
    let random = drawn.of_stratum(Stratum::Random).count();
    let risk = drawn.of_stratum(Stratum::Risk).count();
    ui.say(format!("{random} of {} examples by chance, {risk} by risk; sample {}", drawn.of, drawn.hash));
    if let Some(from) = &drawn.labels_from {
        ui.say(format!("  from {} parts in proportion, by {from}", drawn.cells.len()));
    }
    if drawn.broken > 0 {
        ui.warn(&format!("{} rows cannot be read and were not drawn: tunesmith data check tells them", drawn.broken));
    }
    let mut expected = Vec::new();
    for defects in [0, random.div_ceil(50), random.div_ceil(15)] {
        let (low, high) = wilson(defects as f64 / random.max(1) as f64, random as f64);
        ui.say(format!("  {defects} defects among the {random} will mean {:.1} to {:.1} % of all", 100.0 * low, 100.0 * high));
        expected.push(json!({ "defects": defects, "interval": [low, high] }));
    }
    expected
}

fn review(args: &SampleArgs, sheet: &Path, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let drawn = match &args.draw {
        Some(path) => read_draw(path)?,
        None => beside_sheet(sheet)?,
    };

    // Plan and do.
    let reviewed = read_review(sheet, &drawn)?;
    let found = estimate(&drawn, &reviewed, args.width / 100.0);

    // Say.
    say(&found, args.width, ui);
    let mut json = found.to_json();
    json["sample"] = json!(drawn.hash);
    ui.json(json);
    Ok(())
}

/// The sample in the folder of a sheet whose hash begins as the sheet's rows do.
fn beside_sheet(sheet: &Path) -> Result<Drawn, Fault> {
    let hash = ref_of(sheet)?;
    let folder = sheet.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let ours = |path: &PathBuf| path.to_string_lossy().ends_with(".json");
    let paths = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).filter(ours);
    // Other files of JSON lie there too, so what is no sample is passed over.
    let drawn = paths.filter_map(|path| read_draw(&path).ok()).find(|drawn| drawn.hash.starts_with(&hash));
    drawn.ok_or_else(|| {
        let what = format!("{}: no file in {} remembers the sample {hash}", sheet.display(), folder.display());
        Fault::new(Kind::Yours, what).hint("name it: --draw NAME.sample.json")
    })
}

fn say(found: &Estimate, width: f64, ui: &mut Ui) {
    if found.random.reviewed > 0 {
        ui.say(format!("Of all examples {} are bad ({})", percent(&found.random), counts(&found.random)));
        found.kinds.iter().for_each(|kind| ui.say(format!("  {}: {} ({})", kind.name, percent(kind), kind.defects)));
    }
    let parts: Vec<&Rate> = found.cells.iter().filter(|cell| cell.defects > 0).collect();
    if found.cells.len() > 1 && !parts.is_empty() {
        ui.say("By part:");
        parts.iter().for_each(|cell| ui.say(format!("  {}: {} ({})", cell.name, percent(cell), counts(cell))));
    }
    if let Some(risk) = &found.risk {
        ui.say(format!("Among those drawn by risk {} are bad; that says nothing of the others", counts(risk)));
        found.risk_kinds.iter().for_each(|(kind, count)| ui.say(format!("  {kind}: {count}")));
    }
    match found.more {
        0 => ui.say(format!("Known to {:.1} points either side", 100.0 * found.half_width)),
        more => ui.say(format!("Known to {:.1} points either side; {width} points need {more} more by chance", 100.0 * found.half_width)),
    }
    if found.open > 0 {
        ui.warn(&format!("{} rows have no verdict: if the hard ones were left, the rate is too low", found.open));
    }
    if !found.unseen.is_empty() {
        ui.warn(&format!("nothing was reviewed of {}: the rate leaves it out", found.unseen.join(", ")));
    }
}

fn percent(rate: &Rate) -> String {
    let (low, high) = rate.interval;
    format!("{:.1} % ({:.1} to {:.1} %)", 100.0 * rate.share, 100.0 * low, 100.0 * high)
}

fn counts(rate: &Rate) -> String {
    format!("{} of {}", rate.defects, rate.reviewed)
}
