//! A text cut into words and into things that are masked: numbers, amounts, dates, ids, addresses, placeholders.

use std::sync::LazyLock;

use regex::Regex;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Word,
    /// A placeholder of a template, such as `{{Order Number}}`.
    Blank,
    /// An e-mail or web address.
    Address,
    Date,
    Time,
    Amount,
    Percent,
    /// A name with digits in it, or a long run of digits: an order, a ticket, a version.
    Id,
    Number,
    /// A full stop, question mark, line break or bullet: here a sentence may end.
    Stop,
}

impl Kind {
    /// What stands for it once it is masked; a word stands for itself.
    pub(crate) fn mask(self) -> Option<&'static str> {
        match self {
            Kind::Word => None,
            Kind::Blank => Some("<blank>"),
            Kind::Address => Some("<address>"),
            Kind::Date => Some("<date>"),
            Kind::Time => Some("<time>"),
            Kind::Amount => Some("<amount>"),
            Kind::Percent => Some("<percent>"),
            Kind::Id => Some("<id>"),
            Kind::Number => Some("<number>"),
            Kind::Stop => Some(""),
        }
    }
}

/// A token: what it is, and its text in lower case with plain apostrophes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub kind: Kind,
    pub text: String,
}

impl Token {
    /// The text, or what stands for it.
    pub(crate) fn masked(&self) -> &str {
        self.kind.mask().unwrap_or(&self.text)
    }
}

const MONTH: &str = "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)";

/// The kinds in the order in which they are tried, each with what it looks like.
fn forms() -> Vec<(Kind, String)> {
    let day = r"\d{1,2}(?:st|nd|rd|th)?";
    let number = r"\d+(?:[.,]\d+)*";
    let currency = r"(?:dollars?|euros?|pounds?|usd|eur|gbp|chf|cents?)\b|[€£¥]";
    vec![
        (Kind::Blank, r"\{\{[^{}]{1,80}\}\}".into()),
        (Kind::Address, r"(?:https?://|www\.)[^\s<>]+|[\w.+-]+@[\w-]+\.[\w.-]*\w".into()),
        (
            Kind::Date,
            format!(
                r"\d{{4}}-\d{{1,2}}-\d{{1,2}}\b|\d{{1,2}}/\d{{1,2}}/\d{{2,4}}\b|\d{{1,2}}\.\d{{1,2}}\.\d{{2,4}}\b|\b{day}(?:\s+of)?\s+{MONTH}\b(?:,?\s+\d{{4}}\b)?|\b{MONTH}\.?\s+{day}\b(?:,?\s+\d{{4}}\b)?|\b{MONTH}\s+\d{{4}}\b"
            ),
        ),
        (Kind::Time, r"\b\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\b)?|\b\d{1,2}\s?[ap]\.?m\b".into()),
        (Kind::Percent, format!(r"{number}\s?(?:%|per\s?cent\b)")),
        (Kind::Amount, format!(r"[$€£¥]\s?{number}|\b(?:usd|eur|gbp|chf)\s?{number}|{number}\s?(?:{currency})")),
        (Kind::Id, r"#\s?\w*\d[\w-]*|\b\p{L}+[-_]?\d[\w-]*|\b\d+(?:[-_]\w+)*[-_]\d[\w-]*|\b\d+(?:\.\d+){2,}|\b\d{6,}\b".into()),
        (Kind::Number, number.into()),
        (Kind::Word, r"[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*".into()),
        (Kind::Stop, r"[.!?;]+(?:\s|$)|\n+|•|\s[-*–]\s".into()),
    ]
}

static FORMS: LazyLock<(Vec<Kind>, Regex)> = LazyLock::new(|| {
    let forms = forms();
    let all: Vec<String> = forms.iter().map(|(_, form)| format!("({form})")).collect();
    let pattern = format!("(?i){}", all.join("|"));
    (forms.iter().map(|(kind, _)| *kind).collect(), Regex::new(&pattern).expect("the pattern is fixed"))
});

/// The tokens of a text, in order; other punctuation is left out.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let (kinds, pattern) = &*FORMS;
    let found = pattern.captures_iter(text).filter_map(|found| {
        let place = (0..kinds.len()).find(|place| found.get(place + 1).is_some())?;
        let text = found.get(0)?.as_str().to_lowercase().replace('’', "'");
        Some(Token { kind: kinds[place], text })
    });
    found.collect()
}

/// A text as it is compared: lower case, one space, things masked.
pub(crate) fn masked(text: &str) -> String {
    let tokens = tokens(text);
    let words: Vec<&str> = tokens.iter().map(Token::masked).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_masked_and_words_stay() {
        let text = "Refund of $40.50 for order NW-530971, bought 3 March 2025: 14 days, 5 %. Mail me@x.org or {{Phone}}!";
        let said = "refund of <amount> for order <id> bought <date> <number> days <percent> mail <address> or <blank>";
        assert_eq!(masked(text), said);
        assert_eq!(masked("Don’t ring at 10:30 pm, #48213"), "don't ring at <time> <id>");
    }
}
