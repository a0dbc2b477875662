//! What customers and agents said to each other becomes rows: alternating turns that end with an answer.

use crate::row::{Fix, Place, Quarantined, Row};
use mail_parser::DateTime;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Customer,
    Agent,
}

/// One message, cleaned.
#[derive(Debug, Clone)]
pub struct Said {
    pub side: Side,
    pub text: String,
    /// Seconds since 1970, UTC.
    pub at: Option<i64>,
    pub author: Option<String>,
    pub place: Place,
    pub fixed: Vec<Fix>,
    /// Names of what was attached, never its contents.
    pub attached: Vec<String>,
}

/// All of one thread or ticket, in order.
#[derive(Debug, Default)]
pub struct Conversation {
    /// The same when the import is made again.
    pub id: String,
    pub subject: Option<String>,
    pub said: Vec<Said>,
    /// What of it was left out already.
    pub left: Vec<Quarantined>,
}

/// What is done with customers' messages that nobody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// They are quarantined.
    Leave,
    /// Each becomes a row of text, as a sample of what is asked.
    Text,
}

/// A shorter text may be said twice by chance, in bytes.
const REPEATED: usize = 20;
/// How much of a text that was cut is shown.
const SHOWN: usize = 160;

/// The beginning of a text on one line, with its length where it is longer.
pub fn short(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() >= SHOWN {
            let room = SHOWN.saturating_sub(line.chars().count() + 1);
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(word.chars().take(room));
            return format!("{line} … ({} characters)", text.chars().count());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// RFC 3339, UTC.
pub fn rfc3339(seconds: i64) -> String {
    DateTime::from_timestamp(seconds).to_rfc3339()
}

/// The rows of a conversation, and each message that is in none of them with the reason.
pub fn rows(conversation: Conversation, unanswered: Unanswered) -> Vec<Result<Row, Quarantined>> {
    let Conversation { id, subject, said, mut left } = conversation;
    let said = without_repeats(said, &mut left);
    let gaps: Vec<Fix> = left.iter().map(gap).collect();
    let first = said.iter().position(|s| s.side == Side::Customer).unwrap_or(said.len());
    let end = said.iter().rposition(|s| s.side == Side::Agent).map_or(first, |last| (last + 1).max(first));
    let mut made = Vec::new();
    let mut kept = Vec::new();
    for (n, message) in said.into_iter().enumerate() {
        if (first..end).contains(&n) {
            kept.push(message);
        } else if message.side == Side::Agent {
            left.push(out(message, "an agent's message that answers nothing: no customer's message stands before it"));
        } else if unanswered == Unanswered::Text {
            made.push(Ok(text_row(&id, n, message)));
        } else {
            left.push(out(message, "unanswered: no agent's message comes after it"));
        }
    }
    if !kept.is_empty() {
        made.insert(0, Ok(chat_row(id, subject, kept, gaps)));
    }
    made.extend(left.into_iter().map(Err));
    made
}

/// A message that is not kept.
pub fn out(message: Said, why: &str) -> Quarantined {
    Quarantined { source: message.place, why: why.to_string(), raw: short(&message.text) }
}

/// What was sent twice is said once; two machines that answer each other for ever say little. An agent may give one answer to
/// two questions, so there it takes a copy of the same message, or one that follows a repeat.
fn without_repeats(said: Vec<Said>, left: &mut Vec<Quarantined>) -> Vec<Said> {
    let mut seen: HashMap<(Side, String), Option<String>> = HashMap::new();
    let mut first = Vec::new();
    let mut follows_agent_or_repeat = false;
    for message in said {
        let key = (message.side, message.text.clone());
        let copy = seen.get(&key).is_some_and(|id| *id == message.place.message && id.is_some());
        let again = seen.contains_key(&key);
        let repeat = copy || (again && message.text.len() >= REPEATED && (message.side == Side::Customer || follows_agent_or_repeat));
        follows_agent_or_repeat = repeat || message.side == Side::Agent;
        seen.entry(key).or_insert_with(|| message.place.message.clone());
        match repeat {
            true => left.push(out(message, "says the same as an earlier message of its thread: a copy, or a mail loop")),
            false => first.push(message),
        }
    }
    first
}

fn chat_row(id: String, subject: Option<String>, said: Vec<Said>, gaps: Vec<Fix>) -> Row {
    let mails: Vec<Value> = said.iter().map(|s| s.place.to_json()).collect();
    let attached: Vec<&String> = said.iter().flat_map(|s| &s.attached).collect();
    let mut tags = Map::from_iter([("mails".to_string(), Value::Array(mails))]);
    tags.extend(subject.map(|subject| ("subject".to_string(), json!(subject))));
    if !attached.is_empty() {
        tags.insert("attachments".into(), json!(attached));
    }
    let answer = said.iter().rev().find(|s| s.side == Side::Agent);
    let (at, author) = answer.map_or((None, None), |a| (a.at.map(rfc3339), a.author.clone()));
    let source = said[0].place.clone();
    let mut fixed = Vec::new();
    let mut turns: Vec<(Side, String, usize)> = Vec::new();
    for message in said {
        fixed.extend(message.fixed);
        match turns.last_mut() {
            Some((side, text, count)) if *side == message.side => {
                text.push_str("\n\n");
                text.push_str(&message.text);
                *count += 1;
            }
            _ => turns.push((message.side, message.text, 1)),
        }
    }
    let merged = turns.iter().filter(|turn| turn.2 > 1);
    fixed.extend(merged.map(|(_, text, n)| Fix { what: "turns_merged", before: format!("{n} messages in a row"), after: short(text) }));
    fixed.extend(gaps);
    let messages = turns.into_iter().map(|(side, text, _)| json!({ "role": side.role(), "content": text }));
    let content = Map::from_iter([("messages".to_string(), messages.collect())]);
    Row { group: Some(id.clone()), id, content, source, at, author, fixed, tags }
}

/// A message of the thread that the row does not hold.
fn gap(left: &Quarantined) -> Fix {
    let name = left.source.message.clone().unwrap_or_else(|| format!("number {}", left.source.line.unwrap_or(1)));
    Fix { what: "message_left_out", before: name, after: short(&left.why) }
}

fn text_row(id: &str, n: usize, message: Said) -> Row {
    let mut tags = Map::from_iter([("mails".to_string(), json!([message.place.to_json()]))]);
    if !message.attached.is_empty() {
        tags.insert("attachments".into(), json!(message.attached));
    }
    Row {
        id: format!("{id}/{}", n + 1),
        content: Map::from_iter([("text".to_string(), json!(message.text))]),
        source: message.place,
        group: Some(id.to_string()),
        at: message.at.map(rfc3339),
        author: None,
        fixed: message.fixed,
        tags,
    }
}

impl Side {
    fn role(self) -> &'static str {
        match self {
            Side::Customer => "user",
            Side::Agent => "assistant",
        }
    }
}
