//! The Weights & Biases file, read back by a reader of its own.

use std::path::{Path, PathBuf};

use record::Event;
use serde_json::{Map, Value, json};
use track::{Ended, Login};

use crate::bench::{Bench, checkpoint, end, started, step};
use crate::wires::{crc, inner, take, text, whole};

const IEEE: u32 = 0xedb8_8320;

/// The records of a file: every sum is checked, and every rule of the framing.
fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
    assert_eq!(&bytes[..7], b":W&B\xe1\xbe\0");
    let (mut records, mut open): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
    let mut rest = &bytes[7..];
    while !rest.is_empty() {
        let room = 32_768 - (bytes.len() - rest.len()) % 32_768;
        if room < 7 {
            assert!(take(&mut rest, room).iter().all(|byte| *byte == 0));
            continue;
        }
        let frame = take(&mut rest, 7);
        let length = usize::from(u16::from_le_bytes([frame[4], frame[5]]));
        assert!(7 + length <= room, "a piece lies in one block");
        let piece = take(&mut rest, length);
        let sum = u32::from_le_bytes(frame[..4].try_into().unwrap());
        assert_eq!(sum, crc(IEEE, &[&frame[6..], piece].concat()));
        match (frame[6], open.take()) {
            (1, None) => records.push(piece.to_vec()),
            (2, None) => open = Some(piece.to_vec()),
            (3, Some(begun)) => open = Some([begun, piece.to_vec()].concat()),
            (4, Some(begun)) => records.push([begun, piece.to_vec()].concat()),
            (kind, begun) => panic!("a piece of type {kind} after {begun:?}"),
        }
    }
    assert_eq!(open, None);
    records
}

struct Read {
    config: Map<String, Value>,
    project: String,
    rows: Vec<Map<String, Value>>,
    summary: Map<String, Value>,
    exit: Option<u64>,
}

fn items(message: &[u8], field: u64, key: u64) -> Map<String, Value> {
    inner(message, field).iter().map(|item| (text(item, key), serde_json::from_str(&text(item, 16)).unwrap())).collect()
}

fn read(bench: &Bench) -> Read {
    read_file(&bench.file(".wandb"))
}

fn read_file(path: &Path) -> Read {
    let mut read = Read { config: Map::new(), project: String::new(), rows: vec![], summary: Map::new(), exit: None };
    for (at, record) in records(&std::fs::read(path).unwrap()).iter().enumerate() {
        assert_eq!(whole(record, 1), at as u64 + 1, "records are counted");
        let part = |field: u64| inner(record, field).pop();
        if at == 0 {
            let version = inner(&part(21).expect("the header comes first"), 1).pop().unwrap();
            assert_eq!(text(&version, 2), "0.70.0");
        }
        if let Some(run) = part(17) {
            assert!(path.to_string_lossy().ends_with(&format!("-{0}/run-{0}.wandb", text(&run, 1))), "{path:?}");
            read.project = text(&run, 3);
            read.config = items(&inner(&run, 4)[0], 1, 1);
        }
        if let Some(history) = part(2) {
            let row = items(&history, 1, 2);
            assert_eq!(row["_step"], whole(&inner(&history, 2)[0], 1));
            read.rows.push(row);
        }
        if let Some(summary) = part(3) {
            read.summary = items(&summary, 1, 1);
        }
        if let Some(exit) = part(18) {
            read.exit = Some(whole(&exit, 1));
        }
    }
    read
}

fn losses(rows: &[Map<String, Value>]) -> Vec<(u64, f64)> {
    rows.iter().map(|row| (row["_step"].as_u64().unwrap(), row["train/loss"].as_f64().unwrap())).collect()
}

fn bench() -> Bench {
    Bench::new(&["track.wandb=Tickets"])
}

fn send(bench: &Bench) {
    let told = track::send(&bench.run, &bench.options(Login::Nobody)).unwrap().pop().unwrap();
    assert!(told.complete && told.faults.is_empty(), "{told:?}");
}

#[test]
fn the_file_holds_config_curves_summary_and_exit() {
    let bench = bench();
    bench.finished(500);
    send(&bench);
    let file = bench.file(".wandb");
    assert!(std::fs::metadata(&file).unwrap().len() > 3 * 32_768, "several blocks");
    let read = read(&bench);
    assert_eq!(losses(&read.rows), bench.losses());
    assert_eq!((read.project.as_str(), read.exit), ("Tickets", Some(0)));
    assert_eq!(read.config["train"]["lr"], json!(2e-4));
    assert_eq!((&read.config["train"]["betas"], &read.config["model"]["base"]), (&json!([0.9, 0.999]), &json!("smollm2-135m-instruct")));
    assert_eq!((&read.config["run"]["base"], &read.config["run"]["examples"]), (&json!("tiny"), &json!(12)));
    assert_eq!(read.rows[9]["checkpoint.path"], "checkpoints/step-000010");
    assert_eq!(read.rows[0]["_timestamp"], json!(1_700_000_000.01));
    assert_eq!((&read.summary["finished/loss_last"], &read.summary["_step"]), (&json!(1.0), &json!(500)));
    assert!(file.parent().unwrap().join("files").is_dir() && file.parent().unwrap().join("logs").is_dir());

    // A mark of `wandb sync` stays while the file is the same.
    let mark = file.with_extension("wandb.synced");
    std::fs::write(&mark, "").unwrap();
    track::send(&bench.run, &bench.options(Login::Nobody)).unwrap();
    assert!(mark.exists());
}

