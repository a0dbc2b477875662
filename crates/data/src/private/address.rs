//! Postal addresses: streets with numbers in the order of several languages, post codes, and what follows the word for it.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::context::{before, last_of, pattern};
use super::lexicon::{Lexicon, Words, listed};
use super::talk::{Asked, Talk};
use super::{Found, Kind};

/// Words that are a street wherever they stand behind a number and a name.
const STREETS: &str = "street|str|road|rd|avenue|ave|lane|ln|boulevard|blvd|highway|hwy|parkway|pkwy|crescent|terrace|nagar|colony|salai|theru|marg|chowk|turnpike|freeway|circus|mews|quay|court apartments";
/// Words that are a street only where its name has capitals, or where an address was asked for.
const PERHAPS: &str = "st|drive|dr|court|ct|close|way|place|pl|square|sq|gardens|grove|hill|view|row|rise|walk|trail|circle|cir|loop|alley|cross|complex|plaza|park|path|green|gate|bridge|house|apartments?|layout|extension|villas?|estate|heights";

static ENGLISH: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)(?:\bno\.? ?|#)?\b\d{{1,5}}(?: ?[a-d])?(?:[/\-]\d{{1,4}})?,? (?:(?:\d{{1,3}} ?(?:st|nd|rd|th)?|[\p{{L}}.'’\-]+),? ){{1,4}}(?:(?:{STREETS}|{PERHAPS})\b|(?:street|road|nagar|colony)\p{{Ll}}{{2,12}}\b)"
    ))
});
/// What follows a street: a flat, a place, a state, a code, a country.
static TAIL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?:,? (?i:apt|apartment|unit|suite|ste|flat|floor|fl|room|po box)\.? ?#?[\w\-]{1,5})?",
        r"(?:(?:,\s?|\n| )\p{Lu}[\p{L}.'’\-]+(?: \p{Lu}[\p{L}.'’\-]+){0,2}(?:(?:,\s?|\n| )\p{Lu}[\p{L}.'’\-]+){0,2})?",
        r"(?:,?\s(?:[A-Z]{2} )?(?:\d{4,6}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})\b(?: \p{Lu}[\p{L}\-]+)?)?(?:,? (?:USA|UK|India|Germany|France))?"
    ))
});
static EUROPEAN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?:\p{Lu}[\p{L}\-]*(?:straße|strasse|str\.|gasse|allee|platz|weg|damm|ufer|ring|straat|laan|plein|gracht|kade|dijk|singel|gatan|vägen|vej|gade|gata)",
        r"|(?:Am|An der|Auf der|Im|In der|Zum|Zur) \p{Lu}[\p{L}\-]+|\p{Lu}[\p{L}\-]+ (?:Straße|Strasse|Allee|Platz|Weg|Ring|Damm)) \d{1,4} ?[a-f]?\b(?:,?\s(?:D-|A-|CH-|NL-)?\d{4,5}(?: ?[A-Z]{2})?(?: \p{Lu}[\p{L}\-]+){1,3})?",
        r"|\b\d{1,4}(?: bis| ter)?,? (?:rue|avenue|av\.|boulevard|bd|place|chemin|allée|impasse|quai|route|cours|passage|square)(?: (?:de la|de l'|du|des|de|d'))? ?[\p{L}'’\-]+(?: \p{Lu}[\p{L}'’\-]+){0,3}(?:,?\s\d{5} \p{Lu}[\p{L}\-]+(?:[ \-]\p{Lu}[\p{L}\-]+)*)?",
        r"|\b(?:[Cc]alle|C/|[Aa]venida|Avda\.?|[Pp]aseo|Plaza|Carrer|Rua|Travessa|Via|Viale|Corso|Piazza|Largo|ul\.|al\.|os\.|pl\.) ?(?:de (?:la |los |las )?|del |dei |della |da |do |dos )?\p{Lu}[\p{L}'’\-]+(?: (?:de |del |la |di |e )?\p{Lu}[\p{L}'’\-]+){0,3},? (?:n[ºo°.]+ ?)?\d{1,4}(?: ?[a-zA-Z]\b)?(?:/\d{1,3})?(?:,?\s\d{2}-?\d{3}(?: \p{Lu}[\p{L}\-]+){1,3})?"
    ))
});
static POSTCODE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"\b(?:GIR ?0AA|(?:[A-PR-UWYZ](?:\d{1,2}|[A-HK-Y]\d{1,2}|\d[A-HJKPSTUW]|[A-HK-Y]\d[ABEHMNPRV-Y])) \d[ABD-HJLNP-UW-Z]{2})\b",
        r"|(?:\p{Lu}[\p{L}.'’\-]+ ){0,2}\p{Lu}[\p{L}.'’\-]+,? (?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|P[AR]|RI|S[CD]|T[NX]|UT|V[AIT]|W[AIVY]) \d{5}(?:-\d{4})?\b",
        r"|\b(?i:p\.? ?o\.? box) \d{1,6}\b"
    ))
});
static SAID: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:(?:(?:my|our|new|the|home|postal|mailing|billing|delivery|shipping|current|street|correct) )+address(?: is| to|:)?|address(?: is|:)|i live (?:at|in)|living (?:at|in)|moved to|ship (?:it )?to|deliver (?:it )?to|residing at|wohnhaft in|habito en|j'habite(?: au)?|vivo en) (?:is |to |as )?",
    )
});

