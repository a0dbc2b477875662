//! Two answers to one question: in what they differ, and how surely.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::facts::{Claims, Duty, Quantity, Sentence, same, stem};

/// In what two answers differ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Difference {
    /// The same thing with another quantity: its unit and both values.
    Quantity {
        unit: String,
        one: String,
        other: String,
    },
    Negation,
    YesNo,
    Duty,
    /// Two words that exclude each other.
    Opposite {
        one: String,
        other: String,
    },
    /// Another label; the key, where the answer has keys.
    Label {
        key: Option<String>,
        one: String,
        other: String,
    },
    /// One is much longer, or a list where the other is none.
    Form,
    /// Hardly a word in common.
    Meaning,
}

impl Difference {
    /// In words.
    pub(crate) fn told(&self) -> String {
        match self {
            Difference::Quantity { unit, one, other } => match unit.as_str() {
                "minute" => {
                    format!("duration: {} against {}", span(one, 1440.0, "days", "minutes"), span(other, 1440.0, "days", "minutes"))
                }
                "month" => format!("duration: {one} against {other} months"),
                "date" => format!("date: {one} against {other}"),
                "time" => format!("time of day: {} against {}", clock(one), clock(other)),
                "address" => format!("address: {one} against {other}"),
                "" => format!("number: {one} against {other}"),
                unit => format!("number ({unit}): {one} against {other}"),
            },
            Difference::Negation => "one denies what the other says".into(),
            Difference::YesNo => "one says yes, the other no".into(),
            Difference::Duty => "one says must, the other may".into(),
            Difference::Opposite { one, other } => format!("“{one}” against “{other}”"),
            Difference::Label { key: Some(key), one, other } => format!("`{key}`: `{one}` against `{other}`"),
            Difference::Label { key: None, one, other } => format!("`{one}` against `{other}`"),
            Difference::Form => "one is far longer or a list, the other is not".into(),
            Difference::Meaning => "the answers have hardly a word in common".into(),
        }
    }

    /// Whether the answers cannot both be right; else they only look different.
    pub(crate) fn is_fact(&self) -> bool {
        !matches!(self, Difference::Form | Difference::Meaning)
    }

    /// Whether it may well follow from another order, date or number in the question.
    pub(crate) fn follows_entity(&self) -> bool {
        matches!(self, Difference::Quantity { unit, .. } if !matches!(unit.as_str(), "minute" | "month" | "%" | "working day"))
            || matches!(self, Difference::YesNo | Difference::Form | Difference::Meaning)
    }
}

fn span(value: &str, size: f64, large: &str, small: &str) -> String {
    match value.parse::<f64>() {
        Ok(value) if value >= size => format!("{} {large}", value / size),
        _ => format!("{value} {small}"),
    }
}

fn clock(value: &str) -> String {
    let minutes: u32 = value.parse().unwrap_or(0);
    format!("{}:{:02}", minutes / 60, minutes % 60)
}

/// A difference and how sure it is, from 0 to 1.
pub(crate) type Found = (Difference, f64);

/// Sentences with at least this share of words in common speak of one thing.
const ALIGNED: f64 = 0.5;
/// Negation and duty need more: they hang on a single word.
const CLOSE: f64 = 0.6;

/// Sentences with at least this share are one sentence in two versions.
const TWIN: f64 = 0.85;

/// The surest difference of two answers that says they cannot both be right, from the sentences that speak of one thing.
/// `known` holds what the questions themselves say.
pub(crate) fn facts(a: &Claims, b: &Claims, known: &[Quantity]) -> Option<Found> {
    let mut found: Vec<Found> = Vec::new();
    if let (Some(one), Some(other)) = (a.opening, b.opening)
        && one != other
    {
        found.push((Difference::YesNo, 0.9));
    }
    for one in &a.sentences {
        let best = b.sentences.iter().map(|other| (shared(&one.stems, &other.stems), other)).max_by(|x, y| x.0.total_cmp(&y.0));
        let Some((common, other)) = best else { continue };
        // The other way round too, so a general sentence is not set against each of many that it resembles.
        let back = a.sentences.iter().map(|third| shared(&third.stems, &other.stems)).fold(0.0, f64::max);
        if common >= ALIGNED && common >= back {
            found.extend(sentences(one, other, (a, b), known).map(|difference| (difference, 0.5 + 0.5 * common)));
        }
    }
    found.into_iter().max_by(|x, y| x.1.total_cmp(&y.1))
}

/// The difference of two sentences that speak of one thing.
fn sentences(one: &Sentence, other: &Sentence, (a, b): (&Claims, &Claims), known: &[Quantity]) -> Option<Difference> {
    let common = shared(&one.stems, &other.stems);
    // What another sentence of the answer says counts too, unless the two sentences are one but for the number.
    let said = |x: &Quantity, other: &Sentence, whole: &Claims| match common >= TWIN {
        true => other.quantities.iter().any(|y| same(x, y)),
        false => whole.has(x),
    };
    let own = |sentence: &Sentence, against: &Sentence, whole: &Claims| -> Vec<Quantity> {
        let left = sentence.quantities.iter().filter(|x| !said(x, against, whole) && !known.iter().any(|given| same(given, x)));
        left.cloned().collect()
    };
    let theirs = own(other, one, a);
    for x in own(one, other, b) {
        if let Some(y) = theirs.iter().find(|y| y.unit == x.unit) {
            return Some(Difference::Quantity { unit: x.unit, one: x.value, other: y.value.clone() });
        }
    }
    if let Some((x, y)) = opposite(&one.stems, &other.stems) {
        return Some(Difference::Opposite { one: x, other: y });
    }
    if common >= CLOSE && one.denies != other.denies {
        return Some(Difference::Negation);
    }
    let duties = (one.duty, other.duty);
    let opposed = matches!(duties, (Some(Duty::Must), Some(Duty::May)) | (Some(Duty::May), Some(Duty::Must)));
    (common >= CLOSE && opposed).then_some(Difference::Duty)
}

