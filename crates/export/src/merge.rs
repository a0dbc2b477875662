//! Base and adapter to one Hugging Face folder.

use crate::Error;
use crate::prove::{Bound, Proof, Tuned};
use crate::source::{Source, config};
use formats::safetensors::{Entry, Writer};
use formats::{Dtype, ModelConfig};
use model::Folder;
use std::collections::BTreeMap;
use std::path::Path;

/// How the merged weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// float32: as exact as training was.
    F32,
    /// bfloat16: half the size, what most servers load.
    Bf16,
}

impl Precision {
    fn dtype(self) -> Dtype {
        match self {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Precision::F32 => "float32",
            Precision::Bf16 => "bfloat16",
        }
    }

    fn bound(self) -> Bound {
        match self {
            Precision::F32 => Bound::EXACT,
            Precision::Bf16 => Bound::HALF,
        }
    }
}

/// Writes the merged model to `out`, opens it again and compares it with base and adapter on `prompts`.
///
/// The folder takes its place only when the proof holds; `progress(done, of)` counts tensors.
///
/// # Errors
/// A full disk, a damaged base, or a merged model that answers otherwise.
pub fn merge(
    tuned: &Tuned,
    precision: Precision,
    prompts: &[Vec<u32>],
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Proof, Error> {
    let config = config(tuned);
    let all = config.tensors();
    let entries: Vec<Entry> = all.into_iter().map(|(name, shape)| Entry { name, dtype: precision.dtype(), shape }).collect();
    let need: u64 = entries.iter().map(|e| e.dtype.bytes_of(&e.shape).unwrap_or(usize::MAX) as u64).sum();
    record::atomic::require_space(out, need + (16 << 20))?;
    let mut proof = None;
    record::atomic::replace_folder(out, &mut |draft| {
        write_weights(tuned, &entries, &draft.join("model.safetensors"), progress)?;
        write_companions(tuned.base, &config, precision, draft)?;
        proof = Some(tuned.prove(precision.bound(), prompts, draft, out)?);
        Ok::<(), Error>(())
    })?;
    proof.ok_or_else(|| Error::Differs { path: out.into(), what: "the proof", found: "none".into(), expected: "one".into() })
}

fn write_weights(tuned: &Tuned, entries: &[Entry], path: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    let mut writer = Writer::create(path, entries, &metadata)?;
    let source = Source::new(tuned);
    let mut values = Vec::new();
    for (done, e) in entries.iter().enumerate() {
        source.read(&e.name, &e.shape, &mut values)?;
        writer.put_f32(&e.name, &values)?;
        progress(done + 1, entries.len());
    }
    Ok(writer.finish()?)
}

/// config.json, generation_config.json, tokenizer.json, tokenizer_config.json and chat_template.jinja.
fn write_companions(base: &Folder, config: &ModelConfig, precision: Precision, folder: &Path) -> Result<(), Error> {
    let put = |name: &str, bytes: &[u8]| record::atomic::write(&folder.join(name), bytes);
    let json = |v: &serde_json::Value| serde_json::to_vec_pretty(v).unwrap_or_default();
    put("config.json", &json(&config.to_hf_json(precision.name())))?;
    put("generation_config.json", &json(&config.generation_config_json()))?;
    let chat = &base.chat;
    let tokenizer = chat.tokenizer.to_json().map_err(|source| Error::Tokenizer { path: base.path.clone(), source })?;
    put("tokenizer.json", tokenizer.as_bytes())?;
    put("chat_template.jinja", chat.template.source().as_bytes())?;
    let token = |id: Option<u32>| id.and_then(|i| chat.tokenizer.token(i));
    // Both places of the template: older readers know only this one.
    let tokenizer_config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token(config.bos),
        "eos_token": token(config.eos.first().copied()),
        "pad_token": token(config.pad.or(config.eos.first().copied())),
        "model_max_length": config.max_context,
        "clean_up_tokenization_spaces": false,
        "chat_template": chat.template.source(),
    });
    put("tokenizer_config.json", &json(&tokenizer_config))?;
    Ok(())
}
