//! Strings and tokens: tokenizer, chat template, which tokens are learned.
//!
//! It never touches a file path, the clock, the environment or the network: callers hand it bytes and strings.

mod chat;
mod clock;
mod error;
mod json;
mod message;
mod python;
mod spans;
mod stream;
mod template;
mod tokenizer;
mod vocab;

pub use chat::Chat;
pub use clock::Moment;
pub use error::{Error, Result};
pub use message::Message;
pub use spans::Rendered;
pub use stream::Stream;
pub use template::{RenderOptions, Template};
pub use tokenizer::Tokenizer;
pub use vocab::{Vocab, known_pre};
