//! A model on disk, whole: its configuration, where its weights lie, its tokenizer and chat template.

use crate::{Dims, Error};
use formats::config::ModelConfig;
use formats::weights::TokenizerSource;
use serde_json::Value;
use std::path::{Path, PathBuf};
use text::{Chat, Template, Tokenizer, Vocab};

/// An opened model: a Hugging Face folder or a GGUF file.
pub struct Folder {
    /// The folder or file.
    pub path: PathBuf,
    /// Its configuration.
    pub config: ModelConfig,
    /// Its sizes.
    pub dims: Dims,
    /// Its tensors.
    pub files: formats::Weights,
    /// Tokenizer, template and stop tokens.
    pub chat: Chat,
}

impl Folder {
    /// Opens everything but reads no weight yet.
    ///
    /// # Errors
    /// A file that is missing or damaged, an architecture that we do not run, no chat template.
    pub fn open(path: &Path) -> Result<Folder, Error> {
        let files = formats::Weights::open(path)?;
        let config = ModelConfig::open(path)?;
        let dims = Dims::of(&config)?;
        let mut chat = match files.tokenizer_source() {
            TokenizerSource::Folder(folder) => chat_of_folder(folder)?,
            TokenizerSource::Gguf(file) => chat_of_gguf(file)?,
        };
        chat.eos = config.eos.clone();
        let known = chat.tokenizer.vocab_size();
        if known > dims.vocab {
            return Err(Error::Unsupported {
                what: format!("{}: the tokenizer", path.display()),
                found: format!("{known} tokens"),
                supported: format!("at most the {} rows of the embedding", dims.vocab),
            });
        }
        Ok(Folder { path: path.into(), config, dims, files, chat })
    }
}

/// The tensors alone, of a folder that may hold nothing else: what full fine-tuning publishes.
///
/// # Errors
/// As [`Folder::open`].
pub fn weights(path: &Path) -> Result<formats::Weights, Error> {
    Ok(formats::Weights::open(path)?)
}

fn chat_of_gguf(file: &formats::gguf::File) -> Result<Chat, Error> {
    let v = file.vocab()?;
    let text = |source| Error::Text { path: file.path().into(), source };
    let token = |id: Option<u32>| id.and_then(|i| v.tokens.get(i as usize)).cloned();
    let (bos, eos, source) = (token(v.bos), token(v.eos), v.chat_template.clone());
    let vocab = Vocab {
        model: v.model,
        pre: v.pre.unwrap_or_default(),
        tokens: v.tokens,
        scores: v.scores,
        token_types: v.token_types.iter().map(|&t| t.max(0) as u32).collect(),
        merges: v.merges,
        bos: v.bos,
        eos: v.eos,
        unk: v.unk,
        pad: v.pad,
        add_bos: v.add_bos,
        add_eos: v.add_eos,
        add_space_prefix: v.add_space_prefix,
        strips: v.strips,
    };
    let tokenizer = Tokenizer::from_vocab(&vocab).map_err(text)?;
    let source = source.ok_or_else(|| Error::Missing {
        path: file.path().into(),
        what: "a chat template".into(),
        looked: "tokenizer.chat_template".into(),
    })?;
    let template = Template::new(&source, bos.as_deref(), eos.as_deref()).map_err(text)?;
    Ok(Chat { template, tokenizer, eos: Vec::new() })
}

fn chat_of_folder(folder: &Path) -> Result<Chat, Error> {
    let path = folder.join("tokenizer.json");
    let tokenizer = Tokenizer::from_json(&read(&path)?).map_err(|source| Error::Text { path: path.clone(), source })?;
    let path = folder.join("tokenizer_config.json");
    let config: Value = match read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|e| Error::Io { path: path.clone(), source: std::io::Error::new(std::io::ErrorKind::InvalidData, e) })?,
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Value::Null,
        Err(e) => return Err(e),
    };
    // A token is a string, or an object with its text in `content`.
    let token = |name: &str| {
        let t = &config[name];
        t.as_str().or_else(|| t["content"].as_str()).map(str::to_string)
    };
    let jinja = folder.join("chat_template.jinja");
    let (source, from) = if jinja.exists() {
        (Some(String::from_utf8_lossy(&read(&jinja)?).into_owned()), jinja)
    } else {
        (template_of(&config["chat_template"]), path)
    };
    let source = source.ok_or_else(|| Error::Missing {
        path: folder.into(),
        what: "a chat template".into(),
        looked: "chat_template.jinja, chat_template in tokenizer_config.json".into(),
    })?;
    let template = Template::new(&source, token("bos_token").as_deref(), token("eos_token").as_deref())
        .map_err(|source| Error::Text { path: from, source })?;
    Ok(Chat { template, tokenizer, eos: Vec::new() })
}

/// A template is a string, or a list of {name, template} of which "default" is meant.
fn template_of(value: &Value) -> Option<String> {
    let named = || value.as_array()?.iter().find(|t| t["name"] == "default")?["template"].as_str();
    value.as_str().or_else(named).map(str::to_string)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })
}
