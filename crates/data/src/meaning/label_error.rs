//! Labels that their own text speaks against: a classifier that has not seen the row and the row's neighbours both say another one.
//!
//! The rule for what is flagged is confident learning (Northcutt and others, 2021): a row counts for a class once its
//! probability reaches the mean probability that rows with that label have for it.

use std::collections::HashMap;

use rayon::prelude::*;

use super::labels::{Field, fields};
use super::logistic::{Logistic, mixed};
use super::neighbours::{Near, Own, nearest};
use super::vectors::{ASKED, Lexicon, Rows};
use super::words::masked;
use crate::{Check, Finding, Item, Severity};

/// How label errors are looked for.
#[derive(Debug, Clone)]
pub struct LabelOptions {
    /// The column that holds the label; none where the answer is the label, or a JSON object of labels.
    pub column: Option<String>,
}

/// What is known about one row's label.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    /// Index of the row.
    pub row: usize,
    /// The key or column, where there is one.
    pub field: Option<String>,
    pub given: String,
    /// The label that the text speaks for most.
    pub suggested: String,
    /// Probabilities out of fold, mixed with the neighbours' votes.
    pub given_probability: f64,
    pub suggested_probability: f64,
    /// Of how many neighbours so many have the given label, and so many the suggested one.
    pub neighbours: [usize; 3],
    /// From 0 to 1; ranks the rows.
    pub score: f64,
    /// Whether the probability of the suggested label is above that label's own mean.
    pub flagged: bool,
}

/// In so many parts, each judged by what was learned from the others.
const FOLDS: u64 = 10;
/// Votes of so many neighbours.
const VOTES: usize = 10;
/// How much the neighbours' votes count beside the classifier.
const SHARE: f32 = 0.2;
/// Fewer labelled rows teach nothing.
const ENOUGH: usize = 30;

/// Rows whose label is probably wrong, the surest first.
pub fn label_errors(items: &[Item], options: &LabelOptions) -> Vec<Finding> {
    let found = label_doubts(items, options);
    found.iter().filter(|doubt| doubt.flagged).map(|doubt| finding(doubt, items)).collect()
}

/// What is known about every label of every row, the most doubtful first. Nothing where the answers are texts.
pub fn label_doubts(items: &[Item], options: &LabelOptions) -> Vec<Doubt> {
    let fields = fields(items, options.column.as_deref());
    if fields.is_empty() {
        return Vec::new();
    }
    let prompts: Vec<String> = items.iter().map(Item::prompt).collect();
    let rows = Lexicon::learn(&prompts, ASKED).rows(&prompts);
    let near = nearest(&rows, &rows, VOTES, Own::Left);
    let mut found: Vec<Doubt> = fields.iter().flat_map(|field| doubts(field, &rows, &near, &prompts)).collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
    found
}

/// The fold of each row, another one each round. The same text is always in the same fold: a row must not be judged by its own copy.
fn folds(prompts: &[String], round: u64) -> Vec<u64> {
    let fold = |text: &String| masked(text).bytes().fold(round, |hash, byte| mixed(hash, u64::from(byte))) % FOLDS;
    prompts.par_iter().map(fold).collect()
}

/// Twice: the second classifier and the second votes leave out what the first ones doubted, so wrong labels do not vouch for each other.
fn doubts(field: &Field, rows: &Rows, near: &[Vec<Near>], prompts: &[String]) -> Vec<Doubt> {
    let labelled: Vec<usize> = (0..rows.len()).filter(|row| field.of[*row].is_some() && !rows.row(*row).is_empty()).collect();
    if labelled.len() < ENOUGH {
        return Vec::new();
    }
    let mut trusted: Vec<Option<u32>> = field.of.clone();
    let mut found = Vec::new();
    for round in 0..2 {
        found = judged(field, rows, near, &folds(prompts, round), &labelled, &trusted);
        trusted = field.of.clone();
        found.iter().filter(|doubt| doubt.flagged).for_each(|doubt| trusted[doubt.row] = None);
    }
    found
}

fn judged(field: &Field, rows: &Rows, near: &[Vec<Near>], folds: &[u64], labelled: &[usize], trusted: &[Option<u32>]) -> Vec<Doubt> {
    let given: Vec<u32> = field.of.iter().map(|label| label.unwrap_or(0)).collect();
    let mut probabilities = out_of_fold(rows, labelled, trusted, field.labels.len(), folds);
    for (row, own) in &mut probabilities {
        mix_votes(own, &near[*row], trusted);
    }
    let means = class_means(&probabilities, &given, field.labels.len());
    probabilities.iter().map(|(row, own)| doubt(*row, own, given[*row], &means, &near[*row], field)).collect()
}

