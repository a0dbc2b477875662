//! Interrupted imports go on to the same bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use import::{Done, Error, import, plan};

use crate::bench::{Bench, jsonl, pairs, plain};

/// Three sources, with rows that are fixed and put aside, and ids that repeat.
fn sources(bench: &Bench) -> Vec<String> {
    let mut table = String::from("id,question,answer\n");
    for (n, (question, answer)) in pairs(3000).iter().enumerate() {
        table += &match n % 100 {
            7 => format!("{n},\"{question}\n"),
            8 => format!("{},\"a \"\"b\"\" {question}\",{answer}\n", n - 1),
            9 => format!("{},\"a \"b\" {question}\",{answer}\n", n - 1),
            _ => format!("{n},\"{question}\",{answer}\n"),
        };
    }
    vec![bench.file("a.jsonl", jsonl(1700)), bench.file("b.csv", &table), bench.file("c.csv", &table)]
}

fn outputs(bench: &Bench) -> [Vec<u8>; 3] {
    ["out.jsonl", "out.quarantine.jsonl", "out.import.json"].map(|name| std::fs::read(bench.path(name)).unwrap())
}

#[test]
fn a_stopped_import_goes_on_to_the_same_bytes() {
    let bench = Bench::new();
    let names = sources(&bench);
    bench.import(&names.iter().map(String::as_str).collect::<Vec<_>>(), &plain()).unwrap();
    let straight = outputs(&bench);
    let (mut stops, mut done) = (0, 0);
    loop {
        let stop = AtomicBool::new(false);
        let mut watch = |at: import::Progress| stop.store(at.rows > done + 1200, Ordering::Relaxed);
        match import(plan(&names, &plain()).unwrap(), &bench.out(), false, &stop, &mut watch).unwrap() {
            Done::Finished(_) => break,
            Done::Stopped { rows } => {
                (stops, done) = (stops + 1, rows);
                assert!(bench.path("out.import.journal").exists() && bench.path("out.jsonl.part").exists());
            }
        }
        assert!(stops < 50, "it must come to an end");
    }
    assert!(stops >= 3, "{stops}");
    assert_eq!(outputs(&bench), straight);
    assert_eq!(bench.names(), ["a.jsonl", "b.csv", "c.csv", "out.import.json", "out.jsonl", "out.quarantine.jsonl"]);
}

#[test]
fn an_import_that_died_between_two_safe_moments_goes_on_to_the_same_bytes() {
    let bench = Bench::new();
    let names = sources(&bench);
    bench.import(&names.iter().map(String::as_str).collect::<Vec<_>>(), &plain()).unwrap();
    let straight = outputs(&bench);
    for death in [2, 7, 11] {
        let mut steps = 0;
        let mut watch = |_| {
            steps += 1;
            assert!(steps < death, "dies here");
        };
        let died = catch_unwind(AssertUnwindSafe(|| {
            import(plan(&names, &plain()).unwrap(), &bench.out(), false, &AtomicBool::new(false), &mut watch)
        }));
        assert!(died.is_err());
    }
    // What was written after the last safe moment may be anything.
    let mut part = std::fs::read(bench.path("out.jsonl.part")).unwrap();
    part.extend(b"{\"id\": \"half a ro");
    std::fs::write(bench.path("out.jsonl.part"), part).unwrap();
    let done = import(plan(&names, &plain()).unwrap(), &bench.out(), false, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert!(matches!(done, Done::Finished(_)));
    assert_eq!(outputs(&bench), straight);
}

#[test]
fn a_database_goes_on_whatever_the_order_of_its_rows() {
    let bench = Bench::new();
    let name = bench.path("a.db").display().to_string();
    let db = rusqlite::Connection::open(&name).unwrap();
    db.execute_batch("create table faq (question text, answer text); begin").unwrap();
    // Equal rows count each.
    for (question, answer) in pairs(1500).into_iter().chain(pairs(1500)) {
        db.execute("insert into faq values (?, ?)", [question, answer]).unwrap();
    }
    db.execute_batch("commit").unwrap();
    let names = [name.clone()];
    let stop = AtomicBool::new(true);
    let stopped = import(plan(&names, &plain()).unwrap(), &bench.out(), false, &stop, &mut |_| {}).unwrap();
    assert!(matches!(stopped, Done::Stopped { rows: 500 }), "{stopped:?}");
    // A server owes nobody an order; a file keeps one, so its journal is told of another hash.
    db.execute_batch("create table turned as select * from faq order by rowid desc; drop table faq; alter table turned rename to faq")
        .unwrap();
    let error = bench.import(&[&name], &plain()).err().unwrap();
    assert!(matches!(&error, Error::Other { differs, .. } if differs == "sources"), "{error}");
    let journal = bench.path("out.import.journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let known: serde_json::Value = serde_json::from_str(&text).unwrap();
    let before = known["identity"]["sources"][0]["sha256"].as_str().unwrap();
    let after = record::hash::sha256_file(&bench.path("a.db")).unwrap().0;
    std::fs::write(&journal, text.replace(before, &after)).unwrap();

    let imported = bench.import(&[&name], &plain()).unwrap();
    let (mut found, mut expected) = (imported.pairs(), [pairs(1500), pairs(1500)].concat());
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "none is lost, none is there twice too often");
    let ids: std::collections::HashSet<&str> = imported.rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3000);
}

#[test]
fn another_command_does_not_go_on_and_a_fresh_one_begins_anew() {
    let bench = Bench::new();
    let names = [bench.file("a.jsonl", jsonl(2000))];
    let stop = AtomicBool::new(true);
    let run = |fresh: bool, stop: &AtomicBool| import(plan(&names, &plain()).unwrap(), &bench.out(), fresh, stop, &mut |_| {});
    assert!(matches!(run(false, &stop).unwrap(), Done::Stopped { .. }));
    bench.file("a.jsonl", jsonl(3));
    let error = run(false, &AtomicBool::new(false)).unwrap_err().to_string();
    assert!(error.ends_with("found an interrupted import that differs in sources, expected the same command"), "{error}");
    assert!(matches!(run(true, &AtomicBool::new(false)).unwrap(), Done::Finished(_)));
    assert_eq!(bench.rows("out.jsonl").len(), 3);
}
