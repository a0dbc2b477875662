//! MLflow: every point once, whatever happens to the server or to us.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use record::Event;
use track::{Ended, Error, Login, Told};

use crate::bench::{Bench, CURVES, START, checkpoint, end, started, step};
use crate::fake::{Fake, Fault};

fn bench(fake: &Fake) -> Bench {
    Bench::new(&[&format!("track.mlflow={}", fake.uri())])
}

/// Every step of every curve came once, with the record's numbers.
fn assert_once(fake: &Fake, bench: &Bench) {
    let run = fake.run();
    let mut counts: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    run.metrics.iter().for_each(|(key, _, _, step)| *counts.entry((key, *step)).or_default() += 1);
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let losses: Vec<(u64, f64)> =
        run.metrics.iter().filter(|(key, ..)| key == "train/loss").map(|(_, value, _, step)| (*step, *value)).collect();
    assert_eq!(losses, bench.losses());
    let training = run.metrics.iter().filter(|(key, ..)| key.starts_with("train/")).count();
    assert_eq!(training, losses.len() * CURVES);
}

fn send(bench: &Bench) -> Told {
    track::send(&bench.run, &bench.options(Login::Nobody)).unwrap().pop().unwrap()
}

fn whole(told: &Told) {
    assert!(told.complete && told.faults.is_empty(), "{told:?}");
}

#[test]
fn a_run_is_told_whole() {
    let fake = Fake::start();
    let bench = bench(&fake);
    bench.finished(25);
    let told = send(&bench);
    whole(&told);
    assert_eq!(told.points, 25 * CURVES as u64 + 4);
    assert_once(&fake, &bench);
    let run = fake.run();
    assert_eq!((run.name.as_str(), run.status.as_str(), run.experiment.as_str()), ("tickets-1", "FINISHED", "0"));
    assert_eq!(fake.state().experiments, ["tickets"]);
    assert_eq!(run.end, Some(START * 1000 + 250));
    let tag = |key: &str| run.tags.get(key).map(String::as_str);
    assert_eq!((tag("mlflow.user"), tag("mlflow.source.name")), (Some("ann"), Some("tunesmith train")));
    assert_eq!((tag("tunesmith.base"), tag("tunesmith.fingerprint")), (Some("tiny"), Some("f1")));
    assert_eq!(tag("tunesmith.checkpoint.path"), Some("checkpoints/step-000020"));
    let settings = bench.recipe.explain();
    assert_eq!(run.parameters.len(), settings.len());
    assert_eq!((run.parameters["train.lr"].as_str(), run.parameters["train.schedule"].as_str()), ("0.0002", "cosine"));
    let (key, value, time, number) = run.metrics.iter().find(|(key, ..)| key == "train/supervised_tokens_per_second").unwrap();
    assert_eq!((key.as_str(), *value, *time, *number), ("train/supervised_tokens_per_second", 9100.0, START * 1000 + 10, 1));
    assert!(run.metrics.contains(&("finished/loss_last".into(), 1.0, START * 1000 + 250, 25)));
    let files: Vec<String> = fake.state().artifacts.keys().cloned().collect();
    let place = "0/run0/artifacts";
    assert_eq!(
        files,
        ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "recipe.toml"].map(|name| format!("{place}/{name}"))
    );
    assert_eq!(fake.state().artifacts[&files[2]], std::fs::read(bench.run.recipe()).unwrap());
    assert!(told.place.ends_with("/#/experiments/0/runs/run0"), "{}", told.place);
}

#[test]
fn what_was_sent_is_not_sent_again() {
    let fake = Fake::start();
    let bench = bench(&fake);
    bench.finished(25);
    whole(&send(&bench));
    fake.state().calls.clear();
    let told = send(&bench);
    whole(&told);
    assert_eq!(told.points, 0);
    // One look at what the server has, and the tags, which can be set twice.
    assert!(fake.state().calls.len() <= 2, "{:?}", fake.state().calls);
    // A report that was made since is the only file that goes.
    std::fs::write(bench.run.report(), "<html>").unwrap();
    fake.state().calls.clear();
    whole(&send(&bench));
    let put: Vec<String> = fake.state().calls.iter().filter(|call| call.starts_with("PUT")).cloned().collect();
    assert_eq!(put, ["PUT /api/2.0/mlflow-artifacts/artifacts/0/run0/artifacts/report.html"]);
    assert_once(&fake, &bench);
}

