//! A text as words and slots: what differs from one customer to the next has a mark of its own.

use std::ops::Range;

use super::words::is_unspaced;

/// What a word stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    Number,
    /// Digits with letters or signs, such as an order's number; or what was redacted.
    Id,
    /// A date, or the name of a month or a day.
    Date,
    Email,
    Url,
    /// A word that begins with a capital inside of a sentence.
    Name,
}

impl Slot {
    /// As it stands in a masked text.
    pub fn mark(self) -> &'static str {
        match self {
            Slot::Number => "<number>",
            Slot::Id => "<id>",
            Slot::Date => "<date>",
            Slot::Email => "<email>",
            Slot::Url => "<url>",
            Slot::Name => "<name>",
        }
    }
}

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Bytes of the text.
    pub at: Range<usize>,
    /// In lower case, without what stands around it.
    pub word: String,
    pub slot: Option<Slot>,
}

/// Months and days in English, German, French and Spanish. "may" and "sun" are words too, so they need a capital.
const DATES: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "januar",
    "februar",
    "märz",
    "mai",
    "juni",
    "juli",
    "oktober",
    "dezember",
    "montag",
    "dienstag",
    "mittwoch",
    "donnerstag",
    "freitag",
    "samstag",
    "sonntag",
    "janvier",
    "février",
    "mars",
    "avril",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
];

/// The words of a text in order.
pub fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut opens = true;
    for (from, chunk) in chunks(text) {
        let trimmed = chunk.trim_matches(|c: char| !c.is_alphanumeric());
        if trimmed.is_empty() {
            opens |= chunk.ends_with(['.', '!', '?', ':', '-', '*', '•']);
            continue;
        }
        let start = from + (trimmed.as_ptr() as usize - chunk.as_ptr() as usize);
        let whole = slot(trimmed);
        if let Some(slot) = whole {
            parts.push(Part { at: start..start + trimmed.len(), word: trimmed.to_lowercase(), slot: Some(slot) });
        } else {
            words(trimmed, start, opens, &mut parts);
        }
        opens = chunk.trim_end_matches(['"', '\'', ')', '”', '’']).ends_with(['.', '!', '?', ':'])
            || text[from + chunk.len()..].starts_with('\n');
    }
    parts
}

/// The text in lower case, each slot as its mark, words apart by one space.
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut last = None;
    for part in parts(text) {
        // Names stay: which words are names is a guess that serves comparing, not finding.
        let slot = part.slot.filter(|slot| *slot != Slot::Name);
        if slot.is_some() && slot == last {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        match slot {
            Some(slot) => out.push_str(slot.mark()),
            None => out.push_str(&part.word),
        }
        last = slot;
    }
    out
}

fn chunks(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |chunk| (chunk.as_ptr() as usize - text.as_ptr() as usize, chunk))
}

/// What a run of characters without spaces is as a whole.
fn slot(chunk: &str) -> Option<Slot> {
    if chunk.contains("://") || chunk.starts_with("www.") {
        return Some(Slot::Url);
    }
    if let Some((before, after)) = chunk.split_once('@')
        && !before.is_empty()
        && after.contains('.')
    {
        return Some(Slot::Email);
    }
    let digits = chunk.chars().filter(char::is_ascii_digit).count();
    let redacted = chunk.len() > 1 && chunk.chars().all(|c| matches!(c, 'x' | 'X' | '/' | '-') || c.is_ascii_digit());
    if digits == 0 {
        return redacted.then_some(Slot::Id);
    }
    if chunk.contains(|c: char| c.is_alphabetic() && !matches!(c, 'x' | 'X')) {
        // "co-op24" is one id, "room/24" two words: an id has no letters behind a slash or a full stop.
        let id = chunk.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '#' | ':'));
        return id.then_some(Slot::Id);
    }
    let groups = chunk.split(['/', '-', '.']).filter(|group| !group.is_empty()).count();
    let dated = groups == 3 && !chunk.contains(',') && chunk.len() <= 10;
    Some(if dated { Slot::Date } else { Slot::Number })
}

/// The words of a run of characters, cut at signs.
fn words(chunk: &str, start: usize, mut opens: bool, parts: &mut Vec<Part>) {
    let joins = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '’');
    let mut from = None;
    for (at, c) in chunk.char_indices().chain([(chunk.len(), ' ')]) {
        if joins(c) && !is_unspaced(c) {
            from.get_or_insert(at);
            continue;
        }
        if let Some(from) = from.take() {
            parts.push(word(&chunk[from..at], start + from, opens));
            opens = false;
        }
        if is_unspaced(c) {
            parts.push(Part { at: start + at..start + at + c.len_utf8(), word: c.to_string(), slot: None });
        }
    }
}

fn word(text: &str, start: usize, opens: bool) -> Part {
    let lower = text.to_lowercase();
    let capital = text.starts_with(char::is_uppercase);
    let slot = if text.contains(|c: char| c.is_numeric()) {
        Some(if text.chars().all(char::is_numeric) { Slot::Number } else { Slot::Id })
    } else if capital && DATES.contains(&lower.as_str()) {
        Some(Slot::Date)
    } else if capital && !opens && lower.chars().count() > 1 {
        Some(Slot::Name)
    } else {
        None
    };
    Part { at: start..start + text.len(), word: lower.replace(['\'', '’'], ""), slot }
}
