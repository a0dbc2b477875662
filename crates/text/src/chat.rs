//! A tokenizer with its chat template: from conversations to the ids that a model reads and learns.

use crate::error::Result;
use crate::message::Message;
use crate::spans::{self, Rendered};
use crate::template::{RenderOptions, Template};
use crate::tokenizer::Tokenizer;

/// What belongs together to talk to a model.
#[derive(Debug, Clone)]
pub struct Chat {
    pub template: Template,
    pub tokenizer: Tokenizer,
    /// The ids at which generation stops (`eos_token_id` of the model's configuration); may be empty.
    pub eos: Vec<u32>,
}

impl Chat {
    /// The ids of a conversation up to the place where the assistant begins to answer.
    pub fn prompt_ids(&self, messages: &[Message], options: &RenderOptions) -> Result<Vec<u32>> {
        self.tokenizer.encode(&self.prompt(messages, options)?)
    }

    /// The text of a conversation up to the place where the assistant begins to answer.
    pub fn prompt(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        let options = RenderOptions { add_generation_prompt: true, ..options.clone() };
        self.template.render(messages, &options)
    }

    /// The conversation as training sees it: ids, and which of them are learned. One element, or one for each answer
    /// where the template shows an earlier answer otherwise once the conversation goes on.
    pub fn learn(&self, messages: &[Message], options: &RenderOptions) -> Result<Vec<Rendered>> {
        spans::learn(self, messages, options)
    }
}
