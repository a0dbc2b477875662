//! The way from data to a merged model: train, eval, chat, merge, and the demo that is all of it.

use crate::bench::{Bench, fixture};

#[test]
fn a_dry_run_shows_what_is_trained_and_writes_nothing() {
    let bench = Bench::new();
    let before = bench.names(".");
    let text = bench.ok(&["train", "--dry-run"]);
    assert_eq!(bench.names("."), before);
    for part in [
        "training     12 examples",
        "end of turn  learned in every example",
        "held out     4 examples",
        "what is trained stands in «»",
        "train.jsonl line 1: ",
        "<|im_start|>system",
        "Answer with JSON: intent and urgent.",
        "«{\"intent\": \"refund\", \"urgent\": true}<|im_end|>»",
        "train.lr",
        "It would take 3 steps and train",
        "Nothing was written.",
        "tunesmith train tunesmith.toml",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    let json = bench.json(&["train", "--dry-run"]);
    assert_eq!((json["steps"].as_u64(), json["examples"].as_u64(), json["held_out"].as_u64()), (Some(3), Some(12), Some(4)));
    let learned = json["supervised_tokens"].as_u64().unwrap();
    assert!(learned > 12 && learned < json["tokens"].as_u64().unwrap() / 2, "{json}");
}

#[test]
fn a_run_is_trained_measured_asked_and_merged() {
    let bench = Bench::new();
    let text = bench.ok(&["train", "--threads", "1", "--out", "run"]);
    assert!(text.contains("Trained 3 steps in ") && text.contains("tunesmith eval run"), "{text}");
    assert_eq!(bench.steps("run"), [1, 2, 3]);
    assert!(bench.ok(&["train", "--resume", "run"]).contains("run is finished already."));
    assert_eq!(bench.steps("run"), [1, 2, 3], "a finished run is left alone");

    let json = bench.json(&["eval", "run"]);
    for key in ["base_exact", "few_shot_exact", "tuned_exact", "tuned_json_valid", "p_value"] {
        let share = json[key].as_f64().unwrap_or_else(|| panic!("{key}: {json}"));
        assert!((0.0..=1.0).contains(&share), "{json}");
    }
    assert_eq!((json["n"].as_u64(), json["run"].as_str(), json["report"].as_str()), (Some(4), Some("run"), Some("run/report.html")));
    assert!(bench.read("run/report.html").starts_with("<!DOCTYPE html>") || bench.read("run/report.html").starts_with("<!doctype html>"));
    let text = bench.ok(&["eval", "run"]);
    assert!(text.contains("exact match") && text.contains(" % [") && text.contains("Report: run/report.html"), "{text}");

    let done = bench.run_with(&["chat", "run", "--max-new-tokens", "4", "--json"], "hello\n\n/reset\nticket 3\n/exit\nnever asked\n");
    assert_eq!(done.code, 0, "{}", done.err);
    let json: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let asked: Vec<&str> = json["turns"].as_array().unwrap().iter().map(|t| t["question"].as_str().unwrap()).collect();
    assert_eq!(asked, ["hello", "ticket 3"]);
    // Each line is a new conversation: the same question has the same answer, and plain output is the answers alone.
    let done = bench.run_with(&["chat", "run", "--max-new-tokens", "4"], "hello\nhello\n");
    let answer = json["turns"][0]["answer"].as_str().unwrap();
    assert_eq!(done.out, format!("{answer}\n{answer}\n"));

    let json = bench.json(&["merge", "run", "--out", "whole"]);
    assert!(json["logit"].as_f64().unwrap() <= 1e-4 && json["positions"].as_u64().unwrap() > 100, "{json}");
    assert!(bench.names("whole").contains(&"model.safetensors".to_string()));
    // The merged model with the run's prompt answers as the run does.
    let system = bench.read("system.txt");
    let done = bench.run_with(&["chat", "./whole", "--max-new-tokens", "4", "--system", system.trim()], "hello\n");
    assert_eq!((done.code, done.out), (0, format!("{answer}\n")));
    assert!(bench.fails(&["merge", "run", "--out", "whole"], 1).contains("found a folder in use"));
    assert_eq!(bench.ok(&["merge", "run", "--dtype", "bfloat16", "--quiet"]).lines().count(), 2);
    assert!(bench.names("run").contains(&"merged".to_string()));
    let json = bench.json(&["export", "run", "--type", "f32", "--out", "tiny.gguf"]);
    assert!(json["logit"].as_f64().unwrap() <= 1e-4 && json["positions"].as_u64().unwrap() > 100, "{json}");
    assert_eq!(
        (json["path"].as_str(), json["modelfile"].as_str(), json["templated"].as_bool()),
        (Some("tiny.gguf"), Some("tiny.Modelfile"), Some(true))
    );
    let done = bench.run_with(&["chat", "./tiny.gguf", "--max-new-tokens", "4", "--system", system.trim()], "hello\n");
    assert_eq!((done.code, done.out), (0, format!("{answer}\n")));
    assert!(bench.fails(&["export", "run", "--out", "tiny.gguf"], 1).contains("found a file or folder of this name"));
    let text = bench.ok(&["export", "run", "--type", "q8_0"]);
    assert!(text.contains("Written and verified") && text.contains("ollama create run -f run/run-q8_0.Modelfile"), "{text}");
    assert!(bench.names("run").contains(&"run-q8_0.gguf".to_string()));
    assert!(bench.names("run").iter().all(|n| !n.starts_with('.')), "no temporary name stays: {:?}", bench.names("run"));
}

#[test]
fn runs_are_numbered_and_named_after_the_recipe() {
    let bench = Bench::new();
    std::fs::rename(bench.path("tunesmith.toml"), bench.path("tickets.toml")).unwrap();
    for name in ["runs/tickets-1", "runs/tickets-2"] {
        let json = bench.json(&["train", "tickets.toml", "--set", "train.epochs=1"]);
        assert_eq!((json["run"].as_str(), json["finished"].as_bool(), json["steps"].as_u64()), (Some(name), Some(true), Some(3)));
    }
    assert_eq!(bench.adapter("runs/tickets-1"), bench.adapter("runs/tickets-2"), "the same recipe gives the same bytes");
    assert!(bench.fails(&["train", "tickets.toml", "--out", "runs/tickets-1"], 1).contains("found a folder in use"));
}

#[test]
fn the_demo_goes_the_whole_way() {
    let bench = Bench::new();
    let model = format!("model.base={}", fixture("tiny-chat").display());
    let data: Vec<String> = [("train", "train.jsonl"), ("eval", "eval.jsonl"), ("system", "system.txt")]
        .iter()
        .map(|(key, file)| format!("data.{key}={}", bench.path(file).display()))
        .collect();
    let mut args =
        vec!["demo", "--threads", "1", "--set", "train.epochs=1", "--set", "data.schema=none", "--set", "eval.few_shot=2", "--set", &model];
    data.iter().for_each(|change| args.extend(["--set", change]));
    let json = bench.json(&args);
    for key in ["base_exact", "few_shot_exact", "tuned_exact", "tuned_json_valid", "p_value", "seconds"] {
        assert!(json[key].is_f64(), "{key}: {json}");
    }
    assert_eq!((json["run"].as_str(), json["report"].as_str()), (Some("runs/northwind-1"), Some("runs/northwind-1/report.html")));
    assert_eq!(bench.names("runs"), ["northwind", "northwind-1"]);
    assert!(bench.names("runs/northwind").contains(&"tunesmith.toml".to_string()));

    let text = bench.ok(&args);
    for part in [
        "Northwind is an invented company",
        "«",
        "exact match",
        "Merged and verified",
        "Report",
        "Merged model",
        "tunesmith chat runs/northwind-2",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
}
