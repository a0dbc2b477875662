//! Two questions: whether they are the same but for typos and courtesy, and whether they name other things.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Quantity, is_light, quantities, stem};
use crate::meaning::words::{Kind, masked, tokens};

/// A question as it is compared.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub masked: String,
    /// Words that carry meaning, by their stems.
    words: BTreeMap<String, String>,
    /// What is masked: ids, numbers, dates, amounts, addresses.
    entities: BTreeSet<String>,
    pub quantities: Vec<Quantity>,
    /// Whether it denies something: "I cannot log in" is no "I can log in".
    denies: bool,
}

/// How two questions lie to each other.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    /// The same but for typos, courtesy and what is masked.
    pub near: bool,
    /// From 0 to 1: the share of words that they have in common.
    pub closeness: f64,
    /// They name different ids, numbers, dates or amounts.
    pub entities: bool,
    /// Each has a word of its own that the other lacks: they may ask about two things.
    pub contrast: bool,
}

/// Words that one question has and the other lacks may be this share of all, for the two to be nearly the same.
const LEFT: f64 = 0.12;

impl Question {
    pub(crate) fn read(prompt: &str) -> Self {
        let tokens = tokens(prompt);
        let words = || tokens.iter().filter(|token| token.kind == Kind::Word).map(|token| token.text.as_str());
        let entities = tokens.iter().filter(|token| !matches!(token.kind, Kind::Word | Kind::Stop)).map(|token| token.text.clone());
        let denials =
            words().filter(|word| matches!(*word, "not" | "no" | "never" | "cannot" | "without") || word.ends_with("n't")).count();
        Self {
            masked: masked(prompt),
            words: words().filter(|word| !is_light(word)).map(|word| (stem(word), word.to_string())).collect(),
            entities: entities.collect(),
            quantities: quantities(&tokens),
            denies: denials % 2 == 1,
        }
    }

    /// How another question lies to this one; none where both ask nothing.
    pub(crate) fn relation(&self, other: &Question, cosine: f64) -> Option<Relation> {
        if self.masked.is_empty() || other.masked.is_empty() {
            return None;
        }
        let entities = self.entities != other.entities;
        if self.masked == other.masked {
            return Some(Relation { near: true, closeness: 1.0, entities, contrast: false });
        }
        let (own, their) = left(&self.words, &other.words);
        let all = (self.words.len() + their).max(1) as f64;
        let share = (own + their) as f64 / all;
        // One word on either side may be the very point ("gold", "platinum"), so short questions must agree in all.
        let near = share <= LEFT && self.denies == other.denies && cosine >= 0.5;
        Some(Relation { near, closeness: 1.0 - share.min(1.0), entities, contrast: own > 0 && their > 0 })
    }
}

/// How many words of each have no like in the other, not even with a typo or another ending.
fn left(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> (usize, usize) {
    let only = |x: &BTreeMap<String, String>, y: &BTreeMap<String, String>| -> Vec<String> {
        x.iter().filter(|(stem, _)| !y.contains_key(*stem)).map(|(_, word)| word.clone()).collect()
    };
    let (mut own, mut their) = (only(a, b), only(b, a));
    own.retain(|word| match their.iter().position(|like| is_typo(word, like)) {
        Some(place) => {
            their.swap_remove(place);
            false
        }
        None => true,
    });
    (own.len(), their.len())
}

/// Whether two words of four or more letters differ by one letter, or by two that changed places.
fn is_typo(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().min(b.len()) < 4 || a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    match (a.len(), b.len()) {
        (2, 2) => a[0] == b[1] && a[1] == b[0],
        (one, other) => one.max(other) <= 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(a: &str, b: &str) -> Relation {
        Question::read(a).relation(&Question::read(b), 0.8).unwrap()
    }

    #[test]
    fn typos_and_courtesy_change_no_question_but_things_do() {
        let same = relation(
            "Thermostat order from this morning: white, not copper.",
            "Hi! thermostat oredr from this morning: white not copper, please",
        );
        assert!(same.near && !same.entities);
        let order = relation("Where is order NW-123456?", "where is order NW-654321");
        assert!(order.near && order.entities);
        let thing = relation("How do I cancel my gold account?", "How do I cancel my platinum account?");
        assert!(!thing.near && thing.contrast);
        assert!(!relation("I can log in with my code", "I cannot log in with my code").near);
    }
}
