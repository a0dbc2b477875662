//! A conversation with a loaded model, with or without a run's adapter.

use crate::{Answerer, Error};
use model::generate::{Options, Progress, generate};
use text::Message;

/// A conversation that goes on.
pub struct Talk<'a> {
    answerer: &'a Answerer,
    messages: Vec<Message>,
    max_new: usize,
    keep: usize,
}

impl<'a> Talk<'a> {
    /// Begins with an optional system prompt; answers have at most `max_new` tokens.
    pub fn new(answerer: &'a Answerer, system: Option<&str>, max_new: usize) -> Talk<'a> {
        let messages: Vec<Message> = system.map(Message::system).into_iter().collect();
        Talk { answerer, keep: messages.len(), messages, max_new }
    }

    /// Asks and returns the answer; `piece` gets the text as it comes and returns false to stop.
    ///
    /// # Errors
    /// A conversation that fills the context, or a template that refuses it; the question is then taken back.
    pub fn say(&mut self, question: &str, piece: &mut dyn FnMut(&str) -> bool) -> Result<String, Error> {
        self.messages.push(Message::user(question));
        let answer = self.answer(piece);
        match &answer {
            Ok(text) => self.messages.push(Message::assistant(text)),
            Err(_) => {
                self.messages.pop();
            }
        }
        answer
    }

    /// Forgets everything but the system prompt.
    pub fn reset(&mut self) {
        self.messages.truncate(self.keep);
    }

    fn answer(&self, piece: &mut dyn FnMut(&str) -> bool) -> Result<String, Error> {
        let chat = &self.answerer.folder().chat;
        let prompt = chat.prompt_ids(&self.messages, &Default::default())?;
        let options = Options { max_new: self.max_new, stop: chat.eos.clone(), batch: 1 };
        let mut stream = chat.tokenizer.stream(true);
        let mut failed = None;
        let mut see = |p: Progress| match p {
            Progress::Token { id, .. } => match stream.push(id) {
                Ok(text) => piece(&text),
                Err(e) => {
                    failed = Some(e);
                    false
                }
            },
            Progress::Done { .. } => true,
        };
        let answers = generate(self.answerer.tuned(), &[prompt], &options, &mut see)?;
        if let Some(e) = failed {
            return Err(e.into());
        }
        piece(&stream.finish()?);
        Ok(chat.tokenizer.decode(&answers[0].ids, true)?)
    }
}
