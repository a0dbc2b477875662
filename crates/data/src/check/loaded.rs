//! The data that checks look at, and what several of them need of it.

use std::path::Path;
use std::sync::OnceLock;

use rayon::prelude::*;
use serde_json::Value;

use crate::error::Result;
use crate::item::{Item, items};
use crate::near::{self, Pair};

/// Rows of all files.
#[derive(Debug, Default)]
pub struct Data {
    /// What is to be trained on.
    pub train: Vec<Item>,
    /// What is to be measured with; may be empty.
    pub eval: Vec<Item>,
    /// What is asked in production; may be empty.
    pub production: Vec<Item>,
    /// What each row of `train` asks, without what all of them say.
    pub asked: Vec<String>,
    /// The same of `eval`.
    pub eval_asked: Vec<String>,
    near: OnceLock<Vec<Pair>>,
}

impl Data {
    /// Reads all files.
    ///
    /// # Errors
    /// A file that cannot be read, holds no row, or is not UTF-8.
    pub fn read<P: AsRef<Path>>(train: &[P], eval: Option<&Path>, production: Option<&Path>) -> Result<Self> {
        let mut all = Vec::new();
        for path in train {
            all.extend(items(path.as_ref())?);
        }
        let some = |path: Option<&Path>| path.map_or(Ok(Vec::new()), items);
        Ok(Self::new(all, some(eval)?, some(production)?))
    }

    /// The same of rows.
    pub fn new(train: Vec<Item>, eval: Vec<Item>, production: Vec<Item>) -> Self {
        let prompts = |items: &[Item]| items.par_iter().map(Item::prompt).collect::<Vec<String>>();
        let (mut asked, mut eval_asked) = (prompts(&train), prompts(&eval));
        let (before, after) = frame(&asked);
        for text in asked.iter_mut().chain(&mut eval_asked) {
            unframe(text, &before, &after);
        }
        Self { train, eval, production, asked, eval_asked, near: OnceLock::new() }
    }

    /// Pairs of near prompts among `train`.
    pub fn near(&self, options: &near::Options) -> &[Pair] {
        self.near.get_or_init(|| near::pairs(&self.asked, options))
    }

    /// The names of some rows of `train`.
    pub(super) fn names(&self, rows: &[u32]) -> Vec<String> {
        rows.iter().map(|at| self.train[*at as usize].id.clone()).collect()
    }

    /// When a row was written, as it says.
    pub(super) fn at(&self, row: u32) -> Option<&str> {
        self.train[row as usize].tag("at").and_then(Value::as_str)
    }
}

/// A frame is worth taking off when it is as long as a sentence.
const FRAME: usize = 40;
/// Of so many texts nine tenths have to share it.
const MANY: usize = 20;

/// The beginning and the end that nearly all texts share: an instruction that was put around each of them.
fn frame(texts: &[String]) -> (String, String) {
    let said: Vec<&str> = texts.iter().map(String::as_str).filter(|text| !text.trim().is_empty()).collect();
    let before = shared(said.clone());
    let reversed: Vec<String> = said.iter().map(|text| text.chars().rev().collect()).collect();
    let after = shared(reversed.iter().map(String::as_str).collect());
    (before, after.chars().rev().collect())
}

/// The longest beginning that nine tenths share. Sorted texts that share one lie side by side.
fn shared(mut texts: Vec<&str>) -> String {
    if texts.len() < MANY {
        return String::new();
    }
    texts.sort_unstable();
    let most = texts.len() * 9 / 10;
    let common =
        |a: &str, b: &str| a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b).map_or(a.len().min(b.len()), |((at, _), _)| at);
    let longest = texts.windows(most).map(|window| (common(window[0], window[most - 1]), window[0])).max_by_key(|(length, _)| *length);
    let Some((length, text)) = longest else { return String::new() };
    // Nine tenths that are one and the same text are copies, not a frame.
    let whole = texts.windows(most).any(|window| window[0] == window[most - 1]);
    if length < FRAME || whole {
        return String::new();
    }
    // A frame ends where a word does.
    text[..length].rfind(char::is_whitespace).map_or(String::new(), |end| text[..end].to_string())
}

fn unframe(text: &mut String, before: &str, after: &str) {
    if !before.is_empty() && text.starts_with(before) {
        text.drain(..before.len());
    }
    if !after.is_empty() && text.ends_with(after) {
        text.truncate(text.len() - after.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nearly_all_texts_begin_with_is_taken_off() {
        let frame_text = "Classify the following ticket of a customer by its intent: ";
        let mut texts: Vec<String> = (0..40).map(|n| format!("{frame_text}ticket {} end{n}", "abcdefg".repeat(n % 5))).collect();
        texts.push("another".into());
        let (before, after) = frame(&texts);
        assert_eq!((before.clone(), after), (format!("{frame_text}ticket"), String::new()));
        unframe(&mut texts[0], &before, "");
        assert_eq!(texts[0], "  end0");
        assert_eq!(frame(&vec!["the very same long text of more than forty characters".to_string(); 30]).0, "");
    }
}
