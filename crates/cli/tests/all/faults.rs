//! Broken data, recipes and runs: the message, the exit code, and nothing left behind.

use crate::bench::{Bench, Done, copy, fixture};

/// Trains, must fail with 1, must say all `parts`, must leave nothing.
fn refused(bench: &Bench, args: &[&str], parts: &[&str]) {
    let before = bench.names(".");
    let error = bench.fails(&[&["train"], args].concat(), 1);
    for part in parts {
        assert!(error.contains(part), "`{part}` is missing in\n{error}");
    }
    let mut after = bench.names(".");
    // The folder of runs may be made; it must be empty.
    after.retain(|name| name != "runs" || !bench.names("runs").is_empty());
    assert_eq!(after, before, "nothing may be left");
}

#[test]
fn broken_data_names_file_and_line() {
    let bench = Bench::new();
    let whole = bench.read("train.jsonl");
    let mut lines: Vec<&str> = whole.lines().collect();

    lines[2] = "{\"instruction\": \"cut off";
    bench.write("train.jsonl", &lines.join("\n"));
    refused(&bench, &[], &["train.jsonl", "1 of 12 rows", "line 3:", "not valid JSON", "hint: look at the line: sed -n 3p"]);

    lines[2] = "{\"question\": \"?\", \"answer\": \"!\"}";
    bench.write("train.jsonl", &lines.join("\n"));
    refused(&bench, &[], &["line 3: found the fields [question, answer]", "expected"]);

    lines[2] = "{\"instruction\": \"x\", \"response\": \"\"}";
    bench.write("train.jsonl", &lines.join("\n"));
    refused(&bench, &[], &["line 3", "empty", "hint:"]);

    let long = format!("{{\"instruction\": \"{}\", \"response\": \"y\"}}", "way too long ".repeat(200));
    lines[2] = &long;
    bench.write("train.jsonl", &lines.join("\n"));
    refused(&bench, &[], &["line 3: ", "longer than the context of 512 tokens (1 of 12 examples", "--set data.over_long=drop"]);
    let json = bench.json(&["train", "--dry-run", "--set", "data.over_long=drop"]);
    assert_eq!((json["examples"].as_u64(), json["too_long"].as_u64()), (Some(11), Some(1)));

    bench.write("train.jsonl", "\n");
    refused(&bench, &[], &["train.jsonl: found no row, expected", "hint:"]);

    std::fs::write(bench.path("train.jsonl"), [0xff, 0xfe, b'{', 0, b'}', 0]).unwrap();
    refused(&bench, &[], &["UTF-16", "expected UTF-8", "iconv"]);

    std::fs::remove_file(bench.path("train.jsonl")).unwrap();
    refused(&bench, &[], &["cannot read", "train.jsonl", "No such file", "hint: see what is there: ls"]);
}

#[test]
fn nothing_to_learn_is_refused() {
    let bench = Bench::new();
    let row = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}"#;
    bench.write("train.jsonl", &format!("{row}\n"));
    refused(&bench, &[], &["line 1: no answer to learn: every assistant message has the weight 0"]);
}

#[test]
fn held_out_examples_in_the_training_data_are_refused() {
    let bench = Bench::new();
    bench.write("eval.jsonl", &bench.read("train.jsonl"));
    refused(&bench, &[], &["12 of 12 held-out examples are also in the training data", "hint:"]);
}

#[test]
fn broken_recipes_name_line_and_key() {
    let bench = Bench::new();
    refused(&bench, &["nowhere.toml"], &["cannot read the recipe nowhere.toml", "tunesmith demo"]);
    refused(
        &bench,
        &["--set", "train.learning_rate=1"],
        &["unknown key `train.learning_rate`, expected a known one (the nearest is `train.lr`)"],
    );
    refused(&bench, &["--set", "train.lr=fast"], &["`train.lr` is the text \"fast\", expected a number"]);
    refused(&bench, &["--set", "adapter.dropout=1"], &["`adapter.dropout` is 1, expected a share from 0 to below 1"]);
    refused(
        &bench,
        &["--set", "train.method=full", "--set", "model.storage=nf4"],
        &["`train.method=\"full\"` and `model.storage=\"nf4\"` contradict each other", "hint: --set model.storage=full"],
    );
    refused(&bench, &["--set", "train.patience=3"], &["nothing to validate on", "hint: --set data.validation_share=0.1"]);
    refused(
        &bench,
        &["--set", "adapter.targets=no_such_layer"],
        &["found \"no_such_layer\", which match no layer", "adapter.targets=all-linear"],
    );
    refused(&bench, &["--set", "model.base=no-such-model"], &["`no-such-model` names no model: expected", "hint:"]);
    bench.write("tunesmith.toml", "[train]\nlr = 1e-3\nepoch = 2\n");
    refused(&bench, &[], &["tunesmith.toml:3: unknown key `train.epoch`", "`train.epochs`"]);
    bench.write("tunesmith.toml", "[train]\nlr = \n");
    refused(&bench, &[], &["tunesmith.toml:2", "hint: the recipe is TOML"]);
}

