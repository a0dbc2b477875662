//! A run that is stopped, killed or torn while saving ends with the bytes of one that was not.

use engine::Cx;
use model::{Adapter, Weights};
use record::recipe::Recompute;
use record::{Event, Recipe, RunFolder};
use std::path::Path;
use std::sync::atomic::Ordering;
use train::{Abort, About, End, Start};

const ABOUT: About = About { time: 1, program: "test" };

fn recipe() -> Recipe {
    let text = "[model]\nbase = \"tiny\"\n[data]\ntrain = \"t.jsonl\"\neval = \"h.jsonl\"\n[train]\nepochs = 3\nbatch = 4\nmicro_tokens = 64\nlr = 1e-2\ncheckpoint_every = 2\n";
    Recipe::parse(text, Path::new("/tmp/tunesmith.toml")).expect("recipe")
}

/// Eleven examples with a common beginning: three steps a pass, the last of them shorter.
fn examples() -> Vec<record::Example> {
    let token = |i: u64| (3 + model::random::bits(9, model::random::Stream::Order(2), i) % 90) as u32;
    (0..11)
        .map(|e| {
            let ids: Vec<u32> = (0..18).map(token).chain((0..6 + e % 5).map(|i| token(100 + e * 20 + i))).collect();
            let learned = (0..ids.len()).map(|i| i >= 20).collect();
            record::Example { ids, learned, source_line: e as u32 + 1 }
        })
        .collect()
}

struct Bench {
    cx: Cx,
    weights: Weights,
    root: tempfile::TempDir,
}

impl Bench {
    fn new(threads: usize) -> Bench {
        Bench::with(threads, false)
    }

    fn with(threads: usize, rounded: bool) -> Bench {
        let cx = Cx::new(threads).expect("threads");
        let weights = crate::weights(&cx, &crate::fixture("parity-llama").join("model"), rounded);
        Bench { cx, weights, root: tempfile::tempdir().expect("folder") }
    }

    fn folder(&self, name: &str) -> RunFolder {
        let run = RunFolder::create_at(&self.root.path().join(name), &recipe()).expect("run");
        record::pack::write(&run.pack(), &record::Meta { vocab: 96, ..Default::default() }, &examples()).expect("pack");
        run
    }

    fn go(&self, run: &RunFolder, start: Start, stop_at: Option<u64>) -> End {
        self.go_by(&recipe(), run, start, stop_at)
    }

    fn go_by(&self, recipe: &Recipe, run: &RunFolder, start: Start, stop_at: Option<u64>) -> End {
        let config = model::adapter::AdapterConfig::new(4, 8.0, model::adapter::Targets::AllLinear);
        let adapter = Adapter::new(&self.weights.dims, config, recipe.train.seed).expect("adapter");
        let abort = Abort::new(false);
        let mut see = |e: &Event| {
            if let Event::Step { step, .. } = e {
                abort.store(Some(*step) == stop_at, Ordering::Relaxed);
            }
        };
        train::run(train::Place::Cpu(&self.cx, &self.weights), adapter, recipe, run, &ABOUT, start, &abort, &mut see).expect("runs")
    }
}

fn bytes(run: &RunFolder) -> Vec<u8> {
    std::fs::read(run.adapter().join("adapter_model.safetensors")).expect("adapter")
}

fn steps(run: &RunFolder) -> Vec<(u64, u64)> {
    let events = record::event::read(&run.events()).expect("events").events;
    events.iter().filter_map(|e| if let Event::Step { step, loss, .. } = e { Some((*step, loss.to_bits())) } else { None }).collect()
}

#[test]
fn stopped_and_resumed_equals_uninterrupted_with_any_number_of_threads() {
    let exact = stop_and_resume(false);
    assert_ne!(exact, stop_and_resume(true), "bf16 products are others");
}

