//! Decoding ids one by one, for text that is shown while it is generated.

use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// A character has at most four bytes, so more unfinished tokens than this are no character in the making.
const UNFINISHED_MAX: usize = 8;

/// Gives the text of each id as soon as it is certain; never half a character.
#[derive(Debug)]
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// The last emitted tokens and those after them: a token's text can depend on what stands before it.
    ids: Vec<u32>,
    /// How many of `ids` have been emitted.
    emitted: usize,
    /// The text of `ids[..emitted]`.
    shown: String,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, ids: Vec::new(), emitted: 0, shown: String::new() }
    }

    /// Takes the next id and gives the text that it completes; empty while a character is unfinished.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        let unfinished = text.ends_with(char::REPLACEMENT_CHARACTER);
        if unfinished && self.ids.len() - self.emitted < UNFINISHED_MAX {
            return Ok(String::new());
        }
        self.emit(text)
    }

    /// Gives what is left at the end of the text; an unfinished character shows as U+FFFD.
    pub fn finish(&mut self) -> Result<String> {
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        self.emit(text)
    }

    fn emit(&mut self, text: String) -> Result<String> {
        let new = text.strip_prefix(self.shown.as_str()).unwrap_or_default().to_string();
        // Keep the tokens just emitted as context, forget the ones before them.
        self.ids.drain(..self.emitted);
        self.emitted = self.ids.len();
        self.shown = self.tokenizer.decode(&self.ids, self.skip_special)?;
        Ok(new)
    }
}
