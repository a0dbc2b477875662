//! Seconds of a training step on packed random tokens: LoRA r=16 on all linear layers, four sequences of 256, the second half learned.
//!
//!     cargo run --release -p train --example step -- MODEL f32|bf16|nf4 THREADS STEPS
//!
//! Prints one line a step, then the highest memory of the process in bytes. `bench/step_cpu.py` runs it beside PEFT.

use engine::Cx;
use engine::ops::adamw;
use model::adapter::{AdapterConfig, Targets};
use model::batch::{Sequence, Sharing};
use model::decoder::{Limits, Room, Scale, loss_and_gradient};
use model::random::{Stream, bits};
use model::weights::{Hold, Scheme};
use model::{Adapter, Dims, MicroBatch, Weights};
use std::path::Path;
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, hold, threads, steps] = args.as_slice() else { panic!("expected MODEL f32|bf16|nf4 THREADS STEPS") };
    let hold = match hold.as_str() {
        "f32" => Hold::F32,
        "bf16" => Hold::Bf16,
        "nf4" => Hold::Quantised(Scheme::Nf4 { double: true }),
        other => panic!("found {other}, expected f32, bf16 or nf4"),
    };
    let cx = Cx::new(threads.parse().expect("a number of threads")).expect("threads");
    let model = Path::new(model);
    let dims = Dims::of(&formats::ModelConfig::open(model).expect("config")).expect("dims");
    let files = formats::Weights::open(model).expect("files");
    let weights = Weights::load(&cx, &files, &dims, hold, &mut |_, _| {}).expect("weights");
    drop(files);
    let mut adapter = Adapter::new(&dims, AdapterConfig::new(16, 32.0, Targets::AllLinear), 0).expect("adapter");
    let learned: Vec<bool> = (0..257).map(|i| i > 128).collect();
    let ids: Vec<Vec<u32>> =
        (0..4).map(|s| (0..257).map(|i| (bits(1, Stream::Order(s), i) % dims.vocab as u64) as u32).collect()).collect();
    let all: Vec<Sequence> = ids.iter().map(|ids| Sequence { ids, learned: &learned }).collect();
    let batch = MicroBatch::new(&all, Sharing::None);
    let mut room = Room::new(&dims, &adapter.places, Limits::of([&batch]));
    let n = adapter.params.len();
    let (mut m, mut v, mut grads) = (vec![0f32; n], vec![0f32; n], vec![0f32; n]);
    let settings = adamw::Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
    let scale = Scale { tokens: 1.0 / batch.supervised as f64, examples: 0.25 };
    for step in 1..=steps.parse().expect("a number of steps") {
        let began = Instant::now();
        grads.fill(0.0);
        let loss = loss_and_gradient(&cx, &weights, &adapter, &mut room, &batch, scale, &mut grads);
        adamw::step(&cx, &mut adapter.params, &mut m, &mut v, &grads, &settings, 1e-4, step, 1.0);
        println!("{:.4} s, loss {:.4}", began.elapsed().as_secs_f64(), loss.sum * scale.tokens);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    println!("peak {}", peak.unwrap_or(0) * 1024);
}
