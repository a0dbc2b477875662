//! One conversation as it is read: what was asked before, and which names have fallen.

use std::collections::HashSet;

use super::context::{has_any, last_of};
use super::{Found, address, birth, card, internet, name, national, number, phone, secret, settle};

/// What the text before asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Name,
    Number,
    Address,
}

/// A conversation, or a text without one.
#[derive(Debug, Clone, Default)]
pub struct Talk {
    chat: bool,
    asked: Vec<Asked>,
    names: HashSet<String>,
}

impl Talk {
    /// A text that answers nobody.
    pub fn single() -> Talk {
        Talk::default()
    }

    /// A conversation of several turns, where a number or a name may be a whole message.
    pub fn chat() -> Talk {
        Talk { chat: true, ..Talk::default() }
    }

    pub(super) fn is_chat(&self) -> bool {
        self.chat
    }

    pub(super) fn asked(&self, what: Asked) -> bool {
        self.asked.contains(&what)
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(super) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// What is personal or secret in the next text; remembered is what it says for those to come.
    pub fn find(&mut self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        let numbered = text.bytes().any(|byte| byte.is_ascii_digit());
        secret::secrets(text, &mut found);
        internet::emails(text, &mut found);
        internet::links(text, &mut found);
        if numbered {
            internet::machines(text, &mut found);
            card::cards(text, &mut found);
            card::ibans(text, &mut found);
            national::national(text, &mut found);
            birth::births(text, &mut found);
            phone::phones(text, &mut found);
            number::accounts(text, self, &mut found);
        }
        address::addresses(text, self, &mut found);
        // Names last: what is something else already is no name.
        let taken = settle(found);
        let mut all = taken.clone();
        name::names(text, self, &taken, &mut all);
        let found = settle(all);
        self.hear(text, &found);
        found
    }

    fn hear(&mut self, text: &str, found: &[Found]) {
        for one in found.iter().filter(|one| one.kind == super::Kind::Name && one.sure >= 0.75) {
            let words = text[one.start..one.end].split(|c: char| !c.is_alphabetic());
            self.names.extend(words.filter(|word| word.chars().count() > 2).map(str::to_lowercase));
        }
        self.asked = asked(text);
    }
}

/// What a text asks for; a question has its mark, or one of the words of polite demands.
fn asked(text: &str) -> Vec<Asked> {
    const DEMANDS: [&str; 22] = [
        "please",
        "provide",
        "may i",
        "can i",
        "could i",
        "can you",
        "could you",
        "what",
        "need",
        "give",
        "tell",
        "enter",
        "confirm",
        "verify",
        "share",
        "bitte",
        "können",
        "quel",
        "puis-je",
        "pouvez",
        "cuál",
        "puede",
    ];
    const NAMES: [&str; 7] = ["name", "full name", "names", "nom", "nombre", "nome", "naam"];
    const NUMBERS: [&str; 16] = [
        "number", "numbers", "digits", "digit", "ssn", "account", "card", "policy", "claim", "phone", "nummer", "numéro", "número", "id",
        "pin", "zip",
    ];
    const ADDRESSES: [&str; 6] = ["address", "adresse", "dirección", "indirizzo", "anschrift", "adres"];
    let text = text.to_lowercase();
    if !text.contains('?') && !has_any(&text, &DEMANDS) {
        return Vec::new();
    }
    let last = text.rfind(['.', '!']).filter(|at| text.len() - at > 12).map_or(&text[..], |at| &text[at..]);
    let asked = [(Asked::Name, &NAMES[..]), (Asked::Number, &NUMBERS[..]), (Asked::Address, &ADDRESSES[..])];
    asked.into_iter().filter(|(_, words)| last_of(&text, words).is_some() || last_of(last, words).is_some()).map(|(what, _)| what).collect()
}
