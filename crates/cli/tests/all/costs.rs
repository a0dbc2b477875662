//! Costs from outside: what is refused, what is printed, what is written, and made again.

use crate::bench::Bench;

const TYPICAL: &str = include_str!("../../../../examples/cost/typical.toml");

#[test]
fn a_cost_prints_every_figure_and_makes_itself_again() {
    let bench = Bench::new();
    bench.write("team.toml", TYPICAL);
    let ask = ["cost", "--inputs", "team.toml", "--set", "draws=200"];
    let text = bench.ok(&ask);
    for part in [
        "At 1,000,000 calls a month the API costs least",
        "from 5,551,736 calls a month on",
        "GPUs for serving",
        "What else might be",
        "secondary source: price of claude-haiku-4.5; deploybase.ai, 2026-03-21",
        "default of tunesmith",
        "--out decision --xlsx cost.xlsx",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = bench.json(&[&ask[..], &["--out", "decision", "--xlsx", "cost.xlsx"]].concat());
    assert_eq!(bench.names("decision"), ["cost.html", "cost.json", "cost.md"]);
    assert_eq!(json["break_even"]["hosted_over_api"]["stays_from"], 5_551_736);
    let again = bench.json(&["cost", "--inputs", "decision/cost.json"]);
    assert_eq!((&again["inputs_sha256"], &again["ways"], &again["chance"]), (&json["inputs_sha256"], &json["ways"], &json["chance"]));
    let other = bench.json(&["cost", "--inputs", "decision/cost.json", "--set", "calls=9000000"]);
    assert_ne!(other["inputs_sha256"], json["inputs_sha256"]);
    // Nobody's files are written over.
    assert!(bench.fails(&[&ask[..], &["--out", "decision"]].concat(), 1).contains("found a folder in use"));
    assert!(bench.fails(&[&ask[..], &["--xlsx", "cost.xlsx"]].concat(), 1).contains("cost.xlsx"));
}

#[test]
fn what_cannot_be_counted_is_told_with_what_to_type() {
    let bench = Bench::new();
    bench.write("team.toml", TYPICAL);
    let error = bench.fails(&["cost"], 1);
    assert!(error.contains("have no default: api") && error.contains("hint: tunesmith cost --set api=... --set base=..."), "{error}");
    let team = |change: &str| bench.fails(&["cost", "--inputs", "team.toml", "--set", change], 1);
    assert!(team("gpu=h20").contains("did you mean `h200`?"));
    assert!(team("managed=ori-8b").contains("hint: give it: --set managed_input=... --set managed_output=... --set managed_hosting=..."));
    assert!(team("calls=-1").contains("--set: `calls` is -1, expected a whole number from 0"));
    bench.write("prices.toml", "[gpu.h200]\nhour = 3\n");
    let error = bench.fails(&["cost", "--inputs", "team.toml", "--prices", "prices.toml"], 1);
    assert!(error.contains("prices.toml") && error.contains("--print prices"), "{error}");
    for (what, part) in [("prices", "[gpu.h200]"), ("inputs", "[min_replicas]"), ("scenarios", "[[scenario]]")] {
        assert!(bench.ok(&["cost", "--print", what]).contains(part), "{what}");
    }
}
