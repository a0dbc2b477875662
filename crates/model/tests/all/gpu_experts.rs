//! Mixtures of experts on a GPU, against the truth that the CPU is judged by. Without a GPU nothing is judged, and said so.
//!
//! A row whose second and third choice are nearly equal may go elsewhere once its activations are rounded, and then its part of every
//! gradient is another. So whole steps are judged loosely, and examples alone by the median over them, which such rows do not reach.

use crate::cases::{relative, sequences};
use crate::gpu::{gpu, on_gpu};
use crate::matrix::{Cell, Found, Open, open, read, root, sequences_of};
use crate::rounded::{Drawn, moved, print};
use engine::cuda::Gpu;
use formats::bnb::Scheme;
use model::adapter::{AdapterConfig, Targets};
use model::batch::{Sequence, Sharing};
use model::gpu::Hold;
use model::weights::Hold as CpuHold;
use model::{Adapter, Weights};
use std::sync::Arc;

fn cells(methods: &[&str]) -> Vec<Cell> {
    let all: Vec<Cell> = read(&root().join("cells.json"));
    let found: Vec<Cell> = all.into_iter().filter(|c| c.family == "mixtral" && methods.contains(&c.method.as_str())).collect();
    assert_eq!(found.len(), methods.len());
    found
}

/// The model with an adapter on the attention layers alone: experts and router are frozen.
fn attention_alone(cell: &Cell) -> Open {
    let mut c = open(cell);
    let mut adapter = Adapter::new(&c.weights.dims, AdapterConfig::new(4, 8.0, Targets::AllLinear), 5).expect("an adapter");
    // B begins as zeros, and then A has no gradient.
    let drawn = |i: usize| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / 2f32.powi(24) - 0.5;
    adapter.params.iter_mut().enumerate().for_each(|(i, p)| *p = 0.2 * drawn(i + 1));
    assert!(adapter.places.tensors().iter().all(|t| !t.name.contains("experts")));
    c.trained = adapter;
    c
}

/// A step's errors: of the loss, and of the worst tensor's gradient.
fn errors(c: &Open, found: &Found, loss: f64, worst: (f64, String)) -> String {
    let size = c.trained.params.len();
    format!("loss {:.1e}, gradient {:.1e} ({}) of {size}", (found.loss - loss).abs() / loss, worst.0, worst.1)
}

