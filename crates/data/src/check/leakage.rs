//! Examples to be measured with that training has seen: the same text, nearly the same, the same thread or customer.

use std::collections::HashMap;

use serde_json::Value;

use super::cases::{Case, Relation};
use super::{Data, Settings, count, finding, shown};
use crate::finding::{Check, Finding, Severity};
use crate::item::Item;
use crate::near;

const SHOWN: usize = 220;

/// Fields that name what belongs together, and whether whoever shares one shares the case.
const KEYS: &[(&str, Severity)] = &[
    ("group", Severity::Error),
    ("thread", Severity::Error),
    ("thread_id", Severity::Error),
    ("conversation_id", Severity::Error),
    ("ticket_id", Severity::Error),
    ("customer", Severity::Warning),
    ("customer_id", Severity::Warning),
    ("account_id", Severity::Warning),
    ("user_id", Severity::Warning),
    ("author", Severity::Note),
];

pub(super) fn check(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    if data.eval.is_empty() {
        return Vec::new();
    }
    let mut findings = texts(data, settings);
    findings.extend(KEYS.iter().filter_map(|(key, severity)| shared(data, key, *severity)));
    findings
}

/// One finding for each example of `eval` whose text training holds.
fn texts(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    let all: Vec<&str> = data.asked.iter().chain(&data.eval_asked).map(String::as_str).collect();
    let border = data.asked.len() as u32;
    let mut by_eval: HashMap<u32, Vec<near::Pair>> = HashMap::new();
    for pair in near::pairs(&all, &settings.near) {
        if pair.a < border && pair.b >= border {
            by_eval.entry(pair.b - border).or_default().push(pair);
        }
    }
    let mut found: Vec<(u32, Vec<near::Pair>)> = by_eval.into_iter().collect();
    found.sort_unstable_by_key(|(at, _)| *at);
    found.iter().map(|(at, pairs)| leak(data, *at, pairs)).collect()
}

fn leak(data: &Data, at: u32, pairs: &[near::Pair]) -> Finding {
    let text = &data.eval_asked[at as usize];
    let case = Case::of(text);
    let related = |pair: &near::Pair| (Case::of(&data.asked[pair.a as usize]).relation(&case, pair.contained), *pair);
    let mut all: Vec<(Relation, near::Pair)> = pairs.iter().map(related).collect();
    let rank = |relation: &Relation| match relation {
        Relation::Same => 0,
        Relation::Inside => 1,
        Relation::Edited => 2,
        Relation::Template(_) => 3,
    };
    all.sort_by(|(a, left), (b, right)| rank(a).cmp(&rank(b)).then(right.jaccard.total_cmp(&left.jaccard)));
    let (relation, best) = &all[0];
    let (severity, how, mend) = match relation {
        Relation::Same => {
            (Severity::Error, "exact: training holds the same text", "take it out of the training data, or out of what is measured with")
        }
        Relation::Inside => (Severity::Error, "contained: one text stands inside of the other", "take it out of one of the two"),
        Relation::Edited => (Severity::Error, "near: training holds it with a few other words", "take it out of one of the two"),
        Relation::Template(_) => (
            Severity::Note,
            "template: training holds the same wording for another case",
            "split by form, so that a form is on one side only",
        ),
    };
    let item = &data.eval[at as usize];
    let mut examples = vec![item.id.clone()];
    examples.extend(all.iter().map(|(_, pair)| data.train[pair.a as usize].id.clone()));
    let (seen, learned) = (shown(text, SHOWN), &data.train[best.a as usize]);
    let evidence =
        format!("{how}. Measured with {}: {seen}; trained on {}: {}", item.id, learned.id, shown(&data.asked[best.a as usize], SHOWN));
    finding(Check::Leakage, severity, examples, f64::from(best.jaccard.max(best.contained)), evidence, mend)
}

/// What both sides share of one field.
fn shared(data: &Data, key: &str, severity: Severity) -> Option<Finding> {
    let value = |item: &Item| match item.tag(key) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let mut train: HashMap<String, Vec<&Item>> = HashMap::new();
    data.train.iter().for_each(|item| value(item).into_iter().for_each(|value| train.entry(value).or_default().push(item)));
    let hits: Vec<(&Item, String)> =
        data.eval.iter().filter_map(|item| value(item).filter(|value| train.contains_key(value)).map(|value| (item, value))).collect();
    let (first, value) = hits.first()?;
    let other = train[value].first()?;
    let evidence = format!(
        "{} to be measured with share `{key}` with training data. {} and {} both have {key} {}",
        count(hits.len(), "example"),
        first.id,
        other.id,
        shown(value, 60)
    );
    let examples = hits.iter().map(|(item, _)| item.id.clone()).collect();
    let share = hits.len() as f64 / data.eval.len() as f64;
    Some(finding(
        Check::Leakage,
        severity,
        examples,
        share,
        evidence,
        format!("split by `{key}`, so that what belongs together is on one side: tunesmith data split --group {key}"),
    ))
}
