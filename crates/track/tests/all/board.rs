//! The TensorBoard file, read back by a reader of its own.

use std::path::PathBuf;

use record::Event;
use track::{Ended, Login};

use crate::bench::{Bench, CURVES, checkpoint, end, started, step};
use crate::wires::{Field, crc, inner, message, take, text, whole};

const CASTAGNOLI: u32 = 0x82f6_3b78;

fn masked(bytes: &[u8]) -> [u8; 4] {
    let sum = crc(CASTAGNOLI, bytes);
    sum.rotate_left(17).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// The files of the run, in the order in which readers take them.
fn files(bench: &Bench) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(bench.run.track().join("tensorboard")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The events of all files, with every sum checked.
fn events(bench: &Bench) -> Vec<Vec<u8>> {
    let bytes = files(bench).iter().flat_map(|file| std::fs::read(file).unwrap()).collect::<Vec<u8>>();
    let (mut rest, mut events) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let length = take(&mut rest, 8);
        assert_eq!(take(&mut rest, 4), masked(length));
        let event = take(&mut rest, u64::from_le_bytes(length.try_into().unwrap()) as usize);
        assert_eq!(take(&mut rest, 4), masked(event));
        events.push(event.to_vec());
    }
    events
}

/// Step, tag and number of every point.
fn points(events: &[Vec<u8>]) -> Vec<(u64, String, f32)> {
    let mut points = Vec::new();
    for event in events {
        for value in inner(event, 5).iter().flat_map(|summary| inner(summary, 1)) {
            for (number, field) in message(&value) {
                if let (2, Field::Float(found)) = (number, field) {
                    points.push((whole(event, 2), text(&value, 1), found));
                }
            }
        }
    }
    points
}

fn losses(bench: &Bench) -> Vec<(u64, f32)> {
    let loss = |(step, tag, value): (u64, String, f32)| (tag == "train/loss").then_some((step, value));
    points(&events(bench)).into_iter().filter_map(loss).collect()
}

fn logged(bench: &Bench) -> Vec<(u64, f32)> {
    bench.losses().into_iter().map(|(step, loss)| (step, loss as f32)).collect()
}

fn bench() -> Bench {
    Bench::new(&["track.tensorboard=true"])
}

#[test]
fn the_file_holds_every_point_and_the_recipe() {
    let bench = bench();
    bench.finished(40);
    let told = track::send(&bench.run, &bench.options(Login::Nobody)).unwrap().pop().unwrap();
    assert!(told.complete && told.faults.is_empty(), "{told:?}");
    let events = events(&bench);
    assert_eq!(text(&events[0], 3), "brain.Event:2");
    assert_eq!(whole(&inner(&events[1], 7)[0], 1), 1, "a session starts");
    assert_eq!(points(&events).len(), 40 * CURVES + 4);
    assert_eq!(losses(&bench), logged(&bench));
    let time = message(&events[3]).into_iter().find_map(|(number, field)| (number == 1).then_some(field));
    assert_eq!(time, Some(Field::Double(1_700_000_000.01)));
    let texts: Vec<(String, String)> = events
        .iter()
        .flat_map(|event| inner(event, 5))
        .flat_map(|summary| inner(&summary, 1))
        .filter_map(|value| Some((text(&value, 1), text(inner(&value, 8).first()?, 8))))
        .collect();
    assert!(texts[0].0 == "recipe" && texts[0].1.contains("| train.lr | 0.0002 |"), "{texts:?}");
    assert!(texts.contains(&("checkpoint.path".into(), "checkpoints/step-000040".into())), "{texts:?}");
}

#[test]
fn a_resumed_run_has_each_step_once() {
    let bench = bench();
    let live = track::start(&bench.run, &bench.options(Login::Nobody)).unwrap();
    let mut log = bench.log();
    log.append(&started(30)).unwrap();
    (1..=10).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    log.append(&checkpoint(10)).unwrap();
    let noted = log.bytes();
    (11..=14).for_each(|number| log.append(&step(number, 2.0)).unwrap());
    live.stop(Ended::Failed).unwrap();
    assert_eq!(losses(&bench), logged(&bench));
    let first = files(&bench);
    assert_eq!(first.len(), 1);

    let live = track::start(&bench.run, &bench.options(Login::Nobody)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    log.truncate_to(noted).unwrap();
    log.append(&Event::Resumed { step: 10 }).unwrap();
    (11..=30).for_each(|number| log.append(&step(number, 3.0)).unwrap());
    log.append(&end(30)).unwrap();
    live.stop(Ended::Finished).unwrap();
    assert_eq!(losses(&bench), logged(&bench));
    let second = files(&bench);
    // One new file, or two where a look fell between the cut and the end.
    assert!(second.len() > 1 && second.len() < 4 && second[0] == first[0], "a reader that is running goes on to the new file: {second:?}");
    // The command adds nothing, so it writes nothing.
    let bytes = second.iter().map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>();
    track::send(&bench.run, &bench.options(Login::Nobody)).unwrap();
    assert_eq!((files(&bench), second.iter().map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>()), (second.clone(), bytes));
}
