//! What a decoder layer consists of: its linear layers, which of them share an input, and what files call them.
//!
//! Linear layers are numbered: q, k, v, o, then gate, up and down of the feed-forward block, or of each expert
//! in turn. Layers that share an input are a group: (q, k, v), (o), then (gate, up) and (down) of each block.
//! A module is what an adapter sees: one linear layer, or several that are one projection on disk.

use crate::Dims;
use std::ops::Range;

/// q, k, v.
pub const QKV: usize = 0;
/// The attention's output projection.
pub const OUT: usize = 1;
/// gate and up of the first block; those of block e are group `GATE_UP + 2 * e`.
pub const GATE_UP: usize = 2;
/// down of the first block; that of block e is group `DOWN + 2 * e`.
pub const DOWN: usize = 3;

/// The linear layers that an adapter can name, as split families call them.
pub const NAMES: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Linear layers of a decoder layer.
pub fn linears(d: &Dims) -> usize {
    4 + 3 * d.blocks()
}

/// Groups of a decoder layer.
pub fn groups(d: &Dims) -> usize {
    2 + 2 * d.blocks()
}

/// The linear layers of a group.
pub fn members(group: usize) -> Range<usize> {
    match group {
        QKV => 0..3,
        OUT => 3..4,
        g if g.is_multiple_of(2) => 4 + 3 * (g / 2 - 1)..6 + 3 * (g / 2 - 1),
        g => 6 + 3 * (g / 2 - 1)..7 + 3 * (g / 2 - 1),
    }
}

/// (outputs, inputs) of a linear layer.
pub fn shape(d: &Dims, linear: usize) -> (usize, usize) {
    match linear {
        0 => (d.q_width(), d.hidden),
        1 | 2 => (d.kv_width(), d.hidden),
        3 => (d.hidden, d.q_width()),
        n if (n - 4) % 3 < 2 => (d.intermediate, d.hidden),
        _ => (d.hidden, d.intermediate),
    }
}

/// Width of a group's common input.
pub fn inputs(d: &Dims, group: usize) -> usize {
    shape(d, members(group).start).1
}

/// A projection as files name it: the linear layers whose rows it holds one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// Inside the model: `model.layers.3.mlp.up_proj`.
    pub name: String,
    /// Its linear layers.
    pub linears: Range<usize>,
}

/// The projections of a group as they lie on disk.
pub fn on_disk(d: &Dims, layer: usize, group: usize) -> Vec<Module> {
    let at = format!("model.layers.{layer}");
    let all = members(group);
    let one = |linear: usize, name: String| Module { name, linears: linear..linear + 1 };
    match group {
        QKV if d.fused => vec![Module { name: format!("{at}.self_attn.qkv_proj"), linears: all }],
        QKV | OUT => all.map(|l| one(l, format!("{at}.self_attn.{}", NAMES[l]))).collect(),
        _ if d.experts.is_some() => {
            let expert = group / 2 - 1;
            let w = |l: usize| ["w1", "w3", "w2"][(l - 4) % 3];
            all.map(|l| one(l, format!("{at}.block_sparse_moe.experts.{expert}.{}", w(l)))).collect()
        }
        GATE_UP if d.fused => vec![Module { name: format!("{at}.mlp.gate_up_proj"), linears: all }],
        _ => all.map(|l| one(l, format!("{at}.mlp.{}", NAMES[l]))).collect(),
    }
}

/// The projections of a group as an adapter sees them: experts are one parameter, gate over up.
pub fn adapted(d: &Dims, layer: usize, group: usize) -> Vec<Module> {
    if d.experts.is_none() || group < GATE_UP {
        return on_disk(d, layer, group);
    }
    let name = if group.is_multiple_of(2) { "gate_up_proj" } else { "down_proj" };
    vec![Module { name: format!("model.layers.{layer}.mlp.experts.{name}"), linears: members(group) }]
}

/// The router's weight (experts, hidden).
pub fn router(layer: usize) -> String {
    format!("model.layers.{layer}.block_sparse_moe.gate.weight")
}

/// The norms of a layer: before attention, before the feed-forward block, of query heads, of key heads.
pub fn norm(layer: usize, which: usize) -> String {
    let name = ["input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm"][which];
    format!("model.layers.{layer}.{name}.weight")
}

/// How many of [`norm`] a layer has.
pub fn norms(d: &Dims) -> usize {
    if d.qk_norm { 4 } else { 2 }
}

/// Width of a norm's weight.
pub fn norm_width(d: &Dims, which: usize) -> usize {
    if which < 2 { d.hidden } else { d.head_dim }
}

/// Whether a linear layer has a bias.
pub fn has_bias(d: &Dims, linear: usize) -> bool {
    match linear {
        0..3 => d.qkv_bias,
        3 => d.o_bias,
        _ => false,
    }
}

/// embed_tokens (vocab, hidden).
pub const EMBED: &str = "model.embed_tokens";
/// The head (vocab, hidden), where it is its own.
pub const HEAD: &str = "lm_head";
/// The last norm (hidden).
pub const LAST_NORM: &str = "model.norm";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_every_linear_layer_once_and_share_inputs() {
        let config = |experts| formats::config::Experts { count: experts, per_token: 2, aux_coef: 0.0 };
        for experts in [None, Some(config(3))] {
            let d = Dims { experts, ..crate::dims::tests::tiny() };
            let all: Vec<usize> = (0..groups(&d)).flat_map(members).collect();
            assert_eq!(all, (0..linears(&d)).collect::<Vec<_>>());
            for g in 0..groups(&d) {
                assert!(members(g).all(|l| shape(&d, l).1 == inputs(&d, g)));
            }
        }
    }

    #[test]
    fn names_are_those_of_the_files() {
        let tiny = crate::dims::tests::tiny();
        let names = |d: &Dims, f: fn(&Dims, usize, usize) -> Vec<Module>, g| {
            f(d, 3, g).into_iter().map(|m| m.name["model.layers.3.".len()..].to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&tiny, on_disk, QKV), ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]);
        assert_eq!(names(&tiny, adapted, DOWN), ["mlp.down_proj"]);
        let phi = Dims { fused: true, ..tiny.clone() };
        assert_eq!(names(&phi, on_disk, QKV), ["self_attn.qkv_proj"]);
        assert_eq!(names(&phi, adapted, GATE_UP), ["mlp.gate_up_proj"]);
        let experts = Some(formats::config::Experts { count: 2, per_token: 1, aux_coef: 0.0 });
        let mixtral = Dims { experts, ..tiny };
        assert_eq!(names(&mixtral, on_disk, GATE_UP + 2), ["block_sparse_moe.experts.1.w1", "block_sparse_moe.experts.1.w3"]);
        assert_eq!(names(&mixtral, adapted, DOWN + 2), ["mlp.experts.down_proj"]);
    }
}
