//! Families × methods: loss and every gradient against transformers and PEFT, on the fixtures that `oracle/matrix.py` made.
//!
//! The truth was computed in float64, so what is measured is our float32 alone.

use crate::cases::{Batch, relative, sequences, values};
use engine::Cx;
use formats::safetensors::File;
use model::batch::{Rules, Sequence, Sharing};
use model::decoder::{self, Limits, Room, Scale};
use model::places::Trained;
use model::weights::Hold;
use model::{Adapter, Dims, MicroBatch, Weights, preference};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The worst error that a cell may have, relative and in the Euclidean norm.
const MOST: f64 = 1e-4;

#[derive(serde::Deserialize)]
pub struct Cell {
    pub family: String,
    pub method: String,
    model: String,
    adapter: Option<String>,
    objective: String,
    aux: f64,
    gradients: usize,
    pub loss: f64,
}

impl Cell {
    /// The folder or file of its model.
    pub fn model(&self) -> PathBuf {
        root().join(&self.model)
    }

    /// Whether its matrices are quantised.
    pub fn is_coded(&self) -> bool {
        ["nf4", "int8", "gguf"].iter().any(|kind| self.method.starts_with(kind))
    }

    pub fn is_dpo(&self) -> bool {
        self.objective == "dpo"
    }
}

#[derive(serde::Deserialize)]
pub struct Pair {
    prompt: Vec<u32>,
    chosen: Vec<u32>,
    rejected: Vec<u32>,
}

impl Pair {
    /// The prompt with an answer, and which of it is learned.
    fn whole(&self, answer: &[u32]) -> (Vec<u32>, Vec<bool>) {
        let ids: Vec<u32> = self.prompt.iter().chain(answer).copied().collect();
        let learned = (0..ids.len()).map(|i| i >= self.prompt.len()).collect();
        (ids, learned)
    }
}

#[derive(serde::Deserialize)]
struct Pairs {
    pairs: Vec<Pair>,
}

/// A cell's model, what is trained of it, and its truth.
pub struct Open {
    cx: Cx,
    /// The model's folder or file.
    pub model: PathBuf,
    pub weights: Weights,
    pub trained: Adapter,
    truth: File,
    /// Coefficient of the load-balancing loss.
    pub aux: f64,
    /// Layers that are computed again for the backward pass.
    recompute: usize,
}

/// What a run of a cell gave.
pub struct Found {
    pub loss: f64,
    pub grads: Vec<f32>,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/matrix")
}

pub fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).expect("fixture")).expect("fixture")
}

pub fn open(cell: &Cell) -> Open {
    open_with(cell, cell.model(), if cell.is_coded() { Hold::Stored } else { Hold::F32 })
}

/// As [`open`], with another model in place of the cell's, and its matrices held so.
pub fn open_with(cell: &Cell, model: PathBuf, hold: Hold) -> Open {
    let cx = Cx::new(1).expect("threads"); // that threads change no bit is judged elsewhere
    let dims = Dims::of(&formats::ModelConfig::open(&model).expect("config")).expect("dims");
    let files = formats::Weights::open(&model).expect("files");
    let (weights, trained) = match &cell.adapter {
        None => (Weights::none(&dims), Adapter::of_model(&dims, &files, &mut |_, _| {}).expect("weights")),
        Some(folder) => (
            // What is quantised on disk stays so, and is decoded product by product.
            Weights::load(&cx, &files, &dims, hold, &mut |_, _| {}).expect("weights"),
            Adapter::load(&dims, &root().join(folder)).expect("adapter"),
        ),
    };
    let truth = File::open(&root().join(&cell.family).join(format!("{}.safetensors", cell.method))).expect("truth");
    Open { cx, model, weights, trained, truth, aux: cell.aux, recompute: 0 }
}

impl Open {
    pub fn rules(&self, sharing: Sharing) -> Rules {
        Rules { sharing, long_from: self.weights.dims.long_from() }
    }

