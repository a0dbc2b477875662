//! Writes a folder of quantised weights that transformers and bitsandbytes load.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Part, Scheme};
use crate::atomic::write_whole;
use crate::config::{ModelConfig, Quantization};
use crate::safetensors::{Entry, Writer};
use crate::{Coded, Dtype, Error};

/// Writes model.safetensors, config.json and generation_config.json into a folder that is there; tokenizer files are the
/// caller's. `tensors` are by Hugging Face names, in any order; those that are quantised are so in one scheme. `dtype` is
/// the type of the others.
///
/// # Errors
/// `Malformed` if nothing is quantised, or in two schemes; `Buffer` for a tensor in blocks of GGUF; `Io`.
pub fn write_folder(folder: &Path, config: &ModelConfig, dtype: Dtype, tensors: &[(String, Coded)]) -> Result<(), Error> {
    let path = folder.join("model.safetensors");
    let quantization = Quantization { scheme: scheme(&path, tensors)?, skip: skipped(tensors) };
    write_tensors(&path, &BTreeMap::from([("format".to_string(), "pt".to_string())]), tensors)?;
    let text = |value| serde_json::to_vec_pretty(&value).unwrap_or_default();
    let name = match dtype {
        Dtype::F16 => "float16",
        Dtype::BF16 => "bfloat16",
        _ => "float32",
    };
    write_whole(&folder.join("config.json"), &text(config.to_quantised_json(name, &quantization)))?;
    write_whole(&folder.join("generation_config.json"), &text(config.generation_config_json()))
}

/// Writes tensors, quantised ones with their companions, in the order that the safetensors library gives them.
///
/// # Errors
/// `Buffer` for a tensor in blocks of GGUF; `Malformed` for a name given twice; `Io`.
pub fn write_tensors(path: &Path, metadata: &BTreeMap<String, String>, tensors: &[(String, Coded)]) -> Result<(), Error> {
    let mut parts = Vec::new();
    for (name, coded) in tensors {
        parts.extend(coded.parts(name)?);
    }
    parts.sort_by(|a, b| (place(a.dtype), &a.name).cmp(&(place(b.dtype), &b.name)));
    let entry = |p: &Part<'_>| Entry { name: p.name.clone(), dtype: p.dtype, shape: p.shape.clone() };
    let mut writer = Writer::create(path, &parts.iter().map(entry).collect::<Vec<_>>(), metadata)?;
    for part in &parts {
        writer.put(&part.name, &part.bytes)?;
    }
    writer.finish()
}

/// Wide types come first.
fn place(dtype: Dtype) -> usize {
    use Dtype::{BF16, Bool, F8E4M3, F8E5M2, F16, F32, F64, I8, I16, I32, I64, U8};
    let order = [I64, F64, F32, I32, BF16, F16, I16, F8E4M3, F8E5M2, I8, U8, Bool];
    order.iter().position(|d| *d == dtype).unwrap_or(order.len())
}

/// The one scheme of those that are quantised.
fn scheme(path: &Path, tensors: &[(String, Coded)]) -> Result<Scheme, Error> {
    let mut quantised = tensors.iter().filter_map(|(name, coded)| Some((name, coded.scheme()?)));
    let Some((_, first)) = quantised.next() else {
        return Err(Error::malformed(path, "the tensors", "none that is quantised", "NF4 or int8"));
    };
    match quantised.find(|(_, scheme)| *scheme != first) {
        Some((name, other)) => {
            Err(Error::malformed(path, format!("tensor `{name}`"), other.name(), format!("{}, as the first", first.name())))
        }
        None => Ok(first),
    }
}

/// Modules that a reader must not take for quantised: matrices that are not, but for the embedding; always the head.
fn skipped(tensors: &[(String, Coded)]) -> Vec<String> {
    let plain = tensors.iter().filter(|(_, coded)| coded.scheme().is_none() && coded.shape().len() == 2);
    let modules = plain.filter_map(|(name, _)| name.strip_suffix(".weight"));
    let mut skip: Vec<String> = modules.filter(|m| !m.ends_with("embed_tokens") && *m != "lm_head").map(str::to_string).collect();
    skip.push("lm_head".to_string());
    skip
}
