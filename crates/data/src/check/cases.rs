//! Two texts that are near: one case told twice, or one form filled in for two cases.

use std::collections::HashSet;

use crate::near::{Part, Slot, parts};
use serde_json::Value;

/// How two near texts stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Relation {
    /// The same words.
    Same,
    /// The shorter one stands whole in the longer one: sent again, cut off, or with a greeting around it.
    Inside,
    /// The same case in slightly other words.
    Edited,
    /// The same words for another case: these ids, numbers, dates or names differ.
    Template(Vec<String>),
}

/// A text, cut once for many comparisons.
pub(super) struct Case {
    parts: Vec<Part>,
}

impl Case {
    pub fn of(text: &str) -> Self {
        Self { parts: parts(text) }
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.word.as_str())
    }

    /// How another text stands to this one; `contained` is the share of the shorter one that the longer one holds.
    pub fn relation(&self, other: &Case, contained: f32) -> Relation {
        if self.words().eq(other.words()) {
            return Relation::Same;
        }
        let (short, long) = if self.parts.len() <= other.parts.len() { (self, other) } else { (other, self) };
        let held: HashSet<&str> = long.words().collect();
        let missing = |part: &&Part| part.slot.is_some() && !held.contains(part.word.as_str()) && !long.holds_like(part);
        let foreign: Vec<String> = short.parts.iter().filter(missing).map(|part| part.word.clone()).collect();
        if !foreign.is_empty() {
            return Relation::Template(foreign);
        }
        let shorter = short.parts.len() * 10 <= long.parts.len() * 9;
        if contained >= 0.9 && shorter { Relation::Inside } else { Relation::Edited }
    }

    /// Whether a slot stands here with a slip of the pen, or cut off at the text's end.
    fn holds_like(&self, part: &Part) -> bool {
        match part.slot {
            // One digit more is another number.
            Some(Slot::Number | Slot::Date) => {
                self.parts.iter().any(|own| own.word.split_terminator(['.', '/', ':', '-']).any(|piece| piece == part.word))
            }
            Some(Slot::Id | Slot::Email | Slot::Url) => {
                self.parts.iter().any(|own| own.word.len() > part.word.len() && own.word.starts_with(&part.word))
            }
            _ => self.parts.iter().any(|own| is_slip(&own.word, &part.word)),
        }
    }
}

/// Whether two words differ by letters that are swapped, missing, doubled or wrong: one or two of them.
pub(super) fn is_slip(a: &str, b: &str) -> bool {
    let limit = if a.chars().count().max(b.chars().count()) >= 6 { 2 } else { 1 };
    a.len().abs_diff(b.len()) <= 2 * limit && distance(a, b) <= limit
}

/// Letters to be inserted, deleted, replaced or swapped with the next (optimal string alignment).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Whether two answers say the same: equal as JSON, or in their words, or nearly so with the same numbers.
pub(super) fn agree(a: Option<&str>, b: Option<&str>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return a.is_none() && b.is_none() };
    if a.trim() == b.trim() {
        return true;
    }
    if let [Some(a), Some(b)] = [a, b].map(structured) {
        return a == b;
    }
    let [left, right] = [Case::of(a), Case::of(b)];
    if left.words().eq(right.words()) {
        return true;
    }
    // A label of one or two words is another label when a word is another.
    if left.parts.len().min(right.parts.len()) < 8 {
        return false;
    }
    let near = crate::near::pairs(&[a, b], &crate::near::Options { least: 0.7, ..Default::default() });
    near.first().is_some_and(|pair| !matches!(left.relation(&right, pair.contained), Relation::Template(_)))
}

/// An answer that is an object or a list.
pub(super) fn structured(text: &str) -> Option<Value> {
    let text = text.trim();
    text.starts_with(['{', '[']).then(|| serde_json::from_str(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(a: &str, b: &str) -> Relation {
        Case::of(a).relation(&Case::of(b), 0.95)
    }

    #[test]
    fn another_number_is_another_case() {
        let found = relation("Where is my order NW-48213? It was due on 3 May.", "Where is my order NW-99107? It was due on 3 May.");
        assert_eq!(found, Relation::Template(vec!["nw-48213".into()]));
        assert!(matches!(relation("My tenant Ann Gray moved in.", "My tenant Bob Stone moved in."), Relation::Template(_)));
    }

    #[test]
    fn a_slip_a_frame_and_a_cut_are_the_same_case() {
        assert_eq!(relation("My bank sattement of 4 March shows it.", "My bank statement of 4 March shows it."), Relation::Edited);
        assert_eq!(relation("the  ROUTER is dead", "The router is dead!"), Relation::Same);
        let long = "Re: my message, no answer so far. There was a bang and a puff of smoke from box 7. What now?";
        assert_eq!(relation("There was a bang and a puff of smoke from box 7.", long), Relation::Inside);
    }

    #[test]
    fn answers_agree_by_meaning() {
        assert!(agree(Some(r#"{"a":1,"b":2}"#), Some(r#"{ "b": 2, "a": 1 }"#)));
        assert!(!agree(Some(r#"{"a":1}"#), Some(r#"{"a":2}"#)));
        assert!(!agree(Some("refund"), Some("refunds")) && agree(Some("Refund."), Some("refund")));
        let policy = "You can return the router within 30 days of delivery if the box is whole and nothing is missing from it";
        assert!(!agree(Some(policy), Some(&policy.replace("30", "14"))));
        assert!(agree(Some(policy), Some(&format!("{policy}. Thank you!"))));
    }
}
