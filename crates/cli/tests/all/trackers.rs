//! Trackers beside a run, from outside: they write their files, and one that is away stops nothing.

use crate::bench::Bench;

/// Nobody listens there.
const NOBODY: &str = "track.mlflow=http://127.0.0.1:9";

#[test]
fn a_tracker_that_is_away_stops_nothing_and_is_told_later() {
    let bench = Bench::new();
    let sets = ["--set", NOBODY, "--set", "track.wandb=p", "--set", "track.tensorboard=true"];
    let plain = bench.run(&["train", "--out", "plain"]);
    let done = bench.run(&[&["train", "--out", "run"][..], &sets].concat());
    assert_eq!((plain.code, done.code), (0, 0), "{}", done.err);
    assert_eq!(bench.adapter("run"), bench.adapter("plain"), "trackers never change the bits");
    assert!(done.err.contains("MLflow does not know all of this run (cannot reach http://127.0.0.1:9/"), "{}", done.err);
    assert!(done.err.contains("send the rest later: tunesmith track run"), "{}", done.err);
    assert!(done.out.contains("TensorBoard: run/track/tensorboard/events.out.tfevents."), "{}", done.out);
    assert!(done.out.contains("Weights & Biases: run/track/wandb/offline-run-"), "{}", done.out);

    let error = bench.fails(&["track", "run"], 4);
    assert!(error.contains("MLflow does not know all of this run: cannot reach http://127.0.0.1:9/"), "{error}");
    let json = bench.json(&["track", "run", "--set", "track.mlflow=none"]);
    let names: Vec<&str> = json["trackers"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["TensorBoard", "Weights & Biases"]);
    assert!(json["trackers"].as_array().unwrap().iter().all(|t| t["complete"] == true && t["points"].as_u64().unwrap() > 0));
}

#[test]
fn without_a_tracker_there_is_nothing_to_send() {
    let bench = Bench::new();
    bench.ok(&["train", "--out", "run", "--quiet"]);
    assert!(!bench.names("run").contains(&"track".to_string()), "nobody asked for a tracker");
    let error = bench.fails(&["track", "run"], 1);
    assert!(error.contains("names no tracker") && error.contains("--set track.tensorboard=true"), "{error}");
    assert!(bench.fails(&["track", "nowhere"], 1).contains("nowhere is not a run"));
    let error = bench.fails(&["track", "run", "--set", "track.mlflow=http://me:secret@host"], 1);
    assert!(error.contains("without user and password"), "{error}");
}
