//! The tokenizer vocabulary that a GGUF file carries.

use super::{File, Metadata};
use crate::Error;

/// A tokenizer as GGUF stores it; `text` turns it into one that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocab {
    /// "gpt2" (byte-level BPE) or "llama" (SentencePiece-like); other values are passed on as found.
    pub model: String,
    /// Which pre-tokenizer a "gpt2" vocabulary uses, such as "smollm".
    pub pre: Option<String>,
    /// Token texts by id.
    pub tokens: Vec<String>,
    /// Scores by id; empty if the file has none.
    pub scores: Vec<f32>,
    /// Kinds by id: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; empty if the file has none.
    pub token_types: Vec<i32>,
    /// Merge rules in order of rank, two parts separated by a space.
    pub merges: Vec<String>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    /// End of turn, where the file names one apart from `eos`.
    pub eot: Option<u32>,
    /// A third token that ends generation (end of message, before a tool is called).
    pub eom: Option<u32>,
    pub unk: Option<u32>,
    pub pad: Option<u32>,
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
    pub add_space_prefix: Option<bool>,
    /// Whether special tokens swallow the spaces after them. No key says so: llama.cpp goes by the model's name.
    pub strips: bool,
    /// The chat template, Jinja source.
    pub chat_template: Option<String>,
}

/// Whether llama.cpp takes a model of this name for one of Phi-3's own, whose special tokens swallow the spaces after them.
pub fn names_phi3(name: &str) -> bool {
    let name = name.to_lowercase();
    name.contains("phi3") || name.contains("phi-3")
}

impl File {
    /// Reads the vocabulary.
    ///
    /// # Errors
    /// `Field` if `tokenizer.ggml.model` or `.tokens` is missing, a list has another length than the tokens, or a
    /// special token's id is outside the vocabulary.
    pub fn vocab(&self) -> Result<Vocab, Error> {
        let missing = |key: &str, expected: &str| Error::field(self.path(), key, "nothing", expected);
        let model_key = "tokenizer.ggml.model";
        let model = self.string(model_key)?.ok_or_else(|| missing(model_key, "\"gpt2\" or \"llama\""))?;
        let tokens_key = "tokenizer.ggml.tokens";
        let tokens = self.strings(tokens_key)?.ok_or_else(|| missing(tokens_key, "a list of texts"))?;
        let size = tokens.len();
        let list = |key: &str| -> Result<Vec<f64>, Error> {
            let values = self.numbers(key)?.unwrap_or_default();
            if !values.is_empty() && values.len() != size {
                let found = format!("{} items", values.len());
                return Err(Error::field(self.path(), key, found, format!("{size}, one for each token")));
            }
            Ok(values)
        };
        let id = |key: &str| -> Result<Option<u32>, Error> {
            match self.unsigned(key)? {
                // Converters write the largest 32-bit number for "none".
                None | Some(0xffff_ffff) => Ok(None),
                Some(n) if (n as usize) < size && n <= u64::from(u32::MAX) => Ok(Some(n as u32)),
                Some(n) => Err(Error::field(self.path(), key, n, format!("an id below {size}"))),
            }
        };
        Ok(Vocab {
            model: model.to_string(),
            pre: self.string("tokenizer.ggml.pre")?.map(str::to_string),
            scores: list("tokenizer.ggml.scores")?.into_iter().map(|x| x as f32).collect(),
            token_types: list("tokenizer.ggml.token_type")?.into_iter().map(|x| x as i32).collect(),
            merges: self.strings("tokenizer.ggml.merges")?.unwrap_or_default(),
            bos: id("tokenizer.ggml.bos_token_id")?,
            eos: id("tokenizer.ggml.eos_token_id")?,
            eot: id("tokenizer.ggml.eot_token_id")?,
            eom: id("tokenizer.ggml.eom_token_id")?,
            unk: id("tokenizer.ggml.unknown_token_id")?,
            pad: id("tokenizer.ggml.padding_token_id")?,
            add_bos: self.bool("tokenizer.ggml.add_bos_token")?,
            add_eos: self.bool("tokenizer.ggml.add_eos_token")?,
            add_space_prefix: self.bool("tokenizer.ggml.add_space_prefix")?,
            strips: self.string("general.name")?.is_some_and(names_phi3),
            chat_template: self.string("tokenizer.chat_template")?.map(str::to_string),
            tokens,
        })
    }
}

impl Metadata {
    /// Sets the vocabulary: what [`File::vocab`] reads.
    pub fn vocab(&mut self, vocab: &Vocab) {
        self.text("tokenizer.ggml.model", &vocab.model);
        if let Some(pre) = &vocab.pre {
            self.text("tokenizer.ggml.pre", pre);
        }
        self.texts("tokenizer.ggml.tokens", &vocab.tokens);
        if !vocab.scores.is_empty() {
            self.floats("tokenizer.ggml.scores", &vocab.scores);
        }
        if !vocab.token_types.is_empty() {
            self.integers("tokenizer.ggml.token_type", &vocab.token_types);
        }
        // Byte-level BPE without merges is a vocabulary of bytes; llama.cpp wants the empty list.
        if !vocab.merges.is_empty() || vocab.model == "gpt2" {
            self.texts("tokenizer.ggml.merges", &vocab.merges);
        }
        let ends = [("eos", vocab.eos), ("eot", vocab.eot), ("eom", vocab.eom)];
        let ids = ends.into_iter().chain([("bos", vocab.bos), ("unknown", vocab.unk), ("padding", vocab.pad)]);
        for (name, id) in ids {
            if let Some(id) = id {
                self.number(&format!("tokenizer.ggml.{name}_token_id"), id);
            }
        }
        let flags = [("add_bos_token", vocab.add_bos), ("add_eos_token", vocab.add_eos), ("add_space_prefix", vocab.add_space_prefix)];
        for (name, flag) in flags {
            if let Some(flag) = flag {
                self.flag(&format!("tokenizer.ggml.{name}"), flag);
            }
        }
        if let Some(template) = &vocab.chat_template {
            self.text("tokenizer.chat_template", template);
        }
    }
}
