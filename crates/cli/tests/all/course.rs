//! Validation, preferences, replay: what a user sees of how a run went.

use crate::bench::Bench;

#[test]
fn validation_is_shown_and_decides_what_is_published() {
    let bench = Bench::new();
    let set = ["--set", "data.validation_share=0.25", "--set", "train.epochs=3"];
    let text = bench.ok(&[&["train", "--out", "run", "--threads", "1"][..], &set].concat());
    for part in [
        "validation   3 examples, never trained on",
        "Step 0: validation loss ",
        ", the best so far",
        "Validation loss ",
        "whose adapter is the result",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    let json = bench.json(&["train", "--resume", "run"]);
    let validations = json["validations"].as_array().unwrap();
    // Nine examples are left, three steps a pass: validated at the start and after each pass.
    assert_eq!(validations.iter().map(|v| v["step"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 3, 6, 9]);
    let best = validations[1..].iter().map(|v| v["loss"].as_f64().unwrap()).fold(f64::INFINITY, f64::min);
    assert_eq!((json["best_validation"].as_f64(), json["stopped_early"].as_bool()), (Some(best), Some(false)));
    bench.ok(&["eval", "run", "--quiet"]);
    let page = bench.read("run/report.html");
    assert!(page.contains("class=\"held\"") && page.contains("adapter taken from"), "the report shows validations");

    // A file of its own; one that is trained on is refused.
    bench.write("validation.jsonl", &bench.read("train.jsonl"));
    let error = bench.fails(&["train", "--set", "data.validation=validation.jsonl"], 1);
    assert!(error.contains("12 of 12 held-out examples are also in the training data"), "{error}");
    bench.write("validation.jsonl", &bench.read("eval.jsonl").replace("question", "matter"));
    let json = bench.json(&["train", "--set", "data.validation=validation.jsonl", "--dry-run"]);
    assert_eq!((json["validation"].as_u64(), json["examples"].as_u64()), (Some(4), Some(12)));
}

#[test]
fn older_examples_are_mixed_in_and_notes_are_given() {
    let bench = Bench::new();
    bench.write("old.jsonl", &bench.read("eval.jsonl").replace("question", "older"));
    let args = ["train", "--out", "run", "--set", "data.replay=old.jsonl", "--set", "data.replay_weight=0.25"];
    let text = bench.ok(&args);
    assert!(text.contains("replay       4 examples of older tasks") && text.contains("25 % of what is seen comes from 4 older"), "{text}");
    assert!(bench.read("run/events.jsonl").contains("\"event\":\"mixed\""));
    let done = bench.run(&["train", "--dry-run", "--set", "data.replay_weight=0.25"]);
    assert!(done.code == 0 && done.err.contains("no effect without data.replay"), "{}", done.err);
}

#[test]
fn preferences_are_trained_from_pairs() {
    let bench = Bench::new();
    bench.votes();
    let set = ["--set", "data.train=votes.jsonl", "--set", "train.objective=dpo", "--set", "train.epochs=4"];
    let text = bench.ok(&[&["train", "--dry-run"][..], &set].concat());
    assert!(text.contains("pairs        12: a chosen and a rejected answer each") && text.contains("It would take 12 steps"), "{text}");
    let done = bench.run(&[&["train", "--out", "run", "--json"][..], &set].concat());
    assert!(done.code == 0 && done.err.contains("dpo mostly wants 1e-5 to 5e-5"), "{}", done.err);
    let json: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert!((json["loss_first"].as_f64().unwrap() - 2f64.ln()).abs() < 1e-6, "{json}");
    assert!(json["loss_last"].as_f64().unwrap() < 0.69, "{json}");
    assert!(bench.names("run").contains(&"reference.json".to_string()));
    // Pairs for answers, and answers for pairs.
    let error = bench.fails(&["train", "--set", "data.train=votes.jsonl"], 1);
    assert!(error.contains("found a pair of `chosen` and `rejected`"), "{error}");
    let error = bench.fails(&["train", "--set", "train.objective=dpo"], 1);
    assert!(error.contains("expected `chosen` and `rejected`"), "{error}");
}

#[test]
fn a_template_that_rewrites_history_is_trained_turn_by_turn_and_told() {
    let bench = Bench::new();
    let model = bench.own_model();
    // Earlier reasoning is left out, as reasoning models do it.
    let path = model.join("tokenizer_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["chat_template"] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}".into();
    std::fs::write(&path, config.to_string()).unwrap();
    let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
    let row = |n: usize| {
        let messages = [
            turn("user", &format!("ask {n}")),
            turn("assistant", "<think>so</think>first"),
            turn("user", "more"),
            turn("assistant", "<think>then</think>second"),
        ];
        format!("{}\n", serde_json::json!({ "messages": messages }))
    };
    bench.write("train.jsonl", &(0..6).map(row).collect::<String>());
    let text = bench.ok(&["train", "--dry-run"]);
    assert!(text.contains("rewritten    6 conversations became 12 examples, one an answer"), "{text}");
    // The last sample is a whole conversation: the first answer's reasoning is gone, the second's is learned.
    assert!(
        text.contains("«<think>then</think>second<|im_end|>»") && !text.contains("<think>so</think>first<|im_end|>\n  | <|im_start|>user"),
        "{text}"
    );
    let json = bench.json(&["train", "--dry-run"]);
    assert_eq!((json["rewritten"].as_u64(), json["turns"].as_u64(), json["examples"].as_u64()), (Some(6), Some(12), Some(12)));
}

#[test]
fn the_day_is_pinned_and_evaluation_sees_the_same() {
    let bench = Bench::new();
    let model = bench.own_model();
    let path = model.join("tokenizer_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let template = config["chat_template"].as_str().unwrap().to_string();
    config["chat_template"] = format!("{{{{ strftime_now('%d %b %Y') }}}} {template}").into();
    std::fs::write(&path, config.to_string()).unwrap();
    let text = bench.ok(&["train", "--dry-run", "--set", "data.clock=2026-03-31"]);
    assert!(text.contains("| 31 Mar 2026 "), "{text}");
    bench.ok(&[
        "train",
        "--out",
        "run",
        "--quiet",
        "--set",
        "train.epochs=1",
        "--set",
        "eval.few_shot=0",
        "--set",
        "data.clock=2026-03-31",
    ]);
    assert!(bench.read("run/recipe.toml").contains("clock = \"2026-03-31\""));
    bench.ok(&["eval", "run", "--quiet"]);
    let json = bench.json(&["merge", "run", "--out", "whole"]);
    assert!(json["logit"].as_f64().unwrap() <= 1e-4, "{json}");
    // Without a wish the day of the first start is written down.
    bench.ok(&["train", "--out", "today", "--quiet", "--set", "train.epochs=1"]);
    let line = bench.read("today/recipe.toml").lines().find(|l| l.starts_with("clock")).map(str::to_string);
    assert!(line.is_some_and(|l| l.starts_with("clock = \"20")));
}