/// The probabilities of each labelled row, by a classifier that learned from the other folds.
fn out_of_fold(rows: &Rows, labelled: &[usize], trusted: &[Option<u32>], classes: usize, folds: &[u64]) -> Vec<(usize, Vec<f32>)> {
    let labels: Vec<u32> = trusted.iter().map(|label| label.unwrap_or(0)).collect();
    let one = |fold: u64| {
        let (judged, learned): (Vec<usize>, Vec<usize>) = labelled.iter().partition(|row| folds[**row] == fold);
        let learned: Vec<usize> = learned.into_iter().filter(|row| trusted[*row].is_some()).collect();
        let model = Logistic::learn(rows, &learned, &labels, classes);
        judged
            .into_iter()
            .map(|row| {
                let mut own = vec![0.0; classes];
                model.scores(rows.row(row), &mut own);
                (row, own)
            })
            .collect::<Vec<_>>()
    };
    let mut all: Vec<(usize, Vec<f32>)> = (0..FOLDS).into_par_iter().flat_map(one).collect();
    all.sort_unstable_by_key(|(row, _)| *row);
    all
}

fn mix_votes(own: &mut [f32], near: &[Near], trusted: &[Option<u32>]) {
    let mut votes: HashMap<u32, f32> = HashMap::new();
    for near in near {
        if let Some(label) = trusted[near.index as usize] {
            *votes.entry(label).or_default() += near.cosine;
        }
    }
    let sum: f32 = near.iter().filter(|near| trusted[near.index as usize].is_some()).map(|near| near.cosine).sum();
    if sum > 0.0 {
        own.iter_mut().for_each(|p| *p *= 1.0 - SHARE);
        votes.into_iter().for_each(|(label, weight)| own[label as usize] += SHARE * weight / sum);
    }
}

/// For each class the mean probability that the rows with its label have for it.
fn class_means(probabilities: &[(usize, Vec<f32>)], given: &[u32], classes: usize) -> Vec<f32> {
    let (mut sums, mut counts) = (vec![0.0_f64; classes], vec![0usize; classes]);
    for (row, own) in probabilities {
        let label = given[*row] as usize;
        sums[label] += f64::from(own[label]);
        counts[label] += 1;
    }
    sums.iter().zip(counts).map(|(sum, count)| if count == 0 { 1.0 } else { (sum / count as f64) as f32 }).collect()
}

fn doubt(row: usize, own: &[f32], given: u32, means: &[f32], near: &[Near], field: &Field) -> Doubt {
    let others = (0..own.len()).filter(|class| *class != given as usize);
    let best = others.clone().max_by(|a, b| own[*a].total_cmp(&own[*b])).unwrap_or(given as usize);
    let confident = others.filter(|class| own[*class] >= means[*class]).max_by(|a, b| own[*a].total_cmp(&own[*b]));
    let (p, q) = (f64::from(own[given as usize]), f64::from(own[best]));
    let voted = |label: u32| near.iter().filter(|near| field.of[near.index as usize] == Some(label)).count();
    Doubt {
        row,
        field: field.name.clone(),
        given: field.label(given).to_string(),
        suggested: field.label(best as u32).to_string(),
        given_probability: p,
        suggested_probability: q,
        neighbours: [near.len(), voted(given), voted(best as u32)],
        score: if p + q > 0.0 { q / (p + q) } else { 0.0 },
        flagged: confident.is_some() && q > p,
    }
}

fn finding(doubt: &Doubt, items: &[Item]) -> Finding {
    let item = &items[doubt.row];
    let [near, given, suggested] = doubt.neighbours;
    let field = doubt.field.as_ref().map(|name| format!("`{name}` is ")).unwrap_or_default();
    Finding {
        check: Check::LabelError,
        severity: Severity::Warning,
        examples: vec![item.id.clone()],
        score: doubt.score,
        evidence: format!(
            "{field}`{}`, but the text speaks for `{}` ({:.0} % against {:.0} %, judged by rows other than this one); of the {near} most similar rows {suggested} say `{}` and {given} say `{}`. Text: {}",
            doubt.given,
            doubt.suggested,
            100.0 * doubt.suggested_probability,
            100.0 * doubt.given_probability,
            doubt.suggested,
            doubt.given,
            super::shown(&item.prompt()),
        ),
        mend: format!(
            "read it; if the text is what it seems, set {}`{}`",
            doubt.field.as_ref().map(|name| format!("`{name}` to ")).unwrap_or_default(),
            doubt.suggested
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn planted_wrong_labels_are_found_with_the_right_one_suggested() {
        let texts = [
            "where is my parcel",
            "the parcel is late again",
            "i want my money back",
            "please refund the money",
            "the app crashes at start",
            "app freezes on my phone",
        ];
        let labels = ["delivery", "refund", "bug"];
        let wrong = [7, 50, 88];
        let rows: Vec<String> = (0..120).map(|i| {
            let kind = (i % 6) / 2;
            let label = if wrong.contains(&i) { labels[(kind + 1) % 3] } else { labels[kind] };
            serde_json::json!({ "id": format!("r{i}"), "instruction": format!("{} number {} {}", texts[i % 6], ["one", "two", "three", "four"][i / 6 % 4], i), "response": label }).to_string()
        }).collect();
        let items = crate::parse_items(rows.join("\n").as_bytes(), Path::new("rows.jsonl")).unwrap();
        let found = label_errors(&items, &LabelOptions { column: None });
        let mut ids: Vec<&str> = found.iter().map(|finding| finding.examples[0].as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["r50", "r7", "r88"]);
        let first = found.iter().find(|finding| finding.examples[0] == "r7").unwrap();
        assert!(first.evidence.contains("`refund`, but the text speaks for `delivery`"), "{}", first.evidence);
    }
}
