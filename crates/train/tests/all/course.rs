//! What decides how a run goes on (validation, spikes, replay, preferences) decides the same after any interruption.

use engine::Cx;
use model::adapter::{AdapterConfig, Targets};
use model::batch::{Sequence, Sharing};
use model::decoder::{Limits, Room};
use model::preference;
use model::random::{Stream, bits, order};
use model::{Adapter, MicroBatch, Weights};
use record::pack::{Kind, Replay};
use record::{Event, Example, Meta, Recipe, RunFolder};
use std::path::Path;
use std::sync::atomic::Ordering;
use train::{Abort, About, End, Error, Start};

const ABOUT: About = About { time: 1, program: "test" };

/// A kind of run: its recipe and its data.
struct Case {
    recipe: Recipe,
    meta: Meta,
    train: Vec<Example>,
    validation: Vec<Example>,
}

struct Bench {
    cx: Cx,
    weights: Weights,
    root: tempfile::TempDir,
}

impl Bench {
    fn new(threads: usize) -> Bench {
        let cx = Cx::new(threads).expect("threads");
        let weights = crate::weights(&cx, &crate::fixture("parity-llama").join("model"), false);
        Bench { cx, weights, root: tempfile::tempdir().expect("folder") }
    }

    fn folder(&self, name: &str, case: &Case) -> RunFolder {
        let run = RunFolder::create_at(&self.root.path().join(name), &case.recipe).expect("run");
        if !case.validation.is_empty() {
            record::pack::write(&run.validation_pack(), &Meta { replay: None, ..case.meta.clone() }, &case.validation).expect("pack");
        }
        record::pack::write(&run.pack(), &case.meta, &case.train).expect("pack");
        run
    }

    fn adapter(&self, seed: u64) -> Adapter {
        Adapter::new(&self.weights.dims, AdapterConfig::new(4, 8.0, Targets::AllLinear), seed).expect("adapter")
    }

    fn try_go(&self, case: &Case, run: &RunFolder, start: Start, stop_at: Option<u64>, adapter: Adapter) -> Result<End, Error> {
        let abort = Abort::new(false);
        let mut see = |e: &Event| {
            let step = match e {
                Event::Step { step, .. } | Event::Skipped { step, .. } | Event::Rewound { step, .. } => Some(*step),
                _ => None,
            };
            if step.is_some() {
                abort.store(step == stop_at, Ordering::Relaxed);
            }
        };
        train::run(train::Place::Cpu(&self.cx, &self.weights), adapter, &case.recipe, run, &ABOUT, start, &abort, &mut see)
    }

    fn go(&self, case: &Case, run: &RunFolder, start: Start, stop_at: Option<u64>) -> End {
        self.try_go(case, run, start, stop_at, self.adapter(case.recipe.train.seed)).expect("runs")
    }

    /// Runs a case whole, and once more for each of `stops`, stopped there and resumed by another number of threads; all
    /// must agree in the adapter and in what happened. Returns the whole run.
    fn agree(&self, case: &Case, stops: &[u64]) -> (RunFolder, End) {
        let whole = self.folder("whole", case);
        let end = self.go(case, &whole, Start::Fresh, None);
        assert!(end.finished);
        for stop in stops {
            let other = Bench::new(1 + *stop as usize % 3);
            let run = other.folder("cut", case);
            let part = other.go(case, &run, Start::Fresh, Some(*stop));
            assert!(!part.finished && part.steps == *stop && !run.adapter().exists(), "stopped at {stop}: {part:?}");
            other.go(case, &run, Start::Resume, None);
            assert_eq!(published(&run), published(&whole), "stopped at {stop}");
            assert_eq!(happened(&run), happened(&whole), "stopped at {stop}");
        }
        (whole, end)
    }
}

fn published(run: &RunFolder) -> Vec<u8> {
    std::fs::read(run.adapter().join("adapter_model.safetensors")).expect("adapter")
}

fn events(run: &RunFolder) -> Vec<Event> {
    record::event::read(&run.events()).expect("events").events
}

/// Everything that happened, without durations, checkpoints and interruptions.
fn happened(run: &RunFolder) -> Vec<Event> {
    let timeless = |mut event: Event| {
        match &mut event {
            Event::Step { step_ms, .. } => *step_ms = 0.0,
            Event::Validation { validation_ms, .. } => *validation_ms = 0.0,
            Event::Finished { seconds, .. } => *seconds = 0.0,
            Event::Started { threads, .. } => *threads = 0,
            Event::Checkpoint { .. } | Event::Interrupted { .. } | Event::Resumed { .. } => return None,
            _ => {}
        }
        Some(event)
    };
    events(run).into_iter().filter_map(timeless).collect()
}

