//! The arms answer: base with the plain prompt, base with a few-shot prompt, the tuned model; same questions, same limits.

use crate::arms::{Arm, Output, Role};
use crate::prompt::{Choice, Pick, Shots, choose};
use crate::{Error, Result};
use model::generate::{Options, Progress, Who, generate};
use text::{Chat, Message, RenderOptions};

/// Names of the arms, as tables show them.
pub const BASE: &str = "base, plain prompt";
/// The rival.
pub const FEW_SHOT: &str = "base, few-shot prompt";
/// The result.
pub const TUNED: &str = "tuned";

/// One held-out question.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Such as `heldout.jsonl:17`.
    pub id: String,
    /// The conversation up to the answer.
    pub before: Vec<Message>,
    /// The right answer.
    pub expected: String,
}

impl Case {
    /// What the user asked last.
    pub fn question(&self) -> &str {
        self.before.iter().rev().find(|m| m.role == "user").map_or("", |m| &m.content)
    }
}

/// Limits that hold for every arm.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Examples in the few-shot prompt, at most.
    pub few_shot: usize,
    /// Longest answer in tokens.
    pub max_new: usize,
    /// Answers side by side.
    pub batch: usize,
    /// Chooses the few-shot examples.
    pub seed: u64,
    /// The answer's label field.
    pub label: Option<&'a str>,
}

/// A model and the questions.
pub struct Contest<'a> {
    /// The base.
    pub base: Who<'a>,
    /// Tokenizer and template.
    pub chat: &'a Chat,
    /// The questions.
    pub cases: &'a [Case],
    /// Limits.
    pub setup: Setup<'a>,
    /// Tells how long an arm took; the caller's clock.
    pub clock: &'a dyn Fn() -> f64,
}

impl Contest<'_> {
    /// The base with the prompt as it is.
    ///
    /// # Errors
    /// A question that cannot be rendered, or that fills the context.
    pub fn base(&self, done: &mut dyn FnMut(usize)) -> Result<Arm> {
        self.arm(BASE, Role::Base, self.base, None, done)
    }

    /// The tuned model with the prompt as it is.
    ///
    /// # Errors
    /// As [`Contest::base`].
    pub fn tuned(&self, who: Who, done: &mut dyn FnMut(usize)) -> Result<Arm> {
        self.arm(TUNED, Role::Tuned, who, None, done)
    }

    /// The base with examples of the training set before each question; how many were used is told.
    ///
    /// Examples are dropped from the end until every question fits the context.
    ///
    /// # Errors
    /// No usable example; as [`Contest::base`].
    pub fn few_shot(&self, train: &[Pick], done: &mut dyn FnMut(usize)) -> Result<(Arm, usize)> {
        let questions: Vec<&str> = self.cases.iter().map(Case::question).collect();
        let choice = Choice { count: self.setup.few_shot, seed: self.setup.seed, label: self.setup.label };
        let mut shots = choose(train, &questions, choice)?;
        while shots.messages.len() > 2 && self.longest(&shots)? + self.setup.max_new > self.base.context() {
            shots.messages.truncate(shots.messages.len() - 2);
        }
        let arm = self.arm(FEW_SHOT, Role::Base, self.base, Some(&shots), done)?;
        Ok((arm, shots.messages.len() / 2))
    }

    fn longest(&self, shots: &Shots) -> Result<usize> {
        self.prompts(Some(shots)).map(|p| p.iter().map(Vec::len).max().unwrap_or(0))
    }

    fn prompts(&self, shots: Option<&Shots>) -> Result<Vec<Vec<u32>>> {
        let ids = |case: &Case| {
            let messages = with_shots(&case.before, shots);
            self.chat.prompt_ids(&messages, &RenderOptions::default()).map_err(|source| Error::Render { id: case.id.clone(), source })
        };
        self.cases.iter().map(ids).collect()
    }

    fn arm(&self, name: &str, role: Role, who: Who, shots: Option<&Shots>, done: &mut dyn FnMut(usize)) -> Result<Arm> {
        let began = (self.clock)();
        let prompts = self.prompts(shots)?;
        let options = Options { max_new: self.setup.max_new, stop: self.chat.eos.clone(), batch: self.setup.batch };
        let mut count = 0;
        let mut see = |p: Progress| {
            if let Progress::Done { .. } = p {
                count += 1;
                done(count);
            }
            true
        };
        let answers = generate(who, &prompts, &options, &mut see)?;
        let output = |(case, a): (&Case, model::generate::Answer)| {
            let text = self.chat.tokenizer.decode(&a.ids, true).map_err(|source| Error::Render { id: case.id.clone(), source })?;
            Ok(Output { text, tokens: a.ids.len(), stopped: a.stopped })
        };
        let outputs = self.cases.iter().zip(answers).map(output).collect::<Result<_>>()?;
        Ok(Arm { name: name.into(), role, outputs, seconds: (self.clock)() - began })
    }
}

/// The shots stand between the system prompt and the conversation.
fn with_shots(before: &[Message], shots: Option<&Shots>) -> Vec<Message> {
    let system = before.iter().take_while(|m| m.role == "system").count();
    let mut all = before[..system].to_vec();
    all.extend(shots.into_iter().flat_map(|s| &s.messages).map(|(role, content)| Message::new(role, content)));
    all.extend_from_slice(&before[system..]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shots_follow_the_system_prompt() {
        let before = [Message::system("s"), Message::user("q")];
        let shots = Shots { rows: vec![0], messages: vec![("user".into(), "a".into()), ("assistant".into(), "b".into())], labels: 0 };
        let all: Vec<(String, String)> = with_shots(&before, Some(&shots)).into_iter().map(|m| (m.role, m.content)).collect();
        let want = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "q")];
        assert_eq!(all, want.map(|(r, c)| (r.to_string(), c.to_string())));
        assert_eq!(with_shots(&before, None), before);
    }
}
