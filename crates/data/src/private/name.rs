//! Names of persons: behind greetings, titles and introductions, in signatures, as known given names, and as whole messages.

use std::sync::LazyLock;

use regex::Regex;

use super::context::pattern;
use super::lexicon::{Lexicon, Words, listed};
use super::talk::{Asked, Talk};
use super::{Found, Kind};

/// Words that say that a name comes; whatever is no word of the language is one.
static SURE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)\b(?:(?:my|full|the|his|her|customer|first|last|sure|holder) ?)?names?(?: here)?(?:'s| is| are| ist| :|:|-)? (?:is )?",
        r"|\b(?:call me|account holder(?: is)?|signed(?: by)?|i go by|myself|ich heiße|mein name ist|mein name:|je m'appelle|mon nom est|me llamo|mi nombre es|mi chiamo",
        r"|meu nome é|chamo-me|mijn naam is|nazywam się|jag heter|mitt namn är|adım|nume(?:le)? meu este):? "
    ))
});
/// Words behind which a name may come; it must be known as one, or be capitalised.
static MAYBE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:i am|i'm|im|i m|this is|its|it's|it is|here is|ich bin|hier ist|hier spricht|soy|sono|ik ben|c'est|je suis|from|by|for|yes|sure|sorry|and) ",
    )
});
static GREETING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:hi|hello|hey|dear|hallo|liebe[r]?|bonjour|ch[eè]re?|hola|estimad[oa]|ciao|caro|cara|beste|thanks|thank you|ok|okay) ",
    )
});
static TITLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(?:(?:M[rs]s?|Miss|Mx|Drs?|Prof|Sir|Madam|Hr|Fr|Sr|Sra|Srta|Dott|Sig)\.? |(?:Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Señora?|Signora?|Professor|Doctor) )+",
    )
});
static CLOSING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)\b(?:regards|sincerely|thanks|thank you|cheers|best|best wishes|yours(?: truly| faithfully)?|greetings(?: from)?|love|respectfully|mfg|lg|vg|gr(?:ü|ue)(?:ß|ss)en?",
        r"|cordialement|bien à vous|saludos|atentamente|un saludo|cordiali saluti|saluti|groeten|groetjes|pozdrawiam|mvh|hälsningar|obrigad[oa]|atenciosamente)[,.!\-– ]*\s+"
    ))
});

/// Places, months and things that are given names too.
static NO_PERSON: Words = Words::new(|| {
    listed(
        "jordan paris georgia chelsea sydney florence austin houston madison virginia carolina india china asia america \
    phoenix london berlin vienna savannah dallas denver israel kenya cuba chad troy hamilton lincoln washington montana dakota nevada orlando \
    may june april august summer autumn christmas easter mac alexa siri cortana sun mercedes ford royce visa windsor bristol lancaster \
    preston kingston clifton milan verona trent kent essex holland ireland france germany canada mexico santa anna nagar usa uk ok hi \
    monday tuesday wednesday thursday friday saturday sunday english french german spanish italian bluetooth wifi",
    )
});

/// One word of the text.
struct Word<'a> {
    start: usize,
    end: usize,
    text: &'a str,
    lower: String,
    /// Whether only blanks stand between it and the word before.
    joined: bool,
}

impl Word<'_> {
    fn capital(&self) -> bool {
        self.text.chars().next().is_some_and(char::is_uppercase)
    }

    fn initial(&self) -> bool {
        self.text.chars().count() == 1
    }

    fn known(&self, lexicon: &Lexicon) -> bool {
        lexicon.name(&self.lower)
    }

    /// In no list: most likely a name that we have not heard of, or a slip.
    fn strange(&self, lexicon: &Lexicon) -> bool {
        self.lower.chars().count() > 2 && !lexicon.word(&self.lower) && !NO_PERSON.contains(self.lower.as_str())
    }

    fn person(&self, lexicon: &Lexicon) -> bool {
        self.known(lexicon) && self.strange(lexicon)
    }
}

/// All names of a text.
pub(super) fn names(text: &str, talk: &Talk, taken: &[Found], found: &mut Vec<Found>) {
    let lexicon = Lexicon::get();
    let words = words_of(text, taken);
    if words.is_empty() {
        return;
    }
    let shouting = !text.chars().any(char::is_lowercase);
    let lowly = shouting || !text.chars().any(char::is_uppercase);
    led(text, &words, lowly, lexicon, found);
    closing(text, &words, lexicon, found);
    for at in 0..words.len() {
        full(&words, at, lowly, lexicon, found);
    }
    if talk.is_chat() {
        whole(text, &words, talk, lexicon, found);
    }
    if talk.has_names() {
        let again = words.iter().filter(|word| talk.knows(&word.lower) && (word.capital() || word.strange(lexicon)));
        found.extend(again.map(|word| Found::new(word.start..word.end, Kind::Name, 0.76, "a name that was said before")));
    }
}

