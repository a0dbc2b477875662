//! What an answer claims, sentence by sentence: its words, quantities, dates, whether it denies, and what it demands.

use std::collections::BTreeSet;

use crate::meaning::words::{Kind, Token, tokens};

/// A number with its unit, so that equal ones are equal however they are written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantity {
    /// `minute`, `month`, `$`, `%`, `date`, `time`, `address`, or the stem of the word behind the number.
    pub unit: String,
    pub value: String,
}

/// What a sentence demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    Must,
    May,
}

/// One sentence.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sentence {
    /// Stems of the words that carry meaning.
    pub stems: BTreeSet<String>,
    pub quantities: Vec<Quantity>,
    /// Whether an odd number of its words deny.
    pub denies: bool,
    pub duty: Option<Duty>,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    pub sentences: Vec<Sentence>,
    /// Yes or no, where it begins so.
    pub opening: Option<bool>,
    pub words: usize,
    /// Lines that begin with a number or a bullet.
    pub points: usize,
    /// All stems of the answer.
    pub stems: BTreeSet<String>,
}

impl Claims {
    /// Reads an answer.
    pub(crate) fn read(answer: &str) -> Self {
        let tokens = tokens(answer);
        let mut claims = Claims { opening: opening(&tokens), ..Claims::default() };
        claims.words = tokens.iter().filter(|token| token.kind != Kind::Stop).count();
        claims.points = answer.lines().filter(|line| is_point(line)).count();
        for part in tokens.split(|token| token.kind == Kind::Stop) {
            // A number alone before a full stop counts a list.
            if part.is_empty() || (part.len() == 1 && part[0].kind == Kind::Number) && claims.points > 0 {
                continue;
            }
            let sentence = sentence(part);
            claims.stems.extend(sentence.stems.iter().cloned());
            claims.sentences.push(sentence);
        }
        claims
    }

    /// Whether some sentence has this quantity.
    pub(crate) fn has(&self, quantity: &Quantity) -> bool {
        self.sentences.iter().any(|sentence| sentence.quantities.iter().any(|own| same(own, quantity)))
    }
}

/// Whether two quantities agree; a date without a year agrees with any year.
pub(crate) fn same(a: &Quantity, b: &Quantity) -> bool {
    let yearless = |value: &str| value.strip_prefix("0-").map(String::from);
    a.unit == b.unit
        && (a.value == b.value
            || a.unit == "date"
                && (yearless(&a.value).is_some_and(|day| b.value.ends_with(&format!("-{day}")))
                    || yearless(&b.value).is_some_and(|day| a.value.ends_with(&format!("-{day}")))))
}

fn is_point(line: &str) -> bool {
    let line = line.trim_start();
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    line.starts_with(['-', '*', '•']) || rest.len() < line.len() && rest.starts_with(['.', ')'])
}

const YES: [&str; 7] = ["yes", "yep", "sure", "certainly", "absolutely", "correct", "indeed"];
const NO: [&str; 4] = ["no", "nope", "unfortunately", "negative"];

fn opening(tokens: &[Token]) -> Option<bool> {
    let first = tokens.iter().find(|token| token.kind != Kind::Stop)?.text.as_str();
    YES.contains(&first).then_some(true).or(NO.contains(&first).then_some(false))
}

const DENY: [&str; 12] =
    ["not", "no", "never", "none", "neither", "nor", "cannot", "without", "unable", "impossible", "forbidden", "prohibited"];
const MUST: [&str; 7] = ["must", "shall", "required", "mandatory", "obliged", "compulsory", "obligatory"];
const MAY: [&str; 5] = ["may", "optional", "optionally", "voluntary", "discretionary"];
/// Words that say little; a sentence is known by its others.
const LIGHT: &str = " a an the this that these those it its is are was were be been being am do does did done has have had having \
    i you he she we they me him her us them my your his our their mine yours to of in on at by for with from as into onto about \
    and or but if then than so too very just also please kindly can could would should will shall may might must there here \
    what which who whom when where why how any some all each both other such only own same up out off over again once \
    hi hello hey dear thanks thank regards best sincerely cheers good morning afternoon evening ok okay well \
    get got let like want need know help tell would'd i'm i've i'd you're it's that's don't ";

/// Whether a word says little by itself.
pub(crate) fn is_light(word: &str) -> bool {
    LIGHT.split_whitespace().any(|light| light == word)
}

