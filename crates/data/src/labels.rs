//! The label of each example: a column, a field of a JSON answer, or the answer itself where few answers are given again and again.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::item::Item;

/// Answers are labels where there are this many times as many examples as different answers.
const REPEATED: usize = 20;

/// The labels of some examples.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// What they were taken from, for people; nothing where examples have none.
    pub from: Option<String>,
    /// One an example.
    pub of: Vec<Option<String>>,
}

/// Takes labels from a named field, else from answers that repeat.
pub fn labels(items: &[Item], field: Option<&str>) -> Labels {
    if let Some(field) = field {
        let of: Vec<Option<String>> = items.iter().map(|item| named(item, field)).collect();
        let from = of.iter().any(Option::is_some).then(|| format!("the field `{field}`"));
        return Labels { from, of };
    }
    let answers: Vec<Option<&str>> = items.iter().map(|item| item.answer().map(str::trim)).collect();
    let different: BTreeSet<&str> = answers.iter().flatten().copied().collect();
    if different.len() < 2 || different.len() * REPEATED > items.len() {
        return Labels { from: None, of: vec![None; items.len()] };
    }
    Labels { from: Some("the answers".into()), of: answers.into_iter().map(|answer| answer.map(str::to_string)).collect() }
}

/// A column of the row, else a field of its answer.
fn named(item: &Item, field: &str) -> Option<String> {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let column = item.tag(field).and_then(plain);
    column.or_else(|| serde_json::from_str::<Value>(item.answer()?).ok()?.get(field).and_then(plain))
}
