//! What one token and one block take, in bytes: every size that the buffers of a GPU are made of.
//!
//! Activations and the weights that are multiplied are bf16; what an adapter learns, its gradient and both moments are f32.

use crate::ask::{Recipe, States, Tuning};
use crate::shape::{Group, Matrix, block, block_vectors, table};
use formats::ModelConfig;

/// An activation.
const BF16: u64 = 2;
const F32: u64 = 4;

/// Bytes a token.
pub(crate) struct Token {
    /// The residual stream.
    pub stream: u64,
    pub qkv: u64,
    /// The attention's result and the logarithms of its sums.
    pub out: u64,
    pub gate_up: u64,
    /// Reciprocal norms, adapter intermediates, choices of experts.
    pub small: u64,
    /// What DoRA keeps more: results whose magnitude is learned and that are kept nowhere else.
    pub dora: u64,
    /// silu(gate) * up, or its gradient.
    pub wide: u64,
    /// Rows sent to experts and back; none without.
    pub sent: u64,
    /// The adapter intermediates of the largest group, backward.
    pub ranks: u64,
    /// Gradients of attention's result, q, k, v, and one sum a head.
    pub attention: u64,
    /// q and k after their norms, made again.
    pub normed: u64,
}

/// Bytes a block.
pub(crate) struct Block {
    /// Its weights as they are held.
    pub weights: u64,
    /// The largest matrix or group in bf16; none if nothing is packed.
    pub written_out: u64,
    /// What is trained of it: parameters.
    pub trained: u64,
    /// DoRA's norms.
    pub norms: u64,
}

/// All sizes of one model under one method.
pub(crate) struct Sizes {
    pub token: Token,
    pub block: Block,
    /// The embedding in bf16; the head has as many.
    pub table: u64,
    /// Elements of the embedding, where it is trained.
    pub table_trained: u64,
    pub tied: bool,
    pub layers: usize,
    pub vocab: u64,
    /// Elements of a head that turn with the position.
    pub rotary: u64,
    /// Bytes a trained parameter: what the optimizer steps (0 where that is the weight itself), gradient, each moment, copy that is multiplied.
    pub state: [u64; 4],
}

impl Sizes {
    pub(crate) fn of(c: &ModelConfig, recipe: &Recipe) -> Sizes {
        let matrices = block(c);
        let full = recipe.tuning == Tuning::Full;
        let trained = if full {
            matrices.iter().map(Matrix::elements).sum::<u64>() + block_vectors(c)
        } else {
            let magnitudes = if recipe.tuning == Tuning::Dora { outputs(&matrices) } else { 0 };
            matrices.iter().map(|m| m.adapter(recipe.rank)).sum::<u64>() + magnitudes
        };
        let table = table(c);
        Sizes {
            token: token(c, &matrices, recipe),
            block: Block {
                weights: matrices.iter().map(|m| held(m, recipe)).sum::<u64>() + F32 * block_vectors(c),
                written_out: if recipe.storage.is_packed() { largest_group(&matrices) } else { 0 },
                trained,
                norms: if recipe.tuning == Tuning::Dora { F32 * outputs(&matrices) } else { 0 },
            },
            table: BF16 * table,
            table_trained: if full { table } else { 0 },
            tied: c.tied_embeddings,
            layers: c.layers,
            vocab: c.vocab as u64,
            rotary: c.rotary_dim() as u64,
            state: match (full, recipe.states) {
                (false, _) => [F32, F32, F32, BF16],
                (true, States::Bf16) => [0, BF16, BF16, 0],
                (true, States::F32) => [F32, BF16, F32, 0],
            },
        }
    }
}

fn held(m: &Matrix, recipe: &Recipe) -> u64 {
    if m.group == Group::Router { BF16 * m.elements() } else { m.copies * recipe.storage.bytes(m.outputs, m.inputs) }
}

/// Outputs of all adapted matrices: one magnitude and one norm each, with DoRA.
fn outputs(matrices: &[Matrix]) -> u64 {
    matrices.iter().filter(|m| m.group != Group::Router).map(|m| m.copies * m.outputs).sum()
}

