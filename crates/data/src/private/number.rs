//! Numbers of accounts, policies, customers and cards, by the words before them or by what was asked.

use std::sync::LazyLock;

use regex::Regex;

use super::context::{after, alone, before, last_of, pattern};
use super::talk::{Asked, Talk};
use super::{Found, Kind};

/// A word for a number, and the kind that it makes.
const TOPICS: [(&[&str], Kind); 4] = [
    (
        &[
            "card",
            "card number",
            "card no",
            "credit",
            "debit card",
            "visa",
            "mastercard",
            "kartennummer",
            "carte",
            "tarjeta",
            "carta",
            "crad",
            "card ends",
            "card ending",
        ],
        Kind::Account,
    ),
    (
        &[
            "ssn",
            "ssn no",
            "social security",
            "social",
            "last four",
            "last 4",
            "aadhaar",
            "passport",
            "license",
            "licence",
            "national id",
            "id number",
            "identification",
        ],
        Kind::NationalId,
    ),
    (
        &[
            "account",
            "acct",
            "acc",
            "ac",
            "a/c",
            "ac no",
            "acc no",
            "account number",
            "account no",
            "iban",
            "bank account",
            "routing",
            "sort code",
            "konto",
            "kontonummer",
            "compte",
            "cuenta",
            "conto",
            "rekening",
            "policy",
            "policy number",
            "policy no",
            "policyid",
            "claim",
            "claim number",
            "claim no",
            "claimid",
            "customer number",
            "customer no",
            "customer id",
            "client number",
            "member",
            "membership",
            "member id",
            "kundennummer",
            "versicherungsnummer",
            "police",
            "savings",
            "checking",
            "saving",
            "patient",
            "mrn",
            "employee id",
            "employee number",
            "student id",
            "vat id",
            "user id",
            "userid",
        ],
        Kind::Account,
    ),
    (
        &[
            "pin",
            "password",
            "passcode",
            "passwort",
            "otp",
            "cvv",
            "cvc",
            "pwd",
            "passwd",
            "mot de passe",
            "contraseña",
            "parola",
            "security code",
        ],
        Kind::Secret,
    ),
];
/// A number behind one of these, nearer than any word above, is none of a person.
const OTHER: [&str; 44] = [
    "amount", "order", "invoice", "time", "date", "on", "transfer", "usd", "eur", "$", "€", "£", "rs", "paid", "pay", "cost", "price",
    "quantity", "units", "year", "model", "version", "page", "for", "of", "at", "in", "after", "before", "within", "about", "than", "over",
    "under", "since", "until", "from", "send", "withdraw", "charged", "charge", "spent", "room", "step",
];

static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d(?:[ \-]?\d){2,22}"));
/// Three letters and a number, as insurers name policies and claims.
static LETTERED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b[a-z]{2,4}[ \-]?\d{3,12}\b"));
/// What a spreadsheet makes of a long number.
static ROUNDED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b\d(?:\.?\d{1,6}) ?e ?\+? ?(?:1[1-9]|2[0-4])\b"));
static PASSWORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:pass ?w[oa]rd|passwort|passwd|pwd?|passcode|passphrase|mot de passe|contraseña)(?: (?:number|no))?(?: is|:|=| ist| est| es)? ?:? ?",
    )
});

/// Numbers by context.
pub(super) fn accounts(text: &str, talk: &Talk, found: &mut Vec<Found>) {
    for one in ROUNDED.find_iter(text) {
        found.push(Found::new(one.range(), Kind::Account, 0.85, "a long number that a spreadsheet rounded"));
    }
    // "NW-791160" is one number with its letters.
    let lettered = |at: usize| text[..at].ends_with('-') && text[..at - 1].ends_with(char::is_alphabetic);
    for one in NUMBER.find_iter(text).filter(|one| alone(text, one.range()) && !lettered(one.start())) {
        if let Some((kind, sure, why)) = judge(text, one.range(), talk) {
            found.push(Found::new(one.range(), kind, sure, why));
        }
    }
    for one in LETTERED.find_iter(text).filter(|one| alone(text, one.range())) {
        let letters = one.as_str().chars().take_while(|c| c.is_alphabetic()).collect::<String>();
        let digits = one.as_str().chars().filter(char::is_ascii_digit).count();
        let said = before(text, one.start(), 30);
        let named = topic(&said).is_some_and(|(near, kind)| {
            kind == Kind::Account && !said[near..].contains(['.', '!', '?', '\n']) && last_of(&said[near..], &OTHER).is_none()
        });
        let whole = only(text, one.range()) && letters.len() == 3 && (digits == 3 || digits >= 7);
        if (named || whole && talk.is_chat()) && !super::Lexicon::get().word(&letters.to_lowercase()) {
            found.push(Found::new(one.range(), Kind::Account, if named { 0.9 } else { 0.7 }, "a number of an account, policy or claim"));
        }
    }
    passwords(text, found);
}

