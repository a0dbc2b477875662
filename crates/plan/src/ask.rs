//! The question and the answer: this model, this method, these GPUs, so many tokens; what fits, and how.

use crate::buffer::{self, Buffer};
use crate::cost::{Flops, Moved, estimate};
use crate::keep::{Choice, Keep};
use crate::pass::{Part, Talk, items};
use crate::shape::{Matrix, adapted, block, parameters};
use crate::sizes::Sizes;
use crate::{Error, Estimate, Gpu, Sharding, Storage};
use formats::{Dtype, ModelConfig};

/// The largest micro-batch that is looked for, in tokens.
pub const MAX_TOKENS: usize = 1 << 22;
/// More GPUs than any one run here is meant for.
const MAX_GPUS: usize = 1024;
/// An adapter as wide as the widest model.
const MAX_RANK: u64 = 16_384;

/// How a model is tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Every parameter.
    Full,
    /// An adapter over weights in bf16.
    Lora,
    /// The same with learned magnitudes.
    Dora,
    /// An adapter over NF4.
    Qlora,
    /// An adapter over int8.
    Int8,
    /// An adapter over the blocks of a GGUF file.
    Gguf(Dtype),
    /// An adapter over bf16, from pairs of a better and a worse answer.
    Dpo,
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tuning {
    Full,
    Lora,
    Dora,
}

/// In what full training holds gradient and moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum States {
    /// All in bf16, rounded stochastically: 8 bytes a parameter.
    Bf16,
    /// f32 master weights and moments beside bf16 weights and gradient: 16 bytes a parameter.
    F32,
}

/// A method taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub tuning: Tuning,
    pub storage: Storage,
    pub rank: u64,
    pub states: States,
    pub pairs: bool,
}

/// The methods by name.
const METHODS: [(&str, Method); 11] = [
    ("full", Method::Full),
    ("lora", Method::Lora),
    ("dora", Method::Dora),
    ("qlora", Method::Qlora),
    ("int8", Method::Int8),
    ("dpo", Method::Dpo),
    ("gguf-q4_0", Method::Gguf(Dtype::Q4_0)),
    ("gguf-q4_1", Method::Gguf(Dtype::Q4_1)),
    ("gguf-q8_0", Method::Gguf(Dtype::Q8_0)),
    ("gguf-q4_k", Method::Gguf(Dtype::Q4K)),
    ("gguf-q6_k", Method::Gguf(Dtype::Q6K)),
];

impl Method {
    /// The names there are.
    pub fn names() -> Vec<&'static str> {
        METHODS.iter().map(|m| m.0).collect()
    }

    /// The method of this name.
    ///
    /// # Errors
    /// `Method`, with the names there are.
    pub fn named(name: &str) -> Result<Method, Error> {
        let known = METHODS.iter().find(|m| m.0 == name.to_ascii_lowercase()).map(|m| m.1);
        known.ok_or_else(|| Error::Method { found: name.to_string(), expected: Method::names().join(", ") })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        METHODS.iter().find(|m| m.1 == self).map_or("gguf", |m| m.0)
    }

    /// In what it holds frozen matrices.
    pub fn storage(self) -> Storage {
        match self {
            Method::Qlora => Storage::Nf4,
            Method::Int8 => Storage::Int8,
            Method::Gguf(d) => Storage::Blocks(d),
            Method::Full | Method::Lora | Method::Dora | Method::Dpo => Storage::Bf16,
        }
    }

    pub(crate) fn recipe(self, rank: u64, states: States) -> Recipe {
        let tuning = match self {
            Method::Full => Tuning::Full,
            Method::Dora => Tuning::Dora,
            _ => Tuning::Lora,
        };
        Recipe { tuning, storage: self.storage(), rank, states, pairs: self == Method::Dpo }
    }
}

/// What may be computed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recompute {
    /// As little as makes it fit.
    Auto,
    /// Nothing.
    None,
    /// Every layer, from its input.
    All,
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// How it is tuned.
    pub method: Method,
    /// On what.
    pub gpu: &'a Gpu,
    /// On how many.
    pub gpus: usize,
    /// Tokens of a micro-batch; DPO computes twice as many, the better and the worse answer.
    pub tokens: usize,
    /// Tokens of the longest sequence.
    pub longest: usize,
    /// Rank of the adapter.
    pub rank: u64,
    /// For full training.
    pub states: States,
    /// What may be computed twice.
    pub recompute: Recompute,
}

