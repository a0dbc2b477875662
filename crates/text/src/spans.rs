//! Which tokens are learned: found by rendering a conversation step by step, never by searching for markers.
//!
//! For each answer, the text with the answer must begin with the very prompt that generation would use; what follows,
//! up to and including the end-of-turn token, is learned.

use std::ops::Range;

use crate::chat::Chat;
use crate::error::{Error, Result};
use crate::message::Message;
use crate::template::RenderOptions;

/// Characters of a text that an error shows.
const SHOWN: usize = 40;

/// A conversation as text and ids, with what is learned of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The whole text.
    pub text: String,
    /// The ids of the text.
    pub ids: Vec<u32>,
    /// Whether token i is a target, to be predicted from the tokens before it; as long as `ids`.
    pub learned: Vec<bool>,
    /// The bytes of `text` that are learned, one range an answer, in order.
    pub spans: Vec<Range<usize>>,
    /// The token that ends the assistant's turn; generation must stop at it.
    pub eot: u32,
    /// Whether every learned span ends with `eot`.
    pub ends_with_eot: bool,
    /// Whether the template shows an earlier answer otherwise once the conversation goes on (reasoning left out, a
    /// system prompt moved). Then each answer is an example of its own.
    pub rewrites_history: bool,
    /// Whether a token of the whole text would reach over the border between prompt and answer. Then the parts were
    /// tokenised apart, as generation does, and `ids` differ from those of the whole text.
    pub split_at_border: bool,
}

/// One answer in the text of the conversation that ends with it.
struct Turn {
    text: String,
    span: Range<usize>,
    eot: u32,
}

pub(crate) fn learn(chat: &Chat, messages: &[Message], options: &RenderOptions) -> Result<Vec<Rendered>> {
    let options = RenderOptions { add_generation_prompt: false, ..options.clone() };
    let answers = messages.iter().enumerate().filter(|(_, message)| message.is_answer());
    let turns: Vec<Turn> = answers.map(|(index, _)| turn(chat, messages, index, &options)).collect::<Result<_>>()?;
    if turns.is_empty() {
        return Err(Error::NoAnswer { roles: messages.iter().map(|message| message.role.clone()).collect() });
    }
    let whole = chat.template.render(messages, &options)?;
    let kept = turns.iter().all(|turn| whole.starts_with(&turn.text[..turn.span.end]));
    if kept {
        let spans = turns.iter().map(|turn| turn.span.clone()).collect();
        return Ok(vec![tokenise(chat, whole, spans, &turns, false)?]);
    }
    turns.iter().map(|turn| tokenise(chat, turn.text.clone(), vec![turn.span.clone()], std::slice::from_ref(turn), true)).collect()
}

fn turn(chat: &Chat, messages: &[Message], index: usize, options: &RenderOptions) -> Result<Turn> {
    let prompt = chat.prompt(&messages[..index], options)?;
    let text = chat.template.render(&messages[..=index], options)?;
    let Some(answer) = text.strip_prefix(prompt.as_str()) else {
        return Err(prompt_not_prefix(index, &prompt, &text));
    };
    let (length, eot) = end_of_turn(chat, messages, index, answer, options)?;
    if length == 0 {
        return Err(Error::NothingLearned { message: index });
    }
    Ok(Turn { span: prompt.len()..prompt.len() + length, text, eot })
}

