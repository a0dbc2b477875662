//! Times training steps on a GPU with random weights of a known shape: `gpu_step SHAPE TOKENS LENGTH [RECOMPUTED LAYERS]`.
//!
//! One line of JSON a case: tokens a second, the device's used memory beside what was planned, and the share of the
//! products' ceiling. bench/gpu.sh runs the cases of the table in bench/README.md.

use engine::cuda::product::WORKSPACE;
use engine::cuda::{CONTEXT, Gpu, timer::Mark};
use engine::ops::adamw::Settings;
use formats::config::{Family, Rope};
use model::adapter::{AdapterConfig, Targets};
use model::batch::{Sequence, Sharing};
use model::decoder::{Limits, Scale};
use model::gpu::{Engine, Hold, Source, buffers};
use model::{Adapter, Dims, MicroBatch, Places};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| words.get(i).map_or(Ok(default), |w| w.parse());
    let d = shape(words.first().map_or("llama-3.1-8b", String::as_str))?;
    let (tokens, length, recompute, steps) = (number(1, 8192)?, number(2, 2048)?, number(3, 0)?, number(4, 5)?);

    let hold = match words.iter().find_map(|w| w.strip_prefix("--hold=")) {
        None | Some("bf16") => Hold::Bf16,
        Some("nf4") => Hold::Nf4,
        Some("int8") => Hold::Int8,
        Some("fp8") => Hold::Fp8,
        Some(other) => return Err(format!("{other}: expected bf16, nf4, int8 or fp8").into()),
    };
    let gpu = Gpu::open(0)?;
    let (free, _) = gpu.memory()?;
    let config = AdapterConfig::new(16, 32.0, Targets::AllLinear);
    let mut params = Vec::new();
    let places = if words.iter().any(|w| w == "--frozen") {
        Places::nothing(&d)
    } else {
        let adapter = Adapter::new(&d, config, 1)?;
        params = adapter.params;
        adapter.places
    };
    // Every token is supervised, as in the peers' scripts.
    let ids: Vec<u32> = (0..tokens + tokens / length).map(|i| ((i as u64 * 2_654_435_761) % d.vocab as u64) as u32).collect();
    let learned = vec![true; length + 1];
    let all: Vec<Sequence> = ids.chunks_exact(length + 1).map(|ids| Sequence { ids, learned: &learned }).collect();
    let batch = MicroBatch::new(&all, Sharing::None);
    let limits = Limits { recompute, ..Limits::of([&batch]) };
    let planned: usize = buffers(&d, &places, hold, limits).iter().map(|b| b.bytes).sum();
    let mut engine = Engine::open(&gpu, &d, &places, hold, limits, &Source::Random(7), &params, &mut |_, _| {})?;
    let scale = Scale { tokens: 1.0 / batch.supervised as f64, examples: 1.0 };
    let settings = Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
    let mut ms = Vec::new();
    let mut losses = Vec::new();
    if words.iter().any(|w| w == "--tune") {
        gpu.tune(true);
        engine.losses_and_gradient(&batch, scale)?;
        gpu.tune(false);
        engine.set(&params, &vec![0.0; params.len()], &vec![0.0; params.len()])?;
    }
    for step in 0..steps as u64 + 2 {
        let before = Mark::now(&gpu)?;
        let began = std::time::Instant::now();
        engine.clear();
        let each = engine.losses_and_gradient(&batch, scale)?;
        engine.norm(1.0)?;
        engine.update(&settings, 1e-4, step + 1)?;
        let device = Mark::now(&gpu)?.since(&before)?;
        losses.push(each.iter().sum::<f64>() * scale.tokens);
        ms.push((began.elapsed().as_secs_f64() * 1e3, f64::from(device)));
    }
    if words.iter().any(|w| w == "--profile") {
        gpu.watch();
        engine.losses_and_gradient(&batch, scale)?;
        engine.norm(1.0)?;
        engine.update(&settings, 1e-4, 99)?;
        for (name, ms, count) in gpu.seen()? {
            println!("{ms:9.3} ms {count:5} x {name}");
        }
    }
    let mut timed: Vec<f64> = ms[2..].iter().map(|m| m.0).collect();
    timed.sort_by(f64::total_cmp);
    let median = timed[timed.len() / 2];
    let light = 1e5 * engine.light(&places, &batch) / median;
    let used = free - gpu.memory()?.0;
    println!(
        "{{\"shape\":{:?},\"tokens\":{},\"length\":{length},\"recompute\":{recompute},\"hold\":\"{hold:?}\",\"ms\":{median:.2},\"tokens_s\":{:.0},\"light_percent\":{light:.1},\"planned_gib\":{:.3},\"used_gib\":{:.3},\"first_loss\":{:.4},\"last_loss\":{:.4},\"device\":{:?}}}",
        words.first().map_or("llama-3.1-8b", String::as_str),
        batch.tokens.len(),
        batch.tokens.len() as f64 / median * 1e3,
        (planned + CONTEXT + WORKSPACE) as f64 / (1u64 << 30) as f64,
        (used + CONTEXT + WORKSPACE) as f64 / (1u64 << 30) as f64,
        losses[0],
        losses[losses.len() - 1],
        gpu.about().name,
    );
    Ok(())
}

/// Shapes of known models.
fn shape(name: &str) -> Result<Dims, String> {
    let llama = |vocab, hidden, layers, heads, kv_heads, intermediate| Dims {
        family: Family::Llama,
        vocab,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim: hidden / heads,
        rotary: hidden / heads,
        intermediate,
        rms_eps: 1e-5,
        context: 1 << 17,
        window: None,
        tied: false,
        qkv_bias: false,
        o_bias: false,
        qk_norm: false,
        fused: false,
        experts: None,
        rope_theta: 5e5,
        rope: Rope::Plain,
    };
    Ok(match name {
        "llama-3.1-8b" => llama(128_256, 4096, 32, 32, 8, 14_336),
        "smollm2-135m" => Dims { tied: true, ..llama(49_152, 576, 30, 9, 3, 1536) },
        "llama-3.1-70b" => llama(128_256, 8192, 80, 64, 8, 28_672),
        other => return Err(format!("{other}: expected llama-3.1-8b, smollm2-135m or llama-3.1-70b")),
    })
}