fn recipe(data: &str, train: &str) -> Recipe {
    let text = format!(
        "[model]\nbase = \"tiny\"\n[data]\n{data}train = \"t.jsonl\"\neval = \"h.jsonl\"\n[train]\nmicro_tokens = 64\nlr = 1e-2\n{train}"
    );
    let recipe = Recipe::parse(&text, Path::new("/tmp/tunesmith.toml")).expect("recipe");
    recipe.check().expect("no contradiction");
    recipe
}

fn meta() -> Meta {
    Meta { vocab: 96, source: "/data/t.jsonl".into(), ..Meta::default() }
}

fn token(seed: u64, i: u64) -> u32 {
    (3 + bits(seed, Stream::Order(2), i) % 90) as u32
}

/// `count` examples that begin alike and end in answers of their own.
fn examples(count: u64, seed: u64) -> Vec<Example> {
    let one = |e: u64| {
        let ids: Vec<u32> = (0..12).map(|i| token(9, i)).chain((0..8).map(|i| token(seed, 100 + e * 20 + i))).collect();
        Example { learned: (0..ids.len()).map(|i| i >= 14).collect(), ids, source_line: e as u32 + 1 }
    };
    (0..count).map(one).collect()
}

#[test]
fn the_best_adapter_is_published_and_overfitting_ends_the_run() {
    // Random answers: what is learned by heart makes others less likely.
    let case = Case {
        recipe: recipe(
            "validation_share = 0.3\n",
            "epochs = 20\nbatch = 4\nvalidate_every = 2\npatience = 3\ncheckpoint_every = 5\nkeep = 1\n",
        ),
        meta: meta(),
        train: examples(11, 1),
        validation: examples(5, 2),
    };
    let b = Bench::new(2);
    let (run, end) = b.agree(&case, &[1, 2, 3, 7, 8]);
    let (best, _) = end.validations.iter().skip(1).copied().min_by(|a, b| a.1.total_cmp(&b.1)).expect("validations");
    assert!(end.stopped_early && end.steps < 60 && end.steps == best + 6, "{end:?}");
    assert_eq!(end.validations[0].0, 0, "the model as it came is told");
    assert_eq!(end.published.map(|(step, _)| step), Some(best));
    let kept = run.checkpoints().join(format!("step-{best:06}")).join("adapter_model.safetensors");
    assert_eq!(std::fs::read(kept).expect("the best checkpoint was kept"), published(&run));
    assert_eq!(std::fs::read_dir(run.checkpoints()).expect("folder").count(), 2, "the best and the newest");
    assert_eq!(end.advice.iter().map(|a| a.0.as_str()).collect::<Vec<_>>(), ["overfitting"]);
    // A finished run that lost its adapter finishes again, to the same one.
    let whole = published(&run);
    std::fs::remove_dir_all(run.adapter()).expect("removed");
    let again = b.go(&case, &run, Start::Resume, None);
    assert_eq!((again.steps, published(&run) == whole), (end.steps, true));
}

#[test]
fn a_best_checkpoint_that_was_damaged_is_told_and_the_last_adapter_published() {
    let case = Case {
        recipe: recipe("validation_share = 0.3\n", "epochs = 4\nbatch = 4\nvalidate_every = 1\n"),
        meta: meta(),
        train: examples(11, 1),
        validation: examples(5, 2),
    };
    let b = Bench::new(1);
    let run = b.folder("damaged", &case);
    b.go(&case, &run, Start::Fresh, Some(11));
    let best = events(&run).iter().rev().find_map(|e| if let Event::Validation { step, best: true, .. } = e { Some(*step) } else { None });
    let file = run.checkpoints().join(format!("step-{:06}", best.expect("a best one"))).join("first_moment.safetensors");
    std::fs::write(&file, b"damaged").expect("damage");
    let end = b.go(&case, &run, Start::Resume, None);
    assert!(end.damaged.iter().any(|line| line.starts_with("the best one, of step ")), "{:?}", end.damaged);
    assert_eq!(end.published.map(|(step, _)| step), Some(end.steps));
}

#[test]
fn other_validation_examples_are_refused() {
    let mut case = Case {
        recipe: recipe("validation_share = 0.3\n", "epochs = 2\nbatch = 4\n"),
        meta: meta(),
        train: examples(11, 1),
        validation: examples(5, 2),
    };
    let b = Bench::new(1);
    let run = b.folder("other", &case);
    b.go(&case, &run, Start::Fresh, Some(3));
    case.validation[0].ids[3] += 1;
    record::pack::write(&run.validation_pack(), &case.meta, &case.validation).expect("pack");
    let error = b.try_go(&case, &run, Start::Resume, None, b.adapter(42)).expect_err("refused");
    assert!(error.to_string().contains("the checkpoint belongs to other validation data"), "{error}");
    std::fs::remove_file(run.validation_pack()).expect("removed");
    let error = b.try_go(&case, &run, Start::Resume, None, b.adapter(42)).expect_err("refused");
    assert!(error.to_string().contains("validation.pack"), "{error}");
}

