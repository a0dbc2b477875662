//! A vocabulary as GGUF files store it, turned into the description of a tokenizer.

mod from_json;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// GGUF token type of a control token such as `<|im_end|>`: matched whole, left out of plain text.
const CONTROL: u32 = 3;
/// GGUF token type of a user-defined token such as `<tool_call>`: matched whole, part of plain text.
const USER_DEFINED: u32 = 4;
/// GGUF token type of an ordinary token.
const NORMAL: u32 = 1;
/// GGUF token type of the token for what no other token covers.
const UNKNOWN: u32 = 2;
/// GGUF token type of an id that no text has.
const UNUSED: u32 = 5;
/// GGUF token type of a single byte, in a vocabulary that falls back to bytes.
const BYTE: u32 = 6;

const GPT2_SPLIT: &str = "ByteLevel";
const LLAMA3_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN_SPLIT: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O_SPLIT: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How a pre-tokenizer name splits text before the merges are applied.
struct Split {
    pattern: &'static str,
    /// Every digit stands alone before anything else is split.
    digits_apart: bool,
    /// The text is brought to Unicode normal form C first.
    nfc: bool,
    /// A piece that is a token as a whole is taken without applying merges.
    whole_first: bool,
}

const fn split(pattern: &'static str, digits_apart: bool, nfc: bool, whole_first: bool) -> Split {
    Split { pattern, digits_apart, nfc, whole_first }
}

/// One row per way of splitting: the names that GGUF files use for it, and what it does.
const SPLITS: &[(&[&str], Split)] = &[
    (&["gpt-2", "default", "gpt2", "phi-2", "olmo", "mpt"], split(GPT2_SPLIT, false, false, false)),
    (&["smollm", "starcoder", "refact", "command-r", "codeshell", "minerva-7b"], split(GPT2_SPLIT, true, false, false)),
    (&["llama-bpe", "llama3", "llama-v3", "smaug-bpe", "falcon3", "falcon-h1", "dbrx", "lfm2"], split(LLAMA3_SPLIT, false, false, true)),
    (&["qwen2", "deepseek-r1-qwen", "megrez"], split(QWEN2_SPLIT, false, true, false)),
    (&["tekken", "pixtral"], split(TEKKEN_SPLIT, false, false, true)),
    (&["gpt-4o", "llama4"], split(GPT4O_SPLIT, false, false, false)),
];

/// All pre-tokenizer names that [`crate::Tokenizer::from_vocab`] knows.
pub fn known_pre() -> Vec<&'static str> {
    SPLITS.iter().flat_map(|(names, _)| names.iter().copied()).collect()
}

/// The tokenizer fields of a GGUF file (`tokenizer.ggml.*`), names as there.
#[derive(Debug, Clone, Default)]
pub struct Vocab {
    /// `tokenizer.ggml.model`: "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE from scores).
    pub model: String,
    /// `tokenizer.ggml.pre`: how text is split before merges; empty means "default". Unused by "llama".
    pub pre: String,
    /// The token of every id.
    pub tokens: Vec<String>,
    /// One score a token ("llama" only; higher merges first); may be empty where merges are given.
    pub scores: Vec<f32>,
    /// One type a token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; empty means all normal.
    pub token_types: Vec<u32>,
    /// "left right" pairs, best first.
    pub merges: Vec<String>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unk: Option<u32>,
    pub pad: Option<u32>,
    /// Whether plain text gets the token `bos` in front (written into the tokenizer file; never done by `encode`).
    pub add_bos: Option<bool>,
    /// Whether plain text gets the token `eos` at its end (as `add_bos`).
    pub add_eos: Option<bool>,
    /// Whether "llama" writes a space in front of a text and of what follows a special token; absent means yes.
    pub add_space_prefix: Option<bool>,
    /// Whether special tokens swallow the spaces and line breaks after them (Phi-3), but for those of no turn.
    pub strips: bool,
}

/// Special tokens that swallow nothing where the others do.
const STRIP_NOTHING: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

