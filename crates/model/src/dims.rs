//! The sizes of a decoder, taken from its configuration, and what we refuse to run.

use crate::Error;
use formats::config::{Family, ModelConfig, Rope};

/// Sizes and constants of one decoder.
#[derive(Clone, Debug)]
pub struct Dims {
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
    /// Width of the feed-forward block.
    pub intermediate: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_eps: f32,
    /// Longest sequence.
    pub context: usize,
    /// Sliding window.
    pub window: Option<usize>,
    /// The head is the embedding.
    pub tied: bool,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    /// Scaling of the rotary angles.
    pub rope: Rope,
}

impl Dims {
    /// Takes the sizes from a configuration.
    ///
    /// # Errors
    /// When the family or one of its settings is not implemented yet.
    pub fn of(c: &ModelConfig) -> Result<Dims, Error> {
        let refuse =
            |what: &str, found: String, supported: &str| Err(Error::Unsupported { what: what.into(), found, supported: supported.into() });
        if !matches!(c.family, Family::Llama | Family::Mistral) {
            return refuse("the model family", c.architecture.clone(), "LlamaForCausalLM, MistralForCausalLM");
        }
        if c.qkv_bias || c.o_bias || c.mlp_bias {
            return refuse("attention_bias or mlp_bias", "true".into(), "false");
        }
        if c.partial_rotary != 1.0 {
            return refuse("partial_rotary_factor", c.partial_rotary.to_string(), "1.0");
        }
        if matches!(c.rope, Rope::Longrope { .. }) {
            return refuse("rope_type", "longrope".into(), "default, linear, llama3");
        }
        Ok(Dims {
            vocab: c.vocab,
            hidden: c.hidden,
            layers: c.layers,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            intermediate: c.intermediate,
            rms_eps: c.rms_eps as f32,
            context: c.max_context,
            window: c.sliding_window,
            tied: c.tied_embeddings,
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

    /// Angle per position of each of the head_dim/2 pairs, for sequences of up to `positions` tokens.
    pub fn frequencies(&self, positions: usize) -> Vec<f64> {
        self.rope.inverse_frequencies(self.rope_theta, self.head_dim, positions)
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
