//! Derives a configuration from GGUF metadata and tensors.

use serde_json::Value;

use super::{Experts, Family, ModelConfig, Rope};
use crate::error::brief;
use crate::gguf::File;
use crate::{Error, gguf};

/// The metadata under one architecture's prefix.
struct Keys<'a> {
    file: &'a File,
    architecture: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn fault(&self, key: &str, found: impl ToString, expected: impl ToString) -> Error {
        Error::field(self.file.path(), self.name(key), found, expected)
    }

    /// A size, or one list of equal sizes (some writers give one number for each layer).
    fn size(&self, key: &str) -> Result<Option<usize>, Error> {
        let name = self.name(key);
        let number = match self.file.get(&name) {
            Some(gguf::Value::Array(_)) => {
                let list = self.file.numbers(&name)?.unwrap_or_default();
                let first = list.first().copied().unwrap_or(-1.0);
                if list.iter().any(|x| *x != first) {
                    return Err(self.fault(key, "different numbers for the layers", "one number for all layers"));
                }
                if first < 0.0 || first.fract() != 0.0 {
                    return Err(self.fault(key, first, "a whole number"));
                }
                Some(first as u64)
            }
            _ => self.file.unsigned(&name)?,
        };
        match number {
            Some(n) if n >= 1 << 31 => Err(self.fault(key, n, "a whole number from 0 to 2147483647")),
            n => Ok(n.map(|n| n as usize)),
        }
    }

    fn needed(&self, key: &str) -> Result<usize, Error> {
        match self.size(key)? {
            Some(n) if n > 0 => Ok(n),
            found => {
                let found = found.map_or("nothing".to_string(), |n| n.to_string());
                Err(self.fault(key, found, "a whole number above 0"))
            }
        }
    }

    fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        self.file.float(&self.name(key))
    }
}

pub(super) fn read(file: &File) -> Result<ModelConfig, Error> {
    let architecture = file.string("general.architecture")?;
    let unknown = |found: String| Error::Architecture {
        path: file.path().to_path_buf(),
        field: "general.architecture",
        found,
        supported: "llama (Llama, Mistral, Mixtral), phi3, qwen2, qwen3".to_string(),
    };
    let architecture = architecture.ok_or_else(|| unknown("nothing".to_string()))?;
    let keys = Keys { file, architecture };
    let window = keys.size("attention.sliding_window")?.filter(|n| *n > 0);
    let experts = experts(&keys)?;
    let family = match architecture {
        "llama" if experts.is_some() => Family::Mixtral,
        "llama" if window.is_some() => Family::Mistral,
        "llama" => Family::Llama,
        "phi3" => Family::Phi3,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        other => return Err(unknown(format!("\"{}\"", brief(other)))),
    };
    let mut config = sizes(&keys, family, window)?;
    config.experts = experts;
    rotary(&keys, &mut config)?;
    special_tokens(file, &mut config)?;
    config.check(file.path())?;
    Ok(config)
}

fn experts(keys: &Keys<'_>) -> Result<Option<Experts>, Error> {
    match keys.size("expert_count")? {
        None | Some(0) => Ok(None),
        // GGUF carries no coefficient; the class default stands in.
        Some(count) => Ok(Some(Experts { count, per_token: keys.needed("expert_used_count")?, aux_coef: 0.001 })),
    }
}

fn sizes(keys: &Keys<'_>, family: Family, window: Option<usize>) -> Result<ModelConfig, Error> {
    let file = keys.file;
    let hidden = keys.needed("embedding_length")?;
    let heads = keys.needed("attention.head_count")?;
    let kv_heads = match keys.size("attention.head_count_kv")? {
        Some(_) => keys.needed("attention.head_count_kv")?,
        None => heads,
    };
    let head_dim = match keys.size("attention.key_length")? {
        Some(n) => n,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            let expected = format!("a multiple of the {heads} attention heads");
            return Err(keys.fault("embedding_length", hidden, expected));
        }
    };
    if let Some(value) = keys.size("attention.value_length")?
        && value != head_dim
    {
        return Err(keys.fault("attention.value_length", value, format!("{head_dim}, as the key length")));
    }
    let has = |name: &str| file.tensor(name).is_some();
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let eps = eps.ok_or_else(|| keys.fault("attention.layer_norm_rms_epsilon", "nothing", "a number"))?;
    Ok(ModelConfig {
        architecture: family.architecture().to_string(),
        family,
        vocab: vocab(keys, hidden)?,
        hidden,
        layers: keys.needed("block_count")?,
        heads,
        kv_heads,
        head_dim,
        intermediate: keys.needed("feed_forward_length")?,
        rms_eps: eps,
        rope_theta: keys.float("rope.freq_base")?.unwrap_or(1e4),
        rope: Rope::Plain,
        partial_rotary: 1.0,
        max_context: keys.needed("context_length")?,
        sliding_window: window,
        tied_embeddings: !has("output.weight"),
        qkv_bias: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
        o_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_up.bias"),
        qk_norm: family == Family::Qwen3,
        fused_projections: family == Family::Phi3,
        experts: None,
        bos: None,
        eos: Vec::new(),
        pad: None,
        dtype: None,
        quantization: None,
        raw: Value::Null,
        raw_generation: Value::Null,
    })
}

