//! Telephone numbers: international and national forms, or a number behind the word for it.

use std::sync::LazyLock;

use regex::Regex;

use super::checksum::digits;
use super::context::{alone, before, has_any, pattern};
use super::{Found, Kind};

static INTERNATIONAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:\+|\b00)[1-9]\d{0,2}(?:[ .\-/]?\(?\d{1,5}\)?){2,6}"));
static NATIONAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"\(\d{3}\) ?\d{3}[ .\-]\d{4}",
        r"|(?:1[ .\-])?[2-9]\d{2}[ .\-][2-9]\d{2}[ .\-]\d{4}",
        r"|\(?0\d{2,5}\)?[ /\-.]{1,3}\d{2,4}(?:[ .\-]?\d{2,4}){1,4}",
        r"|0[1-9](?:[ .]\d{2}){4}",
        r"|07\d{3} ?\d{6}|0[1-9]\d{8,9}"
    ))
});
static ANY: LazyLock<Regex> = LazyLock::new(|| pattern(r"\+?\(?\d(?:[ .\-/()]{0,2}\d){5,14}"));

const WORDS: [&str; 38] = [
    "phone",
    "phone number",
    "telephone",
    "tel",
    "tel.",
    "mobile",
    "mobile number",
    "cell",
    "cellphone",
    "call me",
    "call me at",
    "call me on",
    "reach me",
    "reach me at",
    "contact number",
    "contact no",
    "contact",
    "conduct no",
    "ph",
    "phn",
    "mob",
    "whatsapp",
    "sms",
    "text me",
    "ring me",
    "ring me at",
    "ring",
    "telefon",
    "telefonnummer",
    "handy",
    "handynummer",
    "mobil",
    "téléphone",
    "portable",
    "teléfono",
    "móvil",
    "cellulare",
    "telefono",
];
/// A number behind one of these is something else.
const OTHER: [&str; 30] = [
    "purchase",
    "booking",
    "transaction",
    "id",
    "order",
    "order number",
    "order no",
    "invoice",
    "ticket",
    "tracking",
    "parcel",
    "serial",
    "ref",
    "reference",
    "case",
    "sku",
    "isbn",
    "item",
    "model",
    "version",
    "account",
    "policy",
    "claim",
    "card",
    "part",
    "bestellung",
    "rechnung",
    "auftrag",
    "article",
    "s/n",
];

/// Telephone numbers.
pub(super) fn phones(text: &str, found: &mut Vec<Found>) {
    let mut take = |form: &Regex, sure: f64, why: &'static str, fits: &dyn Fn(&str, &str) -> bool| {
        for one in form.find_iter(text).filter(|one| alone(text, one.range())) {
            let said = before(text, one.start(), 32);
            let count = digits(one.as_str()).len();
            let near = &said[boundary(&said, 18)..];
            if (7..=15).contains(&count) && !has_any(near, &OTHER) && !near.trim_end().ends_with('#') && fits(&said, one.as_str()) {
                found.push(Found::new(one.range(), Kind::Phone, sure, why));
            }
        }
    };
    take(&INTERNATIONAL, 0.96, "international form of a telephone number", &|_, number| {
        digits(number).len() >= if number.starts_with('+') { 8 } else { 11 }
    });
    take(&NATIONAL, 0.9, "national form of a telephone number", &|_, number| digits(number).len() >= 9 || number.starts_with('('));
    take(&ANY, 0.92, "behind a word for telephone", &|said, number| {
        has_any(&said[boundary(said, 26)..], &WORDS) && !is_date(number) && digits(number).len() <= 13
    });
}

/// The first byte of the last `count`, at a letter's beginning.
fn boundary(text: &str, count: usize) -> usize {
    let mut from = text.len().saturating_sub(count);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    from
}

/// `2024-05-17`, `17.05.2024` and the like.
pub(super) fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['-', '.', '/', ' ']).collect();
    let [a, b, c] = parts.as_slice() else { return false };
    let small = |part: &str, most: u32| part.len() <= 2 && part.parse::<u32>().is_ok_and(|n| (1..=most).contains(&n));
    let year = |part: &str| part.len() == 4 && (part.starts_with("19") || part.starts_with("20"));
    year(a) && small(b, 12) && small(c, 31) || year(c) && small(a, 31) && small(b, 31)
}