impl Vocab {
    /// The same tokenizer as the content of a `tokenizer.json`.
    pub(crate) fn to_json(&self) -> Result<Value> {
        self.check()?;
        let parts = match self.model.as_str() {
            "gpt2" => self.byte_level()?,
            "llama" => self.sentencepiece()?,
            found => return Err(Error::UnknownVocabModel { found: found.to_string() }),
        };
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added_tokens(),
            "normalizer": parts.normalizer,
            "pre_tokenizer": parts.pre_tokenizer,
            "post_processor": self.post_processor(&parts.default_post),
            "decoder": parts.decoder,
            "model": parts.model,
        }))
    }

    fn check(&self) -> Result<()> {
        let count = self.tokens.len();
        let fault = |field, found: String, expected: String| Err(Error::Vocab { field, found, expected });
        if count == 0 {
            return fault("tokens", "0 tokens".into(), "at least 1".into());
        }
        for (field, length) in [("scores", self.scores.len()), ("token_types", self.token_types.len())] {
            if length != 0 && length != count {
                return fault(field, format!("{length} entries"), format!("{count}, one a token"));
            }
        }
        for (field, id) in [("bos", self.bos), ("eos", self.eos), ("unk", self.unk), ("pad", self.pad)] {
            if let Some(id) = id.filter(|id| *id as usize >= count) {
                return fault(field, format!("id {id}"), format!("an id below {count}"));
            }
        }
        Ok(())
    }

    fn kind(&self, id: usize) -> u32 {
        self.token_types.get(id).copied().unwrap_or(NORMAL)
    }

    fn added_tokens(&self) -> Vec<Value> {
        let added = |id: &usize| matches!(self.kind(*id), CONTROL | USER_DEFINED) && !self.tokens[*id].is_empty();
        (0..self.tokens.len())
            .filter(added)
            .map(|id| {
                let strips = self.strips && self.kind(id) == CONTROL && !STRIP_NOTHING.contains(&self.tokens[id].as_str());
                json!({
                    "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false, "rstrip": strips,
                    "normalized": false, "special": self.kind(id) == CONTROL,
                })
            })
            .collect()
    }

    /// What is added around plain text, as other tools that load the file do it.
    fn post_processor(&self, otherwise: &Value) -> Value {
        let wanted = |flag: Option<bool>, id: Option<u32>| id.filter(|_| flag == Some(true)).map(|id| id as usize);
        let (bos, eos) = (wanted(self.add_bos, self.bos), wanted(self.add_eos, self.eos));
        if bos.is_none() && eos.is_none() {
            return otherwise.clone();
        }
        let special = |id: usize, side: u32| json!({"SpecialToken": {"id": self.tokens[id], "type_id": side}});
        let wrap = |name: &str, side: u32| {
            let text = json!({"Sequence": {"id": name, "type_id": side}});
            let before = bos.map(|id| special(id, side));
            let after = eos.map(|id| special(id, side));
            before.into_iter().chain([text]).chain(after).collect::<Vec<_>>()
        };
        let mut tokens = Map::new();
        for id in bos.into_iter().chain(eos) {
            let token = &self.tokens[id];
            tokens.insert(token.clone(), json!({"id": token, "ids": [id], "tokens": [token]}));
        }
        let pair: Vec<Value> = wrap("A", 0).into_iter().chain(wrap("B", 1)).collect();
        json!({"type": "TemplateProcessing", "single": wrap("A", 0), "pair": pair, "special_tokens": tokens})
    }

    fn byte_level(&self) -> Result<Parts> {
        let pre = if self.pre.is_empty() { "default" } else { &self.pre };
        let Some((_, split)) = SPLITS.iter().find(|(names, _)| names.contains(&pre)) else {
            return Err(Error::UnknownPre { found: pre.to_string(), known: known_pre() });
        };
        let spelling = byte_spelling();
        let alphabet: HashSet<char> = spelling.iter().copied().collect();
        let mut vocab = Map::new();
        for (id, token) in self.tokens.iter().enumerate() {
            let raw = self.kind(id) == NORMAL && !token.chars().all(|c| alphabet.contains(&c));
            let spelled: String = if raw { token.bytes().map(|byte| spelling[usize::from(byte)]).collect() } else { token.clone() };
            vocab.entry(spelled).or_insert(id.into());
        }
        let gpt2 = split.pattern == GPT2_SPLIT;
        let byte_level =
            |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let mut steps = Vec::new();
        if split.digits_apart {
            steps.push(json!({"type": "Digits", "individual_digits": true}));
        }
        if !gpt2 {
            let pattern = json!({"Regex": split.pattern});
            steps.push(json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false}));
        }
        steps.push(byte_level(gpt2));
        Ok(Parts {
            normalizer: if split.nfc { json!({"type": "NFC"}) } else { Value::Null },
            pre_tokenizer: json!({"type": "Sequence", "pretokenizers": steps}),
            default_post: byte_level(gpt2),
            decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
            model: json!({
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": split.whole_first, "vocab": vocab, "merges": self.merge_pairs()?,
            }),
        })
    }

    fn sentencepiece(&self) -> Result<Parts> {
        let mut vocab = Map::new();
        for (id, token) in self.tokens.iter().enumerate() {
            vocab.entry(token.clone()).or_insert(id.into());
        }
        let merges = if self.merges.is_empty() { self.merges_from_scores()? } else { self.merge_pairs()? };
        // A space is written in front of every stretch of text between special tokens, as llama.cpp does it.
        let prefix = self.add_space_prefix.unwrap_or(true);
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let front = prefix.then(|| json!({"type": "Prepend", "prepend": "▁"}));
        let steps: Vec<Value> = front.into_iter().chain([spaces]).collect();
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        Ok(Parts {
            normalizer: json!({"type": "Sequence", "normalizers": steps}),
            pre_tokenizer: Value::Null,
            default_post: Value::Null,
            decoder: json!({"type": "Sequence", "decoders": decoders}),
            model: json!({
                "type": "BPE", "dropout": null, "unk_token": self.unk.map(|id| self.tokens[id as usize].clone()),
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
                "byte_fallback": true, "ignore_merges": false, "vocab": vocab, "merges": merges,
            }),
        })
    }

    fn merge_pairs(&self) -> Result<Vec<Value>> {
        let pair = |(index, merge): (usize, &String)| match merge.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() => Ok(json!([left, right])),
            _ => Err(Error::Vocab {
                field: "merges",
                found: format!("{merge:?} at index {index}"),
                expected: "two tokens with a space between".into(),
            }),
        };
        self.merges.iter().enumerate().map(pair).collect()
    }

    /// SentencePiece stores no merges, only scores: every way to cut a token into two tokens is a merge, and the
    /// better the token's score the earlier it is applied.
    fn merges_from_scores(&self) -> Result<Vec<Value>> {
        if self.scores.is_empty() {
            return Err(Error::Vocab {
                field: "scores",
                found: "neither scores nor merges".into(),
                expected: format!("{} scores, one a token", self.tokens.len()),
            });
        }
        let ordinary = |id: &usize| matches!(self.kind(*id), NORMAL | USER_DEFINED);
        let ids: HashMap<&str, usize> = (0..self.tokens.len()).filter(ordinary).map(|id| (self.tokens[id].as_str(), id)).collect();
        let mut found: Vec<(f32, &str, &str)> = Vec::new();
        for id in (0..self.tokens.len()).filter(ordinary) {
            let token = self.tokens[id].as_str();
            let first = found.len();
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if ids.contains_key(left) && ids.contains_key(right) {
                    found.push((self.scores[id], left, right));
                }
            }
            found[first..].sort_by_key(|(_, left, right)| (ids[left], ids[right]));
        }
        let order = |m: &(f32, &str, &str)| (m.1.chars().count(), m.2.chars().count());
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| order(b).cmp(&order(a))));
        Ok(found.into_iter().map(|(_, left, right)| json!([left, right])).collect())
    }
}

struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    default_post: Value,
    decoder: Value,
    model: Value,
}

/// The printable character by which byte-level BPE writes each byte: printable Latin-1 stands for itself, the other
/// 68 bytes take the characters from U+0100 on.
pub(crate) fn byte_spelling() -> Vec<char> {
    let mut next = 0x100;
    (0..=255u8)
        .map(|byte| {
            if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
                return char::from(byte);
            }
            next += 1;
            char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
        })
        .collect()
}