/// Twice the words in common over the words of both.
pub(crate) fn shared(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    match a.len() + b.len() {
        0 => 1.0,
        both => 2.0 * a.intersection(b).count() as f64 / both as f64,
    }
}

/// Words that exclude each other where all else is the same.
const OPPOSITES: [(&str, &str); 31] = [
    ("before", "after"),
    ("increase", "decrease"),
    ("increase", "reduce"),
    ("enable", "disable"),
    ("allow", "forbid"),
    ("allow", "prohibit"),
    ("permit", "prohibit"),
    ("open", "close"),
    ("include", "exclude"),
    ("approve", "reject"),
    ("accept", "refuse"),
    ("accept", "reject"),
    ("accept", "decline"),
    ("minimum", "maximum"),
    ("least", "most"),
    ("above", "below"),
    ("free", "paid"),
    ("internal", "external"),
    ("more", "less"),
    ("first", "last"),
    ("high", "low"),
    ("higher", "lower"),
    ("eligible", "ineligible"),
    ("available", "unavailable"),
    ("valid", "invalid"),
    ("possible", "impossible"),
    ("refundable", "nonrefundable"),
    ("start", "stop"),
    ("early", "late"),
    ("earlier", "later"),
    ("longer", "shorter"),
];

static STEMS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| OPPOSITES.iter().map(|(x, y)| (stem(x), stem(y))).collect());

fn opposite(a: &BTreeSet<String>, b: &BTreeSet<String>) -> Option<(String, String)> {
    let only = |x: &str, own: &BTreeSet<String>, against: &BTreeSet<String>| own.contains(x) && !against.contains(x);
    STEMS.iter().zip(OPPOSITES).find_map(|((x, y), (one, other))| {
        if only(x, a, b) && only(y, b, a) {
            return Some((one.to_string(), other.to_string()));
        }
        (only(y, a, b) && only(x, b, a)).then(|| (other.to_string(), one.to_string()))
    })
}

/// One answer is this many times as long as the other where their form differs.
const LONGER: f64 = 2.5;
/// Answers with a smaller share of words in common have hardly one.
const FOREIGN: f64 = 0.12;

/// How two answers differ that may both be right.
pub(crate) fn looks(a: &Claims, b: &Claims) -> Option<Found> {
    let ratio = (a.words.max(b.words) as f64) / (a.words.min(b.words).max(1) as f64);
    let list = (a.points >= 3) != (b.points >= 3);
    if ratio >= LONGER && (list || ratio >= 2.0 * LONGER) || list && ratio >= 1.6 {
        return Some((Difference::Form, (0.35 + 0.03 * ratio).min(0.6)));
    }
    let common = shared(&a.stems, &b.stems);
    (common < FOREIGN).then_some((Difference::Meaning, 0.5 - common))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(a: &str, b: &str) -> Option<Difference> {
        facts(&Claims::read(a), &Claims::read(b), &[]).map(|(difference, _)| difference)
    }

    #[test]
    fn contradictions_are_told_from_other_words() {
        for (a, b) in [
            ("The warranty lasts 12 months.", "Our warranty lasts 24 months."),
            ("Yes, you can get a refund within 30 days.", "No, you cannot get a refund."),
            ("Restart the router before calling.", "Do not restart the router before calling."),
            ("You must sign the form.", "You may sign the form."),
            ("The fee is $20 a month.", "The fee is $25 a month."),
            ("Returns are accepted until 3 March 2025.", "Returns are accepted until 2025-03-05."),
            ("The shop opens at 9 am.", "The shop opens at 10:00."),
            ("Send it back before it is installed.", "Send it back after it is installed."),
        ] {
            assert!(found(a, b).is_some(), "{a} / {b}");
        }
        for (a, b) in [
            ("The warranty lasts 12 months.", "Our warranty lasts a year."),
            ("The fee is $20 a month. Pay by 5 pm.", "Please pay by 17:00; the fee is 20 dollars a month."),
            ("You can't return opened items.", "Opened items cannot be returned."),
            ("Restart the router. Don't hesitate to call.", "Restart the router. Feel free to call."),
            ("It takes 5 business days.", "You will have it in five working days."),
        ] {
            assert_eq!(found(a, b), None, "{a} / {b}");
        }
    }

    #[test]
    fn what_the_question_says_is_no_conflict() {
        let known = [Quantity { unit: "devic".into(), value: "2".into() }, Quantity { unit: "devic".into(), value: "3".into() }];
        let (a, b) = (Claims::read("We ship your 2 devices today."), Claims::read("We ship your 3 devices today."));
        assert!(facts(&a, &b, &[]).is_some());
        assert_eq!(facts(&a, &b, &known), None);
    }
}
