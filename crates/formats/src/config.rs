//! What a model is made of, from config.json or from GGUF metadata.

mod from_gguf;
mod from_hf;
mod quantization;
mod rope;
mod tensors;
mod to_gguf;
mod to_hf;

use std::path::Path;

use serde_json::{Map, Value};

use crate::fields::{parse_object, read_object};
use crate::weights::find_gguf;
use crate::{Error, gguf};

pub use quantization::Quantization;
pub use rope::Rope;
pub use to_gguf::{Content, GgufTensor};

/// The model families that we read, each a set of choices over the same decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Llama,
    Mistral,
    Phi3,
    Mixtral,
    Qwen2,
    Qwen3,
}

impl Family {
    const ALL: [Family; 6] = [Family::Llama, Family::Mistral, Family::Phi3, Family::Mixtral, Family::Qwen2, Family::Qwen3];

    /// The class name that `architectures` in config.json gives.
    pub fn architecture(self) -> &'static str {
        match self {
            Family::Llama => "LlamaForCausalLM",
            Family::Mistral => "MistralForCausalLM",
            Family::Phi3 => "Phi3ForCausalLM",
            Family::Mixtral => "MixtralForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// The `model_type` of config.json.
    pub fn model_type(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Mistral => "mistral",
            Family::Phi3 => "phi3",
            Family::Mixtral => "mixtral",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        }
    }

    /// The `general.architecture` of GGUF files: Mistral and Mixtral go as llama.
    pub fn gguf_architecture(self) -> &'static str {
        match self {
            Family::Llama | Family::Mistral | Family::Mixtral => "llama",
            Family::Phi3 => "phi3",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        }
    }

    fn supported() -> String {
        Family::ALL.map(Family::architecture).join(", ")
    }
}

/// The experts of a mixture-of-experts model.
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// Experts in each layer.
    pub count: usize,
    /// Experts that each token is sent to.
    pub per_token: usize,
    /// `router_aux_loss_coef`; the loss itself is off unless a run asks for it.
    pub aux_coef: f64,
}

/// A model's shape and constants. Sizes are in elements, contexts in tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The class name in `architectures`.
    pub architecture: String,
    pub family: Family,
    pub vocab: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub intermediate: usize,
    pub rms_eps: f64,
    pub rope_theta: f64,
    pub rope: Rope,
    /// The share of each head, from its start, that is rotated.
    pub partial_rotary: f64,
    pub max_context: usize,
    /// Each token sees this many tokens, itself included; none means all before it.
    pub sliding_window: Option<usize>,
    /// The head is the embedding.
    pub tied_embeddings: bool,
    pub qkv_bias: bool,
    pub o_bias: bool,
    pub mlp_bias: bool,
    /// RMSNorm on each head of query and key before rotation (Qwen3).
    pub qk_norm: bool,
    /// `qkv_proj` and `gate_up_proj` in place of five projections (Phi-3).
    pub fused_projections: bool,
    pub experts: Option<Experts>,
    pub bos: Option<u32>,
    /// Every id that ends generation: of generation_config.json if there is one, else of config.json.
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
    /// The type that the weights were saved in, as config.json names it ("bfloat16").
    pub dtype: Option<String>,
    /// How linear layers are quantised, where config.json says so. GGUF says it for each tensor.
    pub quantization: Option<Quantization>,
    /// config.json as read; null when the model came from GGUF.
    pub raw: Value,
    /// generation_config.json as read; null if there was none.
    pub raw_generation: Value,
}

