//! Plans: of GPUs that are not here, and of a recipe on this machine.

use crate::bench::Bench;

#[test]
fn a_plan_needs_no_weights_and_adds_up() {
    let bench = Bench::new();
    let ask = ["plan", "--model", "llama-3.1-70b", "--method", "qlora", "--gpu", "h200", "--tokens", "8192"];
    let json = bench.json(&ask);
    assert_eq!((json["fits"].as_bool(), json["gpus"].as_u64(), json["sharding"]["kind"].as_str()), (Some(true), Some(1), Some("none")));
    let buffers = json["buffers"].as_array().unwrap();
    assert_eq!(buffers.iter().map(|b| b["bytes"].as_u64().unwrap()).sum::<u64>(), json["peak_bytes"].as_u64().unwrap());
    assert!(buffers.iter().all(|b| !b["why"].as_str().unwrap().is_empty() && !b["lives"].as_str().unwrap().is_empty()));
    assert!(json["max_tokens"].as_u64().unwrap() > 8192 && json["peak_bytes"].as_u64() <= json["capacity_bytes"].as_u64());
    let estimate = &json["estimate"];
    assert!(estimate["tokens_per_second"].as_f64() < estimate["bound_tokens_per_second"].as_f64());
    assert!(estimate["basis"].as_str().unwrap().contains("TFLOP/s") && estimate["price_basis"].as_str().unwrap().contains("assumption"));

    let text = bench.ok(&ask);
    for part in
        ["70,553,706,496 parameters", "weights of the blocks", "at the peak; the GPU has 139.80 GiB", "It fits", "Computed twice", "Next:"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(bench.names("."), ["eval.jsonl", "system.txt", "train.jsonl", "tunesmith.toml"]);
}

#[test]
fn what_does_not_fit_is_an_answer_unless_a_gate_is_asked_for() {
    let bench = Bench::new();
    let ask = ["plan", "--model", "llama-3.1-70b", "--method", "qlora", "--gpu", "a100-40"];
    let json = bench.json(&ask);
    assert_eq!((json["fits"].as_bool(), json["max_tokens"].as_u64()), (Some(false), Some(0)));
    let commands: Vec<&str> = json["changes"].as_array().unwrap().iter().map(|c| c["command"].as_str().unwrap()).collect();
    assert_eq!(commands[0], "tunesmith plan --model llama-3.1-70b --method qlora --gpu a100-40 --gpus 2 --tokens 8192");
    // The advice is true.
    let words: Vec<&str> = commands[0].split(' ').skip(1).collect();
    let two = bench.json(&words);
    assert_eq!((two["fits"].as_bool(), two["sharding"]["kind"].as_str()), (Some(true), Some("pipeline")));
    assert!(bench.ok(&ask).contains("It does not fit"));
    let error = bench.fails(&[&ask[..], &["--require-fit"]].concat(), 3);
    assert!(error.contains("needs ") && error.contains("more GPUs: tunesmith plan"), "{error}");
}

#[test]
fn a_model_may_be_a_path_and_a_gpu_a_size() {
    let bench = Bench::new();
    let model = bench.own_model();
    for path in [model.clone(), model.join("config.json")] {
        let json = bench.json(&["plan", "--model", path.to_str().unwrap(), "--gpu", "2GiB", "--tokens", "64", "--rank", "4"]);
        assert_eq!(json["fits"], true, "{json}");
        assert_eq!(json["estimate"]["tokens_per_second"], serde_json::Value::Null);
    }
    let cheap = bench.json(&["plan", "--model", "qwen3-8b", "--gpu", "l4", "--method", "qlora", "--tokens", "1024", "--price", "2"]);
    assert_eq!(cheap["estimate"]["usd_per_hour"], 2.0);
}

#[test]
fn a_plan_that_cannot_be_made_says_what_can() {
    let bench = Bench::new();
    let fails = |args: &[&str], code, part: &str| {
        let error = bench.fails(&[&["plan"], args].concat(), code);
        assert!(error.contains(part), "{error}");
    };
    fails(&["--model", "llama-9", "--gpu", "h200"], 2, "expected one of llama-3.1-8b");
    fails(&["--model", "phi-3-mini", "--gpu", "b300"], 2, "48GiB");
    fails(&["--model", "phi-3-mini", "--gpu", "h200", "--method", "magic"], 2, "qlora");
    fails(&["--model", "phi-3-mini", "--gpu", "h200", "--tokens", "0"], 2, "tokens of a micro-batch");
    fails(&["--model", "phi-3-mini", "--gpu", "h200", "--seq", "8192"], 2, "longest sequence");
    fails(&["--model", "phi-3-mini", "--gpu", "h200", "--price=-1"], 2, "--price");
    fails(&["--model", "mixtral-8x7b", "--gpu", "h200", "--method", "dora"], 1, "DoRA");
    bench.write("config.json", "{\"architectures\": [\"GPT2LMHeadModel\"]}");
    fails(&["--model", "config.json", "--gpu", "h200"], 1, "GPT2LMHeadModel");
}

#[test]
fn a_recipe_is_planned_on_this_machine_and_nothing_is_written() {
    let bench = Bench::new();
    let text = bench.ok(&["train", "--plan", "--set", "adapter.rank=4"]);
    for part in [
        "Memory ",
        "weights of the blocks",
        "Adam's first moment",
        "at the peak; ",
        "tunesmith train tunesmith.toml --set 'adapter.rank=4'",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = bench.json(&["train", "--plan"]);
    let sum: u64 = json["buffers"].as_array().unwrap().iter().map(|b| b["bytes"].as_u64().unwrap()).sum();
    assert_eq!(json["peak_bytes"].as_u64(), Some(sum));
    let wide = bench.json(&["train", "--plan", "--set", "adapter.rank=64"]);
    assert!(wide["peak_bytes"].as_u64() > json["peak_bytes"].as_u64());
    assert_eq!(bench.names("."), ["eval.jsonl", "system.txt", "train.jsonl", "tunesmith.toml"]);
    bench.fails(&["train", "--plan", "--dry-run"], 2);
}

#[test]
fn layers_computed_twice_are_planned_and_change_no_byte_of_the_adapter() {
    let bench = Bench::new();
    let layers = bench.json(&["train", "--plan"])["recompute"]["of"].as_u64().unwrap();
    let plan = |recompute: &str| bench.json(&["train", "--plan", "--set", recompute]);
    let (none, all) = (plan("train.recompute=none"), plan("train.recompute=all"));
    assert_eq!((none["recompute"]["layers"].as_u64(), all["recompute"]["layers"].as_u64()), (Some(0), Some(layers)));
    assert_eq!(none["recompute"]["all_peak_bytes"], all["peak_bytes"]);
    assert!(bench.ok(&["train", "--plan", "--set", "train.recompute=all"]).contains("Computed twice: all "));
    // This machine has room for all of it.
    assert_eq!(plan("train.recompute=auto")["recompute"]["layers"].as_u64(), Some(0));
    let bytes = |name: &str| {
        bench.ok(&["train", "--out", name, "--set", &format!("train.recompute={name}")]);
        std::fs::read(bench.path(name).join("adapter/adapter_model.safetensors")).unwrap()
    };
    let kept = bytes("none");
    assert!(kept == bytes("all") && kept == bytes("auto") && kept == bytes("2"));
    // What the machine decides is not written down: another one may have less memory.
    assert!(bench.read("auto/recipe.toml").contains("recompute = \"auto\""));
    bench.fails(&["train", "--plan", "--set", "train.recompute=some"], 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_says_how_much_memory_it_had() {
    let bench = Bench::new();
    let run = bench.json(&["train", "--out", "run"]);
    assert!(run["peak_bytes"].as_u64().unwrap() > 1 << 20, "{run}");
}
