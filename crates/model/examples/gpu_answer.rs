//! Times answers on a GPU with random weights of a known shape: `gpu_answer SHAPE BATCH IN OUT [--adapter] [--hold=nf4|int8] [--tune]
//! [--called] [--profile] [--shared=N]`.
//!
//! One line of JSON a case: prompt tokens a second, milliseconds a step, new tokens a second, and the share of the bound that the
//! memory sets: what a step must read (the layers' weights, the head, the cache so far) over the rate of a large copy.

use engine::cuda::{Buffer, Gpu, timer::Mark};
use model::adapter::{AdapterConfig, Targets};
use model::generate::{Options, Progress};
use model::gpu::{Answerer, Hold, Source, Steps, With, buffers_to_answer};
use model::modules::{inputs, members, shape as linear};
use model::{Adapter, Dims};
use std::sync::Arc;
use std::time::Instant;

#[path = "gpu_step.rs"]
#[allow(dead_code)]
mod gpu_step;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| words.get(i).filter(|w| !w.starts_with("--")).map_or(Ok(default), |w| w.parse());
    let flag = |name: &str| words.iter().any(|w| w == name);
    let value = |name: &str| words.iter().find_map(|w| w.strip_prefix(name));
    let name = words.first().map_or("llama-3.1-8b", String::as_str);
    let d = gpu_step::shape(name)?;
    let (batch, input, output) = (number(1, 64)?, number(2, 512)?, number(3, 128)?);
    let shared: usize = value("--shared=").map_or(Ok(0), str::parse)?;
    let hold = match value("--hold=") {
        None | Some("bf16") => Hold::Bf16,
        Some("nf4") => Hold::Nf4,
        Some("int8") => Hold::Int8,
        Some(other) => return Err(format!("{other}: expected bf16, nf4 or int8").into()),
    };
    let gpu = Gpu::open(0)?;
    let (free, _) = gpu.memory()?;
    let (adapter, with) = match flag("--adapter") {
        true => (Adapter::new(&d, AdapterConfig::new(16, 32.0, Targets::AllLinear), 1)?, With::Adapter),
        false => (Adapter::none(&d), With::Base),
    };
    let planned: usize = buffers_to_answer(&d, &adapter.places, hold).iter().map(|b| b.bytes).sum();
    let mut answerer = Answerer::open(&gpu, &d, &adapter.places, hold, &Source::Random(7), &adapter.params, &mut |_, _| {})?;
    let token = |i: usize| ((i as u64 * 2_654_435_761) % d.vocab as u64) as u32;
    let prompts: Vec<Vec<u32>> =
        (0..batch).map(|p| (0..input).map(|i| if i < shared { token(i) } else { token((p + 1) * 100_003 + i) }).collect()).collect();
    let options = |max_new| Options { max_new, stop: Vec::new(), batch };
    if flag("--tune") {
        gpu.tune(true);
        answerer.generate(with, &prompts, &options(2), &mut |_| true)?;
        gpu.tune(false);
    }
    if flag("--called") || flag("--profile") {
        answerer.steps(Steps::Called);
    }
    if flag("--profile") {
        gpu.watch();
        answerer.generate(with, &prompts, &options(9), &mut |_| true)?;
        for (name, ms, count) in gpu.seen()? {
            println!("{ms:9.3} ms {count:5} x {name}");
        }
        return Ok(());
    }
    answerer.generate(with, &prompts, &options(4), &mut |_| true)?; // loads what is loaded at a first call
    // When each prompt got its first token and when every step was over: tokens are told step by step.
    let (began, mut seen, mut least) = (Instant::now(), Vec::new(), usize::MAX);
    let mut see = |p: Progress| {
        if let Progress::Token { .. } = p {
            seen.push(began.elapsed().as_secs_f64());
            if seen.len() == 1 {
                least = gpu.memory().map_or(0, |m| m.0);
            }
        }
        true
    };
    let answers = answerer.generate(with, &prompts, &options(output), &mut see)?;
    let slots = batch.min(prompts.len());
    let new: usize = answers.iter().map(|a| a.ids.len()).sum();
    if new != slots * output || seen.len() != new {
        return Err(format!("{new} tokens and {} told, expected {}", seen.len(), slots * output).into());
    }
    let (first, last, steps) = (seen[0], seen[new - 1], output - 1);
    let ms = (last - first) * 1e3 / steps as f64;
    let rate = copy_rate(&gpu)?;
    // The mean step reads the prompt and half of the new tokens; a common beginning counts once.
    let tokens = (shared + slots * (input - shared)) as f64 + slots as f64 * (output as f64 / 2.0);
    let cache = tokens * (2 * d.layers * d.kv_width() * 2) as f64;
    let weights = weights(&d, hold);
    let bound = (weights + cache) / rate * 1e3;
    let gib = |bytes: usize| bytes as f64 / f64::from(1u32 << 30);
    println!(
        "{{\"shape\":{name:?},\"batch\":{batch},\"in\":{input},\"out\":{output},\"shared\":{shared},\"hold\":\"{hold:?}\",\"with\":\"{with:?}\",\"prefill_s\":{first:.4},\"prefill_tokens_s\":{:.0},\"ms_step\":{ms:.3},\"tokens_s\":{:.0},\"bound_ms\":{bound:.3},\"bound_percent\":{:.1},\"weights_gb\":{:.2},\"cache_gb\":{:.2},\"copy_gb_s\":{:.0},\"held_gib\":{:.3},\"used_gib\":{:.3},\"device\":{:?}}}",
        (shared + slots * (input - shared)) as f64 / first,
        slots as f64 / ms * 1e3,
        100.0 * bound / ms,
        weights / 1e9,
        cache / 1e9,
        rate / 1e9,
        gib(planned),
        gib(free.saturating_sub(least)),
        gpu.about().name,
    );
    Ok(())
}

/// Bytes of weights that a step reads: of the embedding a row a sequence, which does not count.
fn weights(d: &Dims, hold: Hold) -> f64 {
    let each = match hold {
        Hold::Int8 | Hold::Fp8 => 1.0,
        Hold::Nf4 => 0.5 + 1.0 / 64.0,
        Hold::Bf16 => 2.0,
    };
    let layer: usize = (0..4).map(|g| inputs(d, g) * members(g).map(|i| linear(d, i).0).sum::<usize>()).sum();
    (d.layers * layer) as f64 * each + (d.vocab * d.hidden) as f64 * 2.0
}

/// Bytes a second of a copy of 2 GiB on the device, read and written.
fn copy_rate(gpu: &Arc<Gpu>) -> Result<f64, engine::cuda::Error> {
    let bytes = 2usize << 30;
    let (a, b) = (Buffer::<u8>::new(gpu, bytes)?, Buffer::<u8>::new(gpu, bytes)?);
    let mut least = f32::INFINITY;
    for _ in 0..5 {
        let from = Mark::now(gpu)?;
        a.copy_from(&b);
        least = least.min(Mark::now(gpu)?.since(&from)?);
    }
    Ok(2.0 * bytes as f64 / f64::from(least) * 1e3)
}