/// Layers of which something is computed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many.
    pub layers: usize,
    /// What they keep.
    pub keep: Keep,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Bytes at the peak, on the GPU that needs most.
    pub peak_bytes: u64,
    /// Bytes that this GPU has.
    pub capacity: u64,
    /// Whether it fits.
    pub fits: bool,
    /// The largest micro-batch that fits; 0 if none does.
    pub max_tokens: usize,
    /// What is alive at the peak; adds up to it.
    pub buffers: Vec<Buffer>,
    /// Every buffer, also those that are gone at the peak.
    pub all: Vec<Buffer>,
    /// How the GPUs share the run.
    pub sharding: Sharding,
    /// What is computed twice; empty if nothing is.
    pub rebuilt: Vec<Rebuilt>,
    /// Parameters of the model.
    pub parameters: u64,
    /// Parameters that are trained.
    pub trained: u64,
    /// How fast, and for how much.
    pub estimate: Estimate,
}

/// A way to run it that was weighed.
struct Way {
    sharding: Sharding,
    parts: Vec<(Part, Choice)>,
    /// Where most is needed, and how much.
    worst: (usize, u64),
}

/// Answers `ask`.
///
/// # Errors
/// Numbers that make no run, or a method that the model lacks.
pub fn plan(ask: &Ask) -> Result<Plan, Error> {
    check(ask)?;
    let recipe = ask.method.recipe(ask.rank, ask.states);
    let sizes = Sizes::of(ask.config, &recipe);
    let way = best(ask, &sizes, ask.tokens);
    let (part, choice) = way.parts[way.worst.0];
    let list = items(&sizes, part, choice);
    let (moment, peak_bytes) = buffer::peak(&list);
    Ok(Plan {
        peak_bytes,
        capacity: ask.gpu.bytes,
        fits: peak_bytes <= ask.gpu.bytes,
        max_tokens: most(ask, &sizes),
        buffers: buffer::alive(&list, moment),
        all: buffer::every(&list),
        sharding: way.sharding,
        rebuilt: rebuilt(&way),
        parameters: parameters(ask.config),
        trained: trained(ask.config, &recipe, &sizes),
        estimate: cost(ask, &recipe, &sizes, &way),
    })
}

fn check(ask: &Ask) -> Result<(), Error> {
    let number = |what, found: u64, least: u64, most: u64| match (least..=most).contains(&found) {
        true => Ok(()),
        false => Err(Error::Number { what, found, expected: format!("{least} to {most}") }),
    };
    number("tokens of a micro-batch", ask.tokens as u64, 1, MAX_TOKENS as u64)?;
    number("GPUs", ask.gpus as u64, 1, MAX_GPUS as u64)?;
    number("the adapter's rank", ask.rank, 1, MAX_RANK)?;
    let context = ask.config.max_context.min(ask.tokens);
    number("tokens of the longest sequence (up to a micro-batch and the model's context)", ask.longest as u64, 1, context as u64)?;
    let unfit = |why: String| Err(Error::Unfit { method: ask.method.name(), model: ask.config.architecture.clone(), why });
    if ask.method == Method::Dora && ask.config.experts.is_some() {
        return unfit("DoRA's norm is not defined for experts that few tokens reach; use lora".to_string());
    }
    if let Storage::Blocks(d) = ask.method.storage() {
        let per = d.block_elements() as u64;
        if let Some(m) = block(ask.config).iter().find(|m| !m.inputs.is_multiple_of(per)) {
            return unfit(format!("a row of {} does not divide into blocks of {per}; use gguf-q8_0", m.inputs));
        }
    }
    Ok(())
}