#[test]
fn a_long_record_goes_in_batches() {
    let fake = Fake::start();
    let bench = bench(&fake);
    bench.finished(3000);
    whole(&send(&bench));
    assert_once(&fake, &bench);
    assert_eq!(fake.state().largest_batch, 1000);
}

/// Waits until the server has so many points.
fn wait_for(fake: &Fake, points: usize) {
    let began = Instant::now();
    while fake.state().runs.first().map_or(0, |run| run.metrics.len()) < points {
        assert!(began.elapsed() < Duration::from_secs(20), "the points do not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What is told up to some ticks after the first line.
fn lines(live: &track::Live) -> Vec<String> {
    let began = Instant::now();
    let mut lines = Vec::new();
    while lines.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing is told");
        std::thread::sleep(Duration::from_millis(2));
        lines.extend(live.lines());
    }
    std::thread::sleep(Duration::from_millis(150));
    lines.extend(live.lines());
    lines
}

#[test]
fn a_server_that_dies_in_the_middle_costs_nothing() {
    let fake = Fake::start();
    let bench = bench(&fake);
    // Answers are lost from the first call on.
    fake.fault("experiments/create", Fault::LoseAnswer);
    fake.fault("runs/create", Fault::LoseAnswer);
    fake.fault("log-batch", Fault::LoseAnswer);
    let live = track::start(&bench.run, &bench.options(Login::Nobody)).unwrap();
    let mut log = bench.log();
    log.append(&started(200)).unwrap();
    let mut lines = Vec::new();
    for number in 1..=200 {
        let began = Instant::now();
        log.append(&step(number, 2.0)).unwrap();
        lines.extend(live.lines());
        assert!(began.elapsed() < Duration::from_secs(1), "no step waits for a server");
        match number {
            40 => wait_for(&fake, 100),
            50 => fake.state().down = true,
            120 => fake.state().down = false,
            121 => wait_for(&fake, 110 * CURVES),
            130 => fake.fault("log-batch", Fault::HalfBatch),
            131 => wait_for(&fake, 131 * CURVES),
            140 => fake.fault("log-batch", Fault::LoseAnswer),
            150 => fake.fault("log-batch", Fault::Status(503, "busy".into())),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    log.append(&end(200)).unwrap();
    bench.adapter("weights");
    fake.fault("adapter_model", Fault::LoseAnswer);
    fake.fault("runs/update", Fault::LoseAnswer);
    let told = live.stop(Ended::Finished).unwrap().pop().unwrap();
    whole(&told);
    assert_once(&fake, &bench);
    assert_eq!(fake.run().status, "FINISHED");
    assert!(fake.state().faults.is_empty(), "every fault happened: {:?}", fake.state().faults);
    assert!(lines.iter().any(|line| line.starts_with("MLflow is told later: cannot reach")), "{lines:?}");
    assert!(lines.iter().any(|line| line == "MLflow is back and is told what it missed"), "{lines:?}");
}

#[test]
fn a_slow_server_does_not_hold_up_the_end_of_a_run() {
    let fake = Fake::start();
    let bench = bench(&fake);
    bench.finished(3000);
    fake.state().delay = Duration::from_millis(200);
    let mut options = bench.options(Login::Nobody);
    options.pace.grace = Duration::from_millis(200);
    let live = track::start(&bench.run, &options).unwrap();
    wait_for(&fake, 1000);
    let began = Instant::now();
    let told = live.stop(Ended::Finished).unwrap().pop().unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}, and 27 batches of 200 ms are left", began.elapsed());
    assert!(!told.complete && matches!(told.faults[..], [Error::Away { .. }]), "{told:?}");
    fake.state().delay = Duration::ZERO;
    whole(&send(&bench));
    assert_once(&fake, &bench);
}

#[test]
fn a_server_that_is_away_for_the_whole_run_is_told_later() {
    let fake = Fake::start();
    let bench = bench(&fake);
    fake.state().down = true;
    let mut options = bench.options(Login::Nobody);
    options.pace.grace = Duration::from_millis(300);
    let live = track::start(&bench.run, &options).unwrap();
    bench.finished(30);
    assert_eq!(lines(&live).len(), 1, "it is told once");
    let began = Instant::now();
    let told = live.stop(Ended::Finished).unwrap().pop().unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(!told.complete && matches!(told.faults[..], [Error::Away { .. }]), "{told:?}");
    // The command gives up after some attempts, then succeeds when the server is there.
    assert!(matches!(send(&bench).faults[..], [Error::Away { .. }]));
    fake.state().down = false;
    whole(&send(&bench));
    assert_once(&fake, &bench);
    assert_eq!(fake.run().status, "FINISHED");
}

#[test]
fn a_resumed_run_goes_on_in_the_same_run() {
    let fake = Fake::start();
    let bench = bench(&fake);
    let live = track::start(&bench.run, &bench.options(Login::Nobody)).unwrap();
    let mut log = bench.log();
    log.append(&started(60)).unwrap();
    (1..=20).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    log.append(&checkpoint(20)).unwrap();
    let noted = log.bytes();
    (21..=33).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    wait_for(&fake, 33 * CURVES);
    // The process dies: nobody says how it ended, and the last position may be lost.
    drop(live);
    let began = Instant::now();
    while fake.run().status != "FAILED" {
        assert!(began.elapsed() < Duration::from_secs(10), "a run that vanished has failed");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::fs::remove_file(bench.run.track().join("mlflow.json")).unwrap();

    // The next process begins to follow before the log is cut to its checkpoint.
    let live = track::start(&bench.run, &bench.options(Login::Nobody)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    log.truncate_to(noted).unwrap();
    log.append(&Event::Resumed { step: 20 }).unwrap();
    // The bits are the same, the times are not.
    (21..=45).for_each(|number| log.append(&step(number, 3.0)).unwrap());
    log.append(&Event::Interrupted { step: 45 }).unwrap();
    wait_for(&fake, 45 * CURVES);
    assert_eq!(fake.run().status, "RUNNING");
    whole(&live.stop(Ended::Stopped).unwrap().pop().unwrap());
    assert_eq!(fake.run().status, "KILLED");
    assert_once(&fake, &bench);

    let live = track::start(&bench.run, &bench.options(Login::Nobody)).unwrap();
    log.append(&Event::Resumed { step: 45 }).unwrap();
    (46..=60).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    log.append(&end(60)).unwrap();
    whole(&live.stop(Ended::Finished).unwrap().pop().unwrap());
    assert_eq!(fake.run().status, "FINISHED");
    assert_once(&fake, &bench);
}

#[test]
fn a_run_that_was_killed_or_stopped_is_closed_by_the_command() {
    for (last, status) in [(step(5, 1.0), "FAILED"), (Event::Interrupted { step: 5 }, "KILLED")] {
        let fake = Fake::start();
        let bench = bench(&fake);
        let mut log = bench.log();
        log.append(&started(9)).unwrap();
        (1..5).for_each(|number| log.append(&step(number, 1.0)).unwrap());
        log.append(&last).unwrap();
        {
            // While it is written it is not over.
            let _writer = bench.run.lock().unwrap();
            whole(&send(&bench));
            assert_eq!(fake.run().status, "RUNNING");
        }
        whole(&send(&bench));
        assert_eq!(fake.run().status, status);
        assert_once(&fake, &bench);
    }
}

#[test]
fn two_senders_of_one_run_are_refused() {
    let fake = Fake::start();
    let bench = bench(&fake);
    bench.finished(3);
    let live = track::start(&bench.run, &bench.options(Login::Nobody)).unwrap();
    wait_for(&fake, 3 * CURVES);
    let error = track::send(&bench.run, &bench.options(Login::Nobody)).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    live.stop(Ended::Finished).unwrap();
    whole(&send(&bench));
    assert_once(&fake, &bench);
}

#[test]
fn who_sends_is_shown_and_a_refusal_is_told_once() {
    let fake = Fake::start();
    fake.state().authorization = Some("Basic YW5uOnBhc3M6d29yZA==".into());
    let bench = bench(&fake);
    bench.finished(5);
    let login = Login::Password { user: "ann".into(), password: "pass:word".into() };
    let live = track::start(&bench.run, &bench.options(Login::Token("other".into()))).unwrap();
    let lines = lines(&live);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("HTTP 401: who are you?; the user, password or token that was sent may not do this"), "{lines:?}");
    assert_eq!(fake.state().calls.len(), 1, "a refusal is not asked for again");
    let told = live.stop(Ended::Finished).unwrap().pop().unwrap();
    assert!(!told.complete && matches!(told.faults[..], [Error::Denied { status: 401, known: true, .. }]), "{told:?}");
    assert!(matches!(send(&bench).faults[..], [Error::Denied { known: false, .. }]));
    whole(&track::send(&bench.run, &bench.options(login)).unwrap().pop().unwrap());
    fake.state().authorization = Some("Bearer abc".into());
    whole(&track::send(&bench.run, &bench.options(Login::Token("abc".into()))).unwrap().pop().unwrap());
    assert_once(&fake, &bench);
}

#[test]
fn a_part_that_is_refused_does_not_stop_the_curves() {
    let fake = Fake::start();
    let bench = bench(&fake);
    bench.finished(5);
    let refusal = "{\"error_code\": \"INVALID_PARAMETER_VALUE\", \"message\": \"too\\nlong\"}";
    fake.fault("log-batch", Fault::Status(400, refusal.into()));
    fake.state().store = "s3://bucket/".into();
    let told = send(&bench);
    assert!(told.complete, "{told:?}");
    let said: Vec<String> = told.faults.iter().map(ToString::to_string).collect();
    assert!(said[0].ends_with("runs/log-batch refused: HTTP 400 INVALID_PARAMETER_VALUE: too long"), "{said:?}");
    assert!(said[1].contains("`s3://bucket/0/run0/artifacts`, expected `mlflow-artifacts:/"), "{said:?}");
    assert_once(&fake, &bench);
    assert_eq!((fake.run().status.as_str(), fake.state().artifacts.len()), ("FINISHED", 0));
}

#[test]
fn what_is_no_mlflow_server_is_told() {
    let fake = Fake::start();
    let bench = bench(&fake);
    bench.finished(5);
    for (status, found) in [(404, "HTTP 404"), (200, "something else than JSON")] {
        fake.fault("experiments", Fault::Status(status, "<html>".into()));
        let told = send(&bench);
        let error = told.faults[0].to_string();
        assert!(!told.complete && error.contains(&format!("answered {found}, expected an MLflow server's JSON")), "{error}");
    }
    // A run that was removed at the server.
    whole(&send(&bench));
    fake.state().runs.clear();
    let error = send(&bench).faults[0].to_string();
    assert!(error.contains("HTTP 404 RESOURCE_DOES_NOT_EXIST"), "{error}");
    // A position that somebody changed.
    std::fs::write(bench.run.track().join("mlflow.json"), "{}").unwrap();
    let error = send(&bench).faults[0].to_string();
    assert!(error.contains("mlflow.json is damaged: missing field"), "{error}");
}

#[test]
fn a_model_is_registered_once_and_a_large_file_gets_a_pointer() {
    let fake = Fake::start();
    let bench =
        Bench::new(&[&format!("track.mlflow={}", fake.uri()), "track.mlflow_model=ticket router", "track.experiment=Tickets & more"]);
    bench.finished(3);
    let large = bench.run.adapter().join("adapter_model.safetensors");
    std::fs::File::create(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    fake.fault("model-versions/create", Fault::LoseAnswer);
    whole(&send(&bench));
    whole(&send(&bench));
    let state = fake.state();
    assert_eq!(state.experiments, ["Tickets & more"]);
    assert_eq!(state.versions, [("ticket router".into(), "run0".into(), "mlflow-artifacts:/0/run0/artifacts/adapter".into())]);
    assert_eq!(state.aliases["ticket router@challenger"], "1");
    let pointer = &state.artifacts["0/run0/artifacts/adapter/adapter_model.safetensors.pointer.json"];
    let pointer: serde_json::Value = serde_json::from_slice(pointer).unwrap();
    assert_eq!(pointer["bytes"], (64 << 20) + 1);
    assert_eq!(pointer["sha256"], record::hash::sha256_file(&large).unwrap().0);
    assert!(!state.artifacts.contains_key("0/run0/artifacts/adapter/adapter_model.safetensors"));
}
