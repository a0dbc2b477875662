//! Every method: a run that was killed goes on to the bytes of one that was not.

use crate::bench::{Bench, fixture};
use std::time::{Duration, Instant};

/// Fifty-four steps: six passes over nine examples, three more for validation.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.recipe(&fixture("tiny-chat"), "batch = 1\nepochs = 6\nlr = 2e-3\ncheckpoint_every = 7\nvalidate_every = 5\n");
    bench.write("old.jsonl", &bench.read("eval.jsonl").replace("question", "older"));
    bench.votes();
    bench
}

/// Trains straight, and killed after `kill` steps and resumed with other threads; both must publish the same.
fn killed_is_straight(changes: &[&str], kill: usize) {
    let bench = bench();
    let mut args = vec!["train", "--set", "data.validation_share=0.25"];
    changes.iter().for_each(|change| args.extend(["--set", change]));
    bench.ok(&[&args[..], &["--out", "straight", "--threads", "1", "--quiet"]].concat());
    let mut child = bench.start(&[&args[..], &["--out", "killed", "--threads", "2"]].concat());
    let began = Instant::now();
    while bench.steps("killed").len() < kill {
        assert!(began.elapsed() < Duration::from_secs(60), "{changes:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.names("killed").contains(&"adapter".to_string()), "{changes:?}: killed before its end");
    bench.ok(&["train", "--resume", "killed", "--threads", "1", "--quiet"]);
    assert_eq!(bench.steps("killed"), bench.steps("straight"), "{changes:?}");
    let names = bench.names("straight/adapter");
    assert_eq!(bench.names("killed/adapter"), names);
    let weights = names.iter().find(|name| name.ends_with(".safetensors")).expect("weights");
    let read = |run: &str| std::fs::read(bench.path(run).join("adapter").join(weights)).unwrap();
    assert!(read("killed") == read("straight"), "{changes:?}: the bytes differ");
}

#[test]
fn adapters_of_every_form_go_on_to_the_same_bytes() {
    killed_is_straight(&["adapter.dropout=0.2", "adapter.rank_pattern={ q_proj = 4 }", "adapter.rslora=true"], 20);
    killed_is_straight(&["train.method=dora"], 11);
    killed_is_straight(&["adapter.modules_to_save=[\"lm_head\"]"], 26);
}

#[test]
fn quantised_bases_and_full_training_go_on_to_the_same_bytes() {
    killed_is_straight(&["model.storage=nf4"], 15);
    killed_is_straight(&["model.storage=int8"], 22);
    killed_is_straight(&["train.method=full", "train.lr=5e-5"], 18);
}

#[test]
fn preferences_replay_and_patience_go_on_to_the_same_bytes() {
    killed_is_straight(&["train.objective=dpo", "data.train=votes.jsonl", "train.lr=5e-5"], 13);
    killed_is_straight(&["data.replay=old.jsonl", "data.replay_weight=0.3", "train.on_spike=rewind", "train.spike=3"], 24);
    killed_is_straight(&["train.patience=2", "train.lr=2e-2", "train.precision=bf16"], 9);
}