    fn room(&self, b: &MicroBatch) -> Room {
        let limits = Limits { balance: self.aux, recompute: self.recompute, ..Limits::of([b]) };
        Room::new(&self.weights.dims, &self.trained.places, limits)
    }

    /// A step of micro-batches of `size` examples each.
    pub fn supervised(&self, examples: &[Sequence], size: usize, sharing: Sharing) -> Found {
        let supervised: usize = examples.iter().map(Sequence::supervised).sum();
        let scale = Scale { tokens: 1.0 / supervised as f64, examples: 1.0 / examples.len() as f64 };
        let mut found = Found { loss: 0.0, grads: vec![0f32; self.trained.params.len()] };
        for part in examples.chunks(size) {
            let b = MicroBatch::new(part, self.rules(sharing));
            let (w, a) = (&self.weights, &self.trained);
            let loss = decoder::loss_and_gradient(&self.cx, w, a, &mut self.room(&b), &b, scale, &mut found.grads);
            found.loss += loss.sum * scale.tokens + loss.balance * scale.examples;
        }
        found
    }

    /// A step of micro-batches of `size` pairs each, and the log-probabilities of every pair: chosen and rejected, now and
    /// at the start.
    fn preference(&self, pairs: &[Pair], size: usize, sharing: Sharing) -> (Found, Vec<f32>) {
        let scale = 1.0 / pairs.len() as f64;
        let base = Adapter::none(&self.weights.dims);
        let (mut found, mut logps) = (Found { loss: 0.0, grads: vec![0f32; self.trained.params.len()] }, Vec::new());
        for part in pairs.chunks(size) {
            let all: Vec<_> = part.iter().flat_map(|p| [p.whole(&p.chosen), p.whole(&p.rejected)]).collect();
            let examples: Vec<Sequence> = all.iter().map(|(ids, learned)| Sequence { ids, learned }).collect();
            let b = MicroBatch::new(&examples, self.rules(sharing));
            let mut room = Room::new(&self.weights.dims, &base.places, Limits::of([&b]));
            let reference = preference::log_probabilities(&self.cx, &self.weights, &base, &mut room, &b);
            let (w, a) = (&self.weights, &self.trained);
            let ours = preference::loss_and_gradient(&self.cx, w, a, &mut self.room(&b), &b, &reference, 0.1, scale, &mut found.grads);
            found.loss += ours.sum * scale;
            let rows = ours.logps.chunks_exact(2).zip(reference.chunks_exact(2));
            logps.extend(rows.flat_map(|(p, r)| [p[0], p[1], r[0], r[1]]).map(|v| v as f32));
        }
        (found, logps)
    }

    /// One example at a time: the rows come in the order in which the oracle picked them.
    fn logits(&self, examples: &[Sequence]) -> Vec<f32> {
        let one = |s: &Sequence| {
            let b = MicroBatch::new(&[*s], self.rules(Sharing::None));
            decoder::logits(&self.cx, &self.weights, &self.trained, &mut self.room(&b), &b)
        };
        examples.iter().flat_map(one).collect()
    }

    /// The tensor of `grads` that is furthest from `truth`, and how far.
    pub fn worst(&self, grads: &[f32], truth: impl Fn(&Trained) -> Vec<f32>) -> Far {
        let far = |t: &Trained| (relative(&t.read(grads), &truth(t)), t.name.clone());
        self.trained.places.tensors().iter().map(far).fold(NEAR, worse)
    }

    pub fn worst_of_truth(&self, grads: &[f32]) -> Far {
        self.worst(grads, |t| values(&self.truth, &format!("grad.{}", t.name)))
    }
}

/// A relative error, and where it was found.
pub type Far = (f64, String);

const NEAR: Far = (0.0, String::new());

/// The larger error; one that is no number is the largest.
fn worse(a: Far, b: Far) -> Far {
    if a.0.is_nan() || b.0 <= a.0 { a } else { b }
}