impl ModelConfig {
    /// Reads the configuration of a model folder, of a config.json by itself, or of a .gguf file.
    ///
    /// # Errors
    /// What is missing or unusable, by file and field; `NoModel` if there is nothing to read.
    pub fn open(path: &Path) -> Result<ModelConfig, Error> {
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
            return from_hf::of_object(path, read_object(path)?);
        }
        if path.is_dir() && path.join("config.json").exists() {
            return ModelConfig::from_folder(path);
        }
        ModelConfig::from_gguf(&gguf::File::open(&find_gguf(path)?)?)
    }

    /// Reads the text of a config.json; `name` stands for its path in errors.
    ///
    /// # Errors
    /// As [`ModelConfig::from_folder`]; `Json` or `Malformed` for a text that is no JSON object.
    pub fn from_text(name: &Path, text: &str) -> Result<ModelConfig, Error> {
        from_hf::of_object(name, parse_object(name, text.as_bytes())?)
    }

    /// Reads config.json (as transformers 4 or 5 spells it) and generation_config.json, if there is one.
    ///
    /// # Errors
    /// `Architecture` for a model we do not know, `Field` for a field that is missing or not usable.
    pub fn from_folder(folder: &Path) -> Result<ModelConfig, Error> {
        from_hf::read(folder)
    }

    /// Derives the configuration from GGUF metadata and from which tensors are there.
    ///
    /// # Errors
    /// As [`ModelConfig::from_folder`], fields named as in the file.
    pub fn from_gguf(file: &gguf::File) -> Result<ModelConfig, Error> {
        from_gguf::read(file)
    }

    /// A config.json that transformers 4 and 5 load; `dtype` is the type of the weights beside it ("float32").
    ///
    /// Keys that we do not know are carried over from `raw`; of quantisation it says nothing.
    pub fn to_hf_json(&self, dtype: &str) -> Value {
        to_hf::config(self, dtype)
    }

    /// As [`ModelConfig::to_hf_json`], for weights whose linear layers are quantised.
    pub fn to_quantised_json(&self, dtype: &str, quantization: &Quantization) -> Value {
        let mut out = to_hf::config(self, dtype);
        out["quantization_config"] = quantization.json(dtype);
        out
    }

    /// A generation_config.json: the one read, or one made from the special tokens.
    pub fn generation_config_json(&self) -> Value {
        to_hf::generation(self)
    }

    /// Every tensor of the Hugging Face layout with its shape, outermost first, in the order of the model; experts as
    /// one tensor for each matrix.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        tensors::of(self)
    }

    /// Sets what a GGUF file says of this model: `general.architecture` and the keys below it.
    pub fn gguf_metadata(&self, metadata: &mut gguf::Metadata) {
        to_gguf::metadata(self, metadata);
    }

    /// Every tensor of a GGUF file of this model.
    pub fn gguf_tensors(&self) -> Vec<GgufTensor> {
        to_gguf::tensors(self)
    }

    /// How many elements of each head are rotated.
    pub fn rotary_dim(&self) -> usize {
        (self.head_dim as f64 * self.partial_rotary) as usize
    }

    /// Checks what both sources promise alike; `path` and field names are for the error.
    fn check(&self, path: &Path) -> Result<(), Error> {
        let fault = |field: &str, found: String, expected: String| Err(Error::field(path, field, found, expected));
        if !self.heads.is_multiple_of(self.kv_heads) {
            let expected = format!("a divisor of the {} attention heads", self.heads);
            return fault("num_key_value_heads", self.kv_heads.to_string(), expected);
        }
        if self.head_dim == 0 || self.head_dim % 2 == 1 {
            return fault("head_dim", self.head_dim.to_string(), "an even number above 0".into());
        }
        let rotary = self.rotary_dim();
        if !(self.partial_rotary > 0.0 && self.partial_rotary <= 1.0) || rotary == 0 || rotary % 2 == 1 {
            let expected = "a share above 0 and up to 1 that rotates an even number of elements".into();
            return fault("partial_rotary_factor", self.partial_rotary.to_string(), expected);
        }
        if !(self.rms_eps > 0.0 && self.rms_eps < 1.0) {
            return fault("rms_norm_eps", self.rms_eps.to_string(), "a number between 0 and 1".into());
        }
        if !(self.rope_theta > 0.0 && self.rope_theta.is_finite()) {
            return fault("rope_theta", self.rope_theta.to_string(), "a number above 0".into());
        }
        if self.sliding_window == Some(0) {
            return fault("sliding_window", "0".into(), "a number above 0 or null".into());
        }
        if let Some(Experts { count, per_token, .. }) = self.experts
            && (per_token == 0 || per_token > count)
        {
            return fault("num_experts_per_tok", per_token.to_string(), format!("a number from 1 to {count}"));
        }
        self.check_rope(path, rotary)
    }

    fn check_rope(&self, path: &Path, rotary: usize) -> Result<(), Error> {
        let Err((field, found, expected)) = self.rope.check(rotary / 2) else { return Ok(()) };
        Err(Error::field(path, format!("rope_scaling.{field}"), found, expected))
    }
}

/// An object's JSON, for building configurations key by key.
type Object = Map<String, Value>;
