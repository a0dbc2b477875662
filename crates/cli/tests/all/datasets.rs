//! Samples, splits, versions and files for other platforms, from outside.

use crate::bench::Bench;
use serde_json::{Value, json};

/// Thirty threads of two tickets each, of three labels, none like another.
fn tickets() -> Vec<Value> {
    let word = |n: usize| ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "jetty"][n % 10];
    let text = |n: usize| (0..9).map(|k| format!("{}{}", word(n * 7 + k * 3), word(n / 10 + k * k + n * k))).collect::<Vec<_>>().join(" ");
    let row = |n: usize| {
        let label = ["refund", "delay", "login"][n % 3];
        json!({ "id": format!("t{n}"), "instruction": text(n), "response": format!("Our answer about {label}, number {n}."), "label": label, "group": format!("thread {}", n / 2), "at": format!("2026-01-{:02}", n / 3 + 1) })
    };
    (0..60).map(row).collect()
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

#[test]
fn a_frozen_split_is_trained_on_and_notices_a_change() {
    let bench = Bench::new();
    bench.write("tickets.jsonl", &lines(&tickets()));
    let text = bench.ok(&["data", "split", "tickets.jsonl", "--label", "label", "--eval-size", "12"]);
    assert!(text.contains("48 to train on, 12 held out") && text.contains("Next:"), "{text}");
    assert!(bench.ok(&["data", "split", "tickets.jsonl", "--label", "label", "--eval-size", "12"]).contains("the very same"));
    assert!(bench.fails(&["data", "split", "tickets.jsonl", "--eval-size", "9"], 1).contains("is not overwritten"));
    let seen = bench.json(&["data", "split", "tickets.jsonl", "--by-time", "--eval-size", "10%", "--out", "late"]);
    assert_eq!(seen["manifest"]["files"]["eval"]["rows"], 6, "{seen}");
    // Training takes the rows as they are.
    let dry = bench.json(&[
        "train",
        "--dry-run",
        "--set",
        "data.train=tickets-frozen/train.jsonl",
        "--set",
        "data.eval=tickets-frozen/eval.jsonl",
    ]);
    assert_eq!(dry["examples"], 48, "{dry}");

    assert!(bench.ok(&["data", "split", "--verify", "tickets-frozen"]).contains("the same as when it was frozen"));
    let train = bench.read("tickets-frozen/train.jsonl");
    bench.write("tickets-frozen/train.jsonl", &train.replacen("Our answer", "My answer", 1));
    let error = bench.fails(&["data", "split", "--verify", "tickets-frozen"], 3);
    assert!(error.contains("is not what was frozen") && error.contains("some of them were changed"), "{error}");
    for (args, code) in [(&["--eval-size", "half"][..], 2), (&["--width", "90"], 2), (&["--group", "team"], 1), (&["--eval-size", "40"], 1)]
    {
        let error = bench.fails(&[&["data", "split", "tickets.jsonl", "--out", "no"], args].concat(), code);
        assert!(error.contains("expected"), "{error}");
    }
}

#[test]
fn versions_are_compared_and_the_page_is_written() {
    let bench = Bench::new();
    let mut rows = tickets();
    bench.write("a.jsonl", &lines(&rows));
    rows[3]["response"] = json!("Our answer about refund, number 4.");
    rows.remove(9);
    bench.write("b.jsonl", &lines(&rows));
    let text = bench.ok(&["data", "diff", "a.jsonl", "b.jsonl", "--html", "c.html"]);
    assert!(text.contains("0 added, 1 removed, 1 changed, 0 moved, 58 the same") && text.contains("[-3-]{+4+}"), "{text}");
    assert!(bench.read("c.html").contains("<del>3</del><ins>4</ins>"));
    assert!(bench.fails(&["data", "diff", "a.jsonl", "b.jsonl", "--html", "c.html"], 1).contains("c.html"));
    assert!(bench.fails(&["data", "diff", "a.jsonl", "."], 1).contains("is no frozen dataset"));
}