fn judge(text: &str, range: std::ops::Range<usize>, talk: &Talk) -> Option<(Kind, f64, &'static str)> {
    let number = &text[range.clone()];
    let digits = number.chars().filter(char::is_ascii_digit).count();
    let said = before(text, range.start, 40);
    if super::phone::is_date(number) || currency(text, &range) {
        return None;
    }
    if let Some((near, kind)) = topic(&said)
        && digits >= 3
    {
        let between = &said[near..];
        let broken = last_of(between, &OTHER).is_some()
            || between.contains(['$', '€', '£', '\n'])
            || between.contains(". ")
            || digits == 4 && is_year(number) && between.matches(char::is_alphabetic).count() > 6
            || between.matches(char::is_alphabetic).count() > 24;
        if !broken {
            return Some((kind, 0.88, "behind a word for such a number"));
        }
    }
    if talk.asked(Asked::Number) && digits >= 4 && only(text, range.clone()) {
        return Some((Kind::Account, 0.8, "the answer to a question for a number"));
    }
    if !talk.is_chat() {
        return None;
    }
    // Beside a name any number is somebody's; alone it must look so.
    if let Some(names) = lone(text, &range)
        && (names > 0 && digits >= 3 || whole(number, digits))
    {
        // Ten digits are what a telephone has in most countries.
        let kind = if digits == 10 && !number.starts_with(['0', '1']) { Kind::Phone } else { Kind::Account };
        return Some((kind, 0.6, "a number that is a message, alone or beside a name"));
    }
    if !whole(number, digits) {
        return None;
    }
    (digits >= 5 && text[range.end..].trim().is_empty() && few(&text[..range.start])).then_some((
        Kind::Account,
        0.55,
        "a long number at the end of a short message",
    ))
}

/// The nearest word for a number before a place, where it ends, and its kind.
fn topic(said: &str) -> Option<(usize, Kind)> {
    TOPICS.iter().filter_map(|(words, kind)| Some((last_of(said, words)?, *kind))).max_by_key(|(at, _)| *at)
}

fn is_year(number: &str) -> bool {
    number.parse::<u32>().is_ok_and(|year| (1950..=2035).contains(&year))
}

fn currency(text: &str, range: &std::ops::Range<usize>) -> bool {
    let next = after(text, range.end, 9);
    let units = [
        "$", "€", "£", "%", "usd", "eur", "dollar", "euro", "rs", "rupee", "pound", "am", "pm", "units", "km", "kg", "gb", "mb", "days",
        "hours", "min",
    ];
    units.iter().any(|unit| next.trim_start().starts_with(unit)) || text[..range.start].trim_end().ends_with(['$', '€', '£', '#'])
}

/// Whether a number alone in a message looks like somebody's: no year, no round amount, no date written together.
fn whole(number: &str, digits: usize) -> bool {
    let plain: String = number.chars().filter(char::is_ascii_digit).collect();
    let value: u64 = plain.parse().unwrap_or(u64::MAX);
    let year = digits == 4 && (1950..=2035).contains(&value);
    let round = value.is_multiple_of(50) && digits <= 6 && !plain.starts_with('0');
    let serial_day = digits == 5 && (36_000..=46_500).contains(&value);
    let two = |from: usize| plain.get(from..from + 2).and_then(|part| part.parse::<u32>().ok()).unwrap_or(99);
    let century = |from: usize| matches!(plain.get(from..from + 2), Some("19" | "20"));
    let day = |first: u32, second: u32| (1..=31).contains(&first) && (1..=31).contains(&second) && (first <= 12 || second <= 12);
    let date = digits == 8 && (century(4) && day(two(0), two(2)) || century(0) && day(two(4), two(6)));
    digits >= 4 && !year && !round && !serial_day && !date
}

