//! A configuration as GGUF metadata, and the tensors of a GGUF file.

use super::{Family, ModelConfig, Rope};
use crate::RowOrder;
use crate::gguf::Metadata;
use crate::gguf::names::{Heads, gguf};

/// A tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTensor {
    pub name: String,
    /// Row-major, outermost first.
    pub shape: Vec<usize>,
    pub content: Content,
}

/// What a tensor of a GGUF file is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Tensors of the Hugging Face layout, by name, one after another, the rows of each in this order.
    Weights { names: Vec<String>, order: RowOrder },
    /// Divisors of the rotary frequencies.
    Factors(Vec<f32>),
}

pub(super) fn metadata(c: &ModelConfig, out: &mut Metadata) {
    let architecture = c.family.gguf_architecture();
    out.text("general.architecture", architecture);
    let key = |name: &str| format!("{architecture}.{name}");
    let mut number = |name: &str, value: usize| out.number(&key(name), value as u32);
    number("block_count", c.layers);
    number("context_length", c.max_context);
    number("embedding_length", c.hidden);
    number("feed_forward_length", c.intermediate);
    number("attention.head_count", c.heads);
    number("attention.head_count_kv", c.kv_heads);
    // What readers take for granted is a head of embedding_length / head_count.
    if c.head_dim * c.heads != c.hidden || c.family == Family::Qwen3 {
        number("attention.key_length", c.head_dim);
        number("attention.value_length", c.head_dim);
    }
    if architecture == "llama" {
        number("vocab_size", c.vocab);
    }
    if matches!(architecture, "llama" | "phi3") {
        number("rope.dimension_count", c.rotary_dim());
    }
    // Phi-3's readers want the window even where there is none.
    if c.sliding_window.is_some() || c.family == Family::Phi3 {
        number("attention.sliding_window", c.sliding_window.unwrap_or(0));
    }
    if let Some(experts) = &c.experts {
        number("expert_count", experts.count);
        number("expert_used_count", experts.per_token);
    }
    out.float(&key("attention.layer_norm_rms_epsilon"), c.rms_eps as f32);
    out.float(&key("rope.freq_base"), c.rope_theta as f32);
    scaling(c, &key, out);
}

/// Llama 3's scaling is a tensor of divisors and has no key.
fn scaling(c: &ModelConfig, key: &dyn Fn(&str) -> String, out: &mut Metadata) {
    match &c.rope {
        Rope::Plain | Rope::Llama3 { .. } => {
            if c.family == Family::Phi3 {
                out.number(&key("rope.scaling.original_context_length"), c.max_context as u32);
            }
        }
        Rope::Linear { factor } => {
            out.text(&key("rope.scaling.type"), "linear");
            out.float(&key("rope.scaling.factor"), *factor as f32);
        }
        Rope::Longrope { original_context, .. } if divisors(c).is_none() => {
            // Readers of phi3 know from the tensors; those of the others from this.
            if c.family != Family::Phi3 {
                out.text(&key("rope.scaling.type"), "longrope");
            }
            out.number(&key("rope.scaling.original_context_length"), *original_context as u32);
            out.float(&key("rope.scaling.attn_factor"), c.rope.attention_scale(c.max_context) as f32);
        }
        Rope::Longrope { .. } => {}
    }
}

/// The divisors of the frequencies, where one list holds for every length.
fn divisors(c: &ModelConfig) -> Option<Vec<f32>> {
    let single = |list: &[f64]| list.iter().map(|x| *x as f32).collect();
    match &c.rope {
        Rope::Llama3 { .. } => {
            let frequencies = |rope: &Rope| rope.inverse_frequencies(c.rope_theta, c.rotary_dim(), 0);
            let pairs = frequencies(&Rope::Plain).into_iter().zip(frequencies(&c.rope));
            Some(pairs.map(|(plain, scaled)| (plain / scaled) as f32).collect())
        }
        Rope::Longrope { short, long, attention_factor: Some(1.0), .. } if short == long && c.family != Family::Phi3 => Some(single(short)),
        _ => None,
    }
}

pub(super) fn tensors(c: &ModelConfig) -> Vec<GgufTensor> {
    let mut all: Vec<GgufTensor> = Vec::new();
    for (source, shape) in c.tensors() {
        let Some((name, heads)) = gguf(&source, c.family.gguf_architecture()) else { continue };
        let of_expert = source.contains(".experts.");
        // The matrices of experts come one after another within a layer, but kind by kind in the file.
        if let Some(stack) = all.iter_mut().rev().find(|t| of_expert && t.name == name) {
            if let Content::Weights { names, .. } = &mut stack.content {
                names.push(source);
                stack.shape[0] = names.len();
            }
            continue;
        }
        let order = match heads {
            Heads::None => RowOrder::Plain,
            Heads::Query => RowOrder::Paired { heads: c.heads },
            Heads::Key => RowOrder::Paired { heads: c.kv_heads },
        };
        let shape = if of_expert { [&[1], shape.as_slice()].concat() } else { shape };
        all.push(GgufTensor { name, shape, content: Content::Weights { names: vec![source], order } });
    }
    all.extend(factors(c));
    all
}

fn factors(c: &ModelConfig) -> Vec<GgufTensor> {
    let tensor =
        |name: &str, values: Vec<f32>| GgufTensor { name: name.into(), shape: vec![values.len()], content: Content::Factors(values) };
    if let Some(divisors) = divisors(c) {
        return vec![tensor("rope_freqs.weight", divisors)];
    }
    let single = |list: &[f64]| list.iter().map(|x| *x as f32).collect();
    match &c.rope {
        Rope::Longrope { short, long, .. } => {
            vec![tensor("rope_factors_long.weight", single(long)), tensor("rope_factors_short.weight", single(short))]
        }
        _ => Vec::new(),
    }
}
