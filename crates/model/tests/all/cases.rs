//! What the judges of the decoder share: a small model with its adapter, its batch and PyTorch's truth.
//!
//! Made by `oracle/parity.py`; `PARITY=FOLDER[:FOLDER…]` adds further ones, such as a real model's.

use engine::Cx;
use model::batch::Sequence;
use model::weights::Hold;
use model::{Adapter, Dims, Weights};
use std::path::{Path, PathBuf};

#[derive(serde::Deserialize)]
pub struct Example {
    pub ids: Vec<u32>,
    pub learned: Vec<bool>,
}

#[derive(serde::Deserialize)]
pub struct Batch {
    pub examples: Vec<Example>,
}

pub struct Case {
    pub files: formats::Weights,
    pub weights: Weights,
    pub adapter: Adapter,
    pub batch: Batch,
    pub truth: formats::safetensors::File,
}

pub fn open(cx: &Cx, folder: &Path) -> Case {
    let model = match std::fs::read_to_string(folder.join("model.txt")) {
        Ok(path) => PathBuf::from(path.trim()),
        Err(_) => folder.join("model"),
    };
    let dims = Dims::of(&formats::ModelConfig::open(&model).expect("config")).expect("dims");
    let files = formats::Weights::open(&model).expect("weights");
    Case {
        weights: Weights::load(cx, &files, &dims, Hold::F32, &mut |_, _| {}).expect("weights"),
        files,
        adapter: Adapter::load(&dims, &folder.join("adapter")).expect("adapter"),
        batch: serde_json::from_slice(&std::fs::read(folder.join("batch.json")).expect("batch.json")).expect("batch"),
        truth: formats::safetensors::File::open(&folder.join("truth.safetensors")).expect("truth"),
    }
}

pub fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut all: Vec<PathBuf> = ["parity-llama", "parity-llama3", "parity-mistral"].iter().map(|n| root.join(n)).collect();
    if let Ok(more) = std::env::var("PARITY") {
        all.extend(more.split(':').map(PathBuf::from));
    }
    all
}

pub fn values(t: &formats::safetensors::File, name: &str) -> Vec<f32> {
    let t = t.tensor(name).unwrap_or_else(|| panic!("no {name}"));
    let mut out = vec![0f32; t.elements()];
    t.read_f32(&mut out).expect("readable");
    out
}

/// |a - b| / |b| in the Euclidean norm.
pub fn relative<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |f: &dyn Fn(usize) -> f64| (0..a.len()).map(f).map(|v| v * v).sum::<f64>().sqrt();
    norm(&|i| a[i].into() - b[i].into()) / norm(&|i| b[i].into()).max(1e-30)
}

pub fn sequences(b: &Batch) -> Vec<Sequence<'_>> {
    b.examples.iter().map(|e| Sequence { ids: &e.ids, learned: &e.learned }).collect()
}
