//! Operations, time and price of a micro-batch, each with its basis.
//!
//! A multiplication and an addition are two operations; causal attention counts half, a window what it sees.

use crate::ask::{Recipe, Tuning};
use crate::gpu::{Gpu, Price};
use crate::keep::Keep;
use crate::shape::{Group, Matrix, block, table};
use crate::shard::{PER_STEP, Sharding};
use formats::ModelConfig;

/// Share of a card's published bf16 peak that a whole step is reckoned with.
///
/// Unsloth's 16,054 tokens a second on an H200 (Llama-3.1-8B, LoRA r=16, 4 x 2,048 tokens, nothing recomputed) are 52 %
/// of 989 TFLOP/s at 32.1 GFLOP a token.
const SHARE: f64 = 0.5;

/// How fast it would be, and from what that was reckoned.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Operations a token, what is made again included.
    pub flops_per_token: f64,
    /// The part of them that making again costs.
    pub again_share: f64,
    /// Tokens a second of all GPUs together; none if the GPU's speed is not known.
    pub tokens_per_second: Option<f64>,
    /// No program can be faster on these GPUs.
    pub bound: Option<f64>,
    /// US dollars a million tokens.
    pub usd_per_million: Option<f64>,
    /// What an hour of one GPU was taken to cost.
    pub price: Option<Price>,
    /// Where the figures come from.
    pub basis: String,
}

/// Operations a token.
pub(crate) struct Flops {
    /// Forward through the matrices of one block.
    block: f64,
    gate_up: f64,
    /// q, k, v and the attention's output.
    around: f64,
    adapter: f64,
    attention: f64,
    head: f64,
    layers: f64,
    full: bool,
    pairs: bool,
}

impl Flops {
    pub(crate) fn of(c: &ModelConfig, recipe: &Recipe, longest: usize) -> Flops {
        let matrices = block(c);
        let of = |groups: &[Group]| {
            matrices.iter().filter(|m| groups.contains(&m.group)).map(|m| 2.0 * (m.active * m.outputs * m.inputs) as f64).sum::<f64>()
        };
        let adapter = |m: &Matrix| if m.group == Group::Router { 0 } else { m.active * recipe.rank * (m.outputs + m.inputs) };
        let full = recipe.tuning == Tuning::Full;
        Flops {
            block: of(&[Group::Qkv, Group::Out, Group::GateUp, Group::Down]),
            gate_up: of(&[Group::GateUp]),
            around: of(&[Group::Qkv, Group::Out]),
            adapter: if full { 0.0 } else { 2.0 * matrices.iter().map(adapter).sum::<u64>() as f64 },
            attention: 4.0 * (c.heads * c.head_dim) as f64 * seen(longest, c.sliding_window),
            head: 2.0 * table(c) as f64,
            layers: c.layers as f64,
            full,
            pairs: recipe.pairs,
        }
    }

    /// Forward and backward with everything kept. Frozen matrices have no gradient of their own.
    pub(crate) fn kept(&self) -> f64 {
        let passes = if self.full { 3.0 } else { 2.0 };
        let layers = self.layers * (passes * self.block + 3.0 * self.adapter + 3.5 * self.attention);
        // DPO: the reference's forward pass, and the head once more, since a pair's weight is known only when both are scored.
        let pairs = if self.pairs { self.layers * (self.block + self.attention) + 2.0 * self.head } else { 0.0 };
        layers + passes * self.head + pairs
    }

    /// What making one layer again costs.
    pub(crate) fn again(&self, keep: Keep) -> f64 {
        match keep {
            Keep::All => 0.0,
            Keep::Narrow => self.gate_up,
            Keep::Attention => self.gate_up + self.around,
            Keep::Input => self.gate_up + self.around + self.attention,
        }
    }
}

/// Tokens that a token of a sequence sees, on average.
fn seen(longest: usize, window: Option<usize>) -> f64 {
    let n = longest as f64;
    match window.map(|w| w as f64) {
        Some(w) if w < n => w - w * w / (2.0 * n),
        _ => n / 2.0,
    }
}

/// What one GPU moves for a micro-batch, in bytes.
pub(crate) struct Moved {
    /// Weights that it multiplies by, as they are held.
    pub weights: f64,
    /// The same in bf16, where they are written out first; 0 otherwise.
    pub written: f64,
    /// Activations that wait for their backward pass.
    pub kept: f64,
    /// Gradients and what the optimizer holds.
    pub state: f64,
}

