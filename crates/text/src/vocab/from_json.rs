//! The description of a tokenizer, turned into the vocabulary that GGUF files store.

use std::collections::HashMap;

use serde_json::Value;

use super::{BYTE, CONTROL, GPT2_SPLIT, NORMAL, SPLITS, UNKNOWN, UNUSED, USER_DEFINED, Vocab};
use crate::error::{Error, Result};

impl Vocab {
    /// The vocabulary of a `tokenizer.json`. The ids of special tokens are the model's to say; here only `unk` and
    /// `add_bos`, `add_eos` are found.
    ///
    /// # Errors
    /// `NotInGguf` for what the format has no place for.
    pub(crate) fn from_json(json: &Value) -> Result<Vocab> {
        let model = &json["model"];
        if model["type"] != "BPE" {
            return Err(refused("model", &model["type"], "\"BPE\""));
        }
        let mut vocab = Vocab::default();
        vocab.list_tokens(json);
        let steps = flat(&json["pre_tokenizer"], "pretokenizers");
        if steps.iter().any(|step| step["type"] == "ByteLevel") {
            vocab.byte_level_from(json, &steps)?;
        } else {
            vocab.sentencepiece_from(json, &steps)?;
        }
        vocab.unk = id_of(json, model["unk_token"].as_str());
        (vocab.add_bos, vocab.add_eos) = around(&json["post_processor"]);
        Ok(vocab)
    }

    fn list_tokens(&mut self, json: &Value) {
        let mut put = |id: usize, token: &str, kind: u32| {
            if id >= self.tokens.len() {
                self.tokens.resize(id + 1, String::new());
                self.token_types.resize(id + 1, UNUSED);
            }
            self.tokens[id] = token.to_string();
            self.token_types[id] = kind;
        };
        for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
            put(id.as_u64().unwrap_or(0) as usize, token, NORMAL);
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let kind = if added["special"] == true { CONTROL } else { USER_DEFINED };
            put(added["id"].as_u64().unwrap_or(0) as usize, added["content"].as_str().unwrap_or_default(), kind);
            self.strips |= added["special"] == true && added["rstrip"] == true;
        }
        self.pad_to(self.tokens.len());
    }

    /// Gives every id up to `count` a token; the model's embedding often has more rows than there are tokens.
    pub fn pad_to(&mut self, count: usize) {
        let count = count.max(self.tokens.len());
        self.tokens.resize(count, String::new());
        self.token_types.resize(count, UNUSED);
        if !self.scores.is_empty() {
            self.scores.resize(count, 0.0);
        }
        for (id, token) in self.tokens.iter_mut().enumerate() {
            if token.is_empty() && self.token_types[id] == UNUSED {
                *token = format!("[PAD{id}]");
            }
        }
    }

    fn byte_level_from(&mut self, json: &Value, steps: &[&Value]) -> Result<()> {
        self.model = "gpt2".to_string();
        self.pre = pre(json, steps)?.to_string();
        self.merges = merges(json).map(|(left, right)| format!("{left} {right}")).collect();
        Ok(())
    }

    /// The format has no merges here: the better a token's score, the earlier it is made. The first merge that makes
    /// a token tells when that was.
    fn sentencepiece_from(&mut self, json: &Value, steps: &[&Value]) -> Result<()> {
        if json["model"]["byte_fallback"] != true {
            return Err(refused("model.byte_fallback", &json["model"]["byte_fallback"], "true, or a byte-level pre-tokenizer"));
        }
        self.model = "llama".to_string();
        self.add_space_prefix = Some(space_prefix(json, steps)?);
        let mut ranks: HashMap<String, usize> = HashMap::new();
        for (rank, (left, right)) in merges(json).enumerate() {
            ranks.entry(format!("{left}{right}")).or_insert(rank);
        }
        let last = ranks.len();
        let unk = json["model"]["unk_token"].as_str();
        for (token, kind) in self.tokens.iter().zip(&mut self.token_types) {
            if Some(token.as_str()) == unk {
                *kind = UNKNOWN;
            } else if *kind == NORMAL && is_byte(token) {
                *kind = BYTE;
            }
            let rank = if *kind == NORMAL { *ranks.get(token).unwrap_or(&last) } else { 0 };
            self.scores.push(-(rank as f32));
        }
        Ok(())
    }
}

