//! `tunesmith plan`: what a model, a method and a GPU that need not be here would take.

use crate::fault::{Fault, Kind};
use crate::show;
use crate::ui::Ui;
use clap::ValueEnum;
use formats::ModelConfig;
use plan::{Ask, Change, Gpu, Method, Plan, Price, Recompute, States};
use serde_json::{Value, json};
use std::path::Path;

const EXAMPLE: &str = "\
Examples:
  tunesmith plan --model llama-3.1-70b --method qlora --gpu h200 --tokens 8192
  tunesmith plan --model llama-3.1-8b --method full --gpu a100-80 --gpus 4
  tunesmith plan --model ./my-model/config.json --method lora --gpu 48GB --json

Models: llama-3.1-8b, llama-3.1-70b, mistral-7b, phi-3-mini, mixtral-8x7b, qwen2.5-0.5b, -1.5b, -3b, -7b,
-14b, -32b, -72b, qwen3-8b, smollm2-135m; or a model's folder, its config.json, or a .gguf file.
Methods: full, lora, dora, qlora, int8, dpo, gguf-q4_0, gguf-q4_1, gguf-q8_0, gguf-q4_k, gguf-q6_k.
GPUs: a100-40, a100-80, h100-80, h200, l4, rtx-4090; or memory such as 48GB or 48GiB.";

/// Plan a run on a GPU: every buffer, what fits, how fast
///
/// No weights and no GPU need to be here. What does not fit is an answer too (exit code 0),
/// unless --require-fit asks for a gate.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct PlanArgs {
    /// The model: a built-in name, or a path
    #[arg(long)]
    model: String,
    /// How it is tuned
    #[arg(long, default_value = "lora")]
    method: String,
    /// The GPU: a built-in name, or its memory
    #[arg(long)]
    gpu: String,
    /// How many of them
    #[arg(long, value_name = "N", default_value_t = 1)]
    gpus: usize,
    /// Tokens of a micro-batch
    #[arg(long, value_name = "N", default_value_t = 8192)]
    tokens: usize,
    /// Tokens of the longest sequence (default: 2,048, or a micro-batch or the model's context if that is less)
    #[arg(long, value_name = "N")]
    seq: Option<usize>,
    /// Rank of the adapter
    #[arg(long, value_name = "N", default_value_t = 16)]
    rank: u64,
    /// What full training holds gradient and moments in
    #[arg(long, value_enum, default_value_t = StatesArg::Bf16)]
    states: StatesArg,
    /// What may be computed twice to save memory
    #[arg(long, value_enum, default_value_t = RecomputeArg::Auto)]
    recompute: RecomputeArg,
    /// US dollars an hour of one GPU, in place of the built-in assumption
    #[arg(long, value_name = "USD")]
    price: Option<f64>,
    /// End with exit code 3 if it does not fit
    #[arg(long)]
    require_fit: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum StatesArg {
    /// bf16, rounded stochastically: 8 bytes a parameter
    Bf16,
    /// f32 masters and moments: 16 bytes a parameter
    F32,
}

#[derive(Clone, Copy, ValueEnum)]
enum RecomputeArg {
    /// As little as makes it fit
    Auto,
    /// Nothing
    None,
    /// Every layer, from its input
    All,
}

