//! Layers that are computed again for the backward pass, in models of many layers: no bit differs, and less is kept.

use crate::cases::{Batch, sequences};
use engine::Cx;
use model::adapter::{AdapterConfig, Targets};
use model::batch::{Noise, Rules, Sharing};
use model::decoder::{self, Limits, Room, Scale};
use model::random::{Stream, bits};
use model::weights::Hold;
use model::{Adapter, Dims, MicroBatch, Weights};
use std::path::Path;

/// How often the layers of a small model are repeated.
const TIMES: usize = 3;

/// A small model of the matrix with its layers three times over, and its batch.
fn deep(cx: &Cx, family: &str) -> (Weights, Batch) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/matrix").join(family);
    let model = root.join("model");
    let dims = Dims::of(&formats::ModelConfig::open(&model).expect("config")).expect("dims");
    let files = formats::Weights::open(&model).expect("files");
    let load = || Weights::load(cx, &files, &dims, Hold::F32, &mut |_, _| {}).expect("weights");
    let mut weights = load();
    (1..TIMES).for_each(|_| weights.layers.extend(load().layers));
    weights.dims.layers = weights.layers.len();
    let batch = std::fs::read(root.join("batch.json")).expect("batch");
    (weights, serde_json::from_slice(&batch).expect("batch"))
}

/// An adapter without a zero.
fn adapter(dims: &Dims, change: impl Fn(&mut AdapterConfig)) -> Adapter {
    let mut config = AdapterConfig::new(3, 6.0, Targets::AllLinear);
    change(&mut config);
    let mut adapter = Adapter::new(dims, config, 5).expect("adapter");
    for (i, p) in adapter.params.iter_mut().enumerate() {
        *p = (bits(7, Stream::Order(0), i as u64) % 2000) as f32 / 1e4 - 0.1;
    }
    adapter
}

/// Loss, gradient and bytes kept of one micro-batch, in a room that an earlier one has used.
fn step(cx: &Cx, w: &Weights, a: &Adapter, b: &MicroBatch, limits: Limits) -> (u64, Vec<u32>, usize) {
    let mut room = Room::new(&w.dims, &a.places, limits);
    let scale = Scale { tokens: 1.0 / b.supervised as f64, examples: 1.0 / b.rows.len() as f64 };
    let mut once = || {
        let mut grads = vec![0f32; a.params.len()];
        let loss = decoder::loss_and_gradient(cx, w, a, &mut room, b, scale, &mut grads);
        (loss.sum.to_bits(), grads.iter().map(|g| g.to_bits()).collect::<Vec<_>>())
    };
    once();
    let (loss, grads) = once();
    (loss, grads, room.bytes())
}

fn agree(name: &str, family: &str, balance: f64, change: impl Fn(&mut AdapterConfig)) {
    let cx = Cx::new(2).expect("threads");
    let (weights, batch) = deep(&cx, family);
    let adapter = adapter(&weights.dims, change);
    let mut b = MicroBatch::new(&sequences(&batch), Rules { sharing: Sharing::None, long_from: weights.dims.long_from() });
    b.noise = Some(Noise { seed: 3, step: 2 });
    let of = |recompute| step(&cx, &weights, &adapter, &b, Limits { balance, recompute, ..Limits::of([&b]) });
    let kept = of(0);
    assert!(kept.1.iter().filter(|g| f32::from_bits(**g) != 0.0).count() > kept.1.len() / 2, "{name}: most gradients are there");
    let mut bytes = kept.2;
    for recompute in 1..=weights.dims.layers {
        let again = of(recompute);
        let other = again.1.iter().zip(&kept.1).filter(|(a, b)| a != b).count();
        assert_eq!((again.0, other), (kept.0, 0), "{name}: {recompute} layers again");
        // The first one only has the place for itself that all of them share.
        assert!(if recompute == 1 { again.2 == bytes } else { again.2 < bytes }, "{name}: {recompute} layers again: {}", again.2);
        bytes = again.2;
    }
    println!("{name}: {} bytes kept, {bytes} with all layers again", kept.2);
}

#[test]
fn lora_dora_and_dropout() {
    agree("llama lora", "llama", 0.0, |_| {});
    agree("qwen3 dora", "qwen3", 0.0, |c| c.use_dora = true);
    agree("phi3 dropout", "phi3", 0.0, |c| c.lora_dropout = 0.3);
}

#[test]
fn experts_and_their_balance() {
    let named = |c: &mut AdapterConfig| c.target_parameters = vec!["mlp.experts.gate_up_proj".into(), "mlp.experts.down_proj".into()];
    agree("mixtral experts", "mixtral", 0.0, named);
    agree("mixtral balance", "mixtral", 0.02, named);
}
