//! `data check`: what it prints, when it fails, and the page that it writes.

use crate::bench::Bench;

/// Two rows that contradict each other, a copy, a row without an answer.
const ROWS: &str = concat!(
    "{\"id\":\"a\",\"instruction\":\"How long may I return the router that I bought in your shop?\",\"response\":\"{\\\"days\\\":30}\"}\n",
    "{\"id\":\"b\",\"instruction\":\"how long may I return the  router that I bought in your shop\",\"response\":\"{\\\"days\\\":14}\"}\n",
    "{\"id\":\"c\",\"instruction\":\"The camera in my garage is dead, what now?\",\"response\":\"{\\\"days\\\":0}\"}\n",
    "{\"id\":\"d\",\"instruction\":\"The camera in my garage is dead. What now?\",\"response\":\"{\\\"days\\\":0}\"}\n",
    "{\"id\":\"e\",\"instruction\":\"<script>alert(1)</script> &nbsp; hello</div>\",\"response\":\"\"}\n",
);

#[test]
fn findings_are_printed_though_the_gate_fails() {
    let bench = Bench::new();
    bench.write("rows.jsonl", ROWS);
    let done = bench.run(&["data", "check", "rows.jsonl", "--json"]);
    assert_eq!(done.code, 3, "{}", done.err);
    let json: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((json["rows"].as_u64(), json["error"]["exit"].as_u64()), (Some(5), Some(3)));
    let findings = json["findings"].as_array().unwrap();
    let of = |check: &str, severity: &str| findings.iter().filter(|f| f["check"] == check && f["severity"] == severity).collect::<Vec<_>>();
    assert!(of("near_duplicate", "error").iter().any(|f| f["evidence"].as_str().unwrap().starts_with("conflict")), "{json}");
    assert!(of("near_duplicate", "warning").iter().any(|f| f["examples"] == serde_json::json!(["c", "d"])), "{json}");
    assert!(of("format", "error").iter().any(|f| f["examples"] == serde_json::json!(["e"])), "{json}");
    for finding in findings {
        assert!(finding["mend"].as_str().is_some_and(|mend| !mend.is_empty()) && finding["score"].is_number(), "{finding}");
    }
    let page = bench.read("rows.check.html");
    assert!(page.starts_with("<!doctype html>") && !page.contains("<script>alert"), "raw text in the page");
}

#[test]
fn the_gate_is_where_it_is_set() {
    let bench = Bench::new();
    bench.write("rows.jsonl", ROWS);
    let text = bench.ok(&["data", "check", "rows.jsonl", "--gate", "never", "--report", "page.html"]);
    assert!(text.contains("Worst: ") && text.contains("Report: page.html") && text.contains("Next:"), "{text}");
    let error = bench.fails(&["data", "check", "rows.jsonl"], 3);
    assert!(error.contains("does not pass") && error.contains("rows.check.html"), "{error}");
}

#[test]
fn a_recipe_names_data_schema_and_model() {
    let bench = Bench::new();
    bench.recipe(&bench.own_model(), "");
    let json = bench.json(&["data", "check", "--recipe", "tunesmith.toml", "--gate", "never"]);
    assert!(json["rows"].as_u64() > Some(0), "{json}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let bench = Bench::new();
    bench.write("rows.jsonl", ROWS);
    bench.write("empty.txt", "\n");
    for (args, code, words) in [
        (&["data", "check", "nowhere.jsonl"][..], 1, "nowhere.jsonl"),
        (&["data", "check", "rows.jsonl", "--pattern", "(a"], 2, "--pattern: (a is no pattern"),
        (&["data", "check", "rows.jsonl", "--labels", "empty.txt"], 1, "empty.txt: found no line"),
        (&["data", "check", "rows.jsonl", "--near", "7"], 2, "--near: found 7"),
        (&["data", "check", "rows.jsonl", "--codes", "empty.txt"], 2, "--code-pattern"),
        (&["data", "check"], 2, "FILE"),
    ] {
        let error = bench.fails(args, code);
        assert!(error.contains(words), "{args:?}: {error}");
    }
    assert!(!bench.path("rows.check.html").exists());
}
