//! The tokenizer: text to ids and back, the same ids as the model was trained with.

use std::collections::HashSet;
use std::ops::Range;

use tokenizers::PostProcessorWrapper;

use crate::error::{Error, Result};
use crate::stream::Stream;
use crate::vocab::Vocab;

/// Text in front of a piece that stands in the middle of a text, so that a tokenizer which writes a space before
/// every text does not do so there.
const GUARD: &str = "\n";

/// A tokenizer. It adds nothing around a text: special tokens come from the chat template, as text.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    /// Without its post-processor, which would add special tokens and cut spaces off the offsets.
    inner: tokenizers::Tokenizer,
    post: Option<PostProcessorWrapper>,
    special: HashSet<u32>,
    /// The ids of [`GUARD`], where the beginning of a text is tokenised otherwise than its middle.
    guard: Option<Vec<u32>>,
}

/// One token of a text, with the bytes of the text that it covers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    pub id: u32,
    pub bytes: Range<usize>,
}

impl Tokenizer {
    /// Reads the content of a `tokenizer.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| Error::TokenizerJson { why: e.to_string() })?;
        Self::new(inner)
    }

    /// Builds the tokenizer that a GGUF file describes.
    pub fn from_vocab(vocab: &Vocab) -> Result<Self> {
        let json = vocab.to_json()?.to_string();
        let inner = tokenizers::Tokenizer::from_bytes(json.as_bytes()).map_err(|e| Error::Vocab {
            field: "merges",
            found: e.to_string(),
            expected: "merges whose parts and results are tokens".into(),
        })?;
        Self::new(inner)
    }

    /// The tokenizer as a GGUF file describes it; the ids of special tokens are left to the caller.
    ///
    /// # Errors
    /// `NotInGguf` for what such a file cannot say.
    pub fn to_vocab(&self) -> Result<Vocab> {
        let json = serde_json::from_str(&self.to_json()?).map_err(|e| Error::TokenizerJson { why: e.to_string() })?;
        Vocab::from_json(&json)
    }

    fn new(mut inner: tokenizers::Tokenizer) -> Result<Self> {
        let why = |e: tokenizers::Error| Error::TokenizerJson { why: e.to_string() };
        inner.with_padding(None);
        inner.with_truncation(None).map_err(why)?;
        let post = inner.get_post_processor().cloned();
        inner.with_post_processor(None::<PostProcessorWrapper>);
        let special = inner.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect();
        let mut tokenizer = Self { inner, post, special, guard: None };
        let guard = tokenizer.encode(GUARD)?;
        let inside = tokenizer.encode(&format!("{GUARD}a"))?;
        if inside.strip_prefix(guard.as_slice()) != Some(tokenizer.encode("a")?.as_slice()) {
            tokenizer.guard = Some(guard);
        }
        Ok(tokenizer)
    }

    /// The ids of a text. Special tokens written in the text become their ids; none is added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| encode_error(text, &e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of a text with the bytes they cover. Tokens that share one character cover the same bytes.
    pub(crate) fn pieces(&self, text: &str) -> Result<Vec<Piece>> {
        let encoding = self.inner.encode(text, false).map_err(|e| encode_error(text, &e))?;
        let pairs = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(pairs.map(|(id, (start, end))| Piece { id: *id, bytes: *start..*end }).collect())
    }

    /// The ids of a text that follows another one: no space is written in front of it.
    pub(crate) fn encode_after(&self, text: &str) -> Result<Vec<u32>> {
        if let Some(guard) = &self.guard {
            let ids = self.encode(&format!("{GUARD}{text}"))?;
            if let Some(rest) = ids.strip_prefix(guard.as_slice()) {
                return Ok(rest.to_vec());
            }
        }
        self.encode(text)
    }

    /// The text of ids. Ids that are no token give nothing; `skip_special` leaves out special tokens.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner.decode(ids, skip_special).map_err(|e| Error::Decode { count: ids.len(), why: e.to_string() })
    }

    /// A decoder for ids that arrive one by one.
    pub fn stream(&self, skip_special: bool) -> Stream<'_> {
        Stream::new(self, skip_special)
    }

    /// The id of a token, written as in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id, written as in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether the id is a special token, one that plain text leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// How many tokens there are, added ones included. The model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The content of a `tokenizer.json` that gives the same ids in other tools.
    pub fn to_json(&self) -> Result<String> {
        let mut whole = self.inner.clone();
        whole.with_post_processor(self.post.clone());
        whole.to_string(false).map_err(|e| Error::TokenizerJson { why: e.to_string() })
    }
}

fn encode_error(text: &str, error: &tokenizers::Error) -> Error {
    Error::Encode { start: text.chars().take(40).collect(), why: error.to_string() }
}