fn sentence(part: &[Token]) -> Sentence {
    let mut found = Sentence { quantities: quantities(part), ..Sentence::default() };
    let mut denials = 0;
    for token in part.iter().filter(|token| token.kind == Kind::Word) {
        let word = token.text.as_str();
        if DENY.contains(&word) || word.ends_with("n't") {
            denials += 1;
        } else if MUST.contains(&word) {
            found.duty = Some(Duty::Must);
        } else if MAY.contains(&word) {
            found.duty = found.duty.or(Some(Duty::May));
        } else if !is_light(word) && digit(word).is_none() && length(word).is_none() {
            found.stems.insert(stem(word));
        }
    }
    // "Do not hesitate", "no worries" and "no matter" deny nothing.
    let polite = ["hesitat", "worry", "matter", "problem"].iter().any(|stem| found.stems.contains(*stem));
    found.denies = denials % 2 == 1 && !polite;
    found
}

/// A word without its ending, roughly: enough that forms of one word meet.
pub(crate) fn stem(word: &str) -> String {
    let word = word.split('\'').next().unwrap_or(word);
    let cut = |ending: &str, least: usize| word.strip_suffix(ending).filter(|rest| rest.chars().count() >= least);
    let rest = cut("ies", 2).map(|rest| format!("{rest}y"));
    let rest = rest.or_else(|| {
        ["ations", "ation", "ings", "ing", "ments", "ment", "edly", "ed", "es", "ly", "s", "e"]
            .iter()
            .find_map(|ending| cut(ending, 3))
            .map(String::from)
    });
    rest.unwrap_or_else(|| word.to_string())
}

/// The number that a word is.
fn digit(word: &str) -> Option<f64> {
    const SMALL: [&str; 13] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    const LARGE: [(&str, f64); 11] = [
        ("fourteen", 14.0),
        ("fifteen", 15.0),
        ("eighteen", 18.0),
        ("twenty", 20.0),
        ("thirty", 30.0),
        ("forty", 40.0),
        ("fifty", 50.0),
        ("sixty", 60.0),
        ("ninety", 90.0),
        ("hundred", 100.0),
        ("dozen", 12.0),
    ];
    let small = SMALL.iter().position(|small| *small == word).map(|value| value as f64);
    small.or_else(|| LARGE.iter().find(|(large, _)| *large == word).map(|(_, value)| *value))
}

/// The unit of a length of time and how many of the smaller unit it has.
fn length(word: &str) -> Option<(&'static str, f64)> {
    Some(match word.strip_suffix('s').unwrap_or(word) {
        "minute" | "min" => ("minute", 1.0),
        "hour" | "hr" => ("minute", 60.0),
        "day" => ("minute", 1440.0),
        "week" => ("minute", 10080.0),
        "fortnight" => ("minute", 20160.0),
        "month" => ("month", 1.0),
        "quarter" => ("month", 3.0),
        "year" | "yr" => ("month", 12.0),
        _ => return None,
    })
}

/// The quantities of one sentence.
pub(crate) fn quantities(part: &[Token]) -> Vec<Quantity> {
    let mut found = Vec::new();
    let mut open: Vec<f64> = Vec::new();
    for (place, token) in part.iter().enumerate() {
        let next = part.get(place + 1).map_or("", |next| next.text.as_str());
        let text = token.text.as_str();
        match token.kind {
            Kind::Amount => found.push(Quantity { unit: currency(text), value: plain(text) }),
            Kind::Percent => found.push(Quantity { unit: "%".into(), value: plain(text) }),
            Kind::Date => found.push(Quantity { unit: "date".into(), value: date(text) }),
            Kind::Time => found.push(Quantity { unit: "time".into(), value: time(text) }),
            Kind::Address => found.push(Quantity { unit: "address".into(), value: text.trim_end_matches('.').into() }),
            Kind::Number => open.push(number(text)),
            Kind::Id => open.extend(range(text).into_iter().flatten()),
            Kind::Word => match digit(text) {
                Some(value) => open.push(value),
                None if matches!(text, "a" | "an") && length(next).is_some() => open.push(1.0),
                None if matches!(text, "to" | "and" | "or" | "full" | "consecutive" | "calendar") => {}
                None => found.extend(open.drain(..).map(|value| measured(value, part, place))),
            },
            Kind::Blank | Kind::Stop => {}
        }
    }
    found.extend(open.into_iter().map(|value| Quantity { unit: String::new(), value: value.to_string() }));
    found
}