/// The time of `rows` tokens on each GPU.
pub(crate) fn estimate(flops: &Flops, again: f64, moved: &Moved, rows: f64, gpu: &Gpu, (gpus, way): (usize, Sharding)) -> Estimate {
    let each = flops.kept() + again;
    let mut out = Estimate {
        flops_per_token: each,
        again_share: again / each,
        tokens_per_second: None,
        bound: None,
        usd_per_million: None,
        price: gpu.price,
        basis: format!("{:.1} GFLOP a token; no speed is known for a GPU that is given by its bytes", each / 1e9),
    };
    let Some(speed) = gpu.speed else { return out };
    let work = rows * each / if way == Sharding::Pipeline { gpus as f64 } else { 1.0 };
    // Weights are read forward and backward, activations written and read, what is trained read and written.
    let memory = (2.0 * moved.weights + 2.0 * moved.kept + 2.0 * moved.state) / speed.memory;
    let link = if way == Sharding::Zero3 { 2.0 * moved.weights * (gpus - 1) as f64 / gpus as f64 / speed.link } else { 0.0 };
    let tokens = rows * if way == Sharding::Zero3 { gpus as f64 } else { 1.0 };
    let fill = if way == Sharding::Pipeline { PER_STEP as f64 / (PER_STEP + gpus - 1) as f64 } else { 1.0 };
    // Writing weights out comes before each product and again backward; a kernel that decodes on its way could save it.
    let decode = if moved.written > 0.0 { 2.0 * (moved.weights + moved.written) / speed.memory } else { 0.0 };
    let computed = work / speed.flops / SHARE;
    let rate = tokens * fill / (decode + computed.max(memory).max(link));
    let mut basis = format!(
        "{:.1} GFLOP a token at {:.0} % of {:.0} TFLOP/s: the share of its peak that the fastest trainer measured on an H200 reached; not measured for this model",
        each / 1e9,
        100.0 * SHARE,
        speed.flops / 1e12,
    );
    if way == Sharding::Pipeline {
        basis.push_str(&format!("; {PER_STEP} micro-batches a step fill the pipeline to {:.0} %", 100.0 * fill));
    }
    if decode > 0.0 {
        basis.push_str("; and the time to write packed weights out");
    }
    if link > computed {
        basis.push_str("; limited by gathering the weights from the other GPUs");
    } else if memory > computed {
        basis.push_str("; limited by the memory's speed");
    }
    out.tokens_per_second = Some(rate);
    out.bound = Some(tokens / (work / speed.flops).max(memory).max(link));
    out.usd_per_million = gpu.price.map(|p| p.usd * gpus as f64 / 3600.0 / rate * 1e6);
    out.basis = basis;
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::States;
    use crate::{Method, builtin};

    #[test]
    fn operations_are_those_of_the_published_formula() {
        // Llama-3.1-8B at sequences of 2,048: 32.1 GFLOP a token for LoRA, 46.9 for full training; at 4,096: 34.0.
        let c = builtin("llama-3.1-8b").unwrap();
        let of = |m: Method, s| Flops::of(&c, &m.recipe(16, States::Bf16), s).kept() / 1e9;
        assert!((of(Method::Lora, 2048) - 32.1).abs() < 0.1, "{}", of(Method::Lora, 2048));
        assert!((of(Method::Full, 2048) - 46.9).abs() < 0.1, "{}", of(Method::Full, 2048));
        assert!((of(Method::Lora, 4096) - 34.0).abs() < 0.1, "{}", of(Method::Lora, 4096));
        // A whole forward pass again would be 14.5; the down projection's 3.8 are spared.
        let flops = Flops::of(&c, &Method::Lora.recipe(16, States::Bf16), 2048);
        assert!((32.0 * flops.again(Keep::Input) / 1e9 - 10.7).abs() < 0.1);
    }

    #[test]
    fn a_window_is_seen_by_those_who_are_past_it() {
        assert_eq!(seen(100, None), 50.0);
        assert_eq!(seen(100, Some(100)), 50.0);
        // The first ten see 5 on average, the other ninety 10.
        assert!((seen(100, Some(10)) - (10.0 * 5.0 + 90.0 * 10.0) / 100.0).abs() < 1e-9);
    }
}