fn stop_and_resume(rounded: bool) -> Vec<u8> {
    let b = Bench::with(1, rounded);
    let whole = b.folder("whole");
    let end = b.go(&whole, Start::Fresh, None);
    assert!(end.finished && end.steps == 9 && end.loss_last < end.loss_first, "{end:?}");
    let want = steps(&whole);
    assert_eq!(want.iter().map(|s| s.0).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    for (threads, stop) in [(1, 1), (2, 4), (3, 8)] {
        let other = Bench::with(threads, rounded);
        let run = other.folder("cut");
        let part = other.go(&run, Start::Fresh, Some(stop));
        assert!(!part.finished && part.steps == stop && !run.adapter().exists());
        let end = other.go(&run, Start::Resume, None);
        assert!(end.finished && end.damaged.is_empty());
        assert_eq!(bytes(&run), bytes(&whole), "stopped at {stop}");
        assert_eq!(steps(&run), want);
    }
    bytes(&whole)
}

#[test]
fn layers_computed_again_change_no_bit_of_a_run_nor_of_one_that_is_resumed() {
    let b = Bench::new(2);
    let by = |recompute| {
        let mut recipe = recipe();
        recipe.train.recompute = recompute;
        recipe
    };
    let whole = b.folder("whole");
    b.go_by(&by(Recompute::None), &whole, Start::Fresh, None);
    for (name, first, then) in
        [("all", Recompute::All, Recompute::All), ("less", Recompute::First(1), Recompute::All), ("more", Recompute::All, Recompute::None)]
    {
        let run = b.folder(name);
        b.go_by(&by(first), &run, Start::Fresh, Some(4));
        b.go_by(&by(then), &run, Start::Resume, None);
        let sha = |run: &RunFolder| record::hash::sha256(&bytes(run));
        assert_eq!(sha(&run), sha(&whole), "{name}");
        assert_eq!(steps(&run), steps(&whole), "{name}");
    }
    let material = train::Material::read(&whole, &recipe(), 96).expect("material");
    let of = |recompute| train::step::limits(&by(recompute), &b.weights.dims, &material, 3).recompute;
    let layers = b.weights.dims.layers;
    assert_eq!(
        [Recompute::Auto, Recompute::None, Recompute::First(1), Recompute::First(99), Recompute::All].map(of),
        [0, 0, 1, layers, layers]
    );
    // What gradients are added up in is planned for the step of the most micro-batches: each example its own, or all in one.
    let most = |micro_tokens| {
        let mut recipe = recipe();
        recipe.train.micro_tokens = micro_tokens;
        train::step::limits(&recipe, &b.weights.dims, &material, 3).micro_batches
    };
    assert_eq!([most(1), most(1 << 20)], [4, 1]);
}

#[test]
fn a_torn_checkpoint_and_steps_after_it_leave_no_trace() {
    let b = Bench::new(2);
    let whole = b.folder("whole");
    b.go(&whole, Start::Fresh, None);
    let run = b.folder("torn");
    b.go(&run, Start::Fresh, Some(7));
    // As after a kill inside the writing of step 7's checkpoint, once under its temporary name, once damaged under its own.
    let last = run.checkpoints().join("step-000007");
    std::fs::create_dir(run.checkpoints().join(".tmp-step-000008")).expect("leftover");
    let file = last.join("first_moment.safetensors");
    let mut content = std::fs::read(&file).expect("moment");
    let at = content.len() - 5;
    content[at] ^= 1;
    std::fs::write(&file, content).expect("damage");
    // And a half-written line at the end of the log.
    use std::io::Write;
    let mut log = std::fs::OpenOptions::new().append(true).open(run.events()).expect("log");
    log.write_all(b"{\"v\":1,\"event\":\"st").expect("half a line");
    let end = b.go(&run, Start::Resume, None);
    assert!(end.finished);
    assert_eq!(end.damaged.len(), 1, "{:?}", end.damaged);
    assert!(end.damaged[0].contains("step-000007"), "{:?}", end.damaged);
    assert_eq!(bytes(&run), bytes(&whole));
    assert_eq!(steps(&run), steps(&whole));
}

#[test]
fn a_checkpoint_of_other_data_is_refused() {
    let b = Bench::new(1);
    let run = b.folder("other");
    b.go(&run, Start::Fresh, Some(3));
    let mut changed = examples();
    changed[0].ids[3] += 1;
    record::pack::write(&run.pack(), &record::Meta { vocab: 96, ..Default::default() }, &changed).expect("pack");
    let config = model::adapter::AdapterConfig::new(4, 8.0, model::adapter::Targets::AllLinear);
    let adapter = Adapter::new(&b.weights.dims, config, 1).expect("adapter");
    let error =
        train::run(train::Place::Cpu(&b.cx, &b.weights), adapter, &recipe(), &run, &ABOUT, Start::Resume, &Abort::new(false), &mut |_| {})
            .expect_err("refused");
    assert!(error.to_string().contains("the checkpoint belongs to other data"), "{error}");
}

#[test]
fn nothing_to_learn_and_a_foreign_vocabulary_are_refused_before_the_first_step() {
    let b = Bench::new(1);
    let run = b.folder("nothing");
    let go = |examples: &[record::Example]| {
        record::pack::write(&run.pack(), &record::Meta { vocab: 200, ..Default::default() }, examples).expect("pack");
        let config = model::adapter::AdapterConfig::new(4, 8.0, model::adapter::Targets::AllLinear);
        let adapter = Adapter::new(&b.weights.dims, config, 1).expect("adapter");
        let recipe = recipe();
        train::run(train::Place::Cpu(&b.cx, &b.weights), adapter, &recipe, &run, &ABOUT, Start::Fresh, &Abort::new(false), &mut |_| {})
            .expect_err("refused")
            .to_string()
    };
    let mut silent = examples();
    silent.iter_mut().for_each(|e| e.learned.fill(false));
    assert!(go(&silent).contains("11 examples with 0 supervised tokens"));
    let mut foreign = examples();
    foreign[4].ids[2] = 150;
    let message = go(&foreign);
    assert!(message.contains("line 5 of the data holds token 150") && message.contains("ends at 96"), "{message}");
}