/// A value with the unit that stands at a place.
fn measured(value: f64, part: &[Token], place: usize) -> Quantity {
    let word = part[place].text.as_str();
    if let Some((unit, times)) = length(word) {
        return Quantity { unit: unit.into(), value: (value * times).to_string() };
    }
    let working = matches!(word, "business" | "working" | "work");
    if working && part.get(place + 1).is_some_and(|next| length(&next.text).is_some()) {
        return Quantity { unit: "working day".into(), value: value.to_string() };
    }
    Quantity { unit: if is_light(word) { String::new() } else { stem(word) }, value: value.to_string() }
}

/// Both ends of `3-5`.
fn range(text: &str) -> Option<[f64; 2]> {
    let (low, high) = text.split_once('-')?;
    let small = |part: &str| (part.len() <= 4).then(|| part.parse::<f64>().ok()).flatten();
    Some([small(low)?, small(high)?])
}

/// The value of a number with separators: a comma or dot before three last digits groups thousands, else it is the decimal point.
fn number(text: &str) -> f64 {
    let last = text.rfind(['.', ',']).filter(|at| text.len() - at - 1 != 3 || text[..*at].is_empty());
    let (whole, part) = last.map_or((text, ""), |at| (&text[..at], &text[at + 1..]));
    let digits: String = whole.chars().filter(char::is_ascii_digit).collect();
    format!("{digits}.{part}0").parse().unwrap_or(0.0)
}

fn plain(text: &str) -> String {
    let digits = text.trim_matches(|c: char| !c.is_ascii_digit());
    number(digits).to_string()
}

fn currency(text: &str) -> String {
    let signs =
        [("$", "$"), ("dollar", "$"), ("usd", "$"), ("€", "€"), ("eur", "€"), ("£", "£"), ("pound", "£"), ("gbp", "£"), ("cent", "cent")];
    signs.iter().find(|(form, _)| text.contains(form)).map_or("money", |(_, sign)| sign).to_string()
}

/// `year-month-day`; a missing year is 0, a missing day too. A date in digits only stays as it is.
fn date(text: &str) -> String {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let parts: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    if let [year, month, day] = parts[..]
        && year.len() == 4
        && let (Ok(month), Ok(day)) = (month.parse::<u32>(), day.parse::<u32>())
    {
        return format!("{year}-{month}-{day}");
    }
    let Some(month) = parts.iter().find_map(|part| MONTHS.iter().position(|month| part.starts_with(month))) else {
        return parts.join("/");
    };
    let figures: Vec<u32> = parts.iter().filter_map(|part| part.trim_end_matches(|c: char| c.is_alphabetic()).parse().ok()).collect();
    let year = figures.iter().find(|figure| **figure > 31).copied().unwrap_or(0);
    let day = figures.iter().find(|figure| **figure <= 31).copied().unwrap_or(0);
    format!("{year}-{}-{day}", month + 1)
}

/// Minutes of the day.
fn time(text: &str) -> String {
    let mut figures = text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    let (hour, minute) = (figures.next().unwrap_or(0), figures.next().unwrap_or(0));
    let hour = if text.contains('p') && hour < 12 {
        hour + 12
    } else if text.contains('a') && hour == 12 {
        0
    } else {
        hour
    };
    (hour * 60 + minute).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<(String, String)> {
        quantities(&tokens(text)).into_iter().map(|q| (q.unit, q.value)).collect()
    }

    fn pair(unit: &str, value: &str) -> (String, String) {
        (unit.into(), value.into())
    }

    #[test]
    fn equal_quantities_are_equal_however_they_are_written() {
        for (a, b) in [
            ("a year", "12 months"),
            ("two weeks", "14 days"),
            ("$1,250.50", "1250.5 dollars"),
            ("10 %", "10 percent"),
            ("3 March 2025", "2025-03-03"),
            ("at 2:30 pm", "at 14:30"),
            ("thirty days", "30 days"),
        ] {
            assert_eq!(units(a), units(b), "{a} and {b}");
        }
        assert_eq!(units("3-5 business days"), [pair("working day", "3"), pair("working day", "5")]);
        assert_eq!(units("up to 12 devices"), [pair("devic", "12")]);
        let day = |text| Quantity { unit: "date".into(), value: date(text) };
        assert!(same(&day("3 march"), &day("march 3, 2025")) && !same(&day("3 march 2024"), &day("march 3, 2025")));
    }

    #[test]
    fn a_sentence_denies_or_demands() {
        let claims = Claims::read("Yes, you must sign it. You can't return opened items! Don't hesitate to call.");
        assert_eq!(claims.opening, Some(true));
        let said: Vec<_> = claims.sentences.iter().map(|s| (s.denies, s.duty)).collect();
        assert_eq!(said, [(false, Some(Duty::Must)), (true, None), (false, None)]);
    }
}
