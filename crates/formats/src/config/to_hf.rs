//! Writes config.json and generation_config.json for transformers 4 and 5 alike.

use serde_json::{Value, json};

use super::{Family, ModelConfig, Object, Rope};

pub(super) fn config(config: &ModelConfig, dtype: &str) -> Value {
    let mut out = match &config.raw {
        Value::Object(raw) => raw.clone(),
        _ => synthesised(config),
    };
    // It spoke of the weights that were read.
    out.shift_remove("quantization_config");
    let mut set = |key: &str, value: Value| {
        out.insert(key.to_string(), value);
    };
    set("architectures", json!([config.architecture]));
    set("model_type", json!(config.family.model_type()));
    set("vocab_size", json!(config.vocab));
    set("tie_word_embeddings", json!(config.tied_embeddings));
    // Version 4 reads the first, version 5 the second.
    set("torch_dtype", json!(dtype));
    set("dtype", json!(dtype));
    set("rope_theta", json!(config.rope_theta));
    if config.family == Family::Phi3 {
        out.insert("partial_rotary_factor".to_string(), json!(config.partial_rotary));
    }
    let older = out.get("rope_scaling").is_some_and(Value::is_object);
    if !older {
        out.insert("rope_scaling".to_string(), rope_scaling(config));
    }
    if !out.get("rope_parameters").is_some_and(Value::is_object) {
        out.insert("rope_parameters".to_string(), rope_parameters(config));
    }
    if let (Rope::Longrope { original_context, .. }, false) = (&config.rope, out.contains_key("original_max_position_embeddings")) {
        out.insert("original_max_position_embeddings".to_string(), json!(original_context));
    }
    Value::Object(out)
}

/// Every field of the class that we know, for a model that came without config.json.
fn synthesised(config: &ModelConfig) -> Object {
    let value = json!({
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_context,
        "rms_norm_eps": config.rms_eps,
        "initializer_range": 0.02,
        "attention_dropout": 0.0,
        "use_cache": true,
        "bos_token_id": config.bos,
        "eos_token_id": eos(config),
        "pad_token_id": config.pad,
    });
    let Value::Object(mut out) = value else { return Object::new() };
    let mut set = |key: &str, value: Value| {
        out.insert(key.to_string(), value);
    };
    match config.family {
        Family::Llama => {
            set("attention_bias", json!(config.qkv_bias));
            set("mlp_bias", json!(config.mlp_bias));
        }
        Family::Mistral | Family::Phi3 => set("sliding_window", json!(config.sliding_window)),
        Family::Mixtral => {
            set("sliding_window", json!(config.sliding_window));
            if let Some(experts) = &config.experts {
                set("num_local_experts", json!(experts.count));
                set("num_experts_per_tok", json!(experts.per_token));
                set("router_aux_loss_coef", json!(experts.aux_coef));
                set("output_router_logits", json!(false));
            }
        }
        Family::Qwen2 | Family::Qwen3 => {
            let window = config.sliding_window;
            set("use_sliding_window", json!(window.is_some()));
            set("sliding_window", json!(window));
            set("max_window_layers", json!(if window.is_some() { 0 } else { config.layers }));
            if config.family == Family::Qwen3 {
                set("attention_bias", json!(config.qkv_bias));
            }
        }
    }
    out
}

fn eos(config: &ModelConfig) -> Value {
    match config.eos.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    }
}

/// The older spelling. Version 4 insists that Phi-3's has exactly these three keys.
fn rope_scaling(config: &ModelConfig) -> Value {
    match &config.rope {
        Rope::Plain => Value::Null,
        Rope::Longrope { short, long, .. } if config.family == Family::Phi3 => {
            json!({"type": "longrope", "short_factor": short, "long_factor": long})
        }
        _ => Value::Object(scaling(config)),
    }
}

/// The newer spelling: theta and the share of rotation belong to it.
fn rope_parameters(config: &ModelConfig) -> Value {
    let mut out = scaling(config);
    out.insert("rope_theta".to_string(), json!(config.rope_theta));
    if config.family == Family::Phi3 {
        out.insert("partial_rotary_factor".to_string(), json!(config.partial_rotary));
    }
    Value::Object(out)
}

fn scaling(config: &ModelConfig) -> Object {
    let value = match &config.rope {
        Rope::Plain => json!({"rope_type": "default"}),
        Rope::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        Rope::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context,
        }),
        Rope::Longrope { short, long, original_context, factor, attention_factor } => {
            let mut value = json!({
                "rope_type": "longrope",
                "short_factor": short,
                "long_factor": long,
                "original_max_position_embeddings": original_context,
            });
            for (key, number) in [("factor", factor), ("attention_factor", attention_factor)] {
                if let Some(x) = number {
                    value[key] = json!(x);
                }
            }
            value
        }
    };
    match value {
        Value::Object(out) => out,
        _ => Object::new(),
    }
}

pub(super) fn generation(config: &ModelConfig) -> Value {
    if config.raw_generation.is_object() {
        return config.raw_generation.clone();
    }
    let mut out = Object::new();
    out.insert("_from_model_config".to_string(), json!(true));
    let ids = [("bos_token_id", json!(config.bos)), ("eos_token_id", eos(config)), ("pad_token_id", json!(config.pad))];
    for (key, value) in ids {
        if !value.is_null() {
            out.insert(key.to_string(), value);
        }
    }
    Value::Object(out)
}
