//! Stopped and killed runs go on to the same bytes.

use crate::bench::{Bench, fixture};
use std::time::{Duration, Instant};

/// Steps of the long run: enough to be met in the middle of it.
const STEPS: u64 = 360;

fn long() -> Bench {
    let bench = Bench::new();
    bench.recipe(&fixture("tiny-chat"), "batch = 1\nepochs = 30\nlr = 1e-3\ncheckpoint_every = 5\n");
    bench
}

/// Waits until the run has logged so many steps.
fn wait_for(bench: &Bench, run: &str, steps: u64) {
    let began = Instant::now();
    while (bench.steps(run).len() as u64) < steps {
        assert!(began.elapsed() < Duration::from_secs(40), "only {:?}", bench.steps(run));
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn all() -> Vec<u64> {
    (1..=STEPS).collect()
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let bench = long();
    bench.ok(&["train", "--out", "straight", "--threads", "1", "--quiet"]);
    assert_eq!(bench.steps("straight"), all());

    let mut child = bench.start(&["train", "--out", "killed", "--threads", "2"]);
    wait_for(&bench, "killed", 40);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = bench.start(&["train", "--resume", "killed", "--threads", "1"]);
    wait_for(&bench, "killed", 120);
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = bench.steps("killed").len();
    assert!(killed < STEPS as usize, "it must be killed before its end");
    assert!(bench.fails(&["eval", "killed"], 1).contains("its training has not finished"));

    let text = bench.ok(&["train", "--resume", "killed"]);
    assert!(text.contains("Going on after step ") && text.contains("Trained 360 steps"), "{text}");
    assert_eq!(bench.steps("killed"), all(), "no step is missing and none is logged twice");
    assert_eq!(bench.adapter("killed"), bench.adapter("straight"));
}

#[cfg(unix)]
#[test]
fn a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on() {
    let bench = long();
    for signal in ["-INT", "-TERM"] {
        let run = format!("stopped{signal}");
        let child = bench.start(&["train", "--out", &run]);
        wait_for(&bench, &run, 10);
        std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        let done = bench.steps(&run).len();
        assert!(text.contains(&format!("Stopped after step {done} as asked")), "{text}");
        assert!(text.contains(&format!("tunesmith train --resume {run}")), "{text}");
        let mut newest = bench.names(&format!("{run}/checkpoints"));
        assert!(newest.pop().unwrap().ends_with(&format!("{done}")), "the last step is saved");
    }
}

#[test]
fn two_writers_of_one_run_are_refused() {
    let bench = long();
    let mut child = bench.start(&["train", "--out", "run"]);
    wait_for(&bench, "run", 10);
    let error = bench.fails(&["train", "--resume", "run"], 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(error.contains("is being written by process") && error.contains("kill -INT "), "{error}");
}
