//! Reads config.json in both spellings: `rope_theta` + `rope_scaling` + `torch_dtype`, or `rope_parameters` + `dtype`.

use std::path::Path;

use serde_json::Value;

use super::{Experts, Family, ModelConfig, Object, Quantization, Rope};
use crate::Error;
use crate::error::brief;
use crate::fields::{Fields, read_object, read_object_if_there};

pub(super) fn read(folder: &Path) -> Result<ModelConfig, Error> {
    let path = folder.join("config.json");
    let object = read_object(&path)?;
    let fields = Fields { path: &path, prefix: "", object: &object };
    let family = family(&fields)?;
    refuse(&fields)?;
    let mut config = sizes(&fields, family)?;
    rotary(&fields, &mut config)?;
    config.check(&path)?;
    let generation_path = folder.join("generation_config.json");
    if let Some(object) = read_object_if_there(&generation_path)? {
        let fields = Fields { path: &generation_path, prefix: "", object: &object };
        if let Some(eos) = fields.ids("eos_token_id")? {
            config.eos = eos;
        }
        config.bos = fields.id("bos_token_id")?.or(config.bos);
        config.pad = fields.id("pad_token_id")?.or(config.pad);
        config.raw_generation = Value::Object(object);
    }
    config.raw = Value::Object(object);
    Ok(config)
}

fn family(fields: &Fields<'_>) -> Result<Family, Error> {
    let fault =
        |field, found: String| Error::Architecture { path: fields.path.to_path_buf(), field, found, supported: Family::supported() };
    if let Some(names) = fields.get("architectures") {
        let first = names.get(0).and_then(Value::as_str);
        let known = Family::ALL.into_iter().find(|f| Some(f.architecture()) == first);
        let family = known.ok_or_else(|| fault("architectures", brief(&names.to_string())))?;
        return match fields.text("model_type")? {
            Some(name) if name != family.model_type() => {
                Err(fields
                    .fault("model_type", format!("\"{}\", since `architectures` says {}", family.model_type(), family.architecture())))
            }
            _ => Ok(family),
        };
    }
    match fields.text("model_type")? {
        Some(name) => {
            Family::ALL.into_iter().find(|f| f.model_type() == name).ok_or_else(|| fault("model_type", format!("\"{}\"", brief(name))))
        }
        None => Err(fault("architectures", "nothing".to_string())),
    }
}

/// Settings that would make the weights or the arithmetic something else than what we compute.
fn refuse(fields: &Fields<'_>) -> Result<(), Error> {
    if let Some(activation) = fields.text("hidden_act")?
        && activation != "silu"
        && activation != "swish"
    {
        return Err(fields.fault("hidden_act", "\"silu\""));
    }
    Ok(())
}

fn sizes(fields: &Fields<'_>, family: Family) -> Result<ModelConfig, Error> {
    let heads = fields.needed("num_attention_heads")?;
    let hidden = fields.needed("hidden_size")?;
    let kv_heads = match fields.size("num_key_value_heads")? {
        Some(0) => return Err(fields.fault("num_key_value_heads", "a whole number above 0")),
        Some(n) => n,
        None => heads,
    };
    let head_dim = match fields.size("head_dim")? {
        Some(n) => n,
        None if family == Family::Qwen3 => 128,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(fields.fault("hidden_size", format!("a multiple of the {heads} attention heads"))),
    };
    // Defaults of the classes of transformers, for files that leave a field out.
    let default_eps = if matches!(family, Family::Phi3 | Family::Mixtral) { 1e-5 } else { 1e-6 };
    let attention_bias = fields.bool("attention_bias")?.unwrap_or(false) && has_bias_switch(family);
    let layers = fields.needed("num_hidden_layers")?;
    Ok(ModelConfig {
        architecture: family.architecture().to_string(),
        family,
        vocab: fields.needed("vocab_size")?,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim,
        intermediate: fields.needed("intermediate_size")?,
        rms_eps: fields.float("rms_norm_eps")?.unwrap_or(default_eps),
        rope_theta: 0.0,
        rope: Rope::Plain,
        partial_rotary: 1.0,
        max_context: fields.needed("max_position_embeddings")?,
        sliding_window: sliding_window(fields, family, layers)?,
        tied_embeddings: fields.bool("tie_word_embeddings")?.unwrap_or(false),
        qkv_bias: family == Family::Qwen2 || attention_bias,
        o_bias: attention_bias,
        mlp_bias: family == Family::Llama && fields.bool("mlp_bias")?.unwrap_or(false),
        qk_norm: family == Family::Qwen3,
        fused_projections: family == Family::Phi3,
        experts: experts(fields, family)?,
        bos: fields.id("bos_token_id")?,
        eos: fields.ids("eos_token_id")?.unwrap_or_default(),
        pad: fields.id("pad_token_id")?,
        dtype: fields.text("dtype")?.or(fields.text("torch_dtype")?).map(str::to_string),
        quantization: Quantization::read(fields)?,
        raw: Value::Null,
        raw_generation: Value::Null,
    })
}