/// How much of the answer is learned, in bytes, and the token that ends it.
///
/// What the template writes after an answer is what two different answers have in common at their ends; the first
/// special or end-of-sequence token in it ends the turn. Where the answer ends otherwise (a call of a built-in tool),
/// its last such token counts.
fn end_of_turn(chat: &Chat, messages: &[Message], index: usize, answer: &str, options: &RenderOptions) -> Result<(usize, u32)> {
    let stops = |id: u32| chat.eos.contains(&id) || chat.tokenizer.is_special(id);
    let appended = appended(chat, &messages[..index], options).filter(|appended| answer.ends_with(appended.as_str()));
    if let Some(appended) = appended {
        let start = answer.len() - appended.len();
        let found = chat.tokenizer.pieces(&appended)?.into_iter().find(|piece| stops(piece.id));
        return match found {
            Some(piece) => Ok((start + piece.bytes.end, piece.id)),
            None => Err(Error::NoEndOfTurn { message: index, appended, eos: chat.eos.clone() }),
        };
    }
    let last = chat.tokenizer.pieces(answer)?.into_iter().rfind(|piece| stops(piece.id));
    match last.filter(|piece| answer[piece.bytes.end..].trim().is_empty()) {
        Some(piece) => Ok((piece.bytes.end, piece.id)),
        None => Err(Error::NoEndOfTurn { message: index, appended: tail(answer), eos: chat.eos.clone() }),
    }
}

/// What the template writes after a plain answer to these messages; nothing where it refuses or ignores one.
fn appended(chat: &Chat, messages: &[Message], options: &RenderOptions) -> Option<String> {
    let probe = |content: &str| {
        let mut messages = messages.to_vec();
        messages.push(Message::assistant(content));
        chat.template.render(&messages, options).ok()
    };
    let (a, b) = (probe("a")?, probe("b")?);
    let same = a.chars().rev().zip(b.chars().rev()).take_while(|(a, b)| a == b);
    let length: usize = same.map(|(c, _)| c.len_utf8()).sum();
    (length < a.len()).then(|| a[a.len() - length..].to_string())
}

/// Tokenises the text as a whole, unless a token reaches over a border that generation would cut at.
fn tokenise(chat: &Chat, text: String, spans: Vec<Range<usize>>, turns: &[Turn], rewrites_history: bool) -> Result<Rendered> {
    let borders: Vec<usize> = spans.iter().flat_map(|span| [span.start, span.end]).collect();
    let mut ids = chat.tokenizer.encode(&text)?;
    let mut counts = Vec::with_capacity(borders.len());
    let mut split_at_border = false;
    for border in &borders {
        let head = chat.tokenizer.encode(&text[..*border])?;
        split_at_border |= !ids.starts_with(&head) || counts.last().is_some_and(|before| head.len() < *before);
        counts.push(head.len());
    }
    if split_at_border {
        (ids, counts) = apart(chat, &text, &borders)?;
    }
    let mut learned = vec![false; ids.len()];
    let mut ends_with_eot = true;
    for (range, turn) in counts.chunks_exact(2).zip(turns) {
        let (start, end) = (range[0], range[1]);
        learned[start..end].fill(true);
        ends_with_eot &= start < end && ids[end - 1] == turn.eot;
    }
    let eot = turns[turns.len() - 1].eot;
    Ok(Rendered { text, ids, learned, spans, eot, ends_with_eot, rewrites_history, split_at_border })
}

/// Tokenises the parts between borders one by one; gives all ids and how many lie before each border.
fn apart(chat: &Chat, text: &str, borders: &[usize]) -> Result<(Vec<u32>, Vec<usize>)> {
    let mut ids = Vec::new();
    let mut counts = Vec::with_capacity(borders.len());
    let mut from = 0;
    for border in borders {
        ids.extend(part(chat, text, from..*border)?);
        counts.push(ids.len());
        from = *border;
    }
    ids.extend(part(chat, text, from..text.len())?);
    Ok((ids, counts))
}

fn part(chat: &Chat, text: &str, range: Range<usize>) -> Result<Vec<u32>> {
    match range.start {
        0 => chat.tokenizer.encode(&text[range]),
        _ => chat.tokenizer.encode_after(&text[range]),
    }
}

fn prompt_not_prefix(message: usize, prompt: &str, text: &str) -> Error {
    let same = prompt.chars().zip(text.chars()).take_while(|(a, b)| a == b);
    let at: usize = same.map(|(c, _)| c.len_utf8()).sum();
    let show = |text: &str| text[at..].chars().take(SHOWN).collect();
    Error::PromptNotPrefix { message, at, expected: show(prompt), found: show(text) }
}

fn tail(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(SHOWN);
    text.chars().skip(skipped).collect()
}
