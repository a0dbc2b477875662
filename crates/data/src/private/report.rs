//! What of a dataset is personal or secret, as findings.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Found, Kind, Talk, masked};
use crate::finding::{Check, Finding, Severity};
use crate::item::Item;
use crate::spoken::{Spoken, spoken, turns};

/// How many values a finding shows.
const SHOWN: usize = 5;

/// All of one kind in a dataset.
#[derive(Default)]
struct Tally {
    /// Examples with the surest datum of each.
    examples: Vec<(String, f64)>,
    values: usize,
    shown: Vec<String>,
}

/// One finding of `personal_data` or `secret` for each kind that is there; the examples with the surest data come first.
pub fn private_findings(items: &[Item]) -> Vec<Finding> {
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    for item in items {
        let mut best: BTreeMap<Kind, f64> = BTreeMap::new();
        for (text, one) in private_of(&item.raw) {
            let tally = tallies.entry(one.kind).or_default();
            tally.values += 1;
            if tally.shown.len() < SHOWN {
                tally.shown.push(format!("{}: {} ({})", item.id, masked(&text), one.why));
            }
            let sure = best.entry(one.kind).or_default();
            *sure = sure.max(one.sure);
        }
        for (kind, sure) in best {
            tallies.entry(kind).or_default().examples.push((item.id.clone(), sure));
        }
    }
    tallies.into_iter().map(|(kind, tally)| finding(kind, tally)).collect()
}

/// What is personal in one row, with its text.
fn private_of(row: &Value) -> Vec<(String, Found)> {
    let mut talk = if turns(row) > 2 { Talk::chat() } else { Talk::single() };
    let mut all = Vec::new();
    spoken(row, &mut |Spoken { key, text }| {
        let lead = super::Lead::of(key);
        all.extend(lead.find(&mut talk, text).into_iter().map(|one| (text[one.start..one.end].to_string(), one)));
    });
    all
}

fn finding(kind: Kind, mut tally: Tally) -> Finding {
    tally.examples.sort_by(|a, b| b.1.total_cmp(&a.1));
    let score = tally.examples.first().map_or(0.0, |(_, sure)| *sure);
    let (check, severity, mend) = match kind {
        Kind::Secret => (
            Check::Secret,
            Severity::Error,
            "revoke what is still valid, then replace it: tunesmith data clean FILE; a model repeats what it was trained on",
        ),
        Kind::Name | Kind::Address | Kind::Account => {
            (Check::PersonalData, Severity::Warning, "look at some, then replace them by pseudonyms: tunesmith data clean FILE")
        }
        _ => (Check::PersonalData, Severity::Error, "replace them by pseudonyms: tunesmith data clean FILE"),
    };
    let more = tally.values.saturating_sub(tally.shown.len());
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let name = kind.name().replace('_', " ");
    let (values, rows) = (tally.values, tally.examples.len());
    Finding {
        check,
        severity,
        score,
        evidence: format!("{values} of the kind {name} in {rows} examples: {}{more}", tally.shown.join("; ")),
        mend: mend.to_string(),
        examples: tally.examples.into_iter().map(|(id, _)| id).collect(),
    }
}
