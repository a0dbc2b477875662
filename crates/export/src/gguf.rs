//! Base and adapter to one GGUF file for llama.cpp, and a Modelfile for Ollama beside it.

use crate::prove::{Bound, Proof, Tuned};
use crate::source::{Source, config};
use crate::{Error, modelfile};
use formats::config::{Content, GgufTensor};
use formats::gguf::{Entry, Metadata, Sealed, Writer, bytes_of};
use formats::weights::TokenizerSource;
use formats::{Dtype, ModelConfig, gguf};
use model::Folder;
use std::path::{Path, PathBuf};

/// How the matrices of a GGUF file are stored; vectors are float32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// float32: as exact as training was.
    F32,
    /// float16: half the size.
    F16,
    /// Eight bits and a scale for each 32 weights: a quarter of the size.
    Q8_0,
}

impl Store {
    fn dtype(self) -> Dtype {
        match self {
            Store::F32 => Dtype::F32,
            Store::F16 => Dtype::F16,
            Store::Q8_0 => Dtype::Q8_0,
        }
    }

    /// `general.file_type`, as llama.cpp counts.
    fn file_type(self) -> u32 {
        match self {
            Store::F32 => 0,
            Store::F16 => 1,
            Store::Q8_0 => 7,
        }
    }

    fn bound(self) -> Bound {
        match self {
            Store::F32 => Bound::EXACT,
            Store::F16 => Bound::HALF,
            Store::Q8_0 => Bound::EIGHT_BITS,
        }
    }

    /// The type of one tensor. Routers decide by small differences and stay exact; rows that blocks do not divide
    /// keep sixteen bits.
    fn of(self, name: &str, shape: &[usize]) -> Dtype {
        match shape {
            [_] | [] => Dtype::F32,
            _ if name.ends_with(".ffn_gate_inp.weight") => Dtype::F32,
            [.., width] if width % self.dtype().block_elements() != 0 => Dtype::F16,
            _ => self.dtype(),
        }
    }
}

/// A file that passed.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The GGUF file.
    pub path: PathBuf,
    /// The Modelfile beside it.
    pub modelfile: PathBuf,
    /// Whether the Modelfile says the chat template, or leaves it to Ollama.
    pub templated: bool,
    /// How far its logits are from base and adapter.
    pub proof: Proof,
}