#[test]
fn what_is_no_run_or_another_run_is_refused() {
    let bench = Bench::new();
    for command in ["eval", "merge", "export"] {
        assert!(bench.fails(&[command, "nowhere"], 1).contains("nowhere is not a run: the folder is missing"));
    }
    assert!(bench.fails(&["chat", "nowhere"], 1).contains("`nowhere` names no model"));
    bench.ok(&["train", "--out", "run", "--quiet"]);

    // An adapter of another base: the shapes do not fit.
    let own = bench.adapter("run");
    std::fs::remove_dir_all(bench.path("run/adapter")).unwrap();
    copy(&fixture("parity-mistral/adapter"), &bench.path("run/adapter"));
    for args in [&["eval", "run"][..], &["merge", "run"], &["export", "run"], &["chat", "run"]] {
        let error = bench.fails(args, 1);
        assert!(error.contains("the adapter does not fit this base") && error.contains("grep base_model_name_or_path"), "{error}");
    }
    assert!(!bench.names("run").contains(&"report.html".to_string()) && !bench.names("run").contains(&"merged".to_string()));

    // A cut adapter.
    std::fs::remove_dir_all(bench.path("run/adapter")).unwrap();
    copy(&fixture("parity-llama/adapter"), &bench.path("run/adapter"));
    std::fs::write(bench.path("run/adapter/adapter_model.safetensors"), &own[..own.len() / 2]).unwrap();
    let error = bench.fails(&["chat", "run"], 1);
    assert!(error.contains("adapter_model.safetensors is cut short"), "{error}");

    // A recipe that was changed after the checkpoint.
    std::fs::remove_dir_all(bench.path("run/adapter")).unwrap();
    let recipe = bench.read("run/recipe.toml").replace("lr = 0.01", "lr = 0.02");
    bench.write("run/recipe.toml", &recipe);
    let error = bench.fails(&["train", "--resume", "run"], 1);
    assert!(error.contains("the checkpoint belongs to other settings") && error.contains("tunesmith train run/recipe.toml"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_place_that_cannot_be_written_is_told() {
    let bench = Bench::new();
    // Nobody, not even root, makes a folder in /proc.
    let Done { code, err, .. } = bench.run(&["train", "--out", "/proc/tunesmith"]);
    assert!(code == 1 || code == 4, "{code}: {err}");
    assert!(err.contains("cannot make the folder /proc/tunesmith"), "{err}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_write_that_fails_is_the_machines_and_leaves_what_was_whole() {
    let bench = Bench::new();
    bench.recipe(&fixture("tiny-chat"), "batch = 4\nepochs = 3\ncheckpoint_every = 2\n");
    // 32 blocks of 512 bytes a file: the pack fits, a checkpoint does not.
    let Done { code, out, err } = bench.run_after("trap '' XFSZ; ulimit -f 32", "train --out run --json");
    assert_eq!(code, 4, "{out}\n{err}");
    assert!(out.contains("\"kind\":\"machine\"") && err.contains("cannot ") && err.contains("run/"), "{out}\n{err}");
    assert!(!bench.names("run").contains(&"adapter".to_string()));
    assert!(bench.names("run/checkpoints").iter().all(|n| n.starts_with('.')), "{:?}", bench.names("run/checkpoints"));
    // With room again the run goes on.
    bench.ok(&["train", "--resume", "run"]);
    assert_eq!(bench.steps("run"), (1..=9).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn a_network_that_is_not_there_is_the_machines() {
    let bench = Bench::new();
    let Done { code, out, err } = bench.run_after("unset HF_HUB_OFFLINE; export HF_ENDPOINT=http://127.0.0.1:9", "pull org/name --json");
    assert_eq!(code, 4, "{out}\n{err}");
    assert!(err.contains("cannot reach http://127.0.0.1:9/") && err.contains("HTTPS_PROXY"), "{err}");
}

#[test]
fn a_merge_that_answers_otherwise_is_refused_by_the_gate() {
    let bench = Bench::new();
    bench.ok(&["train", "--out", "run", "--quiet"]);
    // An adapter of huge numbers: bfloat16 cannot hold base and adapter together.
    let path = bench.path("run/adapter/adapter_model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for four in bytes[start..].chunks_exact_mut(4) {
        let value = f32::from_le_bytes(four.try_into().unwrap()) * 30.0;
        four.copy_from_slice(&value.to_le_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    let error = bench.fails(&["merge", "run", "--dtype", "bfloat16", "--out", "whole"], 3);
    assert!(error.contains("whole: the merged model was refused: ") && error.contains("--dtype float32"), "{error}");
    let error = bench.fails(&["export", "run", "--type", "q8_0", "--out", "whole.gguf"], 3);
    assert!(error.contains("whole.gguf: the merged model was refused: ") && error.contains("--type f32"), "{error}");
    assert!(bench.names(".").iter().all(|n| !n.contains("whole")), "{:?}", bench.names("."));
}

#[cfg(target_os = "linux")]
#[test]
fn an_export_that_cannot_be_written_leaves_nothing() {
    let bench = Bench::new();
    bench.ok(&["train", "--out", "run", "--quiet"]);
    // 16 blocks of 512 bytes a file: the log of the run fits, the weights do not.
    let Done { code, out, err } = bench.run_after("trap '' XFSZ; ulimit -f 16", "export run --out whole.gguf --json");
    assert_eq!(code, 4, "{out}\n{err}");
    assert!(out.contains("\"kind\":\"machine\"") && err.contains("whole.gguf"), "{out}\n{err}");
    assert!(bench.names(".").iter().all(|n| !n.contains("whole")), "{:?}", bench.names("."));
    let error = bench.fails(&["export", "run", "--out", "no/such/folder.gguf"], 1);
    assert!(error.contains("cannot write no/such/folder.gguf: found no folder no/such"), "{error}");
    // A tokenizer that splits as no GGUF reader does.
    bench.own_model();
    bench.ok(&["train", "--out", "other", "--quiet"]);
    let tokenizer = bench.read("model/tokenizer.json");
    let splits = "\"use_regex\": true";
    assert!(tokenizer.contains(splits), "{tokenizer}");
    bench.write("model/tokenizer.json", &tokenizer.replacen(splits, "\"use_regex\": false", 1));
    let error = bench.fails(&["export", "other"], 1);
    assert!(
        error.contains("which has no name in the GGUF files that we write; expected") && error.contains("tunesmith merge RUN"),
        "{error}"
    );
    assert!(bench.names("other").iter().all(|n| !n.contains("gguf")), "{:?}", bench.names("other"));
}

#[test]
fn a_gpu_that_is_not_there_is_told_before_anything_is_made() {
    let mut recipe = record::Recipe::default();
    recipe.train.device = record::recipe::Device::Cuda;
    if flow::gpu(&recipe).is_ok() {
        return;
    }
    let bench = Bench::new();
    let said = |error: &str, parts: &[&str]| parts.iter().for_each(|part| assert!(error.contains(part), "`{part}` is missing in\n{error}"));
    let error = bench.fails(&["train", "--dry-run", "--set", "train.device=cuda"], 4);
    said(&error, &["hint: see what is found and what is missing: tunesmith doctor", "--set train.device=cpu"]);
    let error = bench.fails(&["train", "--dry-run", "--set", "model.storage=fp8"], 1);
    said(&error, &["found the CPU", "hint: hold the base otherwise: --set model.storage=full"]);

    // A run that was begun on one, and is not finished.
    bench.ok(&["train", "--out", "run", "--quiet"]);
    std::fs::remove_dir_all(bench.path("run/adapter")).unwrap();
    bench.write("run/recipe.toml", &bench.read("run/recipe.toml").replace("device = \"cpu\"", "device = \"cuda\""));
    let error = bench.fails(&["train", "--resume", "run"], 4);
    said(&error, &["tunesmith doctor", "a run goes on where it began; on the CPU it begins anew"]);
    assert!(!error.contains("or stay on the CPU"), "{error}");
}
