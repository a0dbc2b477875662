//! Twenty losses of a run against those of transformers' loop (`oracle/parity.py`); with `PARITY=FOLDER` of a real model too.

use engine::Cx;
use engine::ops::adamw;
use model::batch::{Sequence, Sharing, micro_batches};
use model::decoder::{Limits, Room, Scale, loss_and_gradient};
use record::recipe::Schedule;
use std::path::PathBuf;
use train::schedule::rate;

#[derive(serde::Deserialize)]
struct Example {
    ids: Vec<u32>,
    learned: Vec<bool>,
}

#[derive(serde::Deserialize)]
struct Batch {
    examples: Vec<Example>,
    lr: f64,
    steps: u64,
    warmup: u64,
    half: usize,
}

fn cases() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = ["parity-llama", "parity-llama3", "parity-mistral"].iter().map(|n| crate::fixture(n)).collect();
    if let Ok(more) = std::env::var("PARITY") {
        all.extend(more.split(':').map(PathBuf::from));
    }
    all
}

#[test]
fn the_first_twenty_losses_are_those_of_pytorch() {
    // Rounding differences grow over the steps: two layers measured 2e-7, thirty 3e-4.
    judge(&cases(), false, |layers| if layers > 8 { 1e-3 } else { 1e-6 });
}

#[test]
fn losses_in_bf16_stay_near() {
    // A real model learns its batch by heart within the twenty steps; what is left of the loss is rounding. So the tiny ones only.
    judge(&cases()[..3], true, |_| 5e-3);
}

fn judge(cases: &[PathBuf], rounded: bool, bound: fn(usize) -> f64) {
    let cx = Cx::new(2).expect("threads");
    for folder in cases {
        let model = std::fs::read_to_string(folder.join("model.txt")).map_or_else(|_| folder.join("model"), |p| PathBuf::from(p.trim()));
        let weights = crate::weights(&cx, &model, rounded);
        let mut adapter = crate::adapter(&weights.dims, &folder.join("adapter"));
        let b: Batch = serde_json::from_slice(&std::fs::read(folder.join("batch.json")).expect("batch.json")).expect("batch");
        let truth = formats::safetensors::File::open(&folder.join("truth.safetensors")).expect("truth");
        let t = truth.tensor("losses").expect("losses");
        let mut want = vec![0f32; t.elements()];
        t.read_f32(&mut want).expect("readable");
        let all: Vec<Sequence> = b.examples.iter().map(|e| Sequence { ids: &e.ids, learned: &e.learned }).collect();
        let n = adapter.params.len();
        let (mut m, mut v, mut grads) = (vec![0f32; n], vec![0f32; n], vec![0f32; n]);
        let settings = adamw::Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
        let mut worst = 0f64;
        for step in 0..b.steps {
            let part = if step % 2 == 0 { &all[..b.half] } else { &all[b.half..] };
            // A small limit, so that several micro-batches make one step.
            let batches = micro_batches(part, Sharing::From(8), 60.max(part[0].ids.len()));
            let mut room = Room::new(&weights.dims, &adapter.places, Limits::of(&batches));
            let supervised: usize = batches.iter().map(|b| b.supervised).sum();
            let scale = 1.0 / supervised as f64;
            grads.fill(0.0);
            let mut sum = 0.0;
            for batch in &batches {
                sum += loss_and_gradient(&cx, &weights, &adapter, &mut room, batch, Scale { tokens: scale, examples: 0.0 }, &mut grads).sum;
            }
            let far = (sum * scale - want[step as usize] as f64).abs() / want[step as usize] as f64;
            worst = worst.max(far);
            let clip = (1.0 / (adamw::norm(&grads) + 1e-6)).min(1.0);
            let lr = rate(Schedule::Cosine, b.lr, b.warmup, b.steps, step);
            adamw::step(&cx, &mut adapter.params, &mut m, &mut v, &grads, &settings, lr, step + 1, clip);
        }
        println!("{}: worst of {} losses {worst:.1e}{}", folder.display(), b.steps, if rounded { " in bf16" } else { "" });
        assert!(worst < bound(weights.dims.layers) && (!rounded || worst > 1e-6), "{worst:e}");
        assert!(want.last() < want.first(), "the run learned something");
    }
}
