//! The sheet that a reviewer fills: JSONL, and CSV that a spreadsheet opens without running anything.

use serde_json::json;

use super::drawn::Drawn;

/// The columns, in order.
pub(super) const COLUMNS: [&str; 7] = ["ref", "id", "prompt", "answer", "verdict", "kind", "comment"];
/// Spreadsheets cut a cell above 32,767 characters.
const LONGEST: usize = 32_000;
/// What stands at the end of a cell that was cut.
pub(super) const CUT: &str = " [cut: the page shows all]";

/// One JSON object a line.
pub fn jsonl(drawn: &Drawn) -> String {
    let row = |r: &super::drawn::DrawnRow| json!({ "ref": r.name, "id": r.id, "prompt": r.prompt, "answer": r.answer, "verdict": "", "kind": "", "comment": "" });
    drawn.rows.iter().map(|r| format!("{}\n", row(r))).collect()
}

/// Commas, quotes where they are needed, and a byte order mark, by which spreadsheets know UTF-8.
pub fn csv(drawn: &Drawn) -> String {
    let mut text = format!("\u{feff}{}\r\n", COLUMNS.join(","));
    for row in &drawn.rows {
        let cells = [&row.name, &row.id, &row.prompt, &row.answer, "", "", ""].map(|cell| quoted(&guarded(&cut(cell))));
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// The text as far as a cell holds it.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}{CUT}", &text[..end]),
        None => text.to_string(),
    }
}

/// A text that begins like a formula gets a quote before it, and so does one that begins with a quote before such a sign.
pub(super) fn guarded(text: &str) -> String {
    if is_formula(text.trim_start_matches('\'')) { format!("'{text}") } else { text.to_string() }
}

/// The text without that quote.
pub(super) fn unguarded(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if is_formula(rest.trim_start_matches('\'')) => rest,
        _ => text,
    }
}

fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
}

fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', ';', '\n', '\r', '\t']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_string() }
}
