//! Signatures: behind `-- `, below a closing, or a block of names and numbers.

use super::phrases::{CLOSINGS, CONTACT, DEVICE, PHONE, THANKS};
use super::{Cut, Lines};
use std::collections::HashSet;
use std::sync::LazyLock;

/// How many lines may follow `-- `; below more than that it was a rule between parts.
const BEHIND_DASHES: usize = 30;
/// How many lines may follow a closing.
const BEHIND_CLOSING: usize = 14;
/// The longest block of contact details.
const BLOCK: usize = 10;

static STRONG: LazyLock<HashSet<&str>> = LazyLock::new(|| CLOSINGS.iter().copied().collect());
static WEAK: LazyLock<HashSet<&str>> = LazyLock::new(|| THANKS.iter().copied().collect());

/// Marks the signature, from the end upwards.
pub fn mark(lines: &mut Lines, sender: Option<&str>) {
    devices(lines);
    dashes(lines);
    closing(lines, sender);
    contact(lines);
    name(lines, sender);
    closing(lines, sender);
}

/// Marks from a line to the end of what is there; a postscript stays.
fn mark_from(lines: &mut Lines, from: usize) {
    let postscript = (from + 1..lines.lines.len()).find(|n| is_postscript(lines.lines[*n]));
    let end = postscript.unwrap_or(lines.lines.len());
    lines.mark(from..end, Cut::Signature);
}

fn is_postscript(line: &str) -> bool {
    let line = line.trim_start().to_lowercase();
    ["p.s.", "ps:", "p.s:", "ps.", "p.s ", "p.d.", "nb:"].iter().any(|sign| line.starts_with(sign))
}

/// "Sent from my telephone", wherever the last words stand.
fn devices(lines: &mut Lines) {
    while let Some(last) = lines.said().last().copied()
        && lines.lines[last].len() <= 80
        && DEVICE.is_match(lines.lines[last])
    {
        lines.mark(last..last + 1, Cut::Signature);
    }
}

fn dashes(lines: &mut Lines) {
    let said = lines.said();
    let at = said.iter().position(|n| matches!(lines.lines[*n].trim_end(), "--" | "—" | "- --" | "– –"));
    if let Some(at) = at.filter(|at| *at > 0 && said.len() - at <= BEHIND_DASHES) {
        mark_from(lines, said[at]);
    }
}

fn closing(lines: &mut Lines, sender: Option<&str>) {
    let said = lines.said();
    let first = said.len().saturating_sub(BEHIND_CLOSING + 1);
    let end = (first..said.len()).find(|at| is_postscript(lines.lines[said[*at]])).unwrap_or(said.len());
    // Upwards while nothing below says anything; the highest closing counts.
    let mut found = None;
    for at in (first..end).rev() {
        if closes(lines, said[at], &said[at + 1..end], sender) {
            found = Some(said[at]);
        }
        if is_sentence(lines.lines[said[at]]) {
            break;
        }
    }
    if let Some(at) = found {
        mark_from(lines, at);
    }
}

/// Whether a line is a closing, given what stands below.
fn closes(lines: &Lines, n: usize, below: &[usize], sender: Option<&str>) -> bool {
    let line = lines.lines[n].trim();
    let plain = line.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase().replace('’', "'");
    if line.len() > 90 || line.ends_with('?') || line.starts_with('>') {
        return false;
    }
    if STRONG.contains(plain.as_str()) {
        return true;
    }
    let named = below.first().is_some_and(|n| is_name(lines.lines[*n], sender));
    if WEAK.contains(plain.as_str()) {
        return named;
    }
    // A name on the same line: "Best regards, Ann Smith".
    let words: Vec<&str> = line.split_whitespace().collect();
    let begins = |set: &HashSet<&str>| {
        (1..words.len()).rev().take(8).find(|end| {
            let begin = words[..*end].join(" ").trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            set.contains(begin.as_str())
        })
    };
    let is_rest = |from: usize| {
        words.len() - from <= 4
            && words[from..].iter().all(|w| starts_upper(w) || matches!(*w, "aus" | "from" | "de" | "von" | "van" | "dem" | "der"))
    };
    begins(&STRONG).is_some_and(is_rest) && !line.ends_with(['.', ':'])
        || begins(&WEAK).is_some_and(|from| {
            is_rest(from) && words[from - 1].ends_with([',', '!', '.']) && below.is_empty() && !line.ends_with(['.', ':', '!'])
        })
}

