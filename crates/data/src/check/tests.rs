//! Every planted duplicate and every piece of debris of the example data is found, and little else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;
use crate::item::{Item, parse_items};

const TRAIN: &str = include_str!("../../../../examples/northwind/train.jsonl");
const EVAL: &str = include_str!("../../../../examples/northwind/heldout.jsonl");
const TRUTH: &str = include_str!("../../../../examples/northwind/truth.jsonl");

fn northwind() -> Data {
    let items = |text: &str| parse_items(text.as_bytes(), Path::new("northwind.jsonl")).unwrap();
    Data::new(items(TRAIN), items(EVAL), Vec::new())
}

fn rows(text: &str) -> Data {
    Data::new(parse_items(text.as_bytes(), Path::new("rows.jsonl")).unwrap(), Vec::new(), Vec::new())
}

fn found(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    check(data, settings, &mut |_| true).unwrap()
}

/// Planted: kind and how, the example, and what it was made of.
fn truth() -> Vec<(String, String, Option<String>)> {
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| row[name].as_str().map(str::to_string);
        let how = text("how").map_or(String::new(), |how| format!("/{how}"));
        (format!("{}{how}", text("kind").unwrap()), text("id").unwrap(), text("of"))
    };
    TRUTH.lines().map(row).collect()
}

