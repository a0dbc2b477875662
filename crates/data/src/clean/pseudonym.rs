//! Which pseudonym stands for which value in one file, and the way back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::draw::{Stream, draw};
use super::vault::Key;
use crate::private::{Kind, Lexicon};

/// How often a pseudonym is drawn again before it may be longer than its value.
const ATTEMPTS: u32 = 400;

/// A value where it was seen.
pub(super) struct Sighting {
    pub kind: Kind,
    pub text: String,
    pub why: &'static str,
}

/// All values of a file, and all numbers and names that stand in it.
#[derive(Default)]
pub(super) struct Census {
    /// By what is the same value however it is written: its kind, why, and all ways in which it was.
    values: BTreeMap<String, (Kind, &'static str, BTreeSet<String>)>,
    /// The words of names, with whether each was seen as a given name, and all ways in which it was written.
    names: BTreeMap<String, (bool, BTreeSet<String>)>,
    /// Whole names with an initial in them, which alone would mean too much.
    initials: BTreeSet<String>,
    words: HashSet<String>,
    kinds: BTreeMap<Kind, HashSet<String>>,
    /// Whether some row writes letters as escapes, and whether some row does not.
    escaped: bool,
    plain: bool,
}

/// Numbers and known names of a text: what a pseudonym must not be.
pub(super) fn words_of(text: &str, words: &mut HashSet<String>) {
    let lexicon = Lexicon::get();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2) {
        if word.bytes().any(|byte| byte.is_ascii_digit()) {
            words.insert(word.to_lowercase());
        } else {
            let lower = word.to_lowercase();
            if lexicon.name(&lower) {
                words.insert(lower);
            }
        }
    }
}

/// What makes two ways of writing one value: letters and digits, whatever stands between.
fn canonical(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The words of a name.
fn name_words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_alphabetic() && c != '-' && c != '\'' && c != '’').filter(|word| !word.is_empty())
}

impl Census {
    pub(super) fn add(&mut self, values: Vec<Sighting>, words: HashSet<String>, escaped: Option<bool>) {
        self.words.extend(words);
        self.escaped |= escaped == Some(true);
        self.plain |= escaped == Some(false);
        for value in values {
            self.kinds.entry(value.kind).or_default().insert(canonical(&value.text));
            if value.kind != Kind::Name {
                let entry = self.values.entry(canonical(&value.text)).or_insert_with(|| (value.kind, value.why, BTreeSet::new()));
                entry.2.insert(value.text);
                continue;
            }
            let count = name_words(&value.text).count();
            for (at, word) in name_words(&value.text).enumerate() {
                let lower = word.to_lowercase();
                let given = Lexicon::get().given(&lower) && (at == 0 || count > 2) || at == 0 && count > 1;
                let entry = self.names.entry(lower).or_insert_with(|| (given, BTreeSet::new()));
                entry.1.insert(word.to_string());
            }
            if name_words(&value.text).any(|word| word.chars().count() < 2) {
                self.initials.insert(value.text);
            }
        }
    }

    /// How many distinct values there are of each kind.
    pub(super) fn distinct(&self) -> BTreeMap<Kind, u64> {
        self.kinds.iter().map(|(kind, values)| (*kind, values.len() as u64)).collect()
    }
}

/// The pseudonyms of a file, by the very text that each stands for.
#[derive(Default)]
pub(super) struct Pseudonyms {
    values: HashMap<String, String>,
    /// By the word of a name.
    names: HashMap<String, String>,
    kinds: HashMap<String, Kind>,
    /// Whether the file writes letters beyond ASCII as escapes; a row that lost its last one does not tell.
    escaped: bool,
}

impl Pseudonyms {
    /// Draws one for every value: none is in the file, none stands for two.
    pub(super) fn draw(key: &Key, census: Census, valid: bool) -> Pseudonyms {
        let secret = key.for_use("pseudonyms");
        let mut all = Pseudonyms { escaped: census.escaped && !census.plain, ..Pseudonyms::default() };
        let mut taken = census.words;
        taken.extend(census.values.keys().cloned());
        taken.extend(census.names.keys().cloned());
        let mut given: Vec<&str> = fit(Lexicon::given_names());
        let mut family: Vec<&str> = fit(Lexicon::family_names());
        given.sort();
        family.sort();
        for (word, (is_given, forms)) in &census.names {
            let list = if *is_given { &given } else { &family };
            let name = name_of(word, list, &secret, &mut taken);
            for form in forms {
                all.names.insert(form.clone(), in_form(&name, form));
            }
        }
        for whole in census.initials {
            let new = all.name(&whole, &secret);
            all.values.insert(whole, new);
        }
        for (plain, (kind, why, forms)) in census.values {
            // The same signs in another layout are the same pseudonym in that layout; all forms stand or fall together.
            let mut attempt = 0;
            let drawn = loop {
                let draw_form = |form: &String| {
                    let mut stream = Stream::new(secret, &[kind.name(), &plain], attempt);
                    let new = draw(form, kind, why, valid, &mut stream);
                    if attempt < ATTEMPTS { new } else { format!("{new}{}", 10 + stream.below(90)) }
                };
                let drawn: Vec<(String, String)> = forms.iter().map(|form| (form.clone(), draw_form(form))).collect();
                if drawn.iter().all(|(_, new)| !occurs(new, &taken)) || attempt > 2 * ATTEMPTS {
                    break drawn;
                }
                attempt += 1;
            };
            for (form, new) in drawn {
                taken.insert(canonical(&new));
                all.kinds.insert(form.clone(), kind);
                all.values.insert(form, new);
            }
        }
        all
    }

