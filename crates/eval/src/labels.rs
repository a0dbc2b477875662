//! The label of an example: which field holds it, how each label fares, what is taken for what.

use crate::arms::{Arm, Example, Rate};
use crate::score::{label, parse};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Shown where an output holds no label at all.
pub const NO_LABEL: &str = "(no readable answer)";

/// Where the label stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The whole answer is the label.
    Whole,
    /// A top-level field of the JSON answer.
    Field(String),
}

impl Place {
    /// The label in one text; `None` if it has none.
    pub fn label(&self, text: &str) -> Option<String> {
        match self {
            Place::Whole => label(text, None),
            Place::Field(name) => label(text, Some(name)),
        }
    }
}

/// All labels, and how well each arm finds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    pub place: Place,
    /// Most frequent first; equal counts by name.
    pub rows: Vec<LabelRow>,
    /// For each arm: the mean over the labels of their accuracy, each label weighing the same.
    pub macro_average: Vec<f64>,
    /// For each arm: the accuracy over all examples.
    pub micro_average: Vec<Rate>,
    /// For the tuned arm (the first one if none is tuned): what was taken for what, most frequent first.
    pub confusions: Vec<Confusion>,
    /// The arm that `confusions` speak of.
    pub confused_arm: usize,
}

/// One label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelRow {
    pub label: String,
    pub n: usize,
    /// How often each arm gave this label where it was expected.
    pub arms: Vec<Rate>,
}

/// One label taken for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    pub expected: String,
    pub given: String,
    pub count: usize,
    /// Indices of the examples, in order.
    pub examples: Vec<usize>,
}

/// Finds where the label stands, if the caller does not say.
///
/// For objects: the first field of the first answer that every answer has, with at least two
/// different values and no more than half as many as there are answers. For other answers: the
/// whole text, by the same measure. Free text has no label, so the result may be `None`.
pub fn place(expected: &[&str]) -> Option<Place> {
    let few = |labels: &HashSet<String>| labels.len() >= 2 && labels.len() * 2 <= expected.len();
    let values: Vec<_> = expected.iter().map(|text| parse(text)).collect();
    let objects: Option<Vec<_>> = values.iter().map(|value| value.as_ref().and_then(|value| value.as_object())).collect();
    let Some(objects) = objects else {
        let whole = expected.iter().map(|text| text.trim().to_string()).collect();
        return few(&whole).then_some(Place::Whole);
    };
    let mut names = objects.first()?.keys();
    names.find_map(|name| {
        let labels: Option<HashSet<String>> = objects.iter().map(|object| object.get(name)?.as_str().map(str::to_string)).collect();
        labels.filter(few).map(|_| Place::Field(name.clone()))
    })
}

impl Labels {
    /// Counts per label. `field` names the label's field; without it the place is found by [`place`].
    pub(crate) fn of(examples: &[Example], arms: &[Arm], field: Option<&str>, confused_arm: usize) -> Result<Option<Labels>> {
        let expected: Vec<&str> = examples.iter().map(|example| example.expected.as_str()).collect();
        let Some(place) = field.map(|name| Place::Field(name.to_string())).or_else(|| place(&expected)) else {
            return Ok(None);
        };
        let wanted = wanted(examples, &place)?;
        let given: Vec<Vec<Option<String>>> =
            arms.iter().map(|arm| arm.outputs.iter().map(|output| place.label(&output.text)).collect()).collect();

        let mut by_label: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, label) in wanted.iter().enumerate() {
            by_label.entry(label).or_default().push(at);
        }
        let right = |arm: usize, at: usize| given[arm][at].as_deref() == Some(wanted[at].as_str());
        let mut rows: Vec<LabelRow> = by_label
            .iter()
            .map(|(label, places)| LabelRow {
                label: label.to_string(),
                n: places.len(),
                arms: (0..arms.len()).map(|arm| Rate::of(places.iter().filter(|&&at| right(arm, at)).count(), places.len())).collect(),
            })
            .collect();
        // A stable sort keeps equal counts in the order of their names.
        rows.sort_by_key(|row| std::cmp::Reverse(row.n));

        let macro_average =
            (0..arms.len()).map(|arm| rows.iter().map(|row| row.arms[arm].share).sum::<f64>() / rows.len() as f64).collect();
        let micro_average =
            (0..arms.len()).map(|arm| Rate::of((0..wanted.len()).filter(|&at| right(arm, at)).count(), wanted.len())).collect();
        let confusions = confusions(&wanted, &given[confused_arm]);
        Ok(Some(Labels { place, rows, macro_average, micro_average, confusions, confused_arm }))
    }
}

fn wanted(examples: &[Example], place: &Place) -> Result<Vec<String>> {
    let label = |example: &Example| {
        let field = match place {
            Place::Whole => String::new(),
            Place::Field(name) => name.clone(),
        };
        place.label(&example.expected).ok_or(Error::NoLabel { id: example.id.clone(), field })
    };
    examples.iter().map(label).collect()
}

fn confusions(wanted: &[String], given: &[Option<String>]) -> Vec<Confusion> {
    let mut pairs: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (at, (wanted, given)) in wanted.iter().zip(given).enumerate() {
        let given = given.as_deref().unwrap_or(NO_LABEL);
        if wanted != given {
            pairs.entry((wanted, given)).or_default().push(at);
        }
    }
    let mut all: Vec<Confusion> = pairs
        .into_iter()
        .map(|((expected, given), examples)| Confusion {
            expected: expected.to_string(),
            given: given.to_string(),
            count: examples.len(),
            examples,
        })
        .collect();
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.expected, &a.given).cmp(&(&b.expected, &b.given))));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_is_found() {
        let objects = [r#"{"id":"1","intent":"a","n":1}"#, r#"{"id":"2","intent":"b","n":1}"#];
        let many: Vec<&str> = [objects, objects].concat();
        // Two different ids in four answers pass for labels; four different ones would not.
        assert_eq!(place(&many), Some(Place::Field("id".into())));
        let distinct: Vec<String> =
            (0..8).map(|i| format!(r#"{{"id":"{i}","ok":true,"intent":"{}"}}"#, if i % 3 == 0 { "a" } else { "b" })).collect();
        let distinct: Vec<&str> = distinct.iter().map(String::as_str).collect();
        assert_eq!(place(&distinct), Some(Place::Field("intent".into())));
        assert_eq!(place(&["a", "b", "a", "b"]), Some(Place::Whole));
        assert_eq!(place(&["some long text", "another", "third", "fourth"]), None);
        assert_eq!(place(&["a", "a"]), None);
        assert_eq!(place(&[]), None);
    }

    #[test]
    fn confusions_are_counted_and_sorted() {
        let wanted = ["a", "a", "b", "b", "c"].map(String::from);
        let given = [Some("b"), Some("b"), Some("b"), None, Some("a")].map(|g| g.map(String::from));
        let found = confusions(&wanted, &given);
        let short: Vec<_> = found.iter().map(|c| (c.expected.as_str(), c.given.as_str(), c.count)).collect();
        assert_eq!(short, [("a", "b", 2), ("b", NO_LABEL, 1), ("c", "a", 1)]);
        assert_eq!(found[0].examples, [0, 1]);
    }
}
