//! A comparison as one HTML page that loads nothing; every text of the data is escaped.

use super::diff::{Change, Diff};
use super::words::Piece;
use crate::item::Item;

/// Rows of one kind that the page shows.
const SHOWN: usize = 500;

/// The page.
pub fn page(diff: &Diff) -> String {
    let mut body = String::new();
    let [old, new] = &diff.names;
    body.push_str(&format!("<h1>What changed</h1><p class=soft>{} to {}</p>", escape(old), escape(new)));
    let tiles = [
        ("added", diff.added.len()),
        ("removed", diff.removed.len()),
        ("changed", diff.changed.len()),
        ("moved", diff.moved.len()),
        ("the same", diff.same),
    ];
    body.push_str("<div class=tiles>");
    body.extend(tiles.iter().map(|(name, count)| format!("<div><b>{count}</b>{name}</div>")));
    body.push_str("</div>");
    body.push_str(&labels(diff));
    if !diff.moved.is_empty() {
        let row = |m: &super::diff::Moved| format!("<tr><td>{}<td>{}<td>{}", escape(&m.id), m.from.name(), m.to.name());
        let rows = diff.moved.iter().take(SHOWN).map(row).collect::<String>();
        body.push_str(&format!("<h2>Moved between the sides</h2><p class=soft>A model that was trained on the old version has seen what is held out only now.</p><table><tr><th>example<th>from<th>to{rows}</table>"));
    }
    section(&mut body, "Changed", diff.changed.len(), diff.changed.iter().take(SHOWN).map(changed).collect());
    section(&mut body, "Added", diff.added.len(), diff.added.iter().take(SHOWN).map(|item| row(item, "ins")).collect());
    section(&mut body, "Removed", diff.removed.len(), diff.removed.iter().take(SHOWN).map(|item| row(item, "del")).collect());
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>What changed</title><style>{}</style><main>{body}</main></html>\n",
        include_str!("page.css")
    )
}

fn labels(diff: &Diff) -> String {
    let Some(from) = &diff.labels_from else { return String::new() };
    let line = |share: &super::diff::Share| {
        let percent = |at: usize| format!("{:.1} %", 100.0 * share.shares[at]);
        let by = 100.0 * (share.shares[1] - share.shares[0]);
        format!("<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{by:+.1}", escape(&share.label), percent(0), percent(1))
    };
    let rows: String = diff.shares.iter().take(40).map(line).collect();
    format!(
        "<h2>Labels</h2><p class=soft>Taken from {}. {:.1} % of the examples would have to change their label.</p>\
         <table><tr><th>label<th class=n>old<th class=n>new<th class=n>points{rows}</table>",
        escape(from),
        100.0 * diff.shift
    )
}

fn section(body: &mut String, title: &str, count: usize, rows: String) {
    if count > 0 {
        let cut = if count > SHOWN { format!("<p class=soft>The first {SHOWN} of {count}.</p>") } else { String::new() };
        body.push_str(&format!("<h2>{title} ({count})</h2>{cut}{rows}"));
    }
}

fn changed(change: &Change) -> String {
    let fields =
        if change.fields.is_empty() { String::new() } else { format!(" <span class=soft>{}</span>", escape(&change.fields.join(", "))) };
    let [old, new] = change.lines;
    let head = format!("<b>{}</b> <span class=soft>line {old} to line {new}</span>{fields}", escape(&change.id));
    format!("<article>{head}<pre>{}</pre><pre>{}</pre></article>", pieces(&change.prompt), pieces(&change.answer))
}

fn pieces(pieces: &[Piece]) -> String {
    let one = |piece: &Piece| match piece {
        Piece::Same(text) => escape(text),
        Piece::Gone(text) => format!("<del>{}</del>", escape(text)),
        Piece::New(text) => format!("<ins>{}</ins>", escape(text)),
    };
    pieces.iter().map(one).collect()
}

fn row(item: &Item, tag: &str) -> String {
    let answer = item.answer().map(|answer| format!("<pre><{tag}>{}</{tag}></pre>", escape(answer))).unwrap_or_default();
    let head = format!("<b>{}</b> <span class=soft>line {}</span>", escape(&item.id), item.line);
    format!("<article>{head}<pre><{tag}>{}</{tag}></pre>{answer}</article>", escape(&item.prompt()))
}

/// Text that HTML shows as it is.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