/// The words of a text, of letters, with an apostrophe or hyphen inside, that are not part of something found already.
fn words_of<'a>(text: &'a str, taken: &[Found]) -> Vec<Word<'a>> {
    let mut words: Vec<Word> = Vec::new();
    let mut from = None;
    let mut last = 0;
    let inside = |at: usize| taken.iter().any(|one| one.start <= at && at < one.end);
    let ends = text.char_indices().map(|(at, c)| (at, Some(c))).chain([(text.len(), None)]);
    for (at, c) in ends {
        let next = |at: usize| text[at..].chars().nth(1).is_some_and(char::is_alphabetic);
        let part = c.is_some_and(|c| c.is_alphabetic() || (from.is_some() && matches!(c, '\'' | '’' | '-') && next(at)));
        match (part, from) {
            (true, None) => from = Some(at),
            (false, Some(start)) => {
                from = None;
                let digits = text[..start].ends_with(|c: char| c.is_ascii_digit()) || c.is_some_and(|c| c.is_ascii_digit() || c == '_');
                if inside(start) || digits {
                    continue;
                }
                let word = text[start..at].trim_end_matches("'s").trim_end_matches("’s");
                // A dot ends a sentence, but behind one letter it is part of the name.
                let dotted = words.last().is_some_and(Word::initial);
                let joined = !words.is_empty() && text[last..start].chars().all(|c| c == ' ' || c == '.' && dotted);
                let lower = word.to_lowercase();
                words.push(Word { start, end: start + word.len(), text: word, lower, joined });
                last = at;
            }
            _ => {}
        }
    }
    words
}

/// The first word that begins at or behind a place, if nothing but blanks and quotes lies between.
fn word_at(text: &str, words: &[Word], at: usize) -> Option<usize> {
    let index = words.partition_point(|word| word.start < at);
    let word = words.get(index)?;
    text[at..word.start].chars().all(|c| c.is_whitespace() || matches!(c, '"' | '*' | '\'')).then_some(index)
}

/// The words from `first` that make up one name: each is joined to the one before and passes.
fn run(words: &[Word], first: usize, most: usize, pass: impl Fn(&Word) -> bool) -> std::ops::Range<usize> {
    let mut end = first + 1;
    while end < words.len() && end - first < most && words[end].joined && pass(&words[end]) {
        end += 1;
    }
    // A lone letter at the end is an initial only behind a name.
    words[first].start..words[end - 1].end
}

/// Names behind an introduction, a greeting or a title.
fn led(text: &str, words: &[Word], lowly: bool, lexicon: &Lexicon, found: &mut Vec<Found>) {
    let follows = |word: &Word| {
        let capital = !lowly && word.capital() && !lexicon.word(&word.lower);
        capital
            || word.known(lexicon)
            || word.initial() && word.lower != "i" && word.lower != "a"
            || word.strange(lexicon) && !lexicon.near_word(&word.lower)
    };
    let firm = |word: &Word| word.person(lexicon) || !lowly && word.capital() && word.strange(lexicon);
    for lead in SURE.find_iter(text) {
        let Some(first) = word_at(text, words, lead.end()) else { continue };
        let word = &words[first];
        let capital = !lowly && word.capital() && (word.known(lexicon) || !lexicon.word(&word.lower));
        // "my name is rose": a name that is a word too, at the end or before another name.
        let next = words.get(first + 1).filter(|next| next.joined);
        let double = lexicon.given(&word.lower) && next.is_none_or(|next| next.known(lexicon) || next.lower == "and");
        if capital || double || word.person(lexicon) || word.strange(lexicon) && !lexicon.near_word(&word.lower) {
            found.push(Found::new(run(words, first, 4, follows), Kind::Name, 0.9, "behind words that introduce a name"));
        }
    }
    for lead in MAYBE.find_iter(text) {
        let Some(first) = word_at(text, words, lead.end()) else { continue };
        if words[first].person(lexicon) && (lowly || words[first].capital() || lexicon.given(&words[first].lower)) {
            found.push(Found::new(run(words, first, 4, follows), Kind::Name, 0.8, "a name behind words that may introduce one"));
        }
    }
    for lead in GREETING.find_iter(text) {
        let Some(first) = word_at(text, words, lead.end()) else { continue };
        if words[first].person(lexicon) && lexicon.given(&words[first].lower) {
            found.push(Found::new(run(words, first, 3, firm), Kind::Name, 0.8, "a name behind a greeting"));
        }
    }
    for lead in TITLE.find_iter(text) {
        let Some(first) = word_at(text, words, lead.end()) else { continue };
        if words[first].capital() && !words[first].initial() && (words[first].known(lexicon) || words[first].strange(lexicon)) {
            found.push(Found::new(
                run(words, first, 3, |word| word.capital() && !lexicon.word(&word.lower)),
                Kind::Name,
                0.88,
                "behind a title",
            ));
        }
    }
}

