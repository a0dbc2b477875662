//! `tunesmith data diff`: what changed between two versions of a dataset.

use crate::fault::Fault;
use crate::place;
use crate::ui::Ui;
use data::Item;
use data::freeze::{Change, Diff, Piece, diff, load, page};
use std::path::PathBuf;

const EXAMPLE: &str = "\
Examples:
  tunesmith data diff tickets-v1 tickets-v2
  tunesmith data diff before.jsonl after.jsonl --label intent --html changes.html";

/// Rows of one kind that the terminal shows.
const SHOWN: usize = 10;

/// Compare two versions of a dataset
///
/// Each is a file or a folder that `tunesmith data split` froze. Rows are found again by id, then by what
/// they say, then by their prompt. Rows that moved between training and held-out are named: a model that
/// was trained on the old version has seen them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct DiffArgs {
    /// The old version
    old: PathBuf,
    /// The new version
    new: PathBuf,
    /// The column, or field of a JSON answer, whose shares are compared
    #[arg(long, value_name = "FIELD")]
    label: Option<String>,
    /// Write a page with all changes too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub fn run(args: &DiffArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    args.html.as_deref().map_or(Ok(()), place::require_new)?;
    let (old, new) = (load(&args.old)?, load(&args.new)?);

    // Plan and do.
    let found = diff(&old, &new, args.label.as_deref());
    if let Some(path) = &args.html {
        record::atomic::write(path, page(&found).as_bytes())?;
    }

    // Say.
    say(&found, ui);
    ui.json(found.to_json());
    if let Some(path) = &args.html {
        ui.say(format!("\nAll changes: {}", path.display()));
    } else if !found.is_empty() {
        ui.next(&[(
            format!("tunesmith data diff {} {} --html changes.html", args.old.display(), args.new.display()),
            "all changes as a page",
        )]);
    }
    Ok(())
}

fn say(found: &Diff, ui: &mut Ui) {
    let [old, new] = found.rows;
    let (added, removed, changed, moved) = (found.added.len(), found.removed.len(), found.changed.len(), found.moved.len());
    ui.say(format!("{old} rows to {new}: {added} added, {removed} removed, {changed} changed, {moved} moved, {} the same", found.same));
    let more = |ui: &mut Ui, count: usize| {
        if count > SHOWN {
            ui.say(format!("  and {} more", count - SHOWN));
        }
    };
    for change in found.changed.iter().take(SHOWN) {
        ui.say(format!("~ {} ({}): {}", change.id, change.fields.join(", "), shown(change)));
    }
    more(ui, changed);
    for (sign, items) in [("+", &found.added), ("-", &found.removed)] {
        items.iter().take(SHOWN).for_each(|item| ui.say(format!("{sign} {}: {}", item.id, start(item))));
        more(ui, items.len());
    }
    for moved in found.moved.iter().take(SHOWN) {
        ui.say(format!("> {}: from {} to {}", moved.id, moved.from.name(), moved.to.name()));
    }
    more(ui, moved);
    let seen = found.moved.iter().filter(|moved| moved.to == data::freeze::Side::Eval).count();
    if seen > 0 {
        ui.warn(&format!(
            "{seen} rows that were trained on are held out now: measure no model on them that was trained on the old version"
        ));
    }
    if let Some(from) = &found.labels_from {
        ui.say(format!("Labels by {from}: {:.1} % of the examples would have to change theirs", 100.0 * found.shift));
        for share in found.shares.iter().filter(|share| share.counts[0] != share.counts[1]).take(5) {
            let [old, new] = share.shares.map(|share| 100.0 * share);
            ui.say(format!("  {}: {old:.1} % to {new:.1} %", share.label));
        }
    }
}

/// The changed words, with some around them.
fn shown(change: &Change) -> String {
    let part = |pieces: &[Piece]| {
        let one = |piece: &Piece| match piece {
            Piece::Same(text) if text.chars().count() > 24 => {
                let chars: Vec<char> = text.chars().collect();
                format!("{} ... {}", chars[..8].iter().collect::<String>(), chars[chars.len() - 8..].iter().collect::<String>())
            }
            Piece::Same(text) => text.clone(),
            Piece::Gone(text) => format!("[-{text}-]"),
            Piece::New(text) => format!("{{+{text}+}}"),
        };
        pieces.iter().any(|piece| !matches!(piece, Piece::Same(_))).then(|| pieces.iter().map(one).collect::<String>())
    };
    let parts = [part(&change.prompt), part(&change.answer)];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" => ");
    text.replace('\n', " ").chars().take(300).collect()
}

fn start(item: &Item) -> String {
    let text = item.prompt().replace('\n', " ");
    text.chars().take(80).collect()
}
