//! The sizes of a decoder, taken from its configuration, and what we refuse to run.

use crate::Error;
use formats::config::{Experts, Family, ModelConfig, Rope};

/// Sizes and constants of one decoder.
#[derive(Clone, Debug)]
pub struct Dims {
    /// Which names its tensors have on disk.
    pub family: Family,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Leading elements of a head that are rotated.
    pub rotary: usize,
    /// Width of the feed-forward block, or of one expert's.
    pub intermediate: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_eps: f32,
    /// Longest sequence.
    pub context: usize,
    /// Sliding window.
    pub window: Option<usize>,
    /// The head is the embedding.
    pub tied: bool,
    /// q, k and v have a bias (Qwen2).
    pub qkv_bias: bool,
    /// o has a bias.
    pub o_bias: bool,
    /// Query and key heads are normed before they are turned (Qwen3).
    pub qk_norm: bool,
    /// q, k, v are one projection on disk, gate and up another (Phi-3).
    pub fused: bool,
    /// Several feed-forward blocks, of which a router chooses (Mixtral).
    pub experts: Option<Experts>,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    /// Scaling of the rotary angles.
    pub rope: Rope,
}

impl Dims {
    /// Takes the sizes from a configuration.
    ///
    /// # Errors
    /// When one of its settings is not implemented.
    pub fn of(c: &ModelConfig) -> Result<Dims, Error> {
        if c.mlp_bias {
            return Err(Error::Unsupported { what: "mlp_bias".into(), found: "true".into(), supported: "false".into() });
        }
        Ok(Dims {
            family: c.family,
            vocab: c.vocab,
            hidden: c.hidden,
            layers: c.layers,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            rotary: c.rotary_dim(),
            intermediate: c.intermediate,
            rms_eps: c.rms_eps as f32,
            context: c.max_context,
            window: c.sliding_window,
            tied: c.tied_embeddings,
            qkv_bias: c.qkv_bias,
            o_bias: c.o_bias,
            qk_norm: c.qk_norm,
            fused: c.fused_projections,
            experts: c.experts.clone(),
            rope_theta: c.rope_theta,
            rope: c.rope.clone(),
        })
    }

    /// Width of all query heads.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Feed-forward blocks of a layer: its experts, or one.
    pub fn blocks(&self) -> usize {
        self.experts.as_ref().map_or(1, |e| e.count)
    }

    /// Feed-forward blocks that each token goes through.
    pub fn blocks_per_token(&self) -> usize {
        self.experts.as_ref().map_or(1, |e| e.per_token)
    }

    /// Examples longer than this are turned by other angles than shorter ones.
    pub fn long_from(&self) -> Option<usize> {
        match &self.rope {
            Rope::Longrope { original_context, .. } => Some(*original_context),
            _ => None,
        }
    }

    /// Angle per position of each of the rotary/2 pairs, for one example of `tokens` tokens.
    pub fn frequencies(&self, tokens: usize) -> Vec<f64> {
        self.rope.inverse_frequencies(self.rope_theta, self.rotary, tokens)
    }

    /// Cosines and sines of `positions` positions; where the angles depend on an example's length, those of long ones follow.
    pub fn table(&self, positions: usize) -> engine::ops::rope::Table {
        let scale = self.rope.attention_scale(self.context);
        let mut table = engine::ops::rope::Table::new(&self.frequencies(0), positions, scale);
        if let Some(n) = self.long_from() {
            table.push(&self.frequencies(n + 1), positions, scale);
        }
        table
    }

    /// Bytes of [`Dims::table`].
    pub fn table_bytes(&self, positions: usize) -> usize {
        let sets = if self.long_from().is_some() { 2 } else { 1 };
        sets * positions * self.rotary * size_of::<f32>()
    }

    /// The attention op's view.
    pub fn attention(&self) -> engine::ops::attention::Dims {
        engine::ops::attention::Dims {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            window: self.window,
            scale: (1.0 / (self.head_dim as f64).sqrt()) as f32,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A llama of next to no size.
    pub(crate) fn tiny() -> Dims {
        Dims {
            family: Family::Llama,
            vocab: 11,
            hidden: 8,
            layers: 2,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            rotary: 4,
            intermediate: 12,
            rms_eps: 1e-5,
            context: 64,
            window: None,
            tied: true,
            qkv_bias: false,
            o_bias: false,
            qk_norm: false,
            fused: false,
            experts: None,
            rope_theta: 1e4,
            rope: Rope::Plain,
        }
    }
}
