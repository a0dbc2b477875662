//! Planted contradictions are found, and what only looks like one is left alone.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::{Severity, items, parse_items};

fn check(rows: &[Value]) -> Vec<Finding> {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    contradictions(&parse_items(lines.join("\n").as_bytes(), Path::new("rows.jsonl")).unwrap(), &ContradictionOptions { column: None })
}

fn row(id: &str, question: &str, answer: &str) -> Value {
    json!({ "id": id, "instruction": question, "response": answer })
}

#[test]
fn one_card_shows_the_answers_with_dates_and_proposes_the_newest() {
    let dated = |id: &str, at: &str, author: &str, answer: &str| json!({ "id": id, "instruction": "How long is the warranty on a router?", "response": answer, "at": at, "author": author });
    let found = check(&[
        dated("a", "2024-05-01T10:00:00Z", "Ines", "The warranty on a router lasts 12 months from purchase."),
        dated("b", "2025-02-01T10:00:00Z", "Tom", "The warranty on a router lasts 24 months from purchase."),
        dated("c", "2024-06-01T10:00:00Z", "Ines", "The warranty on a router lasts 12 months from purchase."),
        row("d", "How do I pair the camera?", "Open the app and press the button on the camera."),
    ]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].severity, Severity::Error);
    assert_eq!(found[0].examples.iter().collect::<BTreeSet<_>>().len(), 3);
    assert!(
        found[0].evidence.contains("duration: 12 against 24 months") && found[0].evidence.contains("by Ines, last 2024-06-01"),
        "{}",
        found[0].evidence
    );
    assert!(found[0].mend.starts_with("the newest answer (b, 2025-02-01)"), "{}", found[0].mend);
}

#[test]
fn what_the_question_names_may_differ_in_the_answer() {
    let order = |id: &str, order: &str, day: &str| {
        row(id, &format!("When does order {order} arrive?"), &format!("Order {order} arrives on {day}."))
    };
    assert_eq!(check(&[order("a", "NW-100200", "3 May 2025"), order("b", "NW-100201", "9 May 2025")]), []);
    let turns = |id: &str, first: &str, answer: &str| {
        json!({ "id": id, "messages": [
            { "role": "user", "content": first }, { "role": "assistant", "content": "Noted." },
            { "role": "user", "content": "How long may I return it?" }, { "role": "assistant", "content": answer } ] })
    };
    let found = check(&[
        turns("a", "I bought a thermostat in the shop.", "You may return it within 14 days."),
        turns("b", "I ordered a home battery, fitted by a partner.", "You may return it within 30 days."),
    ]);
    assert_eq!(found, [], "earlier turns tell the questions apart");
}

#[test]
fn every_planted_contradiction_of_northwind_is_found_and_nothing_else() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/northwind"));
    let found = contradictions(&items(&folder.join("train.jsonl")).unwrap(), &ContradictionOptions { column: None });
    let truth = std::fs::read_to_string(folder.join("truth.jsonl")).unwrap();
    let planted: Vec<Value> =
        truth.lines().map(|line| serde_json::from_str(line).unwrap()).filter(|row: &Value| row["kind"] == "contradiction").collect();
    assert_eq!(planted.len(), 12);
    let pairs: Vec<BTreeSet<&str>> = planted.iter().map(|row| [row["id"].as_str().unwrap(), row["of"].as_str().unwrap()].into()).collect();
    let shown: Vec<BTreeSet<&str>> = found.iter().map(|finding| finding.examples.iter().map(String::as_str).collect()).collect();
    let missed: Vec<_> = pairs.iter().filter(|pair| !shown.iter().any(|ids| pair.is_subset(ids))).collect();
    assert!(missed.is_empty(), "{missed:?}");
    let false_alarms: Vec<_> =
        found.iter().zip(&shown).filter(|(_, ids)| !pairs.iter().any(|pair| pair.is_subset(ids))).map(|(f, _)| &f.evidence).collect();
    assert!(false_alarms.is_empty(), "{false_alarms:#?}");
}
