//! Help, usage faults and the table of settings.

use crate::bench::Bench;

#[test]
fn every_command_explains_itself_with_an_example() {
    let bench = Bench::new();
    let all = bench.ok(&["--help"]);
    for command in ["demo", "train", "lr", "sweep", "eval", "chat", "merge", "export", "pull", "recipe", "plan", "cost", "track", "doctor"]
    {
        assert!(all.contains(&format!("  {command} ")), "{all}");
        let help = bench.ok(&[command, "--help"]);
        assert!(help.contains("Example") && help.contains(&format!("  tunesmith {command}")), "{help}");
        assert!(help.contains("--json") && help.contains("Usage: tunesmith"), "{help}");
    }
    let help = bench.ok(&["data", "import", "--help"]);
    assert!(help.contains("Examples:\n  tunesmith data import") && help.contains("--role"), "{help}");
    assert!(all.contains("Exit codes: 0 done, 1 the input is at fault, 2 usage, 3 a gate failed, 4 the machine, 5 a bug"), "{all}");
}

#[test]
fn usage_faults_end_with_2() {
    let bench = Bench::new();
    let export = [["export", "x", "--type", "q3"], ["export", "x", "--format", "onnx"], ["export", "x", "--out", "x.bin"]];
    let others = [&["trian"][..], &["eval"], &["train", "--resume", "x", "--set", "train.lr=1"], &["merge", "x", "--dtype", "int3"]];
    for args in others.into_iter().chain(export.iter().map(|args| &args[..])) {
        let error = bench.fails(args, 2);
        assert!(error.starts_with("error: "), "{error}");
    }
    assert_eq!(bench.names("."), ["eval.jsonl", "system.txt", "train.jsonl", "tunesmith.toml"]);
}

#[test]
fn the_recipe_shows_value_source_and_reason() {
    let bench = Bench::new();
    let text = bench.ok(&["recipe", "--set", "adapter.rank=8"]);
    let line = |key: &str| text.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("{key}: {text}")).to_string();
    assert!(line("train.lr ").contains("0.01") && line("train.lr ").ends_with("from the recipe"), "{text}");
    assert!(line("adapter.rank ").contains(" 8 ") && line("adapter.rank ").ends_with("from --set"), "{text}");
    assert!(line("adapter.alpha ").contains("32.0") && line("adapter.alpha ").contains("default: twice the rank"), "{text}");
    assert!(text.contains("tunesmith train tunesmith.toml --dry-run"), "{text}");

    let json = bench.json(&["recipe", "--set", "adapter.rank=8"]);
    let settings = json["settings"].as_array().unwrap();
    let rank = settings.iter().find(|s| s["key"] == "adapter.rank").unwrap();
    assert_eq!((rank["value"].as_str(), rank["from"].as_str()), (Some("8"), Some("flag")));
    assert!(settings.iter().all(|s| !s["reason"].as_str().unwrap().is_empty()));

    std::fs::remove_file(bench.path("tunesmith.toml")).unwrap();
    assert!(bench.ok(&["recipe", "--quiet"]).contains("0.0002"), "the defaults, without a file");
}
