//! Runs side by side and the range test of the learning rate, on a model of 100 KB.

use crate::bench::{Bench, fixture};
use serde_json::Value;
use std::time::{Duration, Instant};

fn bench(epochs: u32) -> Bench {
    let bench = Bench::new();
    bench.recipe(&fixture("tiny-chat"), &format!("batch = 4\nepochs = {epochs}\nlr = 1e-2\n"));
    bench
}

fn order(json: &Value) -> Vec<String> {
    json["trials"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().to_string()).collect()
}

#[test]
fn a_grid_is_run_ranked_and_compared() {
    let bench = bench(1);
    let args = ["sweep", "--rank", "4,8", "--lr", "1e-4,1e-2", "--set", "data.validation_share=0.25", "--threads", "1"];
    let text = bench.ok(&[&args[..], &["--dry-run"]].concat());
    assert!(text.contains("4 runs, each to its end: at most 12 steps") && text.contains("r8-lr1e-2-e1"), "{text}");
    assert!(!bench.names(".").contains(&"runs".to_string()));
    let json = bench.json(&args);
    assert_eq!(json["finished"], true);
    let sweep = json["sweep"].as_str().unwrap();
    assert!(sweep.starts_with("runs/") && sweep.ends_with("-sweep-1"), "{sweep}");
    let losses: Vec<f64> = json["trials"].as_array().unwrap().iter().map(|t| t["validation"].as_f64().unwrap()).collect();
    assert!(losses.len() == 4 && losses.is_sorted(), "{json}");
    assert!(order(&json)[0].contains("lr1e-2"), "three steps at 1e-4 learn little: {json}");
    let page = bench.read(&format!("{sweep}/sweep.html"));
    assert!(page.contains("Grid of 4 runs") && page.contains("adapter.rank") && page.matches("<polyline").count() == 8);
    // A run that was measured shows its interval.
    bench.ok(&["eval", &format!("{sweep}/{}", order(&json)[0]), "--quiet"]);
    let text = bench.ok(&["sweep", "--resume", sweep]);
    assert!(text.contains("Runs by their lowest validation loss"), "{text}");
    assert!(bench.read(&format!("{sweep}/sweep.html")).contains("exact answers (95 % interval)"));
}

#[test]
fn halving_leaves_the_worse_behind_and_goes_on_after_a_kill() {
    let bench = bench(8);
    let args = |out: &'static str| {
        let fixed = ["sweep", "--lr", "1e-5,1e-4,1e-3,1e-2", "--budget", "64", "--set", "data.validation_share=0.25", "--threads", "1"];
        [&fixed[..], &["--out", out]].concat()
    };
    let straight = bench.json(&args("straight"));
    // Four runs of 24 steps within 64: two rounds and a half of them each (4*6 + 2*6 + 1*12 = 48).
    let steps: Vec<u64> = straight["trials"].as_array().unwrap().iter().map(|t| t["steps"].as_u64().unwrap()).collect();
    assert_eq!((steps.iter().sum::<u64>(), steps.iter().max()), (48, Some(&24)), "{straight}");
    assert_eq!(order(&straight)[0], "r16-lr1e-2-e8");

    let mut child = bench.start(&args("killed"));
    let began = Instant::now();
    while bench.steps("killed/r16-lr1e-3-e8").len() < 3 {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let resumed = bench.json(&["sweep", "--resume", "killed"]);
    assert_eq!(resumed["trials"], straight["trials"]);
    let best = order(&straight)[0].clone();
    assert_eq!(bench.adapter(&format!("killed/{best}")), bench.adapter(&format!("straight/{best}")));
}

#[test]
fn what_cannot_be_swept_is_refused() {
    let bench = bench(1);
    assert!(bench.fails(&["sweep"], 2).contains("has nothing to compare: found 1 run"));
    assert!(bench.fails(&["sweep", "--lr", "1e-4,1e-3", "--budget", "1"], 2).contains("does not fit its budget: found 1 steps"));
    assert!(bench.fails(&["sweep", "--rank", "0,8"], 1).contains("`adapter.rank` is 0"));
    assert!(bench.fails(&["sweep", "--resume", "nowhere"], 1).contains("nowhere is not a sweep"));
    assert!(bench.fails(&["sweep", "--lr", "fast"], 2).contains("invalid value 'fast'"));
}

#[test]
fn the_range_test_suggests_a_rate_and_keeps_nothing_but_its_page() {
    let bench = bench(1);
    let before = bench.names(".");
    let json = bench.json(&["lr", "--steps", "60", "--threads", "1"]);
    assert!(json["points"].as_array().unwrap().len() > 20, "{json}");
    let lr = json["suggestion"].as_f64().unwrap_or_else(|| panic!("a model that can learn: {json}"));
    assert!((1e-5..=0.2).contains(&lr), "{lr}");
    assert_eq!(json["set"], format!("train.lr={lr:e}"));
    assert!(bench.read("learning-rate.html").contains("Learning-rate range test"));
    let mut after = bench.names(".");
    after.retain(|name| name != "learning-rate.html");
    assert_eq!(after, before);
    let text = bench.ok(&["lr", "--steps", "60", "--threads", "1"]);
    assert!(text.contains("Begin with a rate of ") && text.contains(&format!("--set train.lr={lr:e}")), "{text}");
}

#[test]
fn an_older_adapter_is_trained_on_and_one_of_another_base_refused() {
    let bench = bench(1);
    bench.ok(&["train", "--out", "first", "--quiet"]);
    let text = bench.ok(&["train", "--out", "second", "--set", "adapter.from=first"]);
    assert!(text.contains("Trained 3 steps"), "{text}");
    assert_ne!(bench.adapter("first"), bench.adapter("second"));
    // What it began with is kept in the run: the loss begins where the first run ended.
    assert_eq!(std::fs::read(bench.path("second/start/adapter_model.safetensors")).unwrap(), bench.adapter("first"));
    let losses = |run: &str| -> Vec<f64> {
        let text = bench.read(&format!("{run}/events.jsonl"));
        text.lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap())
            .filter(|e| e["event"] == "step")
            .map(|e| e["loss"].as_f64().unwrap())
            .collect()
    };
    assert!(losses("second")[0] < losses("first")[0]);
    // The published adapter carries the fingerprint with it.
    assert_eq!(bench.read("first/adapter/base.json"), bench.read("first/base.json"));

    // Another training of the same architecture.
    let own = bench.own_model();
    let path = own.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&0.25f32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = bench.fails(&["train", "--set", "adapter.from=first"], 1);
    assert!(error.contains("made for another base") && error.contains("other weights") && error.contains("--set model.base="), "{error}");
    // A run that goes on finds its base changed.
    std::fs::remove_dir_all(bench.path("second/adapter")).unwrap();
    let recipe = bench.read("second/recipe.toml").replace(&fixture("tiny-chat").display().to_string(), &own.display().to_string());
    bench.write("second/recipe.toml", &recipe);
    let error = bench.fails(&["train", "--resume", "second"], 1);
    assert!(error.contains("second: made for another base"), "{error}");
    assert!(bench.fails(&["train", "--set", "adapter.from=nowhere"], 1).contains("found no adapter_config.json"));
    // An adapter of another tool carries no fingerprint: told, and compared by its shapes.
    std::fs::remove_file(bench.path("first/adapter/base.json")).unwrap();
    std::fs::remove_file(bench.path("first/base.json")).unwrap();
    let done = bench.run(&["train", "--out", "third", "--set", "adapter.from=first/adapter"]);
    assert!(done.code == 0 && done.err.contains("does not say which base"), "{}", done.err);
}