/// Words that are no name of a street and begin what is said after an address.
static FUNCTION: Words = Words::new(|| {
    listed(
        "the a an of in to for and or my your our his her its this that is are was were be been on at by from with as it i we you they \
    he she each every any some down up along across over off per minutes minute hours hour days day times time miles mile meters metres km weeks \
    months years percent euros dollars pounds units items pieces boxes orders same other right wrong best only one two three four five six need \
    more less than about around after before into onto out please me not no any find give best long far near next last first second third",
    )
});

/// Postal addresses.
pub(super) fn addresses(text: &str, talk: &Talk, found: &mut Vec<Found>) {
    let lowly = !text.chars().any(char::is_uppercase);
    if text.bytes().any(|byte| byte.is_ascii_digit()) {
        for one in ENGLISH.find_iter(text) {
            english(text, one.range(), lowly, talk, found);
        }
        for one in EUROPEAN.find_iter(text) {
            found.push(Found::new(one.range(), Kind::Address, 0.9, "a street and a number"));
        }
        for one in POSTCODE.find_iter(text) {
            found.push(Found::new(one.range(), Kind::Address, 0.8, "a post code"));
        }
    }
    for lead in SAID.find_iter(text) {
        if let Some(range) = said(text, lead.end()) {
            found.push(Found::new(range, Kind::Address, 0.87, "behind the word address"));
        }
    }
    if talk.is_chat() && numbered_house(text) {
        found.push(Found::new(trim(text, 0..text.len()), Kind::Address, 0.7, "a message that begins with the number of a house"));
    }
    if talk.is_chat() && talk.asked(Asked::Address) && text.len() < 120 && text.bytes().any(|byte| byte.is_ascii_digit()) {
        found.push(Found::new(trim(text, 0..text.len()), Kind::Address, 0.7, "the answer to a question for an address"));
    }
}

/// A short message such as "no 65 anna salai 600028": the number of a house, and words that are none of a sentence.
fn numbered_house(text: &str) -> bool {
    let lower = text.trim().to_lowercase();
    let mut words = lower.split([' ', ',']).filter(|word| !word.is_empty());
    let numbered =
        words.next() == Some("no") && words.next().is_some_and(|word| word.bytes().next().is_some_and(|byte| byte.is_ascii_digit()));
    let rest: Vec<&str> = words.collect();
    let plain = rest.iter().filter(|word| is_function(word) || ENDS.contains(word)).count();
    numbered && (2..=9).contains(&rest.len()) && plain == 0 && rest.iter().filter(|word| word.chars().all(char::is_alphabetic)).count() >= 2
}

fn is_function(word: &str) -> bool {
    FUNCTION.contains(word)
}

