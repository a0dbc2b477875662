//! The shipped example is what its page says: labelled by the guide, varied, held out cleanly, its planted faults listed truly.

use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::Path;

struct Row {
    id: String,
    text: String,
    answer: Value,
}

fn lines(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/northwind").join(name);
    let text = std::fs::read_to_string(path).expect("readable");
    text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
}

fn rows(name: &str) -> Vec<Row> {
    let field = |v: &Value, k: &str| v[k].as_str().expect("a string").to_string();
    let row = |v: Value| Row {
        id: field(&v, "id"),
        text: field(&v, "instruction"),
        answer: serde_json::from_str(&field(&v, "response")).expect("JSON"),
    };
    lines(name).into_iter().map(row).collect()
}

/// Word 3-grams, lower case, numbers masked.
fn grams(text: &str) -> HashSet<[String; 3]> {
    let masked: String = text.to_lowercase().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let words: Vec<&str> = masked.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|w| !w.is_empty()).collect();
    words.windows(3).map(|w| [w[0].into(), w[1].into(), w[2].into()]).collect()
}

#[test]
fn every_answer_follows_the_schema_and_the_rules_of_the_guide() {
    let schema = include_str!("../../../examples/northwind/answer.schema.json");
    let schema = eval::Schema::parse("answer.schema.json", schema).expect("a schema");
    let truth = lines("truth.jsonl");
    let wrong: HashSet<&str> = truth.iter().filter(|t| t["kind"] == "contradiction").filter_map(|t| t["id"].as_str()).collect();
    let human = ["billing_error", "privacy_request", "damaged_in_transit", "hardware_fault", "installation_visit"];
    let low = ["invoice_copy", "promo_code", "account_update", "change_plan", "order_change", "return_request"];
    let (train, held) = (rows("train.jsonl"), rows("heldout.jsonl"));
    assert_eq!((train.len(), held.len()), (1207, 200));
    let mut intents = HashSet::new();
    for r in train.iter().chain(&held) {
        assert_eq!(schema.complaint(&r.answer), None, "{}", r.id);
        let keys: Vec<&str> = r.answer.as_object().expect("object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["intent", "product", "priority", "needs_human"], "{}", r.id);
        let intent = r.answer["intent"].as_str().expect("intent");
        intents.insert(intent);
        let usual = if intent == "safety_hazard" {
            "high"
        } else if low.contains(&intent) {
            "low"
        } else {
            "normal"
        };
        let priority = r.answer["priority"].as_str().expect("priority");
        assert!(priority == usual || priority == "high", "{}: {priority}", r.id);
        let must = priority == "high" || human.contains(&intent);
        assert!(!must || r.answer["needs_human"] == true || wrong.contains(r.id.as_str()), "{}", r.id);
    }
    assert_eq!(intents.len(), 20);
}

#[test]
fn tickets_are_varied_and_nothing_held_out_was_copied() {
    let (train, held) = (rows("train.jsonl"), rows("heldout.jsonl"));
    let sets: Vec<HashSet<_>> = train.iter().map(|r| grams(&r.text)).collect();
    let mut where_: HashMap<&[String; 3], Vec<usize>> = HashMap::new();
    for (i, s) in sets.iter().enumerate() {
        s.iter().for_each(|g| where_.entry(g).or_default().push(i));
    }
    let mut common: HashMap<(usize, usize), usize> = HashMap::new();
    for list in where_.values() {
        for (n, &a) in list.iter().enumerate() {
            list[n + 1..].iter().for_each(|&b| *common.entry((a, b)).or_default() += 1);
        }
    }
    let alike = common.iter().filter(|((a, b), c)| **c as f64 > 0.3 * (sets[*a].len() + sets[*b].len() - **c) as f64).count();
    let pairs = train.len() * (train.len() - 1) / 2;
    println!("{alike} of {pairs} pairs share more than 0.3 of their 3-grams");
    assert!(alike * 1000 < pairs, "{alike} of {pairs}");
    let worst = held.iter().map(|h| {
        let g = grams(&h.text);
        let near = sets.iter().map(|s| g.intersection(s).count() as f64 / (g.len() + s.len()).max(1) as f64 * 2.0);
        near.fold(0.0, f64::max)
    });
    let worst = worst.fold(0.0, f64::max);
    println!("the nearest held-out ticket shares {worst:.2} with a training ticket");
    assert!(worst < 0.5, "{worst}");
}

#[test]
fn the_truth_file_is_true() {
    let train: HashMap<String, Row> = rows("train.jsonl").into_iter().map(|r| (r.id.clone(), r)).collect();
    let mut kinds: HashMap<String, usize> = HashMap::new();
    for t in lines("truth.jsonl") {
        let row = &train[t["id"].as_str().expect("id")];
        let kind = t["kind"].as_str().expect("kind");
        *kinds.entry(kind.into()).or_default() += 1;
        let of = t["of"].as_str().map(|id| &train[id]);
        match kind {
            "duplicate_exact" => assert_eq!(row.text, of.expect("of").text),
            "duplicate_near" => assert!(row.text != of.expect("of").text && row.answer == of.expect("of").answer),
            "contradiction" => assert_ne!(row.answer["intent"], of.expect("of").answer["intent"], "{}", row.id),
            "personal_data" => assert!(row.text.contains(t["value"].as_str().expect("value")), "{}", row.id),
            "debris" => assert!(t["how"].is_string()),
            other => panic!("unknown kind {other}"),
        }
    }
    let want = [("duplicate_exact", 14), ("duplicate_near", 16), ("contradiction", 12), ("debris", 24), ("personal_data", 26)];
    assert_eq!(kinds, want.map(|(k, n)| (k.to_string(), n)).into());
}
