//! Base and adapter to one Hugging Face folder.

use crate::Error;
use crate::prove::{self, Proof};
use engine::Cx;
use formats::safetensors::{Entry, Writer};
use formats::{Dtype, Weights as Files};
use model::modules::{self, Module};
use model::{Adapter, Folder, Places, Weights};
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
}

/// Writes the merged model to `out`, opens it again and compares it with base and adapter on `prompts`.
///
/// The folder takes its place only when the proof holds; `progress(done, of)` counts tensors.
///
/// # Errors
/// A full disk, a damaged base, or a merged model that answers otherwise.
pub fn merge(
    cx: &Cx,
    base: &Folder,
    weights: &Weights,
    adapter: &Adapter,
    precision: Precision,
    prompts: &[Vec<u32>],
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Proof, Error> {
    let entries = entries(base, precision);
    let need =
        entries.iter().map(|e| e.shape.iter().product::<usize>() as u64 * if precision == Precision::F32 { 4 } else { 2 }).sum::<u64>();
    record::atomic::require_space(out, need + (16 << 20))?;
    let mut proof = None;
    record::atomic::replace_folder(out, &mut |draft| {
        write_weights(cx, base, adapter, precision, &entries, &draft.join("model.safetensors"), progress)?;
        write_companions(base, precision, draft)?;
        proof = Some(prove::prove(cx, weights, adapter, precision, prompts, draft, out)?);
        Ok::<(), Error>(())
    })?;
    proof.ok_or_else(|| Error::Differs { path: out.into(), what: "the proof", found: "none".into(), expected: "one".into() })
}

/// Every tensor of the Hugging Face layout, in its order.
fn entries(base: &Folder, precision: Precision) -> Vec<Entry> {
    let all = Places::of_model(&base.dims);
    all.tensors().iter().map(|t| Entry { name: t.name.clone(), dtype: precision.dtype(), shape: t.shape.clone() }).collect()
}

fn write_weights(
    cx: &Cx,
    base: &Folder,
    adapter: &Adapter,
    precision: Precision,
    entries: &[Entry],
    path: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), Error> {
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    let mut writer = Writer::create(path, entries, &metadata)?;
    let d = &base.dims;
    let groups = (0..d.layers).flat_map(|l| (0..modules::groups(d)).map(move |g| (l, g)));
    let projections: BTreeMap<String, (usize, Module)> =
        groups.flat_map(|(l, g)| modules::on_disk(d, l, g).into_iter().map(move |m| (format!("{}.weight", m.name), (l, m)))).collect();
    let mut values = Vec::new();
    for (done, e) in entries.iter().enumerate() {
        read(&base.files, e, &mut values)?;
        if let Some((layer, module)) = projections.get(&e.name) {
            let mut rest = &mut values[..];
            for i in module.linears.clone() {
                let (outputs, inputs) = modules::shape(d, i);
                let (part, after) = rest.split_at_mut(outputs * inputs);
                adapter.merge_into(cx, *layer, i, part);
                rest = after;
            }
        }
        match precision {
            Precision::F32 => writer.put_f32(&e.name, &values)?,
            Precision::Bf16 => writer.put(&e.name, &formats::safetensors::encode_f32(&e.name, Dtype::BF16, &values)?)?,
        }
        progress(done + 1, entries.len());
    }
    Ok(writer.finish()?)
}

fn read(files: &Files, e: &Entry, values: &mut Vec<f32>) -> Result<(), Error> {
    values.resize(e.shape.iter().product(), 0.0);
    Ok(files.load_f32(&e.name, &e.shape, values)?)
}

/// config.json, generation_config.json, tokenizer.json, tokenizer_config.json and chat_template.jinja.
fn write_companions(base: &Folder, precision: Precision, folder: &Path) -> Result<(), Error> {
    let put = |name: &str, bytes: &[u8]| record::atomic::write(&folder.join(name), bytes);
    let json = |v: &serde_json::Value| serde_json::to_vec_pretty(v).unwrap_or_default();
    put("config.json", &json(&base.config.to_hf_json(precision.name())))?;
    put("generation_config.json", &json(&base.config.generation_config_json()))?;
    let chat = &base.chat;
    let tokenizer = chat.tokenizer.to_json().map_err(|source| Error::Tokenizer { path: base.path.clone(), source })?;
    put("tokenizer.json", tokenizer.as_bytes())?;
    put("chat_template.jinja", chat.template.source().as_bytes())?;
    let token = |id: Option<u32>| id.and_then(|i| chat.tokenizer.token(i));
    // Both places of the template: older readers know only this one.
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token(base.config.bos),
        "eos_token": token(base.config.eos.first().copied()),
        "pad_token": token(base.config.pad.or(base.config.eos.first().copied())),
        "model_max_length": base.config.max_context,
        "clean_up_tokenization_spaces": false,
        "chat_template": chat.template.source(),
    });
    put("tokenizer_config.json", &json(&config))?;
    Ok(())
}
