//! Personal data and secrets in texts: what was found, where, and how it is known.

mod address;
mod birth;
mod card;
mod checksum;
mod context;
mod internet;
mod lexicon;
mod name;
mod national;
mod number;
mod phone;
mod report;
mod secret;
mod talk;
#[cfg(test)]
mod tests;

pub use report::private_findings;
pub use talk::Talk;

pub(crate) use checksum::{iban_check, luhn_check};
pub(crate) use lexicon::Lexicon;
pub(crate) use national::lawful;

/// What kind of datum it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Number of a payment card, with issuer and check digit.
    Card,
    /// International bank account number.
    Iban,
    /// Number of a person or taxpayer, by the rules of its country.
    NationalId,
    Email,
    Phone,
    Ip,
    Mac,
    /// Address of a page that lets in whoever holds it, or names a user.
    Url,
    BirthDate,
    /// Number of an account, a policy, a customer or a card, by the words around it.
    Account,
    Name,
    Address,
    /// Key, token or password.
    Secret,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 13] = [
        Kind::Card,
        Kind::Iban,
        Kind::NationalId,
        Kind::Email,
        Kind::Phone,
        Kind::Ip,
        Kind::Mac,
        Kind::Url,
        Kind::BirthDate,
        Kind::Account,
        Kind::Name,
        Kind::Address,
        Kind::Secret,
    ];

    /// As machines read it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Card => "card",
            Kind::Iban => "iban",
            Kind::NationalId => "national_id",
            Kind::Email => "email",
            Kind::Phone => "phone",
            Kind::Ip => "ip",
            Kind::Mac => "mac",
            Kind::Url => "url",
            Kind::BirthDate => "birth_date",
            Kind::Account => "account",
            Kind::Name => "name",
            Kind::Address => "address",
            Kind::Secret => "secret",
        }
    }

    /// The kind of this name.
    pub fn of(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One datum in a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Bytes of the text.
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
    /// How sure, from 0 to 1.
    pub sure: f64,
    /// How it is known: a checksum, a form, a word before it.
    pub why: &'static str,
}

impl Found {
    pub(crate) fn new(range: std::ops::Range<usize>, kind: Kind, sure: f64, why: &'static str) -> Found {
        Found { start: range.start, end: range.end, kind, sure, why }
    }
}

/// Sorts by place; of those that overlap the surer one stays, then the longer one.
fn settle(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by(|a, b| b.sure.total_cmp(&a.sure).then((b.end - b.start).cmp(&(a.end - a.start))).then(a.start.cmp(&b.start)));
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
    for one in found {
        if kept.iter().all(|other| one.end <= other.start || other.end <= one.start) {
            kept.push(one);
        }
    }
    kept.sort_by_key(|one| one.start);
    kept
}

/// Hides all but the ends of a value, so that a report may show it.
pub fn masked(value: &str) -> String {
    let letters: Vec<char> = value.chars().collect();
    let shown = if letters.len() >= 8 { 2 } else { usize::from(letters.len() > 2) };
    let hide = |(at, c): (usize, &char)| {
        let open = at < shown || at + shown >= letters.len() || !c.is_alphanumeric();
        if open { *c } else { '*' }
    };
    letters.iter().enumerate().map(hide).collect()
}

/// What the name of a field says about its text: a name as a lead before it.
pub(crate) struct Lead(String);

impl Lead {
    /// The lead of a field; fields that hold any text have none.
    pub(crate) fn of(key: &str) -> Lead {
        const ANY: [&str; 19] = [
            "content",
            "text",
            "value",
            "instruction",
            "input",
            "output",
            "response",
            "prompt",
            "completion",
            "system",
            "chosen",
            "rejected",
            "body",
            "message",
            "description",
            "arguments",
            "before",
            "after",
            "thinking",
        ];
        let key = key.trim().to_lowercase();
        if key.is_empty() || ANY.contains(&key.as_str()) {
            return Lead(String::new());
        }
        // `customer_name` and `customerName` say what "customer name" says.
        let words: String = key.chars().map(|c| if c == '_' || c == '-' || c == '.' { ' ' } else { c }).collect();
        Lead(format!("{words}: "))
    }

    /// Finds in the text as if the lead stood before it.
    pub(crate) fn find(&self, talk: &mut Talk, text: &str) -> Vec<Found> {
        let Lead(lead) = self;
        if lead.is_empty() || text.len() > 200 {
            return talk.find(text);
        }
        let shift = lead.len();
        let found = talk.find(&format!("{lead}{text}"));
        let inside = found.into_iter().filter(|one| one.end > shift);
        inside.map(|one| Found { start: one.start.max(shift) - shift, end: one.end - shift, ..one }).collect()
    }
}
