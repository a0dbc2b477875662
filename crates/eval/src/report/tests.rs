//! The page as a whole: it holds what it should, and nothing that data says can act in it.

use super::*;
use crate::arms::tests::{arm, example};
use crate::arms::{Role, Task};

const EVIL: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \" ' & {{body}} \u{0}";

fn report(texts: &[&str; 4]) -> Report {
    let object = |label: &str| serde_json::json!({ "intent": label, "urgent": true }).to_string();
    let expected: Vec<String> = [texts[0], texts[1], texts[0], texts[1]].map(object).to_vec();
    let examples: Vec<_> = expected
        .iter()
        .enumerate()
        .map(|(at, expected)| crate::Example {
            prompt: format!("{} {at}", texts[2]),
            id: format!("{}:{at}", texts[3]),
            ..example(at, expected)
        })
        .collect();
    let extra = serde_json::json!({ "intent": texts[0], "urgent": false, texts[2]: texts[3] }).to_string();
    let arms = vec![
        arm(&format!("plain {}", texts[3]), Role::Base, &[texts[2], "", &extra, &object(texts[1])]),
        arm("tuned", Role::Tuned, &[&expected[0], &expected[1], &expected[2], &object(texts[0])]),
    ];
    let scores = Scores::of(&examples, &arms, Task { schema: None, label: Some("intent") }).unwrap();
    let pairs = |name: &str| vec![(format!("{name} {}", texts[2]), texts[3].to_string())];
    Report {
        title: format!("Tickets {}", texts[2]),
        subtitle: texts[3].to_string(),
        noun: format!("tickets {}", texts[2]),
        scores,
        examples,
        arms,
        steps: (1..=40).map(|step| Point { step, loss: 4.0 / step as f64, rate: 2e-4 }).collect(),
        held_out: vec![(20, 0.4)],
        settings: pairs("setting"),
        data: pairs("fact"),
        hashes: pairs("hash"),
        next: pairs("command"),
    }
}

/// Tags in the page, by counting `<name`.
fn count(page: &str, tag: &str) -> usize {
    page.matches(&format!("<{tag}")).count()
}

#[test]
fn the_page_shows_everything_it_was_given() {
    let page = html(&report(&["billing", "setup", "My bill is wrong", "test.jsonl"]));
    for part in [
        "<title>Tickets My bill is wrong</title>",
        "No difference is shown: the tuned model answers 75.0",
        "The arms",
        "How training went",
        "Pair by pair",
        "Label by label",
        "Field by field",
        "Most frequent confusions",
        "Examples side by side",
        "What to run next",
        "How this was made",
        "How to read the numbers",
        "<td class=\"num\">0</td><td class=\"num\">3</td><td class=\"num\">1</td><td class=\"num\">0</td>",
        "All labels alike",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "the page lacks {part}");
    }
    assert_eq!(count(&page, "details"), 4);
    assert_eq!(page.matches("data-in=\"all wrong\"").count(), 1);
    assert_eq!(page.matches("data-in=\"all gained\"").count(), 3);
    // The base arm's wrong field, its unasked field, its two answers that are not JSON; the tuned arm's wrong intent.
    assert_eq!(page.matches("class=\"wrong\"").count(), 5);
    assert_eq!(page.matches("not JSON</span>").count(), 2);
}

#[test]
fn nothing_from_data_becomes_markup() {
    let tame = html(&report(&["billing", "setup", "My bill is wrong", "test.jsonl"]));
    let wild = html(&report(&[EVIL, "setup", EVIL, EVIL]));
    for tag in ["script", "img", "a ", "link", "iframe", "style", "section", "details"] {
        assert_eq!(count(&wild, tag), count(&tame, tag), "tag {tag}");
    }
    // Words of the attack survive as text, so what must be gone is the raw form.
    assert!(!wild.contains("<img src=x") && !wild.contains('\u{0}') && wild.contains("&lt;img src=x"));
}

#[test]
fn the_page_loads_nothing() {
    let page = html(&report(&["billing", "setup", "My bill is wrong", "test.jsonl"]));
    for outside in ["http:", "https:", "url(", "@import", "<link", " src=", "fetch(", "NaN"] {
        assert!(!page.contains(outside), "the page holds {outside}");
    }
}

#[test]
fn a_report_that_does_not_fit_together_is_still_a_page() {
    let mut odd = report(&["billing", "setup", "My bill is wrong", "test.jsonl"]);
    odd.examples.push(odd.examples[0].clone());
    odd.arms.truncate(1);
    odd.arms[0].outputs.clear();
    odd.steps = vec![Point { step: 1, loss: f64::NAN, rate: 0.0 }];
    let page = html(&odd);
    assert!(page.contains("Examples side by side") && !page.contains("How training went"));
}

#[test]
fn plain_answers_have_no_json_columns() {
    let examples: Vec<_> = ["yes", "no", "yes", "no"].iter().enumerate().map(|(at, expected)| example(at, expected)).collect();
    let arms = vec![arm("base", Role::Base, &["yes", "yes", "yes", ""]), arm("tuned", Role::Tuned, &["yes", "no", "yes", "no"])];
    let scores = Scores::of(&examples, &arms, Task::default()).unwrap();
    let page = html(&Report { scores, examples, arms, ..report(&["a", "b", "c", "d"]) });
    assert!(!page.contains("Valid JSON") && !page.contains("not JSON</span>") && !page.contains("Field by field"));
    assert!(page.contains("the answer is the label"));
}