/// Ninety-nine examples with one answer and one with another: met late, it is a spike. Returns its step, from 1.
fn with_a_spike(on_spike: &str) -> (Case, u64) {
    let mut train: Vec<Example> = examples(100, 1);
    let answer = train[0].ids.clone();
    train.iter_mut().skip(1).for_each(|e| e.ids.clone_from(&answer));
    for (i, id) in train[99].ids.iter_mut().enumerate().skip(14) {
        *id = token(77, i as u64);
    }
    let seed = (0..).find(|seed| order(*seed, Stream::Order(0), 100)[93] == 99).expect("some seed");
    let train_section = format!("epochs = 1\nbatch = 1\nseed = {seed}\non_spike = \"{on_spike}\"\ncheckpoint_every = 10\n");
    (Case { recipe: recipe("", &train_section), meta: meta(), train, validation: Vec::new() }, 94)
}

#[test]
fn a_spike_is_skipped_rewound_or_kept_and_names_its_example() {
    let b = Bench::new(2);
    let (case, at) = with_a_spike("skip");
    let (run, end) = b.agree(&case, &[80, at, 97]);
    assert_eq!((end.skipped, end.rewound, end.steps), (1, 0, 100));
    let found = events(&run)
        .into_iter()
        .find_map(|e| if let Event::Skipped { step, reason, examples } = e { Some((step, reason, examples)) } else { None });
    let (step, reason, examples) = found.expect("skipped");
    assert_eq!((step, examples), (at, vec!["t.jsonl line 100".to_string()]));
    assert!(reason.starts_with("the loss is ") && reason.contains("times the usual"), "{reason}");
    let skipped = published(&run);

    let b = Bench::new(1);
    let (case, _) = with_a_spike("rewind");
    let (run, end) = b.agree(&case, &[85, at, 96]);
    assert_eq!((end.skipped, end.rewound, end.steps), (0, 1, 100));
    assert!(events(&run).iter().any(|e| matches!(e, Event::Rewound { step, to: 90, .. } if *step == at)));
    assert_ne!(published(&run), skipped, "what came after the checkpoint is undone too");

    let b = Bench::new(1);
    let (case, _) = with_a_spike("keep");
    let (run, end) = b.agree(&case, &[at]);
    assert_eq!((end.skipped, end.rewound), (0, 0));
    assert!(events(&run).iter().any(|e| matches!(e, Event::Spike { step, .. } if *step == at)));
    assert_ne!(published(&run), skipped);
}