#[test]
fn nothing_is_written_for_a_platform_that_would_refuse_it() {
    let bench = Bench::new();
    let mut rows = tickets();
    bench.write("good.jsonl", &lines(&rows));
    let text = bench.ok(&["data", "emit", "good.jsonl", "--to", "openai"]);
    assert!(text.contains("60 rows") && text.contains("mended: line 1 and 59 more, group"), "{text}");
    assert!(bench.read("good.openai.jsonl").starts_with("{\"messages\":[{\"role\":\"user\""));
    rows[4] = json!({ "messages": [{ "role": "user", "content": "User: hello" }] });
    rows[7] = json!({ "messages": [{ "role": "user", "content": "" }, { "role": "assistant", "content": "a" }] });
    bench.write("bad.jsonl", &lines(&rows));
    let error = bench.fails(&["data", "emit", "bad.jsonl", "--to", "bedrock"], 3);
    for part in [
        "2 of 60 rows",
        "line 5, messages[0].content: found the reserved word",
        "line 5, messages: found no message of the assistant",
        "line 8, messages[0].content",
        "--skip-bad",
    ] {
        assert!(error.contains(part), "`{part}` is missing in {error}");
    }
    assert!(!bench.names(".").contains(&"bad.bedrock.jsonl".to_string()));
    let done = bench.json(&["data", "emit", "bad.jsonl", "--to", "bedrock", "--skip-bad"]);
    assert_eq!((&done["good"], &done["bad_lines"]), (&json!(58), &json!([5, 8])));
    assert!(bench.fails(&["data", "emit", "good.jsonl", "--to", "mars"], 2).contains("mars"));
}

#[test]
fn a_sample_is_filled_and_read_back() {
    let bench = Bench::new();
    bench.write("tickets.jsonl", &lines(&tickets()));
    bench.write("check.json", r#"{"findings": [{"check": "length", "severity": "warning", "examples": ["t1", "t2", "t3", "t4", "t5", "t6", "t7"], "score": 1, "evidence": "long", "mend": ""}]}"#);
    let text = bench.ok(&["data", "sample", "tickets.jsonl", "--size", "30", "--findings", "check.json", "--risk", "4"]);
    assert!(
        text.contains("26 of 60 examples by chance, 4 by risk") && text.contains("0 defects among the 26 will mean 0.0 to 12.9 %"),
        "{text}"
    );
    let sheet = bench.read("tickets.sample.jsonl");
    assert!(bench.fails(&["data", "sample", "tickets.jsonl"], 1).contains("a review may be under way"));
    assert!(bench.fails(&["data", "sample", "--read", "tickets.sample.csv"], 1).contains("none of 30 rows has a verdict"));
    let filled: String = sheet
        .lines()
        .enumerate()
        .map(|(n, line)| {
            format!("{}\n", line.replace("\"verdict\":\"\"", if n == 0 { "\"verdict\":\"defect\"" } else { "\"verdict\":\"ok\"" }))
        })
        .collect();
    bench.write("reviewed.jsonl", &filled);
    let found = bench.json(&["data", "sample", "--read", "reviewed.jsonl"]);
    assert_eq!(found["random"]["reviewed"].as_u64().unwrap() + found["risk"]["reviewed"].as_u64().unwrap(), 30, "{found}");
    assert!(found["more_needed"].as_u64().unwrap() > 0);
    bench.write("reviewed.jsonl", &filled.lines().skip(2).map(|line| format!("{line}\n")).collect::<String>());
    let error = bench.fails(&["data", "sample", "--read", "reviewed.jsonl"], 1);
    assert!(error.contains("does not fit the sample") && error.matches("is missing").count() == 2, "{error}");
}

/// The interval is written down in two rooms that do not know each other; they agree.
#[test]
fn both_intervals_are_the_same() {
    for n in [1usize, 7, 50, 150, 1000] {
        for hits in [0, n / 9, n / 2, n] {
            let (low, high) = data::interval::wilson(hits as f64 / n as f64, n as f64);
            let other = eval::uncertainty::wilson(hits, n);
            assert!((low - other.low).abs() < 1e-12 && (high - other.high).abs() < 1e-12, "{hits} of {n}");
        }
    }
}
