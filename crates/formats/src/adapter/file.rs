//! Reads and writes adapter_config.json.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{AdapterConfig, Targets, targets};
use crate::Error;
use crate::atomic::write_whole;
use crate::fields::{Fields, read_object};

/// The keys that have a field in [`AdapterConfig`]; every other one is kept in `extra`.
const KNOWN: [&str; 21] = [
    "peft_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "target_parameters",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "bias",
    "fan_in_fan_out",
    "base_model_name_or_path",
    "revision",
    "task_type",
    "layers_to_transform",
    "layers_pattern",
    "init_lora_weights",
    "inference_mode",
];

/// Settings of PEFT that change what is computed and have no field here, with the values that leave them off.
const OTHER_SETTINGS: [&str; 13] = [
    "layer_replication",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "trainable_token_indices",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
    "megatron_config",
    "ensure_weight_tying",
    "loftq_config",
];

/// Initialisations that change the base weights, so that the adapter means nothing on the published base.
const BASE_CHANGING: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

pub(super) fn read(path: &Path) -> Result<AdapterConfig, Error> {
    let object = read_object(path)?;
    let fields = Fields { path, prefix: "", object: &object };
    match fields.text("peft_type")? {
        Some("LORA") => {}
        _ => return Err(fields.fault("peft_type", "\"LORA\"")),
    }
    let patterns = |field: &str| -> Result<Vec<(String, &Value)>, Error> {
        let object = fields.object(field)?;
        Ok(object.into_iter().flatten().map(|(k, v)| (k.clone(), v)).collect())
    };
    let mut rank_pattern = Vec::new();
    for (key, value) in patterns("rank_pattern")? {
        let rank = value.as_u64().filter(|r| (1..1 << 31).contains(r));
        rank_pattern.push((key, rank.ok_or_else(|| fields.fault("rank_pattern", "whole numbers above 0"))? as usize));
    }
    let mut alpha_pattern = Vec::new();
    for (key, value) in patterns("alpha_pattern")? {
        alpha_pattern.push((key, value.as_f64().ok_or_else(|| fields.fault("alpha_pattern", "numbers"))?));
    }
    let config = AdapterConfig {
        r: fields.size("r")?.unwrap_or(8),
        lora_alpha: fields.float("lora_alpha")?.unwrap_or(8.0),
        lora_dropout: fields.float("lora_dropout")?.unwrap_or(0.0),
        target_modules: target_modules(&fields)?,
        exclude_modules: modules(&fields, "exclude_modules")?,
        target_parameters: fields.texts("target_parameters")?.unwrap_or_default(),
        use_rslora: fields.bool("use_rslora")?.unwrap_or(false),
        use_dora: fields.bool("use_dora")?.unwrap_or(false),
        rank_pattern,
        alpha_pattern,
        modules_to_save: fields.texts("modules_to_save")?.unwrap_or_default(),
        bias: fields.text("bias")?.unwrap_or("none").to_string(),
        fan_in_fan_out: fields.bool("fan_in_fan_out")?.unwrap_or(false),
        base_model_name_or_path: fields.text("base_model_name_or_path")?.map(str::to_string),
        revision: fields.text("revision")?.map(str::to_string),
        task_type: fields.text("task_type")?.map(str::to_string),
        layers_to_transform: layers(&fields)?,
        layers_pattern: match fields.get("layers_pattern") {
            Some(Value::String(s)) if s.is_empty() => Vec::new(),
            Some(Value::String(s)) => vec![s.clone()],
            _ => fields.texts("layers_pattern")?.unwrap_or_default(),
        },
        init_lora_weights: fields.get("init_lora_weights").cloned().unwrap_or(Value::Bool(true)),
        extra: object.iter().filter(|(k, _)| !KNOWN.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect(),
    };
    check(&config, path)?;
    Ok(config)
}

fn modules(fields: &Fields<'_>, field: &str) -> Result<Option<Targets>, Error> {
    match fields.get(field) {
        None => Ok(None),
        // PEFT takes an empty exclusion for none.
        Some(Value::String(s)) if s.is_empty() => Ok(None),
        Some(Value::String(s)) => Ok(Some(Targets::Regex(s.clone()))),
        Some(Value::Array(_)) => {
            let list = fields.texts(field)?.unwrap_or_default();
            Ok(Some(Targets::List(list)))
        }
        Some(_) => Err(fields.fault(field, "a list of module names or a regular expression")),
    }
}

fn target_modules(fields: &Fields<'_>) -> Result<Targets, Error> {
    match modules(fields, "target_modules")? {
        Some(Targets::Regex(s)) if s.eq_ignore_ascii_case("all-linear") => Ok(Targets::AllLinear),
        Some(targets) => Ok(targets),
        // Only parameters are targeted.
        None if fields.get("target_parameters").is_some() => Ok(Targets::List(Vec::new())),
        None => Err(fields.fault("target_modules", "a list of module names, a regular expression or \"all-linear\"")),
    }
}

fn layers(fields: &Fields<'_>) -> Result<Option<Vec<usize>>, Error> {
    let Some(value) = fields.get("layers_to_transform") else { return Ok(None) };
    let one = std::slice::from_ref(value);
    let items = value.as_array().map_or(one, Vec::as_slice);
    let numbers: Option<Vec<usize>> = items.iter().map(|v| v.as_u64().and_then(|n| usize::try_from(n).ok())).collect();
    numbers.map(Some).ok_or_else(|| fields.fault("layers_to_transform", "a layer number or a list of them"))
}

/// What `read` and `write` both insist on.
fn check(config: &AdapterConfig, path: &Path) -> Result<(), Error> {
    if config.r == 0 {
        return Err(Error::field(path, "r", 0, "a whole number above 0"));
    }
    if !(0.0..=1.0).contains(&config.lora_dropout) {
        return Err(Error::field(path, "lora_dropout", config.lora_dropout, "a share from 0 to 1"));
    }
    let regex = |field: &str, pattern: String, shown: &str| match targets::compile(&pattern) {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::field(path, field, format!("\"{shown}\" ({e})"), "a regular expression")),
    };
    for (field, modules) in [("target_modules", Some(&config.target_modules)), ("exclude_modules", config.exclude_modules.as_ref())] {
        if let Some(Targets::Regex(pattern)) = modules {
            regex(field, targets::whole(pattern), pattern)?;
        }
    }
    let ranks = config.rank_pattern.iter().map(|(key, _)| ("rank_pattern", key));
    let alphas = config.alpha_pattern.iter().map(|(key, _)| ("alpha_pattern", key));
    for (field, key) in ranks.chain(alphas) {
        regex(field, targets::pattern_key(key), key)?;
    }
    config.modules_to_save.iter().try_for_each(|m| regex("modules_to_save", targets::saved(m), m))?;
    config.layers_pattern.iter().try_for_each(|p| regex("layers_pattern", targets::layer_pattern(p), p))
}