#[test]
fn an_adapter_that_is_no_number_is_never_published() {
    let case = Case { recipe: recipe("", "epochs = 3\nbatch = 4\n"), meta: meta(), train: examples(11, 1), validation: Vec::new() };
    let b = Bench::new(1);
    let run = b.folder("nan", &case);
    let mut adapter = b.adapter(1);
    adapter.params[7] = f32::INFINITY;
    let error = b.try_go(&case, &run, Start::Fresh, None, adapter).expect_err("refused").to_string();
    assert!(error.contains("is not finite at step 5, 5 steps in a row") && error.contains("t.jsonl line "), "{error}");
    assert!(!run.adapter().exists() && !run.checkpoints().exists());
    let skipped = events(&run).into_iter().filter(|e| matches!(e, Event::Skipped { examples, .. } if !examples.is_empty())).count();
    assert_eq!(skipped, 4);
    // One whose run is over already: the writing itself refuses.
    let mut broken = b.adapter(1);
    broken.params[3] = f32::NAN;
    let folder = tempfile::tempdir().expect("folder");
    assert!(broken.save(folder.path()).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
}

#[test]
fn replayed_examples_join_and_are_the_same_after_an_interruption() {
    let replay = Replay { source: "/data/old.jsonl".into(), source_sha: "s".into(), sequences: 7 };
    let case = Case {
        recipe: recipe("replay = \"old.jsonl\"\nreplay_weight = 0.4\n", "epochs = 3\nbatch = 4\nspike = 0\n"),
        meta: Meta { replay: Some(replay), ..meta() },
        train: [examples(11, 1), examples(7, 5)].concat(),
        validation: Vec::new(),
    };
    let b = Bench::new(2);
    let (run, _) = b.agree(&case, &[1, 4, 7]);
    let all = events(&run);
    assert!(all.iter().any(|e| matches!(e, Event::Mixed { examples: 11, replay: 7, share } if *share == 0.4)));
    // 33 examples are seen in three passes, and 22 of older tasks beside them: 6 supervised tokens each.
    let tokens: u64 = all.iter().map(|e| if let Event::Step { supervised_tokens, .. } = e { *supervised_tokens } else { 0 }).sum();
    assert_eq!(tokens, 55 * 6);
    let plain =
        Case { meta: meta(), train: examples(11, 1), recipe: recipe("", "epochs = 3\nbatch = 4\nspike = 0\n"), validation: Vec::new() };
    let without = b.folder("plain", &plain);
    b.go(&plain, &without, Start::Fresh, None);
    assert_ne!(published(&without), published(&run));
}

fn pairs(count: u64, seed: u64) -> Vec<Example> {
    let (chosen, mut rejected) = (examples(count, seed), examples(count, seed + 40));
    rejected.iter_mut().zip(&chosen).for_each(|(r, c)| r.ids[..14].copy_from_slice(&c.ids[..14]));
    chosen.into_iter().zip(rejected).flat_map(|(c, r)| [c, r]).collect()
}

#[test]
fn preferences_are_learned_and_the_same_after_an_interruption() {
    let case = Case {
        recipe: recipe("validation_share = 0.3\n", "objective = \"dpo\"\nbeta = 0.5\nepochs = 6\nbatch = 4\nvalidate_every = 3\n"),
        meta: Meta { kind: Kind::Pairs, ..meta() },
        train: pairs(9, 1),
        validation: pairs(4, 1),
    };
    let b = Bench::new(2);
    let (run, end) = b.agree(&case, &[1, 5, 10]);
    assert!((end.loss_first - 2f64.ln()).abs() < 1e-9, "a fresh adapter prefers nothing: {}", end.loss_first);
    assert!(end.loss_last < 0.3, "{}", end.loss_last);
    let stand = |e: &Event| if let Event::Preference { margin, preferred, .. } = e { Some((*margin, *preferred)) } else { None };
    let last = events(&run).iter().rev().find_map(stand).expect("a preference");
    assert!(last.0 > 1.0 && last.1 == 1.0, "{last:?}");
    // What the starting model held likely is computed once; a lost file is made again, to the same bytes.
    let file = std::fs::read(run.reference()).expect("reference");
    std::fs::remove_file(run.reference()).expect("removed");
    b.go(&case, &run, Start::Resume, None);
    assert_eq!(std::fs::read(run.reference()).expect("reference"), file);

    let mut answers = case;
    answers.recipe = recipe("", "epochs = 1\n");
    let other = b.folder("kind", &answers);
    let error = b.try_go(&answers, &other, Start::Fresh, None, b.adapter(1)).expect_err("refused").to_string();
    assert!(error.contains("the pack holds pairs of a chosen and a rejected answer, expected answers to learn"), "{error}");
}

#[test]
fn the_gradient_of_a_pair_is_the_slope_of_its_loss() {
    let b = Bench::new(1);
    let adapter = crate::adapter(&b.weights.dims, &crate::fixture("parity-llama").join("adapter"));
    let pair = pairs(1, 3);
    let sequences: Vec<Sequence> = pair.iter().map(|e| Sequence { ids: &e.ids, learned: &e.learned }).collect();
    let batch = MicroBatch::new(&sequences, Sharing::From(2));
    let mut room = Room::new(&b.weights.dims, &adapter.places, Limits::of([&batch]));
    let start = [-20.0, -23.0];
    let mut grads = vec![0f32; adapter.params.len()];
    let scale = 0.5;
    let mut at = |adapter: &Adapter, grads: &mut [f32]| {
        preference::loss_and_gradient(&b.cx, &b.weights, adapter, &mut room, &batch, &start, 0.1, scale, grads).sum
    };
    at(&adapter, &mut grads);
    // Along random directions: a slope over many parameters stands out of the rounding of single ones.
    let n = adapter.params.len() as u64;
    for seed in 0..6 {
        let direction: Vec<f64> = (0..n).map(|i| if bits(seed, Stream::Order(5), i).is_multiple_of(2) { 1.0 } else { -1.0 }).collect();
        let moved = |by: f64| {
            let mut other = adapter.clone();
            other.params.iter_mut().zip(&direction).for_each(|(p, d)| *p += (by * d) as f32);
            other
        };
        let h = 1e-3;
        let mut unused = vec![0f32; grads.len()];
        let slope = scale * (at(&moved(h), &mut unused) - at(&moved(-h), &mut unused)) / (2.0 * h);
        let told: f64 = grads.iter().zip(&direction).map(|(g, d)| *g as f64 * d).sum();
        let norm: f64 = grads.iter().map(|g| (*g as f64).powi(2)).sum::<f64>().sqrt();
        assert!((slope - told).abs() < 0.02 * norm.max(told.abs()), "seed {seed}: {slope} {told} (norm {norm})");
    }
}