fn starts_upper(word: &str) -> bool {
    word.chars().next().is_some_and(char::is_uppercase)
}

/// One to four words that begin with capitals.
fn is_name(line: &str, sender: Option<&str>) -> bool {
    let line = line.trim().trim_start_matches(['-', '–', '—', '/', ' ', '*']).trim_end_matches([',', '*', ' ']);
    if is_sender(line, sender) {
        return true;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let particle = |w: &str| matches!(w, "von" | "van" | "de" | "der" | "den" | "da" | "di" | "la" | "le" | "dos" | "del" | "und" | "&");
    (1..=4).contains(&words.len())
        && !line.ends_with(['.', '?', '!', ':'])
        && words.iter().all(|w| (starts_upper(w) || particle(w)) && !w.chars().any(|c| c.is_ascii_digit()))
}

/// Whether a line is the sender's name, or a part of it.
fn is_sender(line: &str, sender: Option<&str>) -> bool {
    let Some(sender) = sender.map(str::to_lowercase) else { return false };
    let words: Vec<String> = line.split_whitespace().map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()).collect();
    let own: Vec<&str> = sender.split(|c: char| !c.is_alphanumeric()).filter(|w| w.len() > 1).collect();
    (1..=3).contains(&words.len()) && words.iter().all(|w| own.contains(&w.as_str()))
}

/// A line that says something, unlike a name, a title or an address.
fn is_sentence(line: &str) -> bool {
    let line = line.trim();
    if PHONE.is_match(line) || CONTACT.is_match(line) || DEVICE.is_match(line) {
        return false;
    }
    let words = line.split_whitespace().count();
    line.chars().count() > 110
        || (words >= 5 && line.ends_with(['.', '?', '!', ':']))
        || (words >= 9 && !line.contains(['|', '·', '•', '@']))
        || line.ends_with('?')
}

/// A block of contact details at the end without a closing: two signs or more, and no sentence.
fn contact(lines: &mut Lines) {
    let said = lines.said();
    let Some(&last) = said.last() else { return };
    let mut first = last;
    for &n in said.iter().rev().take(BLOCK) {
        if is_sentence(lines.lines[n]) || lines.lines[n].trim_start().starts_with(['-', '*', '•']) {
            break;
        }
        first = n;
    }
    // The block may begin below a line of text without a blank between; a blank line ends the search upwards.
    let mut begin = last;
    while begin > first && !lines.lines[begin - 1].trim().is_empty() && lines.cut[begin - 1].is_none() {
        begin -= 1;
    }
    // A rule of dashes begins a block over blank lines.
    let ruled =
        said.iter().rev().take(BEHIND_CLOSING + 1).take_while(|n| !is_sentence(lines.lines[**n])).find(|n| is_rule(lines.lines[**n]));
    begin = ruled.copied().unwrap_or(begin);
    let signs =
        (begin..=last).map(|n| usize::from(PHONE.is_match(lines.lines[n])) + usize::from(CONTACT.is_match(lines.lines[n]))).sum::<usize>();
    let phones = (begin..=last).any(|n| PHONE.is_match(lines.lines[n]));
    let headed = is_name(lines.lines[begin].trim_end_matches('.'), None) && last - begin >= 2;
    if begin > 0 && last > begin && signs >= 2 && (phones || headed || ruled.is_some()) && said.iter().any(|n| *n < begin) {
        mark_from(lines, begin);
    }
}

fn is_rule(line: &str) -> bool {
    line.trim().len() >= 3 && line.trim().chars().all(|c| matches!(c, '-' | '_' | '=' | '*' | '~'))
}

/// A name alone on the last line: the sender's, or any behind a dash that no other line begins with.
fn name(lines: &mut Lines, sender: Option<&str>) {
    let said = lines.said();
    let [.., before, last] = said[..] else { return };
    let line = lines.lines[last].trim();
    let bare = line.trim_start_matches(['-', '–', '—', '/', ' ']);
    let dashed = line.starts_with(['-', '–', '—']) && line.split_whitespace().count() <= 3 && is_name(bare, None);
    let is_point = lines.lines[before].trim_start().starts_with(['-', '–', '—', '*', '•']);
    if is_sender(bare, sender) || (dashed && !is_point && bare.len() >= 3) {
        lines.mark(last..last + 1, Cut::Signature);
    }
}