pub fn run(args: &PlanArgs, ui: &mut Ui) -> Result<(), Fault> {
    // Resolve.
    let config = model(&args.model)?;
    let gpu = priced(Gpu::named(&args.gpu)?, args.price)?;
    let ask = Ask {
        config: &config,
        method: Method::named(&args.method)?,
        gpu: &gpu,
        gpus: args.gpus,
        tokens: args.tokens,
        longest: args.seq.unwrap_or(2048.min(args.tokens).min(config.max_context)),
        rank: args.rank,
        states: match args.states {
            StatesArg::Bf16 => States::Bf16,
            StatesArg::F32 => States::F32,
        },
        recompute: match args.recompute {
            RecomputeArg::Auto => Recompute::Auto,
            RecomputeArg::None => Recompute::None,
            RecomputeArg::All => Recompute::All,
        },
    };

    // Plan and do.
    let plan = plan::plan(&ask)?;
    let changes = if plan.fits { Vec::new() } else { plan::changes(&ask)? };

    // Say.
    say(args, &ask, &plan, ui);
    let hints: Vec<(String, &str)> = changes.iter().map(|c| advice(args, c)).collect();
    if args.require_fit && !plan.fits {
        let what = format!("needs {} a GPU, which has {}", show::bytes(plan.peak_bytes), show::bytes(plan.capacity));
        let fault = Fault::new(Kind::Gate, format!("{} with {} on {}: {what}", args.model, args.method, args.gpu));
        let hints = hints.into_iter().map(|(command, why)| format!("{why}: {command}")).collect();
        return Err(Fault { hints, ..fault });
    }
    ui.json(figures(args, &ask, &plan, &changes));
    ui.next(&if plan.fits { onward() } else { hints });
    Ok(())
}

fn model(name: &str) -> Result<ModelConfig, Fault> {
    match plan::builtin(name) {
        Ok(config) => Ok(config),
        Err(_) if Path::new(name).exists() => Ok(ModelConfig::open(Path::new(name))?),
        Err(unknown) => Err(unknown.into()),
    }
}

fn priced(mut gpu: Gpu, price: Option<f64>) -> Result<Gpu, Fault> {
    let Some(usd) = price else { return Ok(gpu) };
    if !(usd.is_finite() && usd >= 0.0) {
        let what = format!("--price: found {usd}, expected 0 or more US dollars an hour");
        return Err(Fault::new(Kind::Usage, what).hint("leave it out to take the built-in assumption"));
    }
    gpu.price = Some(Price { usd, basis: "as given with --price" });
    Ok(gpu)
}

fn say(args: &PlanArgs, ask: &Ask, p: &Plan, ui: &mut Ui) {
    let gpus = if ask.gpus == 1 { String::new() } else { format!("{} x ", ask.gpus) };
    ui.say(format!(
        "{}, {} on {gpus}{}: {} tokens a micro-batch, sequences of up to {}",
        args.model,
        ask.method.name(),
        args.gpu,
        show::count(ask.tokens as u64),
        show::count(ask.longest as u64)
    ));
    ui.say(format!(
        "{} parameters, {} of them trained; {}\n",
        show::count(p.parameters),
        show::count(p.trained),
        ask.method.storage().title()
    ));
    show::buffers(&p.buffers).iter().for_each(|line| ui.say(line));
    let of = if ask.gpus == 1 { "the GPU has" } else { "each GPU has" };
    ui.say(format!("{:>10}  at the peak; {of} {} ({})\n", show::bytes(p.peak_bytes), show::bytes(p.capacity), ask.gpu.basis));
    let most = show::count(p.max_tokens as u64);
    ui.say(match (p.fits, p.max_tokens) {
        (true, _) => format!("It fits. The largest micro-batch that fits has {most} tokens."),
        (false, 0) => "It does not fit, nor does a micro-batch of one token.".to_string(),
        (false, _) => format!("It does not fit. The largest micro-batch that fits has {most} tokens."),
    });
    ui.say(format!("Computed twice: {}.", twice(p)));
    if ask.gpus > 1 {
        ui.say(format!("Sharing: {}.", p.sharding.title(ask.gpus)));
    }
    pace(ask, p).iter().for_each(|line| ui.say(line));
}

fn twice(p: &Plan) -> String {
    if p.rebuilt.is_empty() {
        return "nothing".to_string();
    }
    let parts: Vec<String> = p.rebuilt.iter().map(|r| format!("{} (in {} layers)", r.keep.title(), r.layers)).collect();
    format!("{}; {:.1} % of all operations", parts.join("; "), 100.0 * p.estimate.again_share)
}

