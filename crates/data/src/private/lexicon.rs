//! Which words are names, and which are words of the language.

use std::collections::HashSet;
use std::sync::LazyLock;

static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| Lexicon {
    given: set(&[include_str!("lists/given.txt"), include_str!("lists/world.txt")]),
    surnames: set(&[include_str!("lists/surnames.txt"), include_str!("lists/surnames_world.txt")]),
    words: set(&[include_str!("lists/words.txt"), include_str!("lists/chat.txt")]),
});

/// Endings of inflected forms, and what the base has in their place.
const ENDINGS: [(&str, &str); 12] = [
    ("s", ""),
    ("es", ""),
    ("ed", ""),
    ("ed", "e"),
    ("ing", ""),
    ("ing", "e"),
    ("ly", ""),
    ("er", ""),
    ("ies", "y"),
    ("d", ""),
    ("'s", ""),
    ("in", ""),
];

/// The lists; all words in lower case.
pub(crate) struct Lexicon {
    given: HashSet<&'static str>,
    surnames: HashSet<&'static str>,
    words: HashSet<&'static str>,
}

/// Words that the lists of names know, and that mean a person nearly never.
fn is_plain(word: &str) -> bool {
    const PLAIN: &str = "in my an so see many else soon man long son will art may lane page hung sang sun ma mi pa ha ping song star loan carry lean \
        hang tiny pasty desire angle brain numbers manual lady love season china do to be go no on we you he she it at by or us the and but for not are was all any can had \
        her him his how its let may new now old our out own say too two use way who why yes your that this with from have they will what when where which good great best \
        well come day days week month year home house work time money bank card check cash price cost free lost last first next back bill call order post major major street road \
        wish need want help please thanks thank sorry hello hi ok okay sure fine name number account change close open reset pay paid payment transfer balance limit rate wait \
        less more most much very just only here there today dear kindly sir madam mam";
    static SET: LazyLock<HashSet<&str>> = LazyLock::new(|| set(&[PLAIN]));
    SET.contains(word)
}

fn set(lists: &[&'static str]) -> HashSet<&'static str> {
    lists.iter().flat_map(|list| list.split_whitespace()).collect()
}

impl Lexicon {
    /// The one that all share.
    pub(crate) fn get() -> &'static Lexicon {
        &LEXICON
    }

    pub(crate) fn given(&self, word: &str) -> bool {
        self.given.contains(word) && !is_plain(word)
    }

    pub(crate) fn surname(&self, word: &str) -> bool {
        self.surnames.contains(word) && !is_plain(word)
    }

    /// A given name or surname, whatever else it may be.
    pub(crate) fn name(&self, word: &str) -> bool {
        self.given(word) || self.surname(word)
    }

    /// A word of the language, or an inflected form of one; a given name is none because it looks inflected.
    pub(crate) fn word(&self, word: &str) -> bool {
        self.words.contains(word) || !self.given.contains(word) && (self.inflected(word) || self.glued(word))
    }

    /// Two words that lost their blank, as hurried chats begin: "oksure", "hithere"; or a word drawn out: "hmmm".
    fn glued(&self, word: &str) -> bool {
        const FIRST: [&str; 14] =
            ["ok", "okay", "yes", "no", "hi", "oh", "thank", "thanks", "sure", "nothing", "its", "my", "the", "please"];
        let rest = FIRST.iter().filter_map(|first| word.strip_prefix(first));
        let mut short = word.to_string();
        let mut last = ' ';
        short.retain(|c| std::mem::replace(&mut last, c) != c);
        rest.filter(|rest| rest.len() > 2).any(|rest| self.words.contains(rest))
            || short.len() + 2 <= word.len() && self.words.contains(short.as_str())
    }

    fn inflected(&self, word: &str) -> bool {
        ENDINGS.iter().any(|(end, new)| {
            let Some(stem) = word.strip_suffix(end).filter(|stem| stem.len() + new.len() >= 3) else { return false };
            self.words.contains(stem) && new.is_empty() || !new.is_empty() && self.words.contains(format!("{stem}{new}").as_str())
        })
    }

    /// A word with one slip of the fingers: a letter too much, too few, another one, or two swapped.
    pub(crate) fn near_word(&self, word: &str) -> bool {
        let letters: Vec<char> = word.chars().collect();
        if letters.len() < 4 {
            return false;
        }
        let known = |letters: &[char]| {
            let word: String = letters.iter().collect();
            self.words.contains(word.as_str()) || word.len() > 6 && self.inflected(&word)
        };
        (0..letters.len()).any(|at| {
            let mut fewer = letters.clone();
            fewer.remove(at);
            let mut swapped = letters.clone();
            let swaps = at + 1 < letters.len();
            if swaps {
                swapped.swap(at, at + 1);
            }
            known(&fewer)
                || swaps && known(&swapped)
                || ('a'..='z').any(|c| {
                    let mut other = letters.clone();
                    other[at] = c;
                    let mut more = letters.clone();
                    more.insert(at, c);
                    known(&other) || known(&more)
                })
        })
    }

    /// Names to draw pseudonyms from, in a fixed order.
    pub(crate) fn given_names() -> &'static [&'static str] {
        static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("lists/given.txt").split_whitespace().collect());
        &NAMES
    }

    pub(crate) fn family_names() -> &'static [&'static str] {
        static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("lists/surnames.txt").split_whitespace().collect());
        &NAMES
    }
}

/// A set of words that is made when it is first asked.
pub(super) type Words = LazyLock<HashSet<&'static str>>;

/// The words of one list.
pub(super) fn listed(list: &'static str) -> HashSet<&'static str> {
    set(&[list])
}