#[test]
fn gpu_experts_learn_as_pytorch_does() {
    let Some(gpu) = gpu() else { return };
    let mut failed = Vec::new();
    for cell in &cells(&["lora", "lora-gate-up", "lora-aux"]) {
        let c = open(cell);
        let (batch, _) = sequences_of(cell);
        let examples = sequences(&batch);
        for (sharing, size) in [(Sharing::None, 8), (Sharing::From(4), 8), (Sharing::From(4), 3)] {
            let found = on_gpu(&gpu, &c, &examples, size, sharing, 0, Hold::Bf16);
            let (far, place) = c.worst_of_truth(&found.grads);
            let line = format!("{} {sharing:?} by {size}: {}", cell.method, errors(&c, &found, cell.loss, (far, place)));
            println!("{line}");
            // PyTorch's root mean square over many steps is 0.06 to 0.09 a tensor. Ours was not measured yet.
            if !(far < 0.25 && (found.loss - cell.loss).abs() / cell.loss < 0.01) {
                failed.push(line);
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Of every tensor the median, over examples alone, of how far its gradient is from the CPU's: the worst; and that of the loss.
fn typical(gpu: &Arc<Gpu>, c: &Open, cell: &Cell, hold: Hold) -> (f64, (f64, String)) {
    let tensors = c.trained.places.tensors();
    let mut far = vec![Vec::new(); tensors.len() + 1];
    for by in 0..4 {
        let batch = moved(sequences_of(cell).0, by, c.weights.dims.vocab as u32);
        for example in sequences(&batch) {
            let alone: [Sequence; 1] = [example];
            let truth = c.supervised(&alone, 1, Sharing::None);
            let found = on_gpu(gpu, c, &alone, 1, Sharing::None, 0, hold);
            far[tensors.len()].push((found.loss - truth.loss).abs() / truth.loss);
            for (t, far) in tensors.iter().zip(&mut far) {
                far.push(relative(&t.read(&found.grads), &t.read(&truth.grads)));
            }
        }
    }
    let median = |all: &mut Vec<f64>| {
        all.sort_by(f64::total_cmp);
        println!("    quartiles {:.1e} {:.1e} {:.1e}, most {:.1e}", all[8], all[16], all[24], all[31]);
        all[16]
    };
    let medians: Vec<f64> = far.iter_mut().map(median).collect();
    let worst = (0..tensors.len()).max_by(|&a, &b| medians[a].total_cmp(&medians[b])).expect("a tensor");
    (medians[tensors.len()], (medians[worst], tensors[worst].name.clone()))
}

#[test]
fn gpu_experts_are_as_exact_as_dense_layers_where_no_row_goes_elsewhere() {
    let Some(gpu) = gpu() else { return };
    let mut failed = Vec::new();
    let mut see = |what: &str, cell: &Cell, c: &Open, hold: Hold, most: f64| {
        let (loss, (far, place)) = typical(&gpu, c, cell, hold);
        let line = format!("{what} {hold:?}: median loss {loss:.1e}, gradient {far:.1e} ({place})");
        println!("{line}");
        if !(far < most && loss < most / 8.0) {
            failed.push(line);
        }
    };
    for cell in &cells(&["lora", "lora-gate-up", "lora-aux"]) {
        // Of dense families the worst tensor of one step: 3.0e-2 to 7.3e-2.
        see(&cell.method, cell, &open(cell), Hold::Bf16, 0.08);
    }
    for cell in &cells(&["lora"]) {
        see("attention alone", cell, &attention_alone(cell), Hold::Bf16, 0.08);
        let (mut c, nf4) = (open(cell), Scheme::Nf4 { double: true });
        let (cx, dims) = (engine::Cx::new(1).expect("threads"), c.weights.dims.clone());
        let files = formats::Weights::open(&c.model).expect("files");
        for (hold, scheme, most) in [(Hold::Nf4, Some(nf4), 0.08), (Hold::Int8, Some(Scheme::Int8), 0.08), (Hold::Fp8, None, 0.6)] {
            let cpu = scheme.map_or(CpuHold::F32, CpuHold::Quantised);
            c.weights = Weights::load(&cx, &files, &dims, cpu, &mut |_, _| {}).expect("weights");
            see("beside quantised weights", cell, &c, hold, most);
        }
    }
    // Quantised on disk.
    for cell in &cells(&["nf4-experts"]) {
        see("nf4-experts", cell, &open(cell), Hold::Nf4, 0.08);
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Two ways of PyTorch differ by up to a factor of 3 here.
#[test]
fn gpu_experts_errors_are_of_the_size_of_pytorchs() {
    let Some(gpu) = gpu() else { return };
    let mut rows = Vec::new();
    for cell in &cells(&["lora"]) {
        let drawn = Drawn::of(cell);
        for sharing in [Sharing::None, Sharing::From(4)] {
            let run = |examples: &[Sequence]| on_gpu(&gpu, &drawn.open, examples, examples.len(), sharing, 0, Hold::Bf16);
            rows.push(drawn.compared(&format!("{sharing:?}"), run));
        }
    }
    print(&rows);
    assert!(rows.iter().all(|row| row.most() < 3.0));
}

#[test]
fn gpu_experts_repeat_themselves_and_compute_layers_twice_to_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let mut all: Vec<(Open, Cell)> = cells(&["lora", "lora-gate-up", "lora-aux"]).into_iter().map(|cell| (open(&cell), cell)).collect();
    all.extend(cells(&["lora"]).into_iter().map(|cell| (attention_alone(&cell), cell)));
    for (c, cell) in &all {
        let (batch, _) = sequences_of(cell);
        let examples = sequences(&batch);
        for hold in [Hold::Bf16, Hold::Nf4] {
            let bits = |recompute| {
                let found = on_gpu(&gpu, c, &examples, 4, Sharing::From(4), recompute, hold);
                (found.loss.to_bits(), found.grads.iter().map(|g| g.to_bits()).collect::<Vec<_>>())
            };
            let first = bits(0);
            for recompute in 0..=c.weights.dims.layers {
                assert!(bits(recompute) == first, "{} {hold:?}: {recompute} layers computed again changed a bit", cell.method);
            }
        }
    }
}