fn pace(ask: &Ask, p: &Plan) -> Vec<String> {
    let e = &p.estimate;
    let (Some(rate), Some(bound)) = (e.tokens_per_second, e.bound) else { return vec![format!("Speed: {}.", e.basis)] };
    let mut lines = vec![format!(
        "Speed: about {} tokens a second ({}); more than {} is impossible there.",
        show::count(rate as u64),
        e.basis,
        show::count(bound as u64)
    )];
    if let (Some(usd), Some(price)) = (e.usd_per_million, e.price) {
        let gpus = if ask.gpus == 1 { String::new() } else { format!("{} times ", ask.gpus) };
        lines.push(format!("Price: {usd:.2} US dollars a million tokens, at {gpus}{:.2} an hour ({}).", price.usd, price.basis));
    }
    lines
}

/// The command that makes one change, and what it changes.
fn advice(args: &PlanArgs, change: &Change) -> (String, &'static str) {
    let mut next = Words { model: &args.model, method: args.method.clone(), gpu: args.gpu.clone(), gpus: args.gpus, tokens: args.tokens };
    let why = match change {
        Change::Recompute => "compute more twice",
        Change::Tokens(n) => {
            next.tokens = *n;
            "a smaller micro-batch"
        }
        Change::Method(m) => {
            next.method = m.name().to_string();
            "a lighter method"
        }
        Change::Gpus(n) => {
            next.gpus = *n;
            "more GPUs"
        }
        Change::Gpu(name) => {
            next.gpu = name.clone();
            "a larger GPU"
        }
    };
    (next.command(), why)
}

/// A command to be pasted.
struct Words<'a> {
    model: &'a str,
    method: String,
    gpu: String,
    gpus: usize,
    tokens: usize,
}

impl Words<'_> {
    fn command(&self) -> String {
        let gpus = if self.gpus == 1 { String::new() } else { format!(" --gpus {}", self.gpus) };
        let Words { model, method, gpu, tokens, .. } = self;
        format!("tunesmith plan --model {model} --method {method} --gpu {gpu}{gpus} --tokens {tokens}")
    }
}

fn onward() -> Vec<(String, &'static str)> {
    vec![("tunesmith train --plan".to_string(), "the plan of a recipe on this machine")]
}

fn figures(args: &PlanArgs, ask: &Ask, p: &Plan, changes: &[Change]) -> Value {
    let e = &p.estimate;
    json!({
        "model": args.model, "method": ask.method.name(), "tokens": ask.tokens, "seq": ask.longest, "rank": ask.rank,
        "parameters": p.parameters, "trained": p.trained,
        "gpu": { "name": ask.gpu.name, "bytes": ask.gpu.bytes, "basis": ask.gpu.basis },
        "gpus": ask.gpus,
        "sharding": { "kind": p.sharding.name(), "assumes": p.sharding.title(ask.gpus) },
        "peak_bytes": p.peak_bytes, "capacity_bytes": p.capacity, "fits": p.fits, "max_tokens": p.max_tokens,
        "buffers": show::buffer_figures(&p.buffers),
        "all_buffers": show::buffer_figures(&p.all),
        "recompute": p.rebuilt.iter().map(|r| json!({ "layers": r.layers, "again": r.keep.title() })).collect::<Vec<_>>(),
        "estimate": {
            "tokens_per_second": e.tokens_per_second, "bound_tokens_per_second": e.bound,
            "flops_per_token": e.flops_per_token, "recompute_share": e.again_share,
            "usd_per_million_tokens": e.usd_per_million,
            "usd_per_hour": e.price.map(|p| p.usd), "price_basis": e.price.map(|p| p.basis),
            "basis": e.basis,
        },
        "changes": changes.iter().map(|c| { let (command, why) = advice(args, c); json!({ "command": command, "why": why }) }).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_what_there_is() {
        let names = plan::MODELS.iter().map(|n| n.strip_prefix("qwen2.5").unwrap_or(n));
        for name in names.chain(plan::GPUS.iter().copied()).chain(Method::names()) {
            assert!(EXAMPLE.contains(name), "{name}");
        }
    }
}