/// The name by which GGUF files call a way of splitting: found by what it does, whatever the model is called.
fn pre(json: &Value, steps: &[&Value]) -> Result<&'static str> {
    let (mut pattern, mut digits_apart) = (None, false);
    for step in steps {
        match step["type"].as_str() {
            Some("Digits") if step["individual_digits"] == true && pattern.is_none() => digits_apart = true,
            Some("Split") if pattern.is_none() && step["behavior"] == "Isolated" && step["invert"] == false => {
                pattern = step["pattern"]["Regex"].as_str();
            }
            Some("ByteLevel") if step["add_prefix_space"] == true => {
                return Err(refused("pre_tokenizer.add_prefix_space", &step["add_prefix_space"], "false"));
            }
            Some("ByteLevel") => pattern = pattern.or((step["use_regex"] != false).then_some(GPT2_SPLIT)),
            _ => return Err(refused("pre_tokenizer", step, "digits apart, one pattern that isolates, bytes")),
        }
    }
    let forms = flat(&json["normalizer"], "normalizers");
    let nfc = forms.iter().any(|form| form["type"] == "NFC");
    if forms.len() > usize::from(nfc) {
        return Err(refused("normalizer", &json["normalizer"], "none or NFC"));
    }
    let whole_first = json["model"]["ignore_merges"] == true;
    let same = |split: &super::Split| {
        Some(split.pattern) == pattern && split.digits_apart == digits_apart && split.nfc == nfc && split.whole_first == whole_first
    };
    match SPLITS.iter().find(|(_, split)| same(split)) {
        Some((names, _)) => Ok(names[0]),
        None => {
            let known: Vec<&str> = SPLITS.iter().map(|(names, _)| names[0]).collect();
            Err(refused("pre_tokenizer", &json["pre_tokenizer"], &format!("the one of {}", known.join(", "))))
        }
    }
}

fn space_prefix(json: &Value, steps: &[&Value]) -> Result<bool> {
    let mut prefix = false;
    for form in flat(&json["normalizer"], "normalizers") {
        match form["type"].as_str() {
            Some("Prepend") if form["prepend"] == "▁" => prefix = true,
            Some("Replace") if form["pattern"]["String"] == " " && form["content"] == "▁" => {}
            _ => return Err(refused("normalizer", form, "\"▁\" in front and in place of spaces")),
        }
    }
    for step in steps {
        if step["type"] != "Metaspace" || step["replacement"] != "▁" {
            return Err(refused("pre_tokenizer", step, "\"▁\" in place of spaces"));
        }
        // "first" writes it where a text begins and not after a special token, with which every conversation begins.
        prefix |= step["prepend_scheme"] == "always";
    }
    Ok(prefix)
}

/// Which of the two ends of a plain text gets a special token.
fn around(post: &Value) -> (Option<bool>, Option<bool>) {
    let steps = flat(post, "processors");
    let template = steps.iter().find(|step| step["type"] == "TemplateProcessing");
    let parts = template.and_then(|step| step["single"].as_array());
    let special = |part: Option<&Value>| Some(part?.get("SpecialToken").is_some());
    match parts {
        Some(parts) => (special(parts.first()), special(parts.last())),
        None => (Some(false), Some(false)),
    }
}

/// A sequence as its members, anything else as itself, nothing as nothing.
fn flat<'a>(step: &'a Value, members: &str) -> Vec<&'a Value> {
    match step["type"].as_str() {
        None => Vec::new(),
        Some("Sequence") => step[members].as_array().into_iter().flatten().flat_map(|inner| flat(inner, members)).collect(),
        Some(_) => vec![step],
    }
}

/// Merge rules in order of rank.
fn merges(json: &Value) -> impl Iterator<Item = (&str, &str)> {
    json["model"]["merges"].as_array().into_iter().flatten().filter_map(pair)
}

/// A merge is a pair or, in older files, two parts with a space between.
fn pair(merge: &Value) -> Option<(&str, &str)> {
    match merge.as_str() {
        Some(text) => text.split_once(' '),
        None => Some((merge[0].as_str()?, merge[1].as_str()?)),
    }
}

fn id_of(json: &Value, token: Option<&str>) -> Option<u32> {
    json["model"]["vocab"][token?].as_u64().map(|id| id as u32)
}

fn is_byte(token: &str) -> bool {
    let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    hex.is_some_and(|hex| hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn refused(part: &'static str, found: &Value, expected: &str) -> Error {
    let mut found: String = found.to_string();
    if let Some((cut, _)) = found.char_indices().nth(160) {
        found.truncate(cut);
        found.push('…');
    }
    Error::NotInGguf { part, found, expected: expected.to_string() }
}
