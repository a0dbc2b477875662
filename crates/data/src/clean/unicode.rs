//! Signs that nobody sees: control characters, zero-width characters, letters in pieces.

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Composed letters, no controls, no invisible signs; nothing where the text is so already.
pub(super) fn repair(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let kept: String = (0..chars.len()).filter(|at| !invisible(&chars, *at)).map(|at| plain(chars[at])).collect();
    let now = if is_nfc(&kept) { kept } else { kept.nfc().collect() };
    (now != text).then_some(now)
}

/// Blanks that only look otherwise.
fn plain(c: char) -> char {
    match c {
        '\u{a0}' | '\u{2007}' | '\u{202f}' | '\u{2000}'..='\u{2006}' | '\u{2008}'..='\u{200a}' | '\u{205f}' => ' ',
        '\u{2028}' | '\u{85}' => '\n',
        '\u{2029}' => '\n',
        _ => c,
    }
}

/// Joiners stay behind letters of the scripts that need them, and in emoji.
fn invisible(chars: &[char], at: usize) -> bool {
    let c = chars[at];
    let joins = at > 0 && chars[at - 1] >= '\u{600}' && !chars[at - 1].is_whitespace();
    match c {
        '\u{200c}' | '\u{200d}' => !joins,
        '\u{200b}'
        | '\u{2060}'
        | '\u{feff}'
        | '\u{ad}'
        | '\u{180e}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => true,
        '\n' | '\t' | '\r' | '\u{85}' => false,
        _ => c.is_control(),
    }
}

/// One kind of line end.
pub(super) fn line_ends(text: &str) -> Option<String> {
    text.contains('\r').then(|| text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Straight quotes for typographic ones.
pub(super) fn quotes(text: &str) -> Option<String> {
    let straight = |c: char| match c {
        '‘' | '’' | '‚' | '‛' => '\'',
        '“' | '”' | '„' | '‟' | '«' | '»' => '"',
        _ => c,
    };
    let now: String = text.chars().map(straight).collect();
    (now != text).then_some(now)
}

/// No blanks at the ends of lines and of the text, no runs of empty lines.
pub(super) fn blanks(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.trim().split('\n') {
        let line = line.trim_end();
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            if !out.is_empty() || line.is_empty() {
                out.push('\n');
            }
            out.push_str(line);
        }
    }
    let now = out.trim_start_matches('\n');
    (now != text).then(|| now.to_string())
}
