//! What a reviewer sees of one contradiction: the question, its different answers with dates and authors, and a way out.

use std::collections::BTreeMap;

use super::Conflict;
use crate::meaning::labels::said;
use crate::meaning::shown;
use crate::{Check, Finding, Item, Severity};

/// A group of rows whose answers contradict each other.
pub(crate) struct Card<'a> {
    /// The surest conflict first.
    conflicts: Vec<&'a Conflict>,
    answers: Vec<Answer<'a>>,
    items: &'a [Item],
}

/// The rows with one answer.
struct Answer<'a> {
    text: &'a str,
    rows: Vec<usize>,
    /// The last day on which it was given.
    last: Option<String>,
    authors: Vec<String>,
}

/// So many answers are shown in full.
const SHOWN: usize = 6;

impl<'a> Card<'a> {
    pub(crate) fn new(cluster: &'a [Conflict], items: &'a [Item]) -> Self {
        let mut conflicts: Vec<&Conflict> = cluster.iter().collect();
        conflicts.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.rows.cmp(&b.rows)));
        let mut rows: Vec<usize> = conflicts.iter().flat_map(|conflict| conflict.rows).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for row in rows {
            groups.entry(items[row].answer().unwrap_or_default().trim()).or_default().push(row);
        }
        let mut answers: Vec<Answer> = groups.into_iter().map(|(text, rows)| answer(text, rows, items)).collect();
        answers.sort_by(|a, b| b.rows.len().cmp(&a.rows.len()).then_with(|| b.last.cmp(&a.last)).then(a.rows.cmp(&b.rows)));
        Self { conflicts, answers, items }
    }

    pub(crate) fn finding(&self) -> Finding {
        let first = self.conflicts[0];
        let mut examples: Vec<usize> = first.rows.to_vec();
        examples.extend(self.answers.iter().flat_map(|answer| &answer.rows).filter(|row| !first.rows.contains(row)));
        let sure = first.difference.is_fact() && !first.entities && first.score >= 0.6;
        Finding {
            check: Check::Contradiction,
            severity: if sure { Severity::Error } else { Severity::Warning },
            examples: examples.into_iter().map(|row| self.items[row].id.clone()).collect(),
            score: first.score.clamp(0.0, 1.0),
            evidence: self.evidence(),
            mend: self.mend(),
        }
    }

    fn evidence(&self) -> String {
        let first = self.conflicts[0];
        let rows: usize = self.answers.iter().map(|answer| answer.rows.len()).sum();
        let mut text = format!("{rows} rows ask the same and get {} answers; {}. ", self.answers.len(), first.difference.told());
        if first.entities {
            text += "The questions name different orders, dates or numbers. ";
        }
        text += &format!("Question: {}.", shown(&self.items[first.rows[0]].prompt()));
        // The two that differ most surely are always among those that are shown.
        let mut order: Vec<&Answer> = self.answers.iter().collect();
        order.sort_by_key(|answer| !answer.rows.iter().any(|row| first.rows.contains(row)));
        for answer in order.iter().take(SHOWN) {
            text += &format!("\n{}: {}", self.heading(answer), shown(answer.text));
        }
        match self.answers.len().saturating_sub(SHOWN) {
            0 => text,
            more => text + &format!("\nand {more} other answers"),
        }
    }

    fn heading(&self, answer: &Answer) -> String {
        let ids: Vec<&str> = answer.rows.iter().take(3).map(|row| self.items[*row].id.as_str()).collect();
        let more = if answer.rows.len() > 3 { ", …" } else { "" };
        let count = if answer.rows.len() > 1 { format!("{} times ", answer.rows.len()) } else { String::new() };
        let by = if answer.authors.is_empty() { String::new() } else { format!(" by {}", answer.authors.join(", ")) };
        let at = answer.last.as_ref().map(|last| format!(", last {last}")).unwrap_or_default();
        format!("{count}({}{more}){by}{at}", ids.join(", "))
    }

    /// The newest answer, else that of the most rows; where the questions differ or only the form does, perhaps both.
    fn mend(&self) -> String {
        let first = self.conflicts[0];
        if !first.difference.is_fact() {
            return "both may be right: choose one form of answer, or add to the question what tells them apart".into();
        }
        let choice = self.newest().or_else(|| self.majority());
        let choice = choice.unwrap_or_else(|| "decide which answer is right and correct the others".into());
        match first.entities {
            true => format!("{choice}; if both are right, add to the question what tells them apart"),
            false => choice,
        }
    }

    fn newest(&self) -> Option<String> {
        let mut dated: Vec<(&String, &Answer)> = self.answers.iter().filter_map(|answer| Some((answer.last.as_ref()?, answer))).collect();
        if dated.len() < self.answers.len() {
            return None;
        }
        dated.sort_by(|a, b| b.0.cmp(a.0));
        let [(last, answer), (before, _), ..] = dated[..] else { return None };
        (last > before).then(|| {
            format!(
                "the newest answer ({}, {last}) probably holds: {}; correct the older ones",
                self.items[answer.rows[0]].id,
                shown(answer.text)
            )
        })
    }

    fn majority(&self) -> Option<String> {
        let [first, second, ..] = &self.answers[..] else { return None };
        let clear = first.rows.len() >= 2 * second.rows.len();
        clear.then(|| format!("{} of the rows say {}; if that is right, correct the others", first.rows.len(), shown(first.text)))
    }
}

fn answer<'a>(text: &'a str, rows: Vec<usize>, items: &[Item]) -> Answer<'a> {
    let tags =
        |name: &str| rows.iter().filter_map(|row| items[*row].tag(name)).filter(|value| !value.is_null()).map(said).collect::<Vec<_>>();
    let mut authors = tags("author");
    authors.sort_unstable();
    authors.dedup();
    // RFC 3339 sorts as text as long as the zone is the same; the day is enough here.
    let last = tags("at").into_iter().filter_map(|at| at.get(..10).map(String::from)).max();
    Answer { text, rows, last, authors }
}
