//! `tunesmith data emit`: a file for another platform, once nothing in it would be refused there.

use super::split::beside;
use crate::fault::{Fault, Kind};
use crate::place;
use crate::ui::Ui;
use data::emit::{Emitted, Level, Options, PLATFORMS, Rules, emit, rules};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Examples:
  tunesmith data emit tickets.jsonl --to openai
  tunesmith data emit tickets.jsonl --to bedrock --skip-bad --out nova.jsonl
  tunesmith data emit chats.jsonl --to vertex --check-only

Platforms: openai, azure, together, bedrock (Nova), vertex (Gemini), trl, axolotl. Conversations and
pairs of answers are written for each of them.";

/// Write for other platforms, checked against their rules
///
/// Everything that the platform would refuse is told at once, with line, field and what to do about it;
/// while there is any, nothing is written. What can be written right without losing what is learned is
/// mended and told. Fields that the platform does not know are left out.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct EmitArgs {
    /// A file of conversations or pairs, in any shape that training reads
    file: PathBuf,
    /// The platform
    #[arg(long, value_name = "PLATFORM", value_parser = PLATFORMS.map(|rules| rules.name))]
    to: String,
    /// The file to write; NAME.PLATFORM.jsonl beside the input where nothing is said
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Most tokens of an example, in place of the platform's own limit
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Leave out rows that would be refused, and list them
    #[arg(long)]
    skip_bad: bool,
    /// Say what is wrong, and write nothing
    #[arg(long, conflicts_with_all = ["skip_bad", "out"])]
    check_only: bool,
}

pub fn run(args: &EmitArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let rules = rules(&args.to).ok_or_else(|| Fault::new(Kind::Usage, format!("there is no platform `{}`", args.to)))?;
    let out = args.out.clone().unwrap_or_else(|| beside(&args.file, &format!(".{}.jsonl", rules.name)));
    if !args.check_only {
        place::require_new(&out)?;
    }
    let bytes = std::fs::read(&args.file).map_err(|why| data::Error::Read { path: args.file.clone(), why })?;

    // Plan.
    let judged = emit(&bytes, &args.file, rules, Options { max_tokens: args.max_tokens });
    let judged = if args.skip_bad {
        let refused = judged.violations.iter().filter(|v| v.level == Level::Refused && v.line.is_some());
        refused.for_each(|v| ui.warn(&format!("left out: {v}")));
        judged.without_bad(rules)
    } else {
        judged
    };
    judged.violations.iter().filter(|v| v.level != Level::Refused).for_each(|v| ui.tell(format!("{}: {v}", v.level.name())));
    let told = |written: Option<&Path>| facts(rules, &judged, written);
    if judged.refused() > 0 {
        return Err(refused(args, rules, &judged, told(None)));
    }

    // Do.
    if args.check_only {
        ui.say(format!("{}: {} rows, {} would take them all", args.file.display(), judged.rows, rules.title));
        ui.json(told(None));
        return Ok(());
    }
    record::atomic::write(&out, &judged.bytes(rules))?;

    // Say.
    let left = if judged.bad.is_empty() { String::new() } else { format!(", {} left out", judged.bad.len()) };
    ui.say(format!("{} for {}: {} rows{left}", out.display(), rules.title, judged.good.len()));
    ui.tell(format!("Rules as read on {}: {}", rules.read_on, rules.sources.join(", ")));
    ui.tell(format!("\nNext: {}", rules.usage));
    ui.json(told(Some(&out)));
    Ok(())
}

fn facts(rules: &Rules, judged: &Emitted, written: Option<&Path>) -> Value {
    json!({
        "to": rules.name,
        "rules": { "read_on": rules.read_on, "sources": rules.sources },
        "rows": judged.rows,
        "good": judged.good.len(),
        "bad_lines": judged.bad,
        "written": written,
        "violations": judged.violations.iter().map(data::emit::Violation::to_json).collect::<Vec<_>>(),
    })
}

fn refused(args: &EmitArgs, rules: &Rules, judged: &Emitted, facts: Value) -> Fault {
    let refused: Vec<String> = judged.violations.iter().filter(|v| v.level == Level::Refused).map(ToString::to_string).collect();
    let bad = judged.bad.len();
    let what = format!(
        "{}: {} would refuse {bad} of {} rows; {} violations, nothing was written",
        args.file.display(),
        rules.title,
        judged.rows,
        refused.len()
    );
    let what = refused.iter().fold(what, |what, violation| format!("{what}\n  {violation}"));
    let fault = Fault::new(Kind::Gate, what).found(facts);
    let rules_told = format!("rules as read on {}: {}", rules.read_on, rules.sources[0]);
    if bad > 0 && bad < judged.rows && !args.skip_bad {
        let next = format!("mend them, or leave them out: tunesmith data emit {} --to {} --skip-bad", args.file.display(), rules.name);
        return fault.hint(next).hint(rules_told);
    }
    fault.hint(rules_told)
}
