//! Answers that cannot both be right: the same question, or nearly the same, answered in two ways.
//!
//! Questions are compared with ids, numbers and dates masked, earlier turns included. Answers are compared as labels where they
//! are labels, else by what they claim. What differs because the questions name another order or date is no contradiction.

mod card;
mod compare;
mod facts;
mod question;

use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::prelude::*;

use super::labels::{Field, fields};
use super::neighbours::{Own, nearest};
use super::vectors::{ASKED, Lexicon};
use crate::{Finding, Item};
use card::Card;
use compare::{Difference, Found, facts, looks, shared};
use facts::Claims;
use question::{Question, Relation};

/// How contradictions are looked for.
#[derive(Debug, Clone)]
pub struct ContradictionOptions {
    /// The column that holds the label; none where the answer is the label, a JSON object of labels, or a text.
    pub column: Option<String>,
}

/// So many of the most similar questions are compared.
const NEIGHBOURS: usize = 20;
/// Questions below this cosine are not compared.
const FLOOR: f32 = 0.3;
/// Of the different answers to one question so many are compared with each other.
const ANSWERS: usize = 40;
/// A contradiction below this is not told.
const LEAST: f64 = 0.3;

/// Two rows that contradict each other.
#[derive(Debug, Clone)]
pub(crate) struct Conflict {
    pub rows: [usize; 2],
    pub difference: Difference,
    pub score: f64,
    /// Whether the questions name different orders, dates or numbers.
    pub entities: bool,
}

/// Contradictions, one card for each group of questions, the surest first.
pub fn contradictions(items: &[Item], options: &ContradictionOptions) -> Vec<Finding> {
    let rows: Vec<usize> = (0..items.len()).filter(|row| items[*row].answer().is_some_and(|answer| !answer.trim().is_empty())).collect();
    let prompts: Vec<String> = rows.iter().map(|row| items[*row].prompt()).collect();
    let questions: Vec<Question> = prompts.par_iter().map(|prompt| Question::read(prompt)).collect();
    let chosen: Vec<Item> = rows.iter().map(|row| items[*row].clone()).collect();
    let fields = fields(&chosen, options.column.as_deref());
    let claims: Vec<Claims> = match fields.is_empty() {
        true => chosen.par_iter().map(|item| Claims::read(item.answer().unwrap_or_default())).collect(),
        false => Vec::new(),
    };
    let judged = |(i, j, cosine): &(usize, usize, f32)| {
        let relation = questions[*i].relation(&questions[*j], f64::from(*cosine))?;
        let found = match fields.is_empty() {
            true => texts(&relation, [&questions[*i], &questions[*j]], [&claims[*i], &claims[*j]], f64::from(*cosine)),
            false => labels(&relation, &fields, [*i, *j]),
        };
        let (difference, score) = found.filter(|(_, score)| *score >= LEAST)?;
        Some(Conflict { rows: [*i, *j], difference, score, entities: relation.entities })
    };
    let conflicts: Vec<Conflict> = candidates(&prompts, &questions, &chosen).par_iter().filter_map(judged).collect();
    let mut found: Vec<Finding> = clusters(conflicts).iter().map(|cluster| Card::new(cluster, &chosen).finding()).collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.examples.cmp(&b.examples)));
    found
}

/// Pairs of rows with the cosine of their questions: the nearest ones, and all different answers to one question.
fn candidates(prompts: &[String], questions: &[Question], items: &[Item]) -> Vec<(usize, usize, f32)> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, question) in questions.iter().enumerate() {
        groups.entry(&question.masked).or_default().push(row);
    }
    let mut pairs: HashMap<(usize, usize), f32> = HashMap::new();
    for rows in groups.values() {
        let mut seen = HashSet::new();
        let different: Vec<usize> = rows.iter().copied().filter(|row| seen.insert(items[*row].answer())).take(ANSWERS).collect();
        for (place, one) in different.iter().enumerate() {
            pairs.extend(different[place + 1..].iter().map(|other| ((*one, *other), 1.0)));
        }
    }
    let rows = Lexicon::learn(prompts, ASKED).rows(prompts);
    for (one, near) in nearest(&rows, &rows, NEIGHBOURS, Own::Left).into_iter().enumerate() {
        for near in near.into_iter().filter(|near| near.cosine >= FLOOR && items[near.index as usize].answer() != items[one].answer()) {
            let other = near.index as usize;
            pairs.entry((one.min(other), one.max(other))).or_insert(near.cosine);
        }
    }
    let mut pairs: Vec<(usize, usize, f32)> = pairs.into_iter().map(|((i, j), cosine)| (i, j, cosine)).collect();
    pairs.sort_unstable_by_key(|(i, j, _)| (*i, *j));
    pairs
}

/// Labels contradict where the questions are the same but for typos and what is masked.
fn labels(relation: &Relation, fields: &[Field], [i, j]: [usize; 2]) -> Option<Found> {
    if !relation.near {
        return None;
    }
    let differs = fields.iter().find_map(|field| {
        let (one, other) = (field.of[i]?, field.of[j]?);
        let label = |label| field.label(label).to_string();
        (one != other).then(|| Difference::Label { key: field.name.clone(), one: label(one), other: label(other) })
    })?;
    Some((differs, if relation.entities { 0.7 } else { 0.8 + 0.2 * relation.closeness }))
}

/// The words that two sentences do not share, beyond which like questions are not enough.
const TOLD: f64 = 0.8;
/// How alike questions must be that are not the same, when the answers speak of the same thing.
const LIKE: f64 = 0.4;

/// Texts contradict by what they claim; where the questions are the same also by how they look.
fn texts(relation: &Relation, questions: [&Question; 2], [a, b]: [&Claims; 2], cosine: f64) -> Option<Found> {
    // What the questions name may differ in the answers as it differs in the questions.
    let named = questions.iter().filter(|_| relation.entities);
    let known: Vec<_> = named.flat_map(|question| question.quantities.iter().cloned()).collect();
    let found = facts(a, b, &known).or_else(|| if relation.near { looks(a, b) } else { None });
    let (difference, sure) = found?;
    if relation.entities && difference.follows_entity() {
        return None;
    }
    let weight = match (relation.near, relation.entities) {
        (true, false) => 0.8 + 0.2 * relation.closeness,
        (true, true) => 0.6,
        // Unlike questions may be about other things: only answers that are the same but for the difference count.
        (false, _) if difference.is_fact() && cosine >= LIKE && shared(&a.stems, &b.stems) >= TOLD && !relation.contrast => {
            0.5 + 0.5 * cosine
        }
        (false, _) => return None,
    };
    Some((difference, sure * weight))
}

/// Conflicts that share rows, together.
fn clusters(conflicts: Vec<Conflict>) -> Vec<Vec<Conflict>> {
    let mut parent: BTreeMap<usize, usize> = BTreeMap::new();
    for Conflict { rows: [one, other], .. } in &conflicts {
        let (one, other) = (root(&mut parent, *one), root(&mut parent, *other));
        parent.insert(one.max(other), one.min(other));
    }
    let mut clusters: BTreeMap<usize, Vec<Conflict>> = BTreeMap::new();
    for conflict in conflicts {
        clusters.entry(root(&mut parent, conflict.rows[0])).or_default().push(conflict);
    }
    clusters.into_values().collect()
}

fn root(parent: &mut BTreeMap<usize, usize>, row: usize) -> usize {
    let mut at = row;
    while let Some(up) = parent.get(&at).copied().filter(|up| *up != at) {
        at = up;
    }
    parent.insert(row, at);
    at
}

#[cfg(test)]
mod tests;
