//! `tunesmith data import` from outside: what is shown, what is made, what is refused, and what a killed one leaves.

use crate::bench::Bench;
use std::time::{Duration, Instant};

const TABLE: &str = "Nr;Frage;Antwort;Datum\n1;Wo ist mein Paket?;Unterwegs.;1.3.2024\n2;Wie lange noch?;;2.3.2024\n\
                     3;\"Ist \"bald\" heute?\";Nein, morgen.;3.3.2024\n";

#[test]
fn a_table_becomes_a_file_that_can_be_trained() {
    let bench = Bench::new();
    bench.write("tickets.csv", TABLE);
    let text = bench.ok(&["data", "import", "tickets.csv", "train.jsonl", "--out", "all.jsonl"]);
    for part in [
        "tickets.csv: csv, UTF-8, delimiter \";\"",
        "  question  Frage   (by its name)",
        "  time      Datum   (by its name)",
        "train.jsonl: jsonl, UTF-8, shape instruction_response",
        "tickets.csv: 3 rows: 2 kept (1 of them fixed), 1 quarantined",
        "Together: 15 rows: 14 kept (1 of them fixed), 1 quarantined",
        "1  quote",
        "tunesmith data check all.jsonl",
        "head all.quarantine.jsonl",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    assert!(bench.read("all.quarantine.jsonl").contains("column `Antwort` is empty, expected a text"));
    let json = bench.json(&["train", "--dry-run", "--set", "data.train=all.jsonl"]);
    assert_eq!(json["examples"], 14);
    let account = bench.json(&["data", "import", "tickets.csv", "train.jsonl", "--out", "all.jsonl"]);
    let written: serde_json::Value = serde_json::from_str(&bench.read("all.import.json")).unwrap();
    assert_eq!(account, written);
    assert_eq!((&account["kept"], &account["quarantined"]), (&14.into(), &1.into()));
}

#[test]
fn roles_are_shown_and_set_and_what_is_unclear_is_asked() {
    let bench = Bench::new();
    bench.write("t.csv", "x,y,z\nfirst text of it all,second text of it all,third text of it all\n");
    let error = bench.fails(&["data", "import", "t.csv", "--out", "o.jsonl"], 1);
    assert!(error.contains("found the columns [x, y, z], and none of them is surely question or answer"), "{error}");
    assert!(error.contains("hint: say which: --role question=\"x\" --role answer=\"y\""), "{error}");
    let told = ["data", "import", "t.csv", "--out", "o.jsonl", "--role", "question=z", "--role", "answer=x"];
    let json = bench.json(&[&told[..], &["--dry-run"]].concat());
    assert_eq!(json["sources"][0]["roles"]["question"]["column"], "z");
    assert!(!bench.path("o.jsonl").exists(), "a dry run writes nothing");
    assert!(bench.ok(&told).contains("as you said"));
    assert!(bench.read("o.jsonl").contains("third text of it all"));
}

#[test]
fn broken_sources_and_wrong_words_end_with_their_codes() {
    let bench = Bench::new();
    for (args, part) in [
        (&["import", "train.jsonl"][..], "--out"),
        (&["import", "train.jsonl", "--out", "o.jsonl", "--role", "reply=x"], "no role `reply`; expected one of question, answer"),
        (&["import", "train.jsonl", "--out", "o.csv"], "expected a name that ends with .jsonl"),
        (&["import", "train.jsonl", "--out", "train.jsonl"], "is one of the sources"),
    ] {
        let error = bench.fails(&[&["data"], args].concat(), 2);
        assert!(error.contains(part), "{error}");
    }
    bench.write("cut.json", &format!("[{}", bench.read("train.jsonl").trim_end().replace('\n', ",\n").trim_end_matches('}')));
    let error = bench.fails(&["data", "import", "cut.json", "--out", "o.jsonl"], 1);
    assert!(
        error.contains("not read to the end: cut.json") && error.contains("because: the file ends in the middle of its JSON"),
        "{error}"
    );
    assert_eq!(bench.read("o.jsonl").lines().count(), 11, "what came before is there");
    bench.write("empty.jsonl", "{\"instruction\": \"a\", \"response\": \"\"}\n");
    assert!(bench.fails(&["data", "import", "empty.jsonl", "--out", "e.jsonl"], 1).contains("none of the 1 rows could be kept"));
    let error = bench.fails(&["data", "import", "postgres://me:s3cret@127.0.0.1:1/x", "--query", "select 1", "--out", "p.jsonl"], 4);
    assert!(error.contains("postgres://me@127.0.0.1:1/x: the connection failed") && !error.contains("s3cret"), "{error}");
    assert!(!bench.path("p.jsonl").exists() && !bench.path("p.jsonl.part").exists());
}

#[test]
fn a_killed_import_goes_on_to_the_same_bytes() {
    let bench = Bench::new();
    let row = |n: usize| format!("{{\"instruction\": \"question {n} {}\", \"response\": \"answer {n}\"}}\n", "of a long kind ".repeat(20));
    bench.write("long.jsonl", &(0..120_000).map(row).collect::<String>());
    bench.ok(&["data", "import", "long.jsonl", "--out", "straight.jsonl"]);
    let args = ["data", "import", "long.jsonl", "--out", "killed.jsonl"];
    let mut child = bench.start(&args);
    let began = Instant::now();
    // Past the first safe moment, before the end.
    while std::fs::metadata(bench.path("killed.jsonl.part")).map_or(0, |m| m.len()) < 1 << 20 {
        assert!(began.elapsed() < Duration::from_secs(60), "it must begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("killed.jsonl").exists() && bench.path("killed.import.journal").exists());
    bench.ok(&args);
    assert!(bench.read("killed.jsonl") == bench.read("straight.jsonl"), "no row is lost or there twice");
    assert_eq!(bench.names(".").iter().filter(|name| name.starts_with("killed")).count(), 3);
}