pub(super) fn unsupported(config: &AdapterConfig) -> Vec<String> {
    let mut out = Vec::new();
    if config.bias != "none" {
        out.push(format!("bias = \"{}\"", config.bias));
    }
    if config.fan_in_fan_out {
        out.push("fan_in_fan_out = true".to_string());
    }
    if let Some(name) = config.init_lora_weights.as_str()
        && BASE_CHANGING.iter().any(|start| name.to_ascii_lowercase().starts_with(start))
    {
        out.push(format!("init_lora_weights = \"{name}\" (changes the base weights)"));
    }
    for key in OTHER_SETTINGS {
        match config.extra.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(Value::Object(o)) if o.is_empty() => {}
            Some(Value::Array(a)) if a.is_empty() => {}
            Some(value) => out.push(format!("{key} = {}", crate::error::brief(&value.to_string()))),
        }
    }
    out
}

pub(super) fn write(config: &AdapterConfig, path: &Path) -> Result<(), Error> {
    check(config, path)?;
    let mut text = serde_json::to_string_pretty(&to_json(config)).map_err(|source| Error::Json { path: path.to_path_buf(), source })?;
    text.push('\n');
    write_whole(path, text.as_bytes())
}

/// The keys that PEFT 0.21 writes and we have no field for, at its defaults.
fn defaults() -> Map<String, Value> {
    let value = json!({
        "alora_invocation_tokens": null, "arrow_config": null, "auto_mapping": null, "corda_config": null,
        "ensure_weight_tying": false, "eva_config": null, "kasa_config": null, "layer_replication": null,
        "loftq_config": {}, "lora_bias": false, "lora_ga_config": null, "megatron_config": null,
        "megatron_core": "megatron.core", "monteclora_config": null, "peft_version": "0.21.2",
        "qalora_group_size": 16, "trainable_token_indices": null, "use_bdlora": null,
        "use_qalora": false, "velora_config": null,
    });
    match value {
        Value::Object(o) => o,
        _ => Map::new(),
    }
}

impl Targets {
    /// As the file spells them.
    pub fn to_json(&self) -> Value {
        match self {
            Targets::List(items) => json!(items),
            Targets::Regex(pattern) => json!(pattern),
            Targets::AllLinear => json!("all-linear"),
        }
    }
}

fn to_json(config: &AdapterConfig) -> Value {
    let or_null = |items: &[String]| if items.is_empty() { Value::Null } else { json!(items) };
    let mut all = defaults();
    all.extend(config.extra.clone());
    let known = [
        ("peft_type", json!("LORA")),
        ("r", json!(config.r)),
        ("lora_alpha", number(config.lora_alpha)),
        ("lora_dropout", json!(config.lora_dropout)),
        ("target_modules", config.target_modules.to_json()),
        ("exclude_modules", config.exclude_modules.as_ref().map_or(Value::Null, Targets::to_json)),
        ("target_parameters", or_null(&config.target_parameters)),
        ("use_rslora", json!(config.use_rslora)),
        ("use_dora", json!(config.use_dora)),
        ("rank_pattern", config.rank_pattern.iter().map(|(k, r)| (k.clone(), json!(r))).collect()),
        ("alpha_pattern", config.alpha_pattern.iter().map(|(k, a)| (k.clone(), number(*a))).collect()),
        ("modules_to_save", or_null(&config.modules_to_save)),
        ("bias", json!(config.bias)),
        ("fan_in_fan_out", json!(config.fan_in_fan_out)),
        ("base_model_name_or_path", json!(config.base_model_name_or_path)),
        ("revision", json!(config.revision)),
        ("task_type", json!(config.task_type)),
        ("layers_to_transform", json!(config.layers_to_transform)),
        ("layers_pattern", or_null(&config.layers_pattern)),
        ("init_lora_weights", config.init_lora_weights.clone()),
        ("inference_mode", json!(true)),
    ];
    all.extend(known.map(|(key, value)| (key.to_string(), value)));
    let mut sorted: Vec<(String, Value)> = all.into_iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(sorted.into_iter().collect())
}

/// Whole numbers stay whole: PEFT declares alpha as an integer.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 { json!(x as i64) } else { json!(x) }
}
