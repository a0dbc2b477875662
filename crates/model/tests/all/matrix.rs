//! Families × methods: loss and every gradient against transformers and PEFT, on the fixtures that `oracle/matrix.py` made.
//!
//! The truth was computed in float64, so what is measured is our float32 alone.

use crate::cases::{Batch, relative, sequences, values};
use engine::Cx;
use formats::safetensors::File;
use model::batch::{Rules, Sequence, Sharing};
use model::decoder::{self, Limits, Room, Scale};
use model::weights::Hold;
use model::{Adapter, Dims, MicroBatch, Weights, preference};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The worst error that a cell may have, relative and in the Euclidean norm.
const MOST: f64 = 1e-4;

#[derive(serde::Deserialize)]
struct Cell {
    family: String,
    method: String,
    model: String,
    adapter: Option<String>,
    objective: String,
    aux: f64,
    gradients: usize,
    loss: f64,
}

impl Cell {
    fn is_coded(&self) -> bool {
        ["nf4", "int8", "gguf"].iter().any(|kind| self.method.starts_with(kind))
    }
}

#[derive(serde::Deserialize)]
struct Pair {
    prompt: Vec<u32>,
    chosen: Vec<u32>,
    rejected: Vec<u32>,
}

#[derive(serde::Deserialize)]
struct Pairs {
    pairs: Vec<Pair>,
}

/// A cell's model, what is trained of it, and its truth.
struct Open {
    cx: Cx,
    weights: Weights,
    trained: Adapter,
    truth: File,
    aux: f64,
}

/// What a run of a cell gave.
struct Found {
    loss: f64,
    grads: Vec<f32>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/matrix")
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).expect("fixture")).expect("fixture")
}

fn open(cell: &Cell) -> Open {
    let cx = Cx::new(2).expect("threads");
    let model = root().join(&cell.model);
    let dims = Dims::of(&formats::ModelConfig::open(&model).expect("config")).expect("dims");
    let files = formats::Weights::open(&model).expect("files");
    let (weights, trained) = match &cell.adapter {
        None => (Weights::none(&dims), Adapter::of_model(&dims, &files, &mut |_, _| {}).expect("weights")),
        Some(folder) => (
            // What is quantised on disk stays so, and is decoded product by product.
            Weights::load(&cx, &files, &dims, if cell.is_coded() { Hold::Stored } else { Hold::F32 }, &mut |_, _| {}).expect("weights"),
            Adapter::load(&dims, &root().join(folder)).expect("adapter"),
        ),
    };
    let truth = File::open(&root().join(&cell.family).join(format!("{}.safetensors", cell.method))).expect("truth");
    Open { cx, weights, trained, truth, aux: cell.aux }
}

impl Open {
    fn rules(&self, sharing: Sharing) -> Rules {
        Rules { sharing, long_from: self.weights.dims.long_from() }
    }

    fn room(&self, b: &MicroBatch) -> Room {
        Room::new(&self.weights.dims, &self.trained.places, Limits { balance: self.aux, ..Limits::of([b]) })
    }

    fn supervised(&self, examples: &[Sequence], sharing: Sharing) -> Found {
        let b = MicroBatch::new(examples, self.rules(sharing));
        let mut grads = vec![0f32; self.trained.params.len()];
        let scale = Scale { tokens: 1.0 / b.supervised as f64, examples: 1.0 / examples.len() as f64 };
        let loss = decoder::loss_and_gradient(&self.cx, &self.weights, &self.trained, &mut self.room(&b), &b, scale, &mut grads);
        Found { loss: loss.sum * scale.tokens + loss.balance * scale.examples, grads }
    }

    fn preference(&self, pairs: &[Pair], sharing: Sharing) -> Found {
        let whole = |p: &Pair, answer: &[u32]| {
            let ids: Vec<u32> = p.prompt.iter().chain(answer).copied().collect();
            let learned: Vec<bool> = (0..ids.len()).map(|i| i >= p.prompt.len()).collect();
            (ids, learned)
        };
        let all: Vec<_> = pairs.iter().flat_map(|p| [whole(p, &p.chosen), whole(p, &p.rejected)]).collect();
        let examples: Vec<Sequence> = all.iter().map(|(ids, learned)| Sequence { ids, learned }).collect();
        let b = MicroBatch::new(&examples, self.rules(sharing));
        let base = Adapter::none(&self.weights.dims);
        let mut room = Room::new(&self.weights.dims, &base.places, Limits::of([&b]));
        let reference = preference::log_probabilities(&self.cx, &self.weights, &base, &mut room, &b);
        let mut grads = vec![0f32; self.trained.params.len()];
        let scale = 1.0 / pairs.len() as f64;
        let (w, a) = (&self.weights, &self.trained);
        let ours = preference::loss_and_gradient(&self.cx, w, a, &mut self.room(&b), &b, &reference, 0.1, scale, &mut grads);
        let rows = ours.logps.chunks_exact(2).zip(reference.chunks_exact(2));
        let logps: Vec<f32> = rows.flat_map(|(p, r)| [p[0], p[1], r[0], r[1]]).map(|v| v as f32).collect();
        let far = relative(&logps, &values(&self.truth, "logps"));
        assert!(far < 1e-5, "log-probabilities {far:e}");
        Found { loss: ours.sum * scale, grads }
    }