/// Writes the merged model to the file `out`, opens it again and compares it with base and adapter on `prompts`.
///
/// `name` is what the file calls the model. The file gets its name only when the proof holds; `progress(done, of)`
/// counts tensors.
///
/// # Errors
/// A full disk, a damaged base, a tokenizer that GGUF cannot say, or a written model that answers otherwise.
pub fn gguf(
    tuned: &Tuned,
    store: Store,
    name: &str,
    prompts: &[Vec<u32>],
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Exported, Error> {
    let config = config(tuned);
    let tensors = config.gguf_tensors();
    let entry = |t: &GgufTensor| Entry { name: t.name.clone(), dtype: store.of(&t.name, &t.shape), shape: t.shape.clone() };
    let entries: Vec<Entry> = tensors.iter().map(entry).collect();
    let (metadata, vocabulary) = metadata(tuned.base, &config, store, name)?;
    record::atomic::require_space(out, bytes_of(&entries) + (64 << 20))?;
    let sealed = write(tuned, &tensors, &entries, &metadata, out, progress)?;
    let proof = tuned.prove(store.bound(), prompts, sealed.path(), out)?;
    let beside = modelfile::beside(out);
    let bos = vocabulary.bos.filter(|_| vocabulary.add_bos == Some(true)).and_then(|id| vocabulary.tokens.get(id as usize));
    let modelfile = modelfile::of(tuned.base, out, bos.map(String::as_str));
    // The small one first: where it cannot be written, the large one is not published.
    record::atomic::write(&beside, modelfile.text.as_bytes())?;
    sealed.publish()?;
    Ok(Exported { path: out.into(), modelfile: beside, templated: modelfile.templated, proof })
}

fn write(
    tuned: &Tuned,
    tensors: &[GgufTensor],
    entries: &[Entry],
    metadata: &Metadata,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Sealed, Error> {
    let mut writer = Writer::create(out, entries, metadata)?;
    let source = Source::new(tuned);
    let mut values = Vec::new();
    for (done, t) in tensors.iter().enumerate() {
        match &t.content {
            Content::Factors(factors) => writer.put_part_f32(&t.name, factors)?,
            Content::Weights { names, order } => {
                // A stack has one dimension more than each of its members.
                let shape = if names.len() > 1 { &t.shape[1..] } else { &t.shape };
                for name in names {
                    source.read(name, shape, &mut values)?;
                    order.store(shape[0], &mut values);
                    writer.put_part_f32(&t.name, &values)?;
                }
            }
        }
        progress(done + 1, tensors.len());
    }
    Ok(writer.seal()?)
}

/// What the file says of itself: all that a GGUF base says, and what has changed.
fn metadata(base: &Folder, config: &ModelConfig, store: Store, name: &str) -> Result<(Metadata, gguf::Vocab), Error> {
    let mut out = Metadata::default();
    config.gguf_metadata(&mut out);
    out.text("general.type", "model");
    let vocabulary = match base.files.tokenizer_source() {
        TokenizerSource::Gguf(file) => {
            let changed = ["general.name", "general.alignment", "general.file_type"];
            let known = out.clone();
            let parts = ["split.", "quantize.", "general.quant"];
            out.carry(file, |key| !known.has(key) && !changed.contains(&key) && !parts.iter().any(|part| key.starts_with(part)));
            file.vocab()?
        }
        TokenizerSource::Folder(_) => {
            let vocab = vocabulary(base)?;
            out.vocab(&vocab);
            vocab
        }
    };
    if let Some(name) = called(name, &vocabulary) {
        out.text("general.name", &name);
    }
    out.number("general.file_type", store.file_type());
    out.number("general.quantization_version", 2);
    Ok((out, vocabulary))
}

/// The model's name in the file, so chosen that llama.cpp cuts text as the tokenizer does; it ends where a model is called
/// Phi-3 and lacks that family's `<|endoftext|>`.
fn called(name: &str, vocabulary: &gguf::Vocab) -> Option<String> {
    match (vocabulary.strips, gguf::names_phi3(name)) {
        (true, false) if vocabulary.tokens.iter().any(|t| t == "<|endoftext|>") => Some(format!("{name} (phi-3)")),
        (false, true) => None,
        _ => Some(name.to_string()),
    }
}

/// The vocabulary of a model that came with a tokenizer.json.
fn vocabulary(base: &Folder) -> Result<gguf::Vocab, Error> {
    let (chat, config) = (&base.chat, &base.config);
    let mut v = chat.tokenizer.to_vocab().map_err(|source| Error::Tokenizer { path: base.path.clone(), source })?;
    v.pad_to(config.vocab);
    // All of them end an answer; which of them does it for what reason makes no difference to readers.
    let mut ends = chat.eos.iter().copied();
    Ok(gguf::Vocab {
        model: v.model,
        pre: Some(v.pre).filter(|pre| !pre.is_empty()).or(Some("default".to_string())),
        tokens: v.tokens,
        scores: v.scores,
        token_types: v.token_types.iter().map(|&t| t as i32).collect(),
        merges: v.merges,
        bos: config.bos,
        eos: ends.next(),
        eot: ends.next(),
        eom: ends.next(),
        unk: v.unk,
        pad: config.pad,
        add_bos: v.add_bos,
        add_eos: v.add_eos,
        add_space_prefix: v.add_space_prefix,
        strips: v.strips,
        chat_template: Some(chat.template.source().to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_whether_special_tokens_swallow_spaces() {
        let vocab = |strips, token: &str| gguf::Vocab { strips, ..bare(token) };
        assert_eq!(called("tickets-1", &vocab(false, "a")).as_deref(), Some("tickets-1"));
        assert_eq!(called("phi3-tickets", &vocab(false, "<|endoftext|>")), None);
        assert_eq!(called("tickets-1", &vocab(true, "<|endoftext|>")).as_deref(), Some("tickets-1 (phi-3)"));
        assert_eq!(called("Phi-3 tickets", &vocab(true, "<|endoftext|>")).as_deref(), Some("Phi-3 tickets"));
    }

    fn bare(token: &str) -> gguf::Vocab {
        let (tokens, none) = (vec![token.to_string()], None);
        let (bos, eos, eot, eom, unk, pad) = (none, none, none, none, none, none);
        gguf::Vocab {
            model: "llama".into(),
            pre: None,
            tokens,
            scores: Vec::new(),
            token_types: Vec::new(),
            merges: Vec::new(),
            bos,
            eos,
            eot,
            eom,
            unk,
            pad,
            add_bos: None,
            add_eos: None,
            add_space_prefix: None,
            strips: false,
            chat_template: None,
        }
    }
}
