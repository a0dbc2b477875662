//! `tunesmith data clean`: texts repaired, personal data replaced; and back with the key.

use crate::fault::{Fault, Kind};
use crate::stop;
use crate::ui::Ui;
use data::{CleanOptions, Cleaned, Hide};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

const EXAMPLE: &str = "\
Examples:
  tunesmith data clean tickets.jsonl                         writes tickets.clean.jsonl and what was changed
  tunesmith data clean tickets.jsonl --key team.key          pseudonyms that the key takes back
  tunesmith data clean tickets.jsonl --mask --hide email,phone,card
  tunesmith data clean --restore tickets.clean.jsonl --key team.key --out tickets.again.jsonl

Beside OUT: OUT.changes.jsonl (each change with before and after, personal data masked), OUT.clean.json (the
account) and, with a key, OUT.map (sealed). Kinds: card, iban, national_id, email, phone, ip, mac, url,
birth_date, account, name, address, secret.";

/// Repair texts and hide personal data
///
/// Repairs encoding, HTML, written-out escapes, blanks and the debris of mail and forms, and replaces
/// personal data and secrets by pseudonyms: the same value gets the same one of the same kind. Without a
/// key nobody can take them back. Rows are never dropped; answers keep their form, JSON stays JSON.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct CleanArgs {
    /// Files of rows, one JSON object a line or a JSON array
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where to write; a folder for several files [default: beside FILE]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Key file; made if it is missing. With it pseudonyms can be taken back
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Bring back what pseudonyms stand for
    #[arg(long, requires = "key")]
    restore: bool,
    /// The sealed map to restore from [default: FILE.map]
    #[arg(long, requires = "restore", value_name = "FILE")]
    map: Option<PathBuf>,
    /// Write tags such as [NAME] in the place of pseudonyms
    #[arg(long, conflicts_with_all = ["restore", "key"])]
    mask: bool,
    /// Hide these kinds only, or `none` [default: all]
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    hide: Vec<String>,
    /// Do not repair texts
    #[arg(long)]
    no_repair: bool,
    /// Make typographic quotes straight
    #[arg(long)]
    quotes: bool,
    /// Cut lines that repeat over many rows
    #[arg(long)]
    cut_boilerplate: bool,
    /// Let the check digits of pseudonymous cards and accounts be right
    #[arg(long)]
    valid_checks: bool,
    /// Tell personal data in the list of changes
    #[arg(long)]
    show_personal: bool,
}

pub fn run(args: &CleanArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let kinds = kinds(&args.hide)?;
    if args.restore {
        return restore(args, ui);
    }
    let targets = targets(args, "clean")?;

    // Plan.
    let hide = match (kinds.is_empty(), args.mask) {
        (true, _) => Hide::Nothing,
        (false, true) => Hide::Tags,
        (false, false) => Hide::Pseudonyms,
    };
    let options = CleanOptions {
        repair: !args.no_repair,
        quotes: args.quotes,
        boilerplate: args.cut_boilerplate,
        hide,
        kinds,
        valid: args.valid_checks,
        show: args.show_personal,
    };

    // Do.
    let mut done = Vec::new();
    for (file, out) in &targets {
        let cleaned = watched(ui, |progress| data::clean(file, out, args.key.as_deref(), &options, progress))?;
        say(&cleaned, file, ui);
        done.push(cleaned.to_json(file));
    }

    // Say.
    ui.json(json!({ "files": done }));
    let out = targets.first().map(|(_, out)| out.display().to_string()).unwrap_or_default();
    ui.next(&[
        (format!("less {out}.changes.jsonl"), "look at what was changed"),
        (format!("tunesmith data check {out}"), "what else is wrong with it"),
    ]);
    Ok(())
}

/// The kinds that were named; all where none was.
fn kinds(names: &[String]) -> Result<Vec<data::Kind>, Fault> {
    match names {
        [] => Ok(data::Kind::ALL.to_vec()),
        [none] if none == "none" => Ok(Vec::new()),
        names => names
            .iter()
            .map(|name| {
                data::Kind::of(name).ok_or_else(|| {
                    let all: Vec<&str> = data::Kind::ALL.iter().map(|kind| kind.name()).collect();
                    Fault::new(Kind::Usage, format!("--hide: found `{name}`, expected some of {}, or none", all.join(", ")))
                })
            })
            .collect(),
    }
}