/// The rows of the embedding are what there is; a stated size may be left out.
fn vocab(keys: &Keys<'_>, hidden: usize) -> Result<usize, Error> {
    let name = "token_embd.weight";
    let Some(embedding) = keys.file.tensor(name) else {
        return Err(Error::MissingTensor { path: keys.file.path().to_path_buf(), tensor: name.to_string() });
    };
    let stated = keys.size("vocab_size")?;
    let expected = [stated.unwrap_or_else(|| embedding.rows()), hidden];
    if embedding.shape == expected && expected[0] > 0 {
        return Ok(expected[0]);
    }
    Err(Error::Shape {
        path: keys.file.path().to_path_buf(),
        tensor: name.to_string(),
        found: embedding.shape,
        expected: expected.to_vec(),
    })
}

fn rotary(keys: &Keys<'_>, config: &mut ModelConfig) -> Result<(), Error> {
    if let Some(rotated) = keys.size("rope.dimension_count")? {
        if config.family != Family::Phi3 && rotated != config.head_dim {
            let expected = format!("{}, the whole head", config.head_dim);
            return Err(keys.fault("rope.dimension_count", rotated, expected));
        }
        config.partial_rotary = rotated as f64 / config.head_dim.max(1) as f64;
    }
    let scaling = keys.name("rope.scaling.type");
    let kind = keys.file.string(&scaling)?.unwrap_or("none");
    let factor = match keys.float("rope.scaling.factor")? {
        Some(x) => Some(x),
        None => keys.float("rope.scale_linear")?,
    };
    let list = |name: &str| -> Result<Option<Vec<f64>>, Error> {
        let Some(tensor) = keys.file.tensor(name) else { return Ok(None) };
        let mut out = vec![0f32; tensor.elements()];
        tensor.read_f32(&mut out)?;
        // The shortest decimal, so that 1.05 does not become 1.0499999523.
        Ok(Some(out.into_iter().map(|x| x.to_string().parse().unwrap_or(f64::from(x))).collect()))
    };
    config.rope = match (list("rope_freqs.weight")?, list("rope_factors_short.weight")?) {
        (Some(divisors), _) => Rope::from_divisors(&divisors, config.rope_theta, config.max_context),
        (None, Some(short)) => {
            let long = "rope_factors_long.weight";
            let long =
                list(long)?.ok_or_else(|| Error::MissingTensor { path: keys.file.path().to_path_buf(), tensor: long.to_string() })?;
            Rope::Longrope {
                short,
                long,
                original_context: keys.needed("rope.scaling.original_context_length")?,
                factor: None,
                attention_factor: keys.float("rope.scaling.attn_factor")?,
            }
        }
        (None, None) => match (kind, factor) {
            ("none", _) | ("linear", None | Some(1.0)) => Rope::Plain,
            ("longrope", _) => {
                let tensor = "rope_factors_short.weight".to_string();
                return Err(Error::MissingTensor { path: keys.file.path().to_path_buf(), tensor });
            }
            ("linear", Some(factor)) => Rope::Linear { factor },
            (other, _) => {
                let expected = "\"none\", \"linear\" or \"longrope\"";
                return Err(keys.fault("rope.scaling.type", format!("\"{}\"", brief(other)), expected));
            }
        },
    };
    Ok(())
}

fn special_tokens(file: &File, config: &mut ModelConfig) -> Result<(), Error> {
    let id = |key: &str| -> Result<Option<u32>, Error> {
        Ok(file.unsigned(key)?.and_then(|n| u32::try_from(n).ok()).filter(|n| (*n as usize) < config.vocab))
    };
    let eos = [id("tokenizer.ggml.eos_token_id")?, id("tokenizer.ggml.eot_token_id")?, id("tokenizer.ggml.eom_token_id")?];
    config.bos = id("tokenizer.ggml.bos_token_id")?;
    config.pad = id("tokenizer.ggml.padding_token_id")?;
    config.eos = eos.into_iter().flatten().collect();
    config.eos.dedup();
    Ok(())
}