#[test]
fn every_planted_duplicate_is_found_and_nothing_else() {
    let data = northwind();
    let findings: Vec<Finding> = found(&data, &Settings::default()).into_iter().filter(|f| f.check == Check::NearDuplicate).collect();
    let pairs = |id: &str, of: &str| findings.iter().find(|f| f.examples.iter().any(|e| e == id) && f.examples.iter().any(|e| e == of));
    let mut missed = Vec::new();
    let mut planted = BTreeSet::new();
    for (kind, id, of) in truth() {
        let Some(of) = of else { continue };
        match pairs(&id, &of) {
            Some(finding) => {
                let conflict = finding.evidence.starts_with("conflict");
                assert_eq!(conflict, kind == "contradiction", "{kind} {id}: {}", finding.evidence);
                planted.extend(finding.examples.clone());
            }
            None => missed.push((kind, id)),
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
    let alarms: Vec<&Finding> = findings.iter().filter(|f| !f.examples.iter().any(|id| planted.contains(id))).collect();
    assert!(alarms.is_empty(), "{} false alarms: {:#?}", alarms.len(), alarms);
}

#[test]
fn every_piece_of_debris_is_found_and_nothing_else() {
    let data = northwind();
    let findings = found(&data, &Settings::default());
    let named: BTreeMap<&str, &str> = BTreeMap::from([
        ("debris/quoted_reply", "thread pasted"),
        ("debris/html", "HTML"),
        ("debris/escapes", "escapes"),
        ("debris/form_field", "web form"),
        ("debris/disclaimer", "disclaimer"),
        ("debris/mojibake", "wrong encoding"),
    ]);
    let mut planted = BTreeSet::new();
    for (kind, id, _) in truth().into_iter().filter(|(kind, ..)| kind.starts_with("debris")) {
        let name = named[kind.as_str()];
        assert!(findings.iter().any(|f| f.evidence.contains(name) && f.examples.contains(&id)), "{kind} {id}");
        planted.insert(id);
    }
    let of_texts = findings.iter().filter(|f| matches!(f.check, Check::Format | Check::Length));
    let debris = of_texts.filter(|f| named.values().any(|name| f.evidence.contains(name)));
    let alarms: Vec<&String> = debris.flat_map(|f| &f.examples).filter(|id| !planted.contains(*id)).collect();
    assert!(alarms.is_empty(), "{alarms:?}");
}

#[test]
fn broken_rows_are_told_by_kind() {
    let data = rows(concat!(
        "{\"id\":\"a\",\"messages\":[{\"role\":\"assistant\",\"content\":\"hi\"}]}\n",
        "{\"id\":\"b\",\"instruction\":\"x\",\"response\":\"  \"}\n",
        "{broken\n",
        "{\"id\":\"d\",\"instruction\":\"  \",\"response\":\"fine\"}\n",
        "{\"id\":\"d\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\",\"weight\":0}]}\n",
    ));
    let findings = found(&data, &Settings::default());
    for (examples, words) in [
        ("a", "roles out of order"),
        ("b", "an empty answer"),
        ("3", "no valid JSON"),
        ("d", "zero learned tokens"),
        ("d", "without words"),
        ("d", "1 id stand"),
    ] {
        assert!(findings.iter().any(|f| f.examples == [examples] && f.evidence.contains(words)), "{words}: {findings:#?}");
    }
}

#[test]
fn a_label_that_was_not_declared_is_told_with_what_was_meant() {
    let data = rows(
        "{\"id\":\"a\",\"instruction\":\"x\",\"response\":\"{\\\"intent\\\":\\\"refnud\\\"}\"}\n{\"id\":\"b\",\"instruction\":\"y\",\"response\":\"{\\\"intent\\\":\\\"refund\\\"}\"}",
    );
    let declared = Declared { labels: vec!["setup".into(), "refund".into()], ..Declared::default() };
    let findings = found(&data, &Settings { declared, label: Some("intent".into()), ..Settings::default() });
    let finding = findings.iter().find(|f| f.examples == ["a"]).unwrap();
    assert!(finding.evidence.ends_with("did you mean “refund”?") && finding.severity == Severity::Error, "{finding:?}");
}

#[test]
fn codes_schemas_and_patterns_are_asked_of_every_answer() {
    let data = rows(
        "{\"id\":\"a\",\"instruction\":\"x\",\"response\":\"see E11.9\"}\n{\"id\":\"b\",\"instruction\":\"y\",\"response\":\"see E11.7\"}",
    );
    let codes = Some((regex::Regex::new(r"[A-Z]\d\d\.\d").unwrap(), ["E11.9".to_string()].into()));
    let pattern = Some(regex::Regex::new(r"^see .*9$").unwrap());
    let schema: Option<JsonFault> = Some(Box::new(|value| (!value.is_object()).then(|| "no object".to_string())));
    let findings = found(&data, &Settings { declared: Declared { codes, pattern, schema, labels: Vec::new() }, ..Settings::default() });
    let about = |words: &str| findings.iter().find(|f| f.evidence.contains(words)).map(|f| f.examples.len());
    assert_eq!((about("cites E11.7"), about("does not match the declared"), about("JSON Schema")), (Some(1), Some(1), Some(2)));
}

#[test]
fn what_is_measured_with_and_trained_on_is_a_leak() {
    let train = parse_items(TRAIN.as_bytes(), Path::new("train.jsonl")).unwrap();
    let mut eval = parse_items(EVAL.as_bytes(), Path::new("eval.jsonl")).unwrap();
    let honest = Data::new(train.clone(), eval.clone(), Vec::new());
    let leaks = |data: &Data| {
        found(data, &Settings::default())
            .into_iter()
            .filter(|f| f.check == Check::Leakage && f.severity == Severity::Error)
            .collect::<Vec<_>>()
    };
    assert_eq!(leaks(&honest), []);
    let long: Vec<&Item> = train.iter().filter(|item| item.prompt().split(' ').count() > 20).take(3).collect();
    let planted: Vec<String> =
        vec![long[0].prompt(), format!("Hello there!\n{}\nBye, Ann", long[1].prompt()), long[2].prompt().to_uppercase()];
    for (at, text) in planted.iter().enumerate() {
        let row = serde_json::json!({"id": format!("leak{at}"), "instruction": text, "response": "x"}).to_string();
        eval.extend(parse_items(row.as_bytes(), Path::new("eval.jsonl")).unwrap());
    }
    let found: Vec<[String; 2]> =
        leaks(&Data::new(train.clone(), eval, Vec::new())).iter().map(|f| [f.examples[0].clone(), f.examples[1].clone()]).collect();
    for (at, item) in long.iter().enumerate() {
        assert!(found.contains(&[format!("leak{at}"), item.id.clone()]), "{at}: {found:?}");
    }
    assert_eq!(found.len(), 3);
}

#[test]
fn a_group_on_both_sides_is_a_leak() {
    let row = |id: &str, group: &str, text: &str| {
        format!("{{\"id\":\"{id}\",\"group\":\"{group}\",\"instruction\":\"{text}\",\"response\":\"r\"}}\n")
    };
    let items = |text: String| parse_items(text.as_bytes(), Path::new("x.jsonl")).unwrap();
    let data =
        Data::new(items(row("a", "g1", "one two three") + &row("b", "g2", "four five")), items(row("c", "g2", "six seven")), Vec::new());
    let findings = found(&data, &Settings::default());
    assert!(
        findings.iter().any(|f| f.check == Check::Leakage && f.examples == ["c"] && f.evidence.contains("c and b both have group")),
        "{findings:#?}"
    );
}

#[test]
fn a_form_with_other_numbers_is_kept_and_capped() {
    let row = |n: usize| {
        format!(
            "{{\"id\":\"f{n}\",\"instruction\":\"Please tell me when the order {} will be delivered to the shop in Main Street.\",\"response\":\"r\"}}\n",
            7000 + n * 13
        )
    };
    let data = rows(&(0..9).map(row).collect::<String>());
    let findings = found(&data, &Settings::default());
    let form = findings.iter().find(|f| f.check == Check::Template).unwrap();
    assert_eq!((form.examples.len(), form.severity), (9, Severity::Warning));
    assert!(!findings.iter().any(|f| f.check == Check::NearDuplicate));
}

#[test]
fn stopping_tells_nothing() {
    assert_eq!(check(&northwind(), &Settings::default(), &mut |name| name != "length"), None);
}
