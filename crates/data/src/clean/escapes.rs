//! Escapes that were written out: `\n`, `\'`, `\u00fc` in the text itself.

use std::sync::LazyLock;

use regex::Regex;

static PATH: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b[a-z]:\\|\\\\[a-z0-9_.\-]+\\|\\[dwsDWSb][+*?\[{]"));
static ESCAPED: LazyLock<Regex> = LazyLock::new(|| pattern(r#"\\(?:[nrt'"/]|u[0-9a-fA-F]{4}|\\)"#));

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("patterns are constants and each is used by a test")
}

/// The text that was meant; nothing for code, patterns and paths, where a backslash is itself.
pub(super) fn repair(text: &str) -> Option<String> {
    let code = text.contains("```") || text.contains("\\begin{") || PATH.is_match(text);
    if !text.contains('\\') || code || !ESCAPED.is_match(text) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut at = 0;
    for one in ESCAPED.find_iter(text) {
        let unit = one.as_str().strip_prefix("\\u").and_then(|hex| u16::from_str_radix(hex, 16).ok());
        if one.start() > at || unit.is_none() {
            out.push_str(&String::from_utf16_lossy(&std::mem::take(&mut units)));
        }
        out.push_str(&text[at..one.start()]);
        at = one.end();
        match (unit, one.as_str()) {
            (Some(unit), _) => units.push(unit),
            (None, "\\n") => out.push('\n'),
            (None, "\\r") => {}
            (None, "\\t") => out.push('\t'),
            (None, other) => out.push_str(&other[1..]),
        }
    }
    out.push_str(&String::from_utf16_lossy(&units));
    out.push_str(&text[at..]);
    (out != text).then_some(out)
}
