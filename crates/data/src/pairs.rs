//! Pairs of a chosen and a rejected answer to the same prompt: read, checked, packed.
//!
//! A row has `prompt`, `chosen` and `rejected` (texts, or lists of messages), or `chosen` and `rejected` alone: two whole
//! conversations whose common beginning is the prompt. What stands in the prompt is read and not learned. Rows as hosted
//! platforms want them are read too (`pairs/hosted.rs`).

mod hosted;

pub(crate) use hosted::is_pair;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Map, Value};
use text::{Chat, Message, Rendered};

use crate::error::{Error, Fault, Result};
use crate::example::{Example, Source};
use crate::pack::{PackFacts, PackOptions, Packed, TooLong, render};
use crate::read::{ReadOptions, check, parse_rows, shape};

/// Two conversations that begin alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    pub chosen: Example,
    pub rejected: Example,
}

/// Reads a file of pairs. Every row is used, or the error counts all rows that cannot be.
pub fn read_pairs(path: &Path, options: &ReadOptions) -> Result<Vec<Pair>> {
    let bytes = std::fs::read(path).map_err(|why| Error::Read { path: path.to_path_buf(), why })?;
    parse_pairs(&bytes, path, options)
}

/// Reads the content of a file of pairs; `path` is only told in sources and errors.
pub fn parse_pairs(bytes: &[u8], path: &Path, options: &ReadOptions) -> Result<Vec<Pair>> {
    parse_rows(bytes, path, &|value, source| pair(value, source, options))
}

pub(crate) fn pair(value: Value, source: Source, options: &ReadOptions) -> std::result::Result<Pair, Fault> {
    let Value::Object(mut row) = value else {
        return Err(Fault::NotObject { found: shape::kind(&value) });
    };
    hosted::renamed(&mut row)?;
    if !["chosen", "rejected"].iter().all(|field| row.contains_key(*field)) {
        let expected = "`chosen` and `rejected`, with `prompt` or as whole conversations".to_string();
        return Err(Fault::Fields { found: row.keys().cloned().collect(), expected });
    }
    let prompt = if row.contains_key("prompt") { Some(side(&mut row, "prompt", "user")?) } else { None };
    let chosen = side(&mut row, "chosen", "assistant")?;
    let rejected = side(&mut row, "rejected", "assistant")?;
    let (mut prompt, answers) = match prompt {
        Some(prompt) => {
            let both = [chosen, rejected].map(|answer| after(&prompt, answer));
            (prompt, both)
        }
        None => {
            let common = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
            (chosen[..common].to_vec(), [chosen[common..].to_vec(), rejected[common..].to_vec()])
        }
    };
    if answers[0] == answers[1] {
        return Err(Fault::SamePair);
    }
    shape::put_system(&mut row, &mut prompt)?;
    // Earlier answers are the same on both sides: nothing is to be learned from them.
    for message in prompt.iter_mut().filter(|message| message.role == "assistant") {
        message.extra.insert("weight".into(), 0.into());
    }
    let tools = shape::tools(&mut row)?;
    let [chosen, rejected] = answers.map(|answer| {
        let mut messages = [prompt.as_slice(), &answer].concat();
        check::conversation(&messages)?;
        if let Some(system) = options.system.as_deref().filter(|_| !check::is_instruction(&messages[0].role)) {
            messages.insert(0, Message::system(system));
        }
        Ok(Example { messages, tools: tools.clone(), source: source.clone(), tags: row.clone() })
    });
    Ok(Pair { chosen: chosen?, rejected: rejected? })
}

/// A text of the role, or a list of messages.
fn side(row: &mut Map<String, Value>, field: &str, role: &str) -> std::result::Result<Vec<Message>, Fault> {
    match row.get(field) {
        Some(Value::Array(_)) => shape::list(row, field),
        Some(Value::Object(_)) => {
            let one = row.shift_remove(field).into_iter().collect();
            row.insert(field.to_string(), Value::Array(one));
            shape::list(row, field)
        }
        _ => Ok(vec![Message::new(role, &shape::text(row, field)?)]),
    }
}

/// The answer without the prompt, which some datasets write before it once more.
fn after(prompt: &[Message], answer: Vec<Message>) -> Vec<Message> {
    if answer.len() > prompt.len() && answer.starts_with(prompt) { answer[prompt.len()..].to_vec() } else { answer }
}

/// Renders and tokenises all pairs: each chosen conversation, then the rejected one. A pair is dropped or refused whole.
pub fn pack_pairs(pairs: &[Pair], chat: &Chat, options: &PackOptions) -> Result<Packed> {
    let both = |pair: &Pair| -> Result<[Rendered; 2]> { Ok([one(&pair.chosen, chat, options)?, one(&pair.rejected, chat, options)?]) };
    let rendered: Vec<[Rendered; 2]> = pairs.par_iter().map(both).collect::<Result<_>>()?;
    let mut packed = Packed { examples: Vec::new(), facts: PackFacts { rows: pairs.len(), ..PackFacts::default() } };
    let mut first_too_long: Option<(PathBuf, u32, usize)> = None;
    for (pair, both) in pairs.iter().zip(rendered) {
        let line = pair.chosen.source.line;
        let longest = both.iter().map(|part| part.ids.len()).max().unwrap_or(0);
        if longest > options.context {
            packed.facts.too_long.push((line, longest));
            first_too_long.get_or_insert_with(|| (pair.chosen.source.file.clone(), line, longest));
            continue;
        }
        for part in both {
            packed.facts.count(&part, line);
            packed.examples.push(record::pack::Example { ids: part.ids, learned: part.learned, source_line: line });
        }
    }
    packed.facts.pairs = packed.examples.len() / 2;
    let limit = options.context;
    if let (Some((path, line, tokens)), TooLong::Refuse) = (first_too_long, options.too_long) {
        return Err(Error::TooLong { path, line, tokens, limit, count: packed.facts.too_long.len(), examples: pairs.len() });
    }
    if packed.examples.is_empty() {
        return Err(Error::NothingLeft { rows: pairs.len(), too_long: packed.facts.too_long.len(), limit });
    }
    Ok(packed)
}

/// A side of a pair as one sequence.
fn one(example: &Example, chat: &Chat, options: &PackOptions) -> Result<Rendered> {
    let mut parts = render(example, chat, &options.render)?;
    match (parts.pop(), parts.len()) {
        (Some(part), 0) => Ok(part),
        // The template shows earlier answers otherwise later, so several turns are no one sequence.
        (_, more) => {
            let Source { file, line } = example.source.clone();
            Err(Error::PairTurns { path: file, line, answers: more + 1 })
        }
    }
}