/// Judges a cell with and without sharing: its worst error.
fn judge(cell: &Cell) -> Far {
    let c = open(cell);
    assert_eq!(c.trained.places.tensors().len(), cell.gradients, "every trained tensor has its truth and no other has");
    let (batch, pairs) = sequences_of(cell);
    let examples = sequences(&batch);
    let mut worst = NEAR;
    for sharing in [Sharing::None, Sharing::From(4)] {
        let found = if cell.is_dpo() {
            let (found, logps) = c.preference(&pairs, pairs.len(), sharing);
            let far = relative(&logps, &values(&c.truth, "logps"));
            assert!(far < 1e-5, "log-probabilities {far:e}");
            found
        } else {
            c.supervised(&examples, examples.len(), sharing)
        };
        worst = worse(worst, ((found.loss - cell.loss).abs() / cell.loss, "loss".into()));
        worst = worse(worst, c.worst_of_truth(&found.grads));
    }
    if cell.is_dpo() { worst } else { worse(worst, (relative(&c.logits(&examples), &values(&c.truth, "logits")), "logits".into())) }
}

pub fn sequences_of(cell: &Cell) -> (Batch, Vec<Pair>) {
    let path = root().join(&cell.family).join("batch.json");
    (read(&path), read::<Pairs>(&path).pairs)
}

#[test]
fn every_family_learns_by_every_method_as_pytorch_does() {
    let cells: Vec<Cell> = read(&root().join("cells.json"));
    let (mut table, mut failed) = (BTreeMap::<String, BTreeMap<String, f64>>::new(), Vec::new());
    for cell in &cells {
        let (far, place) = judge(cell);
        let row = table.entry(cell.family.clone()).or_default();
        // A cell that is there twice (Mixtral in both layouts) counts by its worse one.
        let entry = row.entry(cell.method.clone()).or_default();
        *entry = worse((*entry, String::new()), (far, String::new())).0;
        if far.is_nan() || far >= MOST {
            failed.push(format!("{} {} ({}): {far:.1e} in {place}", cell.family, cell.method, cell.model));
        }
    }
    print(&table);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(table.len() == 8 && cells.len() > 50, "{} cells of {} families", cells.len(), table.len());
}

/// Families down, the methods of all of them across; a method of one family only below.
fn print(table: &BTreeMap<String, BTreeMap<String, f64>>) {
    let columns = ["full", "lora", "dora", "nf4", "int8", "gguf", "dpo"];
    println!("{:<10}{}", "", columns.map(|c| format!("{c:>9}")).concat());
    for (family, row) in table.iter().filter(|(_, row)| row.contains_key("full")) {
        let cell = |c: &&str| row.get(*c).map_or(format!("{:>9}", "-"), |e| format!("{e:>9.1e}"));
        println!("{family:<10}{}", columns.iter().map(cell).collect::<String>());
    }
    for (family, row) in table {
        for (method, e) in row.iter().filter(|(m, _)| !columns.contains(&m.as_str())) {
            println!("{family} {method}: {e:.1e}");
        }
    }
}