/// How many words for names stand beside a number, if nothing else does but a few small words.
fn lone(text: &str, range: &std::ops::Range<usize>) -> Option<usize> {
    const SMALL: [&str; 32] = [
        "yes", "sure", "it", "is", "its", "it's", "ok", "okay", "here", "and", "the", "my", "number", "no", "sorry", "that", "thats",
        "yeah", "ya", "please", "are", "mine", "these", "with", "hi", "hello", "sir", "mam", "name", "ends", "ending", "last",
    ];
    let lexicon = super::Lexicon::get();
    let others = [&text[..range.start], &text[range.end..]];
    let words = others.iter().flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '\'')).filter(|word| !word.is_empty());
    let mut names = 0;
    for word in words {
        let word = word.to_lowercase();
        if SMALL.contains(&word.as_str()) || word.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        names += 1;
        if names > 3 || !lexicon.name(&word) && lexicon.word(&word) {
            return None;
        }
    }
    Some(names)
}

/// Whether up to four words were said, none of which tells what else a number counts.
fn few(text: &str) -> bool {
    let lower = text.to_lowercase();
    (1..=4).contains(&lower.split_whitespace().count()) && last_of(&lower, &OTHER).is_none() && !lower.contains(['?', '#', '\n'])
}

/// Whether nothing but small words stands beside it.
fn only(text: &str, range: std::ops::Range<usize>) -> bool {
    lone(text, &range).is_some()
}

/// What stands behind the word password: one word, or a word and a number.
fn passwords(text: &str, found: &mut Vec<Found>) {
    const NONE: [&str; 40] = [
        "reset",
        "is",
        "and",
        "for",
        "was",
        "not",
        "to",
        "change",
        "changed",
        "please",
        "i",
        "my",
        "the",
        "or",
        "in",
        "on",
        "expired",
        "correct",
        "wrong",
        "incorrect",
        "protected",
        "works",
        "does",
        "doesn't",
        "didn't",
        "mail",
        "link",
        "page",
        "field",
        "manager",
        "from",
        "again",
        "but",
        "so",
        "at",
        "of",
        "with",
        "that",
        "it",
        "recovery",
    ];
    for lead in PASSWORD.find_iter(text) {
        let rest = &text[lead.end()..];
        let marked = lead.as_str().trim_end().ends_with([':', '=']) || lead.as_str().to_lowercase().trim_end().ends_with(" is");
        let quoted = rest.starts_with(['"', '\'', '`', '“']);
        let from = lead.end() + if quoted { rest.chars().next().map_or(0, char::len_utf8) } else { 0 };
        let word: &str =
            text[from..].split(|c: char| c.is_whitespace() || (quoted && matches!(c, '"' | '\'' | '`' | '”'))).next().unwrap_or_default();
        let word = word.trim_end_matches(['.', ',', '!', '?', ')', ';']);
        let lower = word.to_lowercase();
        let digits = word.chars().any(|c| c.is_ascii_digit());
        let plausible = digits || (marked && !NONE.contains(&lower.as_str()) && (quoted || !super::Lexicon::get().word(&lower)));
        // Chats cut a password where letters and digits change: "op 67 er".
        let line = rest.lines().next().unwrap_or_default().trim_end();
        let pieces = line.split(' ').count();
        if (2..=7).contains(&pieces) && line.split(' ').all(piece) && line.bytes().any(|byte| byte.is_ascii_digit()) {
            found.push(Found::new(lead.end()..lead.end() + line.len(), Kind::Secret, 0.91, "behind the word password"));
            continue;
        }
        if word.chars().count() < 3 || !plausible {
            continue;
        }
        // "robert 4268": chats cut a password at the change from letters to digits.
        let next = &text[from + word.len()..];
        let tail = next.strip_prefix(' ').map_or("", |next| next.split_whitespace().next().unwrap_or_default());
        let glued = !digits && !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit());
        let end = from + word.len() + if glued { 1 + tail.len() } else { 0 };
        found.push(Found::new(from..end, Kind::Secret, 0.9, "behind the word password"));
    }
}

/// A piece of a password that was cut: digits, a few letters, or what is no word.
fn piece(word: &str) -> bool {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let short = word.len() <= 3 && !["and", "for", "is", "the", "my", "to", "it", "of", "can", "you", "i"].contains(&word);
    digits || short || !super::Lexicon::get().word(&word.to_lowercase())
}
