//! The sheet as one HTML page: works offline, by keyboard, and gives the verdicts back as a file.

use serde_json::json;

use super::KINDS;
use super::drawn::Drawn;

/// The page. It loads nothing and shows texts as texts.
pub fn page(drawn: &Drawn) -> String {
    let row = |r: &super::drawn::DrawnRow| json!({ "ref": r.name, "id": r.id, "prompt": r.prompt, "answer": r.answer });
    let data = json!({ "draw": drawn.hash, "kinds": KINDS, "rows": drawn.rows.iter().map(row).collect::<Vec<_>>() });
    // Inside of a script no text may end it; as escapes the signs are the same to a reader of JSON.
    let data =
        data.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").replace(['\u{2028}', '\u{2029}'], " ");
    include_str!("review.html").replacen("/*DATA*/", &data, 1)
}