    /// What stands for a text that was found.
    pub(super) fn of(&self, text: &str, kind: Kind) -> String {
        match (self.values.get(text), kind) {
            (Some(new), _) => new.clone(),
            (None, Kind::Name) => self.worded(text, &|word| self.names.get(word).cloned().unwrap_or_else(|| word.to_string())),
            // The first reading saw every value; a kind of its own says that this one was not there.
            (None, kind) => format!("[{}]", kind.name().to_uppercase()),
        }
    }

    /// A name word by word.
    fn worded(&self, text: &str, new: &dyn Fn(&str) -> String) -> String {
        let mut out = String::new();
        let mut at = 0;
        for word in name_words(text) {
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            out.push_str(&text[at..start]);
            out.push_str(&new(word));
            at = start + word.len();
        }
        out.push_str(&text[at..]);
        out
    }

    fn name(&self, text: &str, secret: &[u8; 32]) -> String {
        self.worded(text, &|word| {
            if word.chars().count() > 1 {
                return self.names.get(word).cloned().unwrap_or_else(|| word.to_string());
            }
            let letter = char::from(b'a' + Stream::new(*secret, &["initial", &text.to_lowercase()], 0).below(26) as u8).to_string();
            in_form(&letter, word)
        })
    }

    /// The way back, as it is sealed: pseudonym, value, kind.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let of_values = self.values.iter().map(|(value, new)| (new, value, self.kinds.get(value).map_or("name", |kind| kind.name())));
        let of_names = self.names.iter().filter(|(word, _)| word.chars().count() > 1).map(|(word, new)| (new, word, "name"));
        let mut entries: Vec<_> = of_values.chain(of_names).collect();
        entries.sort();
        let entries: Vec<Value> = entries.into_iter().map(|(new, value, kind)| json!([new, value, kind])).collect();
        json!({ "escaped": self.escaped, "entries": entries }).to_string().into_bytes()
    }
}

/// Names that no text means otherwise.
fn fit(names: &[&'static str]) -> Vec<&'static str> {
    let lexicon = Lexicon::get();
    names.iter().copied().filter(|name| (4..=9).contains(&name.len()) && !lexicon.word(name)).collect()
}

fn name_of(word: &str, list: &[&str], secret: &[u8; 32], taken: &mut HashSet<String>) -> String {
    let mut attempt = 0;
    loop {
        let mut stream = Stream::new(*secret, &["name", word], attempt);
        let name = list[stream.below(list.len())];
        // A file with more names than the list has gets doubled ones.
        let name = if attempt < ATTEMPTS { name.to_string() } else { format!("{name}-{}", list[stream.below(list.len())]) };
        if taken.insert(name.clone()) {
            return name;
        }
        attempt += 1;
    }
}

/// A name in the letters that another word has: lower case, capitals, or a capital first.
fn in_form(name: &str, form: &str) -> String {
    let first = form.chars().next().is_some_and(char::is_uppercase);
    let shouted = form.chars().count() > 1 && form.chars().filter(|c| c.is_alphabetic()).all(char::is_uppercase);
    match (shouted, first) {
        (true, _) => name.to_uppercase(),
        (false, true) => name.split('-').map(capital).collect::<Vec<_>>().join("-"),
        (false, false) => name.to_string(),
    }
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Whether a pseudonym, or a number that is all of it, stands in the file already.
fn occurs(new: &str, taken: &HashSet<String>) -> bool {
    let plain = canonical(new);
    let pieces = || new.split(|c: char| !c.is_alphanumeric()).filter(|piece| !piece.is_empty());
    taken.contains(&plain) || pieces().count() > 0 && pieces().all(|piece| piece.len() > 2 && taken.contains(&piece.to_lowercase()))
}