/// What becomes of each file: `a/b.jsonl` is written to `a/b.clean.jsonl`, or into the folder that was named.
fn targets<'a>(args: &'a CleanArgs, word: &str) -> Result<Vec<(&'a Path, PathBuf)>, Fault> {
    let several = args.files.len() > 1;
    let mut targets: Vec<(&Path, PathBuf)> = Vec::new();
    for file in &args.files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{}.{word}.jsonl", stem.strip_suffix(".clean").unwrap_or(&stem));
        let out = match &args.out {
            Some(out) if several || out.is_dir() => {
                std::fs::create_dir_all(out)
                    .map_err(|e| Fault::new(Kind::of_io(&e), format!("cannot make the folder {}: {e}", out.display())))?;
                out.join(name)
            }
            Some(out) => out.clone(),
            None => file.with_file_name(name),
        };
        if let Some((other, _)) = targets.iter().find(|(_, target)| *target == out) {
            let what = format!("{} and {} would both be written to {}", other.display(), file.display(), out.display());
            return Err(Fault::new(Kind::Usage, what).hint("clean them one by one: --out FILE"));
        }
        targets.push((file, out));
    }
    Ok(targets)
}

fn restore(args: &CleanArgs, ui: &mut Ui) -> Result<(), Fault> {
    let Some(key) = &args.key else {
        return Err(Fault::new(Kind::Usage, "--restore needs the key that hid the values").hint("name it: --key FILE"));
    };
    if args.map.is_some() && args.files.len() > 1 {
        return Err(Fault::new(Kind::Usage, "--map belongs to one file").hint("restore the files one by one"));
    }
    let mut done = Vec::new();
    for (file, out) in targets(args, "restored")? {
        let map = args.map.clone().unwrap_or_else(|| PathBuf::from(format!("{}.map", file.display())));
        let restored = watched(ui, |progress| data::restore(file, &out, key, &map, progress))?;
        ui.say(format!("{}: {} values brought back in {} rows", out.display(), restored.values, restored.rows));
        done.push(json!({ "file": file, "out": out, "rows": restored.rows, "values": restored.values }));
    }
    ui.json(json!({ "files": done }));
    Ok(())
}

/// Runs a long job with a bar; a first Ctrl-C lets it end without having written anything.
fn watched<T>(ui: &mut Ui, job: impl FnOnce(data::Progress) -> data::Result<T>) -> Result<T, Fault> {
    let abort = stop::hear();
    let mut part = "";
    let done = job(&mut |what, done, of| {
        if part != what {
            part = what;
            ui.open_bytes(what, of);
        }
        ui.reach(done);
        !abort.load(Ordering::SeqCst)
    });
    stop::unheard();
    ui.close();
    Ok(done?)
}

fn say(cleaned: &Cleaned, file: &Path, ui: &mut Ui) {
    ui.say(format!("{} of {} rows changed: {}", cleaned.changed, cleaned.rows, cleaned.out.display()));
    let repairs = cleaned.changes.iter().filter(|(what, _)| data::Kind::of(what).is_none());
    for (what, count) in repairs {
        ui.say(format!("  {:14} {count}", what.replace('_', " ")));
    }
    for (kind, (places, distinct)) in cleaned.hidden.iter().filter(|(_, (places, _))| *places > 0) {
        ui.say(format!("  {:14} {places} in place of {distinct} different ones", kind.name().replace('_', " ")));
    }
    if cleaned.hidden.get(&data::Kind::Secret).is_some_and(|(places, _)| *places > 0) {
        ui.warn(&format!("{} holds keys or passwords: revoke those that are still valid", file.display()));
    }
    if let Some((line, rows)) = cleaned.repeated.first() {
        let more = cleaned.repeated.len() - 1;
        let more = if more > 0 { format!(", and {more} more lines repeat") } else { String::new() };
        ui.say(format!("  in {rows} rows stands {line:?}{more}; --cut-boilerplate cuts such lines"));
    }
    if let (Some(map), true) = (&cleaned.map, cleaned.new_key) {
        ui.say(format!("  a new key was made; who has it and {} can take pseudonyms back", map.display()));
    }
}