    /// One example at a time: the rows come in the order in which the oracle picked them.
    fn logits(&self, examples: &[Sequence]) -> Vec<f32> {
        let one = |s: &Sequence| {
            let b = MicroBatch::new(&[*s], self.rules(Sharing::None));
            decoder::logits(&self.cx, &self.weights, &self.trained, &mut self.room(&b), &b)
        };
        examples.iter().flat_map(one).collect()
    }

    /// The gradient that is furthest from the truth, and how far.
    fn worst(&self, grads: &[f32]) -> (f64, String) {
        let far =
            |t: &model::places::Trained| (relative(&t.read(grads), &values(&self.truth, &format!("grad.{}", t.name))), t.name.clone());
        self.trained.places.tensors().iter().map(far).fold((0.0, String::new()), |w, f| if f.0 > w.0 { f } else { w })
    }
}

/// Judges a cell with and without sharing; returns its worst error and where it was.
fn judge(cell: &Cell) -> (f64, String) {
    let c = open(cell);
    assert_eq!(c.trained.places.tensors().len(), cell.gradients, "every trained tensor has its truth and no other has");
    let path = root().join(&cell.family).join("batch.json");
    let (batch, pairs) = (read::<Batch>(&path), read::<Pairs>(&path).pairs);
    let mut worst = (0.0, String::new());
    let mut see = |far: (f64, String)| {
        if !(far.0 <= worst.0) {
            worst = far;
        }
    };
    for sharing in [Sharing::None, Sharing::From(4)] {
        let found = if cell.objective == "dpo" { c.preference(&pairs, sharing) } else { c.supervised(&sequences(&batch), sharing) };
        see(((found.loss - cell.loss).abs() / cell.loss, "loss".into()));
        see(c.worst(&found.grads));
    }
    if cell.objective != "dpo" {
        see((relative(&c.logits(&sequences(&batch)), &values(&c.truth, "logits")), "logits".into()));
    }
    worst
}

#[test]
fn every_family_learns_by_every_method_as_pytorch_does() {
    let cells: Vec<Cell> = read(&root().join("cells.json"));
    let (mut table, mut failed) = (BTreeMap::<String, BTreeMap<String, f64>>::new(), Vec::new());
    for cell in &cells {
        let (far, place) = judge(cell);
        let row = table.entry(cell.family.clone()).or_default();
        let entry = row.entry(cell.method.clone()).or_default();
        *entry = entry.max(far);
        if !(far < MOST) {
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
    for (family, row) in table {
        let cell = |c: &&str| row.get(*c).map_or(format!("{:>9}", "-"), |e| format!("{e:>9.1e}"));
        println!("{family:<10}{}", columns.iter().map(cell).collect::<String>());
    }
    for (family, row) in table {
        for (method, e) in row.iter().filter(|(m, _)| !columns.contains(&m.as_str())) {
            println!("{family} {method}: {e:.1e}");
        }
    }
}

/// The judge refuses an adapter with one number changed, a batch with one token changed, and angles of the wrong length.
#[test]
fn the_judge_of_the_matrix_can_refuse() {
    let cells: Vec<Cell> = read(&root().join("cells.json"));
    let find = |family: &str| cells.iter().find(|c| c.family == family && c.method == "lora").expect("a cell");
    let batch: Batch = read(&root().join("phi3/batch.json"));
    let mut c = open(find("phi3"));
    let examples = sequences(&batch);
    assert!(c.worst(&c.supervised(&examples, Sharing::None).grads).0 < MOST);
    let mut other: Batch = read(&root().join("phi3/batch.json"));
    other.examples[0].ids[2] ^= 1;
    assert!(c.worst(&c.supervised(&sequences(&other), Sharing::None).grads).0 > MOST);
    // Without its last token the example of 33 is no longer a long one.
    let b = MicroBatch::new(&examples, Rules { sharing: Sharing::None, long_from: Some(33) });
    let mut grads = vec![0f32; c.trained.params.len()];
    let scale = Scale { tokens: 1.0 / b.supervised as f64, examples: 0.0 };
    decoder::loss_and_gradient(&c.cx, &c.weights, &c.trained, &mut c.room(&b), &b, scale, &mut grads);
    assert!(c.worst(&grads).0 > MOST);
    c.trained.params[5] += 0.01;
    assert!(c.worst(&c.supervised(&examples, Sharing::None).grads).0 > MOST);
}
