//! A run folder whose record is written by the test.

use std::path::PathBuf;
use std::time::Duration;

use record::{Event, Log, Recipe, RunFolder};
use tempfile::TempDir;
use track::{Login, Options, Pace};

/// The numbers that a step logs.
const FIELDS: usize = 8;
/// And the rate that follows from them.
pub const CURVES: usize = FIELDS + 1;
pub const START: u64 = 1_700_000_000;

pub struct Bench {
    pub run: RunFolder,
    pub recipe: Recipe,
    _folder: TempDir,
}

impl Bench {
    /// A run `tickets-1` with these settings.
    pub fn new(changes: &[&str]) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let mut recipe = Recipe::default();
        changes.iter().for_each(|change| recipe.set(change).unwrap());
        let run = RunFolder::create(folder.path(), "tickets", &recipe).unwrap();
        Bench { run, recipe, _folder: folder }
    }

    /// Short times, so that a test ends soon.
    pub fn options(&self, login: Login) -> Options {
        let ms = Duration::from_millis;
        let pace = Pace { tick: ms(5), answer: ms(2000), pause: ms(10), longest: ms(50), grace: ms(5000) };
        Options { pace, ..Options::of(&self.recipe, Some("ann".into()), login) }
    }

    pub fn log(&self) -> Log {
        Log::open(&self.run.events()).unwrap()
    }

    /// A whole record: these steps, a checkpoint after each tenth, and the adapter.
    pub fn finished(&self, steps: u64) {
        let mut log = self.log();
        log.append(&started(steps)).unwrap();
        for number in 1..=steps {
            log.append(&step(number, 10.0)).unwrap();
            if number.is_multiple_of(10) {
                log.append(&checkpoint(number)).unwrap();
            }
        }
        log.append(&end(steps)).unwrap();
        self.adapter("weights");
    }

    pub fn adapter(&self, text: &str) {
        std::fs::create_dir_all(self.run.adapter()).unwrap();
        std::fs::write(self.run.adapter().join("adapter_model.safetensors"), text).unwrap();
        std::fs::write(self.run.adapter().join("adapter_config.json"), "{}").unwrap();
    }

    /// What the record says: the loss of each step, in order.
    pub fn losses(&self) -> Vec<(u64, f64)> {
        let events = record::event::read(&self.run.events()).unwrap().events;
        events.iter().filter_map(|e| if let Event::Step { step, loss, .. } = e { Some((*step, *loss)) } else { None }).collect()
    }

    /// The only file below `track/` whose name ends so.
    pub fn file(&self, ending: &str) -> PathBuf {
        let mut found: Vec<PathBuf> = Vec::new();
        let mut folders = vec![self.run.track()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                assert!(!name.starts_with(".tmp"), "{name} was left");
                if path.is_dir() {
                    folders.push(path);
                } else if name.contains(ending) {
                    found.push(path);
                }
            }
        }
        assert_eq!(found.len(), 1, "{ending}: {found:?}");
        found.pop().unwrap()
    }
}

pub fn started(steps: u64) -> Event {
    Event::Started {
        time: START,
        program: "1.2.3".into(),
        base: "tiny".into(),
        fingerprint: "f1".into(),
        pack: "p1".into(),
        examples: 12,
        steps,
        parameters: 99,
        threads: 2,
        device: "cpu".into(),
    }
}

/// A step whose numbers follow from its count, but for the time that it took.
pub fn step(step: u64, step_ms: f64) -> Event {
    let x = step as f64;
    Event::Step {
        step,
        epoch: x / 7.0,
        loss: 3.0 / (1.0 + x / 10.0) + (x * 0.7).sin() / 50.0,
        lr: 1e-3 / (1.0 + x),
        grad_norm: 0.1 + x / 3.0,
        supervised_tokens: 90 + step,
        computed_tokens: 400,
        unshared_tokens: 900,
        step_ms,
        light: None,
    }
}

pub fn checkpoint(step: u64) -> Event {
    Event::Checkpoint { step, path: format!("checkpoints/step-{step:06}") }
}

pub fn end(steps: u64) -> Event {
    Event::Finished { steps, loss_first: 3.0, loss_last: 1.0, seconds: 9.0 }
}