/// Judges a number, a name and a word for a street; takes what belongs to it.
fn english(text: &str, range: Range<usize>, lowly: bool, talk: &Talk, found: &mut Vec<Found>) {
    let street = &text[range.clone()];
    let words: Vec<&str> = street.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let inner = &words[1..words.len() - 1];
    let named: Vec<&&str> = inner.iter().filter(|word| word.chars().any(char::is_alphabetic) && !word.eq_ignore_ascii_case("no")).collect();
    let kind = words[words.len() - 1].trim_end_matches('.').to_lowercase();
    let perhaps = PERHAPS.split('|').any(|word| word == kind || word == "apartments?" && kind.starts_with("apartment"));
    let capitals = !named.is_empty()
        && named.iter().all(|word| word.chars().next().is_some_and(char::is_uppercase))
        && words[words.len() - 1].chars().next().is_some_and(char::is_uppercase);
    let function = named.iter().any(|word| is_function(&word.to_lowercase()));
    let about = last_of(
        &before(text, range.start, 60),
        &["address", "live at", "live in", "moved", "residence", "located", "site", "deliver", "ship"],
    )
    .is_some()
        || talk.asked(Asked::Address);
    let alone = text.trim().len() - street.len() < 30 && range.start < 24;
    let unlike = if capitals { false } else { function || perhaps && !(about || lowly && alone) };
    // "1 February. New street": a sentence ended in between.
    let ended = inner.iter().any(|word| word.ends_with('.') && word.len() > 4);
    if unlike || ended || text[..range.start].ends_with(|c: char| c.is_alphanumeric() || c == '-' || c == '.') {
        return;
    }
    let end = if !street.chars().any(char::is_uppercase) {
        lowly_tail(text, range.end)
    } else {
        range.end + TAIL.find(&text[range.end..]).map_or(0, |tail| tail.end())
    };
    found.push(Found::new(trim(text, range.start..end), Kind::Address, 0.9, "a number, a name and a word for a street"));
}

/// Without capitals: the words behind a street up to one that begins something else, five at most.
fn lowly_tail(text: &str, from: usize) -> usize {
    let mut end = from;
    for word in text[from..].split_inclusive(' ').take(6) {
        let plain = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        if is_function(&plain) || ENDS.contains(&plain.as_str()) || word.contains('\n') {
            break;
        }
        end += word.len();
        if plain.len() >= 4 && plain.bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
    }
    end
}

/// Words that begin something else than an address.
const ENDS: [&str; 26] = [
    "ssn", "account", "acc", "card", "phone", "email", "name", "number", "thanks", "thank", "pls", "plz", "ok", "yes", "change", "update",
    "can", "will", "would", "have", "do", "has", "but", "so", "also", "kindly",
];

/// What stands behind the word address, up to the end of its sentence; it needs a number, or a word for a street.
fn said(text: &str, from: usize) -> Option<Range<usize>> {
    let rest = &text[from..];
    let mut end = 0;
    for word in rest.split_inclusive([' ', '\n']).take(14) {
        let plain = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        if ENDS.contains(&plain.as_str())
            || ["and", "i", "my", "please", "because", "to", "for", "is", "was", "it", "you"].contains(&plain.as_str())
        {
            break;
        }
        end += word.len();
        if word.ends_with('\n') || word.trim_end().ends_with(['.', '!', '?', ';']) && plain.len() > 3 {
            break;
        }
    }
    let range = trim(text, from..from + end);
    let value = &text[range.clone()];
    let lower = value.to_lowercase();
    let street = lower.split(|c: char| !c.is_alphanumeric()).any(|word| STREETS.split('|').any(|street| street == word));
    let first = lower.split_whitespace().next().unwrap_or_default();
    let digits = value.bytes().any(|byte| byte.is_ascii_digit());
    let words = value.split_whitespace().count();
    let proper = digits && words >= 2 && (first.bytes().any(|byte| byte.is_ascii_digit()) || !Lexicon::get().word(first) || first == "no");
    (proper || street && words >= 2).then_some(range)
}

fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let value = &text[range.clone()];
    let start = value.len() - value.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | '.')).len();
    let end = value.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, ',' | '.' | '!' | '?' | ';')).len();
    range.start + start.min(end)..range.start + end.max(start)
}
