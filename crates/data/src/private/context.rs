//! What stands around a value: its neighbours, and the words shortly before it.

use std::ops::Range;

use regex::Regex;

/// A pattern of our own; that it is one is shown by the first test that uses it.
pub(super) fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("patterns are constants and each is used by a test")
}

/// Whether no letter or digit touches the range, nor a sign that makes it part of a longer number.
pub(super) fn alone(text: &str, range: Range<usize>) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    let mut before = text[..range.start].chars().rev();
    let mut after = text[range.end..].chars();
    let left = match (before.next(), before.next()) {
        (Some(c), _) if joins(c) => false,
        (Some('.' | ',' | '-' | '/' | ':'), Some(c)) => !c.is_ascii_digit(),
        _ => true,
    };
    let right = match (after.next(), after.next()) {
        (Some(c), _) if joins(c) => false,
        (Some('.' | ',' | '-' | '/'), Some(c)) => !c.is_ascii_digit(),
        _ => true,
    };
    left && right
}

/// The last bytes before a place, lower case, at most `most` of them and none of an earlier line but one.
pub(super) fn before(text: &str, at: usize, most: usize) -> String {
    let mut from = at.saturating_sub(most);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..at].to_lowercase()
}

/// The first bytes behind a place, lower case.
pub(super) fn after(text: &str, at: usize, most: usize) -> String {
    let mut to = (at + most).min(text.len());
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    text[at..to].to_lowercase()
}

/// Where the last of these words ends in a lower-case text; a word begins at a word's beginning.
pub(super) fn last_of(text: &str, words: &[&str]) -> Option<usize> {
    let ends = words.iter().filter_map(|word| {
        let places = text.rmatch_indices(word);
        let begins = |at: usize| text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
        let ends = |at: usize| text[at + word.len()..].chars().next().is_none_or(|c| !c.is_alphabetic() || c == 's');
        places.map(|(at, _)| at).find(|at| begins(*at) && ends(*at)).map(|at| at + word.len())
    });
    ends.max()
}

/// Whether one of these words stands in the text.
pub(super) fn has_any(text: &str, words: &[&str]) -> bool {
    last_of(text, words).is_some()
}