/// Micro-batches of eight, four, two or one, packed and shared: the loss and every gradient of each of them alone.
#[test]
fn packed_shared_and_accumulated_steps_are_one_step() {
    let cells: Vec<Cell> = read(&root().join("cells.json"));
    let (mut answers, mut preferences) = (NEAR, NEAR);
    for cell in &cells {
        let c = open(cell);
        let (batch, pairs) = sequences_of(cell);
        let (examples, pairs) = (sequences(&batch), eight(&pairs));
        let step = |size, sharing| match cell.is_dpo() {
            true => c.preference(&pairs, size, sharing).0,
            false => c.supervised(&examples, size, sharing),
        };
        let alone = step(1, Sharing::None);
        for (size, sharing) in
            [(8, Sharing::None), (8, Sharing::From(4)), (4, Sharing::From(4)), (2, Sharing::From(16)), (1, Sharing::From(4))]
        {
            let found = step(size, sharing);
            let place = format!("{} {}: {size} a micro-batch, {sharing:?}: ", cell.family, cell.method);
            let far = worse(
                ((found.loss - alone.loss).abs() / alone.loss, "loss".into()),
                c.worst(&found.grads, |t| t.read(&alone.grads).into_owned()),
            );
            let all = if cell.is_dpo() { &mut preferences } else { &mut answers };
            *all = worse(all.clone(), (far.0, place + &far.1));
        }
    }
    for (what, all) in [("answers", &answers), ("preferences", &preferences)] {
        println!("{what}: worst of 8x1, 4x2, 2x4, 1x8, packed and shared against each alone: {:.1e} ({})", all.0, all.1);
        assert!(all.0 < 2e-5, "{what}: {all:?}");
        // That nothing differs would mean that nothing was compared.
        assert!(all.0 > 0.0, "{what}");
    }
}

/// The pairs, and three more with the prompt of one and the answers of the next two.
fn eight(pairs: &[Pair]) -> Vec<Pair> {
    let mixed = |i: usize| Pair {
        prompt: pairs[i % 5].prompt.clone(),
        chosen: pairs[(i + i / 5) % 5].chosen.clone(),
        rejected: pairs[(i + 2 * (i / 5)) % 5].rejected.clone(),
    };
    (0..8).map(mixed).collect()
}

/// What is computed again is what was computed, so no bit may differ, whatever the number of layers.
#[test]
fn layers_computed_again_give_the_same_bits() {
    let cells: Vec<Cell> = read(&root().join("cells.json"));
    for cell in &cells {
        let mut c = open(cell);
        let (batch, pairs) = sequences_of(cell);
        let examples = sequences(&batch);
        let mut steps = Vec::new();
        for recompute in 0..=c.weights.dims.layers {
            c.recompute = recompute;
            let sharing = Sharing::From(4);
            let found = if cell.is_dpo() { c.preference(&pairs, 3, sharing).0 } else { c.supervised(&examples, 4, sharing) };
            steps.push((found.loss.to_bits(), found.grads.iter().map(|g| g.to_bits()).collect::<Vec<_>>()));
        }
        for (recompute, step) in steps.iter().enumerate() {
            assert!(*step == steps[0], "{} {}: {recompute} layers computed again changed a bit", cell.family, cell.method);
        }
    }
}

/// The judge refuses a batch with one token changed, angles of the wrong length, and an adapter with one number changed.
#[test]
fn the_judge_of_the_matrix_can_refuse() {
    let cells: Vec<Cell> = read(&root().join("cells.json"));
    let cell = cells.iter().find(|c| c.family == "phi3" && c.method == "lora").expect("a cell");
    let (batch, _) = sequences_of(cell);
    let examples = sequences(&batch);
    let mut c = open(cell);
    let far = |c: &Open, examples: &[Sequence]| c.worst_of_truth(&c.supervised(examples, 8, Sharing::None).grads).0;
    assert!(far(&c, &examples) < MOST);
    let (mut other, _) = sequences_of(cell);
    other.examples[0].ids[2] ^= 1;
    assert!(far(&c, &sequences(&other)) > MOST);
    // Counted without its last token, the example of 33 would be a short one.
    let b = MicroBatch::new(&examples, Rules { sharing: Sharing::None, long_from: Some(33) });
    let mut grads = vec![0f32; c.trained.params.len()];
    let scale = Scale { tokens: 1.0 / b.supervised as f64, examples: 0.0 };
    decoder::loss_and_gradient(&c.cx, &c.weights, &c.trained, &mut c.room(&b), &b, scale, &mut grads);
    assert!(c.worst_of_truth(&grads).0 > MOST);
    c.trained.params[5] += 0.01;
    assert!(far(&c, &examples) > MOST);
    assert!(worse(worse(NEAR, (f64::NAN, String::new())), (1.0, String::new())).0.is_nan());
}