/// Names behind a closing, at the end of the text or of its line.
fn closing(text: &str, words: &[Word], lexicon: &Lexicon, found: &mut Vec<Found>) {
    for lead in CLOSING.find_iter(text) {
        let Some(first) = word_at(text, words, lead.end()) else { continue };
        let word = &words[first];
        if !word.capital() || !(word.known(lexicon) || word.strange(lexicon)) {
            continue;
        }
        let range = run(words, first, 4, |word| word.capital() && (word.initial() || word.known(lexicon) || word.strange(lexicon)));
        let rest = &text[range.end..];
        let ends = rest.trim_start_matches(['.', ',', '!', ' ', ')']);
        if ends.is_empty() || ends.starts_with(['\n', '\r', '(', '|']) {
            found.push(Found::new(range, Kind::Name, 0.86, "behind a closing"));
        }
    }
}

/// A known given name with a capital, and the names behind it; without capitals, a given name and another name.
fn full(words: &[Word], at: usize, lowly: bool, lexicon: &Lexicon, found: &mut Vec<Found>) {
    let word = &words[at];
    let given = lexicon.given(&word.lower);
    if !given {
        return;
    }
    let next = words.get(at + 1).filter(|next| next.joined);
    if lowly {
        let followed = next.is_some_and(|next| next.person(lexicon) || lexicon.surname(&next.lower) && next.strange(lexicon));
        if word.strange(lexicon) && followed {
            let range = run(words, at, 3, |word| word.person(lexicon));
            found.push(Found::new(range, Kind::Name, 0.78, "a given name and another name"));
        }
        return;
    }
    if !word.capital() || NO_PERSON.contains(word.lower.as_str()) {
        return;
    }
    let surname = |word: &Word| {
        word.capital() && (word.initial() || lexicon.surname(&word.lower) || word.strange(lexicon)) && !lexicon.word(&word.lower)
    };
    let spoken = |word: &Word| surname(word) || word.capital() && lexicon.surname(&word.lower);
    let followed = next.is_some_and(|next| spoken(next) && !next.initial());
    // What is also a word of the language is a name only before a surname.
    if word.strange(lexicon) || followed && next.is_some_and(surname) {
        let sure = if followed { 0.85 } else { 0.72 };
        let why = if followed { "a given name and a surname" } else { "a given name" };
        let range = if followed { run(words, at, 4, spoken) } else { word.start..word.end };
        found.push(Found::new(range, Kind::Name, sure, why));
    }
}

/// In a chat: a message that is a name, beside numbers and a few small words.
fn whole(text: &str, words: &[Word], talk: &Talk, lexicon: &Lexicon, found: &mut Vec<Found>) {
    static SMALL: Words = Words::new(|| {
        listed(
            "yes yeah yep sure ok okay and is my name it its the sorry number no ssn card account full first last here hi hello this thats \
        please acc ac credit policy phone email id claim password mobile s sir mam madam ya i am im n with ends in digits four",
        )
    });
    let small = |word: &Word| SMALL.contains(word.lower.as_str()) || word.lower.chars().count() == 1;
    let said: Vec<usize> = (0..words.len()).filter(|at| !small(&words[*at])).collect();
    if said.is_empty() || said.len() > 4 || text.len() > 80 || text.contains('?') || text.contains('\n') {
        return;
    }
    let asked = talk.asked(Asked::Name);
    let person = |word: &Word| asked && word.known(lexicon) || word.person(lexicon);
    let lonely = said.len() == words.len();
    let familiar = said.iter().any(|at| person(&words[*at])) || said.len() == 2 && said.iter().all(|at| words[*at].known(lexicon));
    let voiced = |word: &Word| word.lower.contains(['a', 'e', 'i', 'o', 'u', 'y']) || !word.text.is_ascii();
    let unheard = |word: &Word| {
        word.strange(lexicon) && (familiar || word.lower.len() > 3 && voiced(word) && (asked || !lexicon.near_word(&word.lower)))
    };
    let fits = |word: &Word| person(word) || familiar && word.known(lexicon) || unheard(word);
    if !said.iter().all(|at| fits(&words[*at])) || !(familiar || lonely && said.len() <= 3) {
        return;
    }
    let mut at = 0;
    while at < said.len() {
        let first = said[at];
        let mut last = first;
        while at + 1 < said.len() && said[at + 1] == last + 1 && words[last + 1].joined {
            at += 1;
            last += 1;
        }
        if words.get(last + 1).is_some_and(|next| next.joined && next.initial() && next.end == text.len()) {
            last += 1;
        }
        let sure = if familiar { 0.78 } else { 0.6 };
        found.push(Found::new(words[first].start..words[last].end, Kind::Name, sure, "a message that is a name"));
        at += 1;
    }
}
