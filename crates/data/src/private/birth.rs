//! Dates of birth: a date behind the words that make it one.

use std::sync::LazyLock;

use regex::Regex;

use super::context::{before, has_any, pattern};
use super::{Found, Kind};

const MONTHS: &str = "jan(?:uary|uar|vier)?|feb(?:ruary|ruar)?|f[ée]v(?:rier)?|mar(?:ch|s)?|m[äa]rz|apr(?:il)?|avr(?:il)?|may|mai|june?|juni|juin|july?|juli|juillet|aug(?:ust)?|ao[uû]t|sep(?:t|tember|tembre)?|oct(?:ober|obre)?|okt(?:ober)?|nov(?:ember|embre)?|dec(?:ember)?|dez(?:ember)?|d[ée]c(?:embre)?|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre";

static DATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\b(?:\d{{1,2}}[./\-]\d{{1,2}}[./\-](?:\d{{4}}|\d{{2}})|\d{{4}}[./\-]\d{{1,2}}[./\-]\d{{1,2}}|\d{{1,2}}(?:st|nd|rd|th|er|\.)?(?: of| de)? (?:{MONTHS})\.?,?(?: de)? \d{{4}}|(?:{MONTHS})\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}|\d{{8}})\b"
    ))
});

const WORDS: [&str; 25] = [
    "born",
    "born on",
    "birth",
    "date of birth",
    "birthdate",
    "birthday",
    "birth date",
    "dob",
    "d.o.b",
    "d.o.b.",
    "geboren",
    "geboren am",
    "geburtsdatum",
    "geb",
    "geb.",
    "né le",
    "née le",
    "naissance",
    "nacido el",
    "nacida el",
    "nacimiento",
    "nato il",
    "nata il",
    "nascita",
    "geboortedatum",
];

/// Dates of birth.
pub(super) fn births(text: &str, found: &mut Vec<Found>) {
    for one in DATE.find_iter(text) {
        if has_any(&before(text, one.start(), 30), &WORDS) {
            found.push(Found::new(one.range(), Kind::BirthDate, 0.97, "a date behind a word for birth"));
        }
    }
}