/// Only these classes read `attention_bias`; the others have no bias, or always one.
fn has_bias_switch(family: Family) -> bool {
    matches!(family, Family::Llama | Family::Qwen3)
}

fn experts(fields: &Fields<'_>, family: Family) -> Result<Option<Experts>, Error> {
    if family != Family::Mixtral {
        return Ok(None);
    }
    let count = match fields.size("num_local_experts")? {
        Some(n) if n > 0 => n,
        None => 8,
        _ => return Err(fields.fault("num_local_experts", "a whole number above 0")),
    };
    let per_token = fields.size("num_experts_per_tok")?.unwrap_or(2);
    let aux_coef = fields.float("router_aux_loss_coef")?.unwrap_or(0.001);
    Ok(Some(Experts { count, per_token, aux_coef }))
}

/// One window for all layers, or none; a mixture over layers is refused.
fn sliding_window(fields: &Fields<'_>, family: Family, layers: usize) -> Result<Option<usize>, Error> {
    let window = fields.size("sliding_window")?;
    match family {
        Family::Llama => Ok(None),
        Family::Phi3 | Family::Mixtral => Ok(window),
        // Mistral's class default is 4096; only an explicit null switches the window off.
        Family::Mistral if !fields.object.contains_key("sliding_window") => Ok(Some(4096)),
        Family::Mistral => Ok(window),
        Family::Qwen2 | Family::Qwen3 => {
            if !fields.bool("use_sliding_window")?.unwrap_or(false) {
                return Ok(None);
            }
            let full = match fields.texts("layer_types")? {
                Some(types) => types.iter().take(layers).filter(|t| *t == "full_attention").count(),
                None => fields.size("max_window_layers")?.unwrap_or(28).min(layers),
            };
            match full {
                0 => Ok(window.or(Some(4096))),
                n if n == layers => Ok(None),
                _ => Err(fields.fault("use_sliding_window", "a window on every layer or on none")),
            }
        }
    }
}

fn rotary(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<(), Error> {
    let empty = Object::new();
    let (prefix, object) = match (fields.object("rope_parameters")?, fields.object("rope_scaling")?) {
        // transformers lets the older spelling win where both are given.
        (_, Some(old)) => ("rope_scaling.", old),
        (Some(new), None) => ("rope_parameters.", new),
        (None, None) => ("rope_scaling.", &empty),
    };
    let scaling = Fields { path: fields.path, prefix, object };
    let default_theta = if config.family == Family::Mixtral { 1e6 } else { 1e4 };
    let newer = fields.object("rope_parameters")?.unwrap_or(&empty);
    let newer = Fields { path: fields.path, prefix: "rope_parameters.", object: newer };
    let first = |field: &str| -> Result<Option<f64>, Error> {
        Ok(match scaling.float(field)? {
            Some(x) => Some(x),
            None => newer.float(field)?.or(fields.float(field)?),
        })
    };
    config.rope_theta = first("rope_theta")?.unwrap_or(default_theta);
    config.partial_rotary = match config.family {
        Family::Phi3 => first("partial_rotary_factor")?.unwrap_or(1.0),
        _ => 1.0,
    };
    config.rope = rope(fields, &scaling, config)?;
    Ok(())
}

fn rope(fields: &Fields<'_>, scaling: &Fields<'_>, config: &ModelConfig) -> Result<Rope, Error> {
    let key = if scaling.get("rope_type").is_some() { "rope_type" } else { "type" };
    let kind = scaling.text(key)?.unwrap_or("default");
    let number = |field: &str| scaling.float(field)?.ok_or_else(|| scaling.fault(field, "a number"));
    // A field of the model itself wins over one inside the scaling, as in transformers.
    let original = match fields.size("original_max_position_embeddings")? {
        Some(n) => Some(n),
        None => scaling.size("original_max_position_embeddings")?,
    };
    match kind {
        "default" if scaling.get("rope_type").is_none() && scaling.object.values().any(Value::is_object) => {
            Err(scaling.fault("rope_type", "one scaling for all layers"))
        }
        "default" => Ok(Rope::Plain),
        "linear" => Ok(Rope::Linear { factor: number("factor")? }),
        "llama3" => Ok(Rope::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_context: original.unwrap_or(config.max_context),
        }),
        // Early Phi-3 files say "su" or "yarn" for the same thing.
        "longrope" | "su" => longrope(scaling, original, config),
        "yarn" if config.family == Family::Phi3 => longrope(scaling, original, config),
        _ => Err(scaling.fault(key, "\"default\", \"linear\", \"llama3\" or \"longrope\"")),
    }
}

fn longrope(scaling: &Fields<'_>, original: Option<usize>, config: &ModelConfig) -> Result<Rope, Error> {
    let list = |field: &str| scaling.floats(field)?.ok_or_else(|| scaling.fault(field, "a list of numbers"));
    Ok(Rope::Longrope {
        short: list("short_factor")?,
        long: list("long_factor")?,
        original_context: original.unwrap_or(config.max_context),
        factor: scaling.float("factor")?,
        attention_factor: scaling.float("attention_factor")?,
    })
}