/// The matrices of a group are written out and multiplied together; experts one by one.
fn largest_group(matrices: &[Matrix]) -> u64 {
    let of = |g| matrices.iter().filter(|m| m.group == g).map(|m| BF16 * m.outputs * m.inputs).sum();
    Group::ADAPTED.into_iter().map(of).max().unwrap_or(0)
}

fn token(c: &ModelConfig, matrices: &[Matrix], recipe: &Recipe) -> Token {
    let (h, heads, kv_heads) = (c.hidden as u64, c.heads as u64, c.kv_heads as u64);
    let (q, kv) = (heads * c.head_dim as u64, kv_heads * c.head_dim as u64);
    let experts = c.experts.as_ref();
    let active = experts.map_or(1, |e| e.per_token as u64);
    let wide = BF16 * active * c.intermediate as u64;
    let adapted = recipe.tuning != Tuning::Full;
    let ranks = |g: Group| {
        let all = matrices.iter().filter(|m| m.group == g).map(|m| m.active * recipe.rank);
        if adapted { BF16 * all.sum::<u64>() } else { 0 }
    };
    // A probability an expert, and for each chosen one its number and its weight.
    let chosen = experts.map_or(0, |e| F32 * e.count as u64 + 2 * F32 * active);
    let reciprocals = 2 * F32 + if c.qk_norm { F32 * (heads + kv_heads) } else { 0 };
    Token {
        stream: BF16 * h,
        qkv: BF16 * (q + 2 * kv),
        out: BF16 * q + F32 * heads,
        gate_up: 2 * wide,
        small: reciprocals + chosen + Group::ADAPTED.into_iter().map(ranks).sum::<u64>(),
        dora: if recipe.tuning == Tuning::Dora { BF16 * h * (1 + active) } else { 0 },
        wide,
        sent: experts.map_or(0, |_| 2 * BF16 * h * active),
        ranks: Group::ADAPTED.into_iter().map(ranks).max().unwrap_or(0),
        attention: BF16 * (2 * q + 2 * kv) + F32 * heads,
        normed: if c.qk_norm { BF16 * (q + kv) } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, builtin};

    #[test]
    fn a_token_of_llama_8b_keeps_94_kb_a_layer() {
        let s = Sizes::of(&builtin("llama-3.1-8b").unwrap(), &Method::Lora.recipe(16, States::Bf16));
        let t = &s.token;
        // x 8,192 + q, k, v 12,288 + attention 8,192 and 128 + middle 8,192 + gate, up 57,344 + 8 + 7 adapters of 32.
        assert_eq!(t.stream + t.qkv + t.out + t.stream + t.gate_up + t.small, 94_344 + 224);
        assert_eq!(s.block.weights, 2 * 218_103_808 + 4 * 8192);
    }

    #[test]
    fn nf4_of_70b_is_what_its_format_says() {
        let s = Sizes::of(&builtin("llama-3.1-70b").unwrap(), &Method::Qlora.recipe(16, States::Bf16));
        // 855,638,016 elements in 7 matrices: nibbles, a byte a 64, four bytes a 16,384, four a matrix; norms in f32.
        let elements = 855_638_016u64;
        assert_eq!(s.block.weights, elements / 2 + elements / 64 + elements / 4096 + 7 * 4 + 4 * 16_384);
        assert_eq!(s.block.written_out, 2 * 2 * 28_672 * 8192);
    }

    #[test]
    fn a_token_of_mixtral_goes_through_two_experts() {
        let s = Sizes::of(&builtin("mixtral-8x7b").unwrap(), &Method::Lora.recipe(8, States::Bf16));
        assert_eq!((s.token.gate_up, s.token.sent), (2 * 2 * 2 * 14_336, 2 * 2 * 2 * 4096));
        assert_eq!(s.token.small, 8 + 32 + 16 + 2 * 8 * (3 + 1 + 4 + 2));
    }
}
