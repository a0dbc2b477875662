//! Whether a dataset's answers are labels, and which: one short answer, or one JSON object with fields that are labels.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::Item;

/// Different labels per row, at most: with more of them the answers are texts.
const DISTINCT: f64 = 0.05;
/// An answer of so many words may be a label even where a small dataset has many different ones.
const SHORT: usize = 5;
/// A label that fewer rows have cannot be learned.
const LEAST: usize = 3;
/// The share of rows that must have the field.
const MOST: f64 = 0.9;

/// One thing that is labelled.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// The key in the answer's JSON, or the column; none where the whole answer is the label.
    pub name: Option<String>,
    /// The labels, the most frequent first.
    pub labels: Vec<String>,
    /// The label of each row, as an index into `labels`.
    pub of: Vec<Option<u32>>,
}

impl Field {
    /// The label's name, as a reader sees it.
    pub(crate) fn label(&self, index: u32) -> &str {
        &self.labels[index as usize]
    }
}

/// The answer as a JSON object, where it is one.
pub(crate) fn object(answer: &str) -> Option<Map<String, Value>> {
    let text = answer.trim();
    let text = text.strip_prefix("```json").and_then(|rest| rest.strip_suffix("```")).unwrap_or(text).trim();
    if !text.starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// What a value says: a string as it is, anything else as JSON.
pub(crate) fn said(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_string(),
        other => other.to_string(),
    }
}

/// What is labelled in these rows; nothing where the answers are texts.
pub(crate) fn fields(items: &[Item], column: Option<&str>) -> Vec<Field> {
    if let Some(column) = column {
        let of: Vec<Option<String>> = items.iter().map(|item| item.tag(column).filter(|v| !v.is_null()).map(said)).collect();
        return field(Some(column.to_string()), of).into_iter().collect();
    }
    let answers: Vec<Option<&str>> = items.iter().map(Item::answer).collect();
    let answered = answers.iter().flatten().count();
    let objects: Vec<Option<Map<String, Value>>> = answers.iter().map(|answer| object((*answer)?)).collect();
    if answered > 0 && objects.iter().flatten().count() as f64 >= MOST * answered as f64 {
        return keys(&objects)
            .into_iter()
            .filter_map(|key| {
                let of = objects.iter().map(|object| object.as_ref()?.get(&key).map(said)).collect();
                field(Some(key), of)
            })
            .collect();
    }
    let of = answers.iter().map(|answer| answer.map(|text| text.trim().to_string())).collect();
    field(None, of).into_iter().collect()
}

/// The keys of all objects, in the order in which they first come.
fn keys(objects: &[Option<Map<String, Value>>]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for key in objects.iter().flatten().flat_map(Map::keys) {
        if !found.contains(key) {
            found.push(key.clone());
        }
    }
    found
}

/// A field, where its values are labels: at least two of them, few for the number of rows, and short.
fn field(name: Option<String>, of: Vec<Option<String>>) -> Option<Field> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    of.iter().flatten().for_each(|text| *counts.entry(text).or_default() += 1);
    let rows: usize = counts.values().sum();
    let mut words: Vec<usize> = of.iter().flatten().map(|text| text.split_whitespace().count()).collect();
    words.sort_unstable();
    let few = counts.len() as f64 <= (DISTINCT * rows as f64).max(2.0);
    let short = words.get(words.len() / 2).is_some_and(|median| *median <= SHORT);
    let enough = rows >= LEAST * counts.len();
    if counts.len() < 2 || !(few || short) || !enough {
        return None;
    }
    let mut labels: Vec<(usize, String)> = counts.into_iter().map(|(text, count)| (count, text.to_string())).collect();
    labels.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let place: HashMap<&str, u32> = labels.iter().enumerate().map(|(index, (_, text))| (text.as_str(), index as u32)).collect();
    let of = of.iter().map(|text| place.get(text.as_deref()?).copied()).collect();
    Some(Field { name, labels: labels.into_iter().map(|(_, text)| text).collect(), of })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(answers: impl Iterator<Item = String>) -> Vec<Item> {
        let rows: Vec<String> =
            answers.enumerate().map(|(i, a)| serde_json::json!({ "instruction": format!("q {i}"), "response": a }).to_string()).collect();
        crate::parse_items(rows.join("\n").as_bytes(), Path::new("rows.jsonl")).unwrap()
    }

    #[test]
    fn labels_fields_and_texts_are_told_apart() {
        let labels = fields(&read((0..60).map(|i| ["refund", "delivery"][i % 2].to_string())), None);
        assert_eq!((labels.len(), labels[0].labels.len(), &labels[0].name), (1, 2, &None));
        let objects =
            read((0..60).map(|i| format!("{{\"intent\":\"{}\",\"urgent\":{},\"note\":\"text {i}\"}}", ["a", "b", "c"][i % 3], i % 2 == 0)));
        let found = fields(&objects, None);
        assert_eq!(found.iter().map(|f| f.name.as_deref().unwrap()).collect::<Vec<_>>(), ["intent", "urgent"]);
        assert!(fields(&read((0..60).map(|i| format!("This is the long and only answer number {i} of its kind."))), None).is_empty());
    }
}