#[test]
fn a_resumed_run_goes_on_in_the_same_file() {
    let bench = bench();
    let live = track::start(&bench.run, &bench.options(Login::Nobody)).unwrap();
    let mut log = bench.log();
    log.append(&started(30)).unwrap();
    (1..=10).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    log.append(&checkpoint(10)).unwrap();
    let noted = log.bytes();
    (11..=14).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    live.stop(Ended::Stopped).unwrap();
    let first = bench.file(".wandb");
    assert_eq!((losses(&read(&bench).rows), read(&bench).exit), (bench.losses(), Some(255)));
    let live = track::start(&bench.run, &bench.options(Login::Nobody)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    log.truncate_to(noted).unwrap();
    log.append(&Event::Resumed { step: 10 }).unwrap();
    (11..=30).for_each(|number| log.append(&step(number, 3.0)).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(50));
    log.append(&end(30)).unwrap();
    live.stop(Ended::Finished).unwrap();
    assert_eq!(bench.file(".wandb"), first);
    let read = read(&bench);
    assert_eq!((losses(&read.rows), read.exit), (bench.losses(), Some(0)));
}

/// The files of the run, in the order in which `wandb sync` takes them.
fn files(bench: &Bench) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(bench.run.track().join("wandb")).unwrap();
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let file = |folder: &PathBuf| folder.join(format!("run-{}.wandb", folder.to_str().unwrap().rsplit('-').next().unwrap()));
    folders.iter().map(file).collect()
}

/// What `wandb sync` leaves after it has sent a file up to this step.
fn mark(file: &Path, step: u64) {
    std::fs::write(file.with_extension("wandb.synced"), "").unwrap();
    std::fs::write(file.with_file_name("files").join("wandb-summary.json"), format!("{{\"_step\": {step}}}")).unwrap();
}

#[test]
fn what_was_synced_is_not_in_a_later_file() {
    let bench = bench();
    let mut log = bench.log();
    log.append(&started(30)).unwrap();
    (1..=12).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    send(&bench);
    let first = files(&bench)[0].clone();
    mark(&first, 12);
    let bytes = std::fs::read(&first).unwrap();
    // Nothing new: nothing is written.
    send(&bench);
    assert_eq!((files(&bench), std::fs::read(&first).unwrap()), (vec![first.clone()], bytes.clone()));

    let live = track::start(&bench.run, &bench.options(Login::Nobody)).unwrap();
    (13..=20).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    log.append(&Event::Interrupted { step: 20 }).unwrap();
    live.stop(Ended::Stopped).unwrap();
    // Synced once more, and brought to its end by the command alone.
    mark(&files(&bench)[1], 20);
    (21..=30).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    log.append(&end(30)).unwrap();
    send(&bench);
    let files = files(&bench);
    assert_eq!((files.len(), std::fs::read(&first).unwrap()), (3, bytes));
    let parts: Vec<Read> = files.iter().map(|file| read_file(file)).collect();
    assert_eq!(parts.iter().map(|part| part.rows.len()).collect::<Vec<_>>(), [12, 8, 10]);
    assert_eq!(parts.iter().flat_map(|part| losses(&part.rows)).collect::<Vec<_>>(), bench.losses());
    assert_eq!(parts.iter().map(|part| part.exit).collect::<Vec<_>>(), [Some(1), Some(255), Some(0)]);
    assert!(files.iter().all(|file| file.file_name() == first.file_name()), "one run at the server: {files:?}");
    assert_eq!(parts[2].summary["_step"], 30);
}

#[test]
fn a_killed_run_is_closed_by_the_command() {
    let bench = bench();
    let mut log = bench.log();
    log.append(&started(30)).unwrap();
    (1..=7).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    send(&bench);
    // What a killed process leaves: half a record, and a draft.
    let file = bench.file(".wandb");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
    std::fs::write(file.with_file_name(".tmp-new"), "half").unwrap();
    send(&bench);
    let read = read(&bench);
    assert_eq!((losses(&read.rows), read.exit), (bench.losses(), Some(1)));
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}
