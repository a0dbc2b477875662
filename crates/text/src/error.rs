//! What can go wrong between strings and tokens, as facts.

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Each variant carries what was found and what was expected; it gives no advice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes of a `tokenizer.json` do not describe a tokenizer.
    #[error("tokenizer.json: {why}")]
    TokenizerJson { why: String },
    /// The vocabulary asks for a way of splitting text that is not known here.
    #[error("tokenizer pre-tokenizer `{found}` is unknown, expected one of: {}", known.join(", "))]
    UnknownPre { found: String, known: Vec<&'static str> },
    /// The vocabulary is of a kind that is not known here.
    #[error("tokenizer model `{found}` is unknown, expected `gpt2` (byte-level BPE) or `llama` (SentencePiece BPE)")]
    UnknownVocabModel { found: String },
    /// A field of the vocabulary contradicts another one.
    #[error("tokenizer vocabulary, field `{field}`: found {found}, expected {expected}")]
    Vocab { field: &'static str, found: String, expected: String },
    /// The tokenizer does something for which GGUF files that we write have no word.
    #[error("tokenizer.json, `{part}`: found {found}, which has no name in the GGUF files that we write; expected {expected}")]
    NotInGguf { part: &'static str, found: String, expected: String },
    /// The tokenizer could not turn this text into tokens.
    #[error("cannot tokenise the text `{start}`: {why}")]
    Encode { start: String, why: String },
    /// The tokenizer could not turn these ids into text.
    #[error("cannot decode {count} token ids: {why}")]
    Decode { count: usize, why: String },
    /// The chat template is not valid Jinja.
    #[error("chat template, line {line}: {why}")]
    TemplateSyntax { line: usize, why: String },
    /// The chat template refused the conversation by `raise_exception`.
    #[error("the chat template refuses this conversation (template line {line}): {message}")]
    TemplateRaised { line: usize, message: String },
    /// The chat template failed while it ran.
    #[error("chat template, line {line}, while rendering: {why}")]
    TemplateFailed { line: usize, why: String },
    /// There is no assistant message to learn from.
    #[error("no assistant message to learn: found roles [{}]", roles.join(", "))]
    NoAnswer { roles: Vec<String> },
    /// The answer does not continue the prompt that generation would use.
    #[error(
        "message {message}: the text with the answer does not begin with the generation prompt (byte {at}): \
         the prompt goes on with {expected:?}, the text with the answer with {found:?}"
    )]
    PromptNotPrefix {
        /// Index of the assistant message in the conversation, from 0.
        message: usize,
        /// First byte that differs.
        at: usize,
        expected: String,
        found: String,
    },
    /// The template closes the assistant's turn with no token that generation could stop at.
    #[error(
        "message {message}: no end-of-turn token: after the answer the template writes {appended:?}, \
         which holds no special token and none of the end-of-sequence ids {eos:?}"
    )]
    NoEndOfTurn { message: usize, appended: String, eos: Vec<u32> },
    /// The answer's span holds no token.
    #[error("message {message}: no token is learned")]
    NothingLearned { message: usize },
}