/// The first way of sharing that fits, else the one that needs least.
fn best(ask: &Ask, sizes: &Sizes, tokens: usize) -> Way {
    let recipe = ask.method.recipe(ask.rank, ask.states);
    let whole = Part {
        layers: sizes.layers,
        first: true,
        last: true,
        in_flight: 1,
        shard: 1,
        talk: Talk::None,
        rows: tokens as u64 * if recipe.pairs { 2 } else { 1 },
        longest: ask.longest.min(tokens) as u64,
    };
    let weigh = |sharding: Sharding| {
        let parts = sharding.parts(whole, ask.gpus);
        let solved: Vec<(Choice, u64)> = parts.iter().map(|p| choose(sizes, *p, ask)).collect();
        let at = (0..parts.len()).max_by_key(|&i| (solved[i].1, std::cmp::Reverse(i))).unwrap_or(0);
        let parts = parts.into_iter().zip(&solved).map(|(p, s)| (p, s.0)).collect();
        Way { sharding, parts, worst: (at, solved[at].1) }
    };
    let mut ways = Sharding::ways(&recipe, ask.gpus, sizes.layers).into_iter().map(weigh);
    // One GPU, ZeRO-3: there is always a first way.
    let mut least = ways.next().unwrap_or_else(|| weigh(Sharding::Zero3));
    for way in ways {
        if least.worst.1 > ask.gpu.bytes && way.worst.1 < least.worst.1 {
            least = way;
        }
    }
    least
}

/// The cheapest choice that fits, else the one that needs least; and its peak.
fn choose(sizes: &Sizes, part: Part, ask: &Ask) -> (Choice, u64) {
    let peak = |choice| (choice, buffer::peak(&items(sizes, part, choice)).1);
    let all = Choice { rung: Keep::Input, layers: part.layers };
    match ask.recompute {
        Recompute::None => peak(Choice::ALL),
        Recompute::All => peak(all),
        Recompute::Auto => {
            let mut least = peak(Choice::ALL);
            for choice in Choice::ladder(part.layers).skip(1) {
                if least.1 <= ask.gpu.bytes {
                    break;
                }
                let next = peak(choice);
                if next.1 < least.1 {
                    least = next;
                }
            }
            least
        }
    }
}

/// The largest micro-batch that fits. More tokens never need less, so halving finds it.
fn most(ask: &Ask, sizes: &Sizes) -> usize {
    let fits = |tokens: usize| best(ask, sizes, tokens).worst.1 <= ask.gpu.bytes;
    let (mut low, mut high) = (0, MAX_TOKENS + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

fn rebuilt(way: &Way) -> Vec<Rebuilt> {
    let mut all: Vec<Rebuilt> = Vec::new();
    for (keep, layers) in way.parts.iter().flat_map(|(part, choice)| choice.counts(part.layers)) {
        match all.iter_mut().find(|r| r.keep == keep) {
            Some(r) => r.layers += layers,
            None => all.push(Rebuilt { layers, keep }),
        }
    }
    all.sort_by_key(|r| std::cmp::Reverse(r.keep));
    all
}

fn trained(c: &ModelConfig, recipe: &Recipe, sizes: &Sizes) -> u64 {
    match recipe.tuning {
        Tuning::Full => parameters(c),
        Tuning::Lora => adapted(c, recipe.rank),
        Tuning::Dora => sizes.layers as u64 * sizes.block.trained,
    }
}

fn cost(ask: &Ask, recipe: &Recipe, sizes: &Sizes, way: &Way) -> Estimate {
    let flops = Flops::of(ask.config, recipe, ask.longest);
    let (part, choice) = way.parts[way.worst.0];
    let again = rebuilt(way).iter().fold(0.0, |sum, r| sum + r.layers as f64 * flops.again(r.keep));
    let t = &sizes.token;
    let kept = |keep: Keep| {
        let all = [
            (Keep::Input, t.stream),
            (Keep::Attention, t.out + t.small + t.dora),
            (Keep::Narrow, t.qkv + t.stream),
            (Keep::All, t.gate_up),
        ];
        all.iter().filter(|(most, _)| keep <= *most).map(|(_, bytes)| bytes).sum::<u64>()
    };
    let waiting: u64 = (0..part.layers).map(|l| kept(choice.of(l)) * part.rows).sum();
    let tables = sizes.table * (u64::from(part.last) + u64::from(recipe.tuning == Tuning::Full));
    let state = if recipe.tuning == Tuning::Full {
        parameters(ask.config) * (sizes.state[0] + sizes.state[1] + 2 * sizes.state[2]) / part.shard
    } else {
        0
    };
    let layers = part.layers as u64;
    let elements = if recipe.storage.is_packed() { block(ask.config).iter().map(Matrix::elements).sum::<u64>() } else { 0 };
    let moved = Moved {
        weights: (layers * sizes.block.weights + tables) as f64,
        written: (2 * layers * elements) as f64,
        kept: waiting as f64,
        state: state as f64,
    };
    estimate(&flops, again, &moved, part.rows as f64, ask.gpu, (ask.gpus, way.sharding))
}
