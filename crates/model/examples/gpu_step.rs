//! Times training steps on a GPU with random weights of a known shape: `gpu_step SHAPE TOKENS LENGTH [RECOMPUTED LAYERS]`.
//!
//! `--full` trains every weight, `--frozen` none; without either, a LoRA adapter of rank 16, of whose input `--dropout=P` drops a
//! share, and to which `--dora` adds magnitudes. With `--ids=FILE` the tokens are the first `--batch=N` lines of a file of
//! `{"ids": […], "learned": [0, 1, …]}`, whose common beginnings are computed once. A step is `--times=N` such micro-batches.
//! One line of JSON a case: tokens a second, how long the host takes to ask for a step, the device's used memory beside what was
//! planned, and the share of the products' ceiling. bench/gpu.py runs the cases of the table.

use engine::cuda::product::WORKSPACE;
use engine::cuda::{CONTEXT, Gpu};
use engine::ops::adamw::Settings;
use formats::config::{Experts, Family, Rope};
use model::adapter::{AdapterConfig, Targets};
use model::batch::{Noise, SHARED_TOKENS_MIN, Sequence, Sharing};
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
    let mut config = AdapterConfig::new(16, 32.0, Targets::AllLinear);
    if let Some(share) = words.iter().find_map(|w| w.strip_prefix("--dropout=")) {
        config.lora_dropout = share.parse()?;
    }
    let mut params = Vec::new();
    let said = |flag: &str| words.iter().any(|w| w == flag);
    let places = if said("--frozen") {
        Places::nothing(&d)
    } else if said("--full") {
        Places::of_model(&d)
    } else {
        config.use_dora = said("--dora");
        let adapter = Adapter::new(&d, config, 1)?;
        params = adapter.params;
        for t in adapter.places.tensors().iter().filter(|t| t.name.ends_with("magnitude_vector")) {
            // The lengths of rows of random weights, whose deviation is 0.02.
            let inputs = if t.name.contains("down_proj") { d.intermediate } else { d.hidden };
            t.write(&vec![0.02 * (inputs as f32).sqrt(); t.shape[0]], &mut params);
        }
        adapter.places
    };
    let times: usize = words.iter().find_map(|w| w.strip_prefix("--times=")).map_or(Ok(1), str::parse)?;
    let examples = examples(&words, d.vocab, (tokens, length))?;
    let all: Vec<Sequence> = examples.iter().map(|e| Sequence { ids: &e.ids, learned: &e.learned }).collect();
    let shared = words.iter().any(|w| w.starts_with("--ids="));
    let sharing = if shared { Sharing::From(SHARED_TOKENS_MIN) } else { Sharing::None };
    let batch = MicroBatch { noise: Some(Noise { seed: 1, step: 0 }), ..MicroBatch::new(&all, sharing) };
    let limits = Limits { recompute, ..Limits::of(vec![&batch; times]) };
    let planned: usize = buffers(&d, &places, hold, limits).iter().map(|b| b.bytes).sum();
    let mut engine = Engine::open(&gpu, &d, &places, hold, limits, &Source::Random(7), &params, &mut |_, _| {})?;
    let scale = Scale { tokens: 1.0 / (times * batch.supervised) as f64, examples: 1.0 };
    let settings = Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
    let (mut ms, mut asked, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    let mut step = |engine: &mut Engine, step: u64| -> Result<f64, model::Error> {
        let began = std::time::Instant::now();
        engine.clear();
        for _ in 0..times {
            engine.submit(&batch, scale)?;
        }
        asked.push(began.elapsed().as_secs_f64() * 1e3);
        engine.norm(1.0)?;
        engine.update(&settings, 1e-4, step + 1, 1)?;
        engine.loss()
    };
    if said("--tune") {
        gpu.tune(true);
        step(&mut engine, 0)?;
        gpu.tune(false);
    }
    for i in 0..steps as u64 + 2 {
        let began = std::time::Instant::now();
        losses.push(step(&mut engine, i)? * scale.tokens);
        ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    if said("--profile") {
        gpu.watch();
        step(&mut engine, 99)?;
        for (name, ms, count) in gpu.seen()? {
            println!("{ms:9.3} ms {count:5} x {name}");
        }
    }
    asked.sort_by(f64::total_cmp);
    let mut timed: Vec<f64> = ms[2..].to_vec();
    timed.sort_by(f64::total_cmp);
    let median = timed[timed.len() / 2];
    let light = 1e5 * times as f64 * engine.light(&places, &batch) / median;
    let used = free - gpu.memory()?.0;
    println!(
        "{{\"shape\":{:?},\"tokens\":{},\"length\":{length},\"recompute\":{recompute},\"hold\":\"{hold:?}\",\"ms\":{median:.2},\"asked_ms\":{:.2},\"examples_s\":{:.1},\"tokens_s\":{:.0},\"light_percent\":{light:.1},\"planned_gib\":{:.3},\"used_gib\":{:.3},\"first_loss\":{:.4},\"last_loss\":{:.4},\"device\":{:?}}}",
        words.first().map_or("llama-3.1-8b", String::as_str),
        batch.tokens.len(),
        asked[asked.len() / 2],
        (times * all.len()) as f64 / median * 1e3,
        (times * batch.tokens.len()) as f64 / median * 1e3,
        (planned + CONTEXT + WORKSPACE) as f64 / (1u64 << 30) as f64,
        (used + CONTEXT + WORKSPACE) as f64 / (1u64 << 30) as f64,
        losses[0],
        losses[losses.len() - 1],
        gpu.about().name,
    );
    Ok(())
}

/// An example's tokens.
#[derive(serde::Deserialize)]
struct Example {
    ids: Vec<u32>,
    #[serde(deserialize_with = "flags")]
    learned: Vec<bool>,
}

fn flags<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<bool>, D::Error> {
    Ok(<Vec<u8> as serde::Deserialize>::deserialize(from)?.into_iter().map(|v| v == 1).collect())
}

/// Those of a file, or random ones of which every token is supervised, as in the peers' scripts.
fn examples(words: &[String], vocab: usize, (tokens, length): (usize, usize)) -> Result<Vec<Example>, Box<dyn std::error::Error>> {
    let named = |name: &str| words.iter().find_map(|w| w.strip_prefix(name).map(str::to_owned));
    if let Some(file) = named("--ids=") {
        let count = named("--batch=").map_or(Ok(16), |n| n.parse())?;
        return Ok(std::fs::read_to_string(file)?.lines().take(count).map(serde_json::from_str).collect::<Result<_, _>>()?);
    }
    let ids: Vec<u32> = (0..tokens + tokens / length).map(|i| ((i as u64 * 2_654_435_761) % vocab as u64) as u32).collect();
    Ok(ids.chunks_exact(length + 1).map(|ids| Example { ids: ids.to_vec(), learned: vec![true; length + 1] }).collect())
}

/// Shapes of known models.
pub fn shape(name: &str) -> Result<Dims, String> {
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
        "mixtral-8x7b" => {
            let experts = Some(Experts { count: 8, per_token: 2, aux_coef: 0.0 });
            Dims { family: Family::Mixtral, experts, ..llama(32_000, 4096, 32, 32, 8, 14_336) }
        }
        other => return Err(format!("{other}: expected llama-3.1-8b, smollm2-135m, llama-3.1-70b or mixtral-8x7b")),
    })
}
