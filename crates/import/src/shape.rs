//! The shapes in which examples are published, told by their fields, to the ones that `data` reads.

mod message;
mod turns;

use serde_json::{Map, Value, json};

use crate::row::Fix;

pub(crate) use message::text;

/// A shape: how the account names it, the fields that tell it, and how it is read.
pub(crate) struct Shape {
    pub name: &'static str,
    fields: &'static [&'static str],
    /// Fields that are read too where they are there.
    others: &'static [&'static str],
    read: fn(&mut Map<String, Value>) -> Result<Content, String>,
}

/// What a row says, in a shape that `data` reads.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Content {
    pub fields: Map<String, Value>,
    pub fixed: Vec<Fix>,
}

/// The first one whose fields are all there counts.
const SHAPES: [Shape; 7] = [
    Shape { name: "messages", fields: &["messages"], others: &["system", "tools"], read: |row| chat(row, "messages") },
    Shape { name: "sharegpt", fields: &["conversations"], others: &["system", "tools"], read: |row| chat(row, "conversations") },
    Shape {
        name: "openai_preference",
        fields: &["input", "preferred_output", "non_preferred_output"],
        others: &[],
        read: openai_preference,
    },
    Shape { name: "preference", fields: &["chosen", "rejected"], others: &["prompt", "system", "tools"], read: preference },
    Shape { name: "prompt_completion", fields: &["prompt", "completion"], others: &["system", "tools"], read: prompt_completion },
    Shape { name: "instruction_response", fields: &["instruction", "response"], others: ALPACA, read: |row| alpaca(row, "response") },
    Shape { name: "alpaca", fields: &["instruction", "output"], others: ALPACA, read: |row| alpaca(row, "output") },
];

const ALPACA: &[&str] = &["input", "system", "history", "tools"];

/// Fields that hold lists, which tables can only write as JSON.
const LISTS: [&str; 9] =
    ["messages", "conversations", "tools", "history", "chosen", "rejected", "prompt", "completion", "preferred_output"];

/// The shape of a row, where it has one.
pub(crate) fn of(row: &Map<String, Value>) -> Option<&'static Shape> {
    SHAPES.iter().find(|shape| shape.fields.iter().all(|field| row.contains_key(*field)))
}

impl Shape {
    /// Takes what the shape reads out of the row; says why nothing can be read.
    pub(crate) fn take(&self, row: &mut Map<String, Value>) -> Result<Content, String> {
        row.iter_mut().filter(|(name, _)| LISTS.contains(&name.as_str())).for_each(|(_, value)| unpack(value));
        if let Some(Value::Bool(false)) = row.get("label").filter(|_| self.name == "prompt_completion") {
            return Err("found an answer that is marked as not wanted (`label` is false), expected one to learn".into());
        }
        (self.read)(row)
    }

    /// Whether the shape reads this field.
    pub(crate) fn reads(&self, field: &str) -> bool {
        self.fields.contains(&field) || self.others.contains(&field)
    }
}

/// A question, with or without a system prompt, and its answer.
pub(crate) fn pair(system: Option<String>, question: String, answer: String) -> Result<Content, String> {
    let system = system.filter(|text| !text.trim().is_empty()).map(|text| json!({ "role": "system", "content": text }));
    let both = [json!({ "role": "user", "content": question }), json!({ "role": "assistant", "content": answer })];
    conversation(system.into_iter().chain(both).collect(), None, Vec::new())
}

/// A conversation, mended where it must be.
fn conversation(messages: Vec<Value>, tools: Option<Value>, fixed: Vec<Fix>) -> Result<Content, String> {
    let (messages, mended) = turns::mend(messages)?;
    let mut fields = Map::from_iter([("messages".to_string(), Value::Array(messages))]);
    fields.extend(tools.map(|tools| ("tools".to_string(), tools)));
    Ok(Content { fields, fixed: [fixed, mended].concat() })
}

fn chat(row: &mut Map<String, Value>, field: &str) -> Result<Content, String> {
    let (mut messages, fixed) = message::list(row.shift_remove(field), field)?;
    put_system(row, &mut messages)?;
    conversation(messages, tools(row)?, fixed)
}

fn prompt_completion(row: &mut Map<String, Value>) -> Result<Content, String> {
    let (mut messages, mut fixed) = message::side(row.shift_remove("prompt"), "prompt", "user")?;
    let (answer, more) = message::side(row.shift_remove("completion"), "completion", "assistant")?;
    messages.extend(answer);
    fixed.extend(more);
    put_system(row, &mut messages)?;
    conversation(messages, tools(row)?, fixed)
}

fn alpaca(row: &mut Map<String, Value>, answer: &str) -> Result<Content, String> {
    let mut fixed = Vec::new();
    let mut question = message::text(row.shift_remove("instruction"), "instruction", &mut fixed)?;
    if let Some(input) = row.shift_remove("input").filter(|input| !is_empty(input)) {
        question = format!("{question}\n\n{}", message::text(Some(input), "input", &mut fixed)?);
    }
    let answer = message::text(row.shift_remove(answer), answer, &mut fixed)?;
    let mut messages = history(row.shift_remove("history"))?;
    messages.extend([json!({ "role": "user", "content": question }), json!({ "role": "assistant", "content": answer })]);
    put_system(row, &mut messages)?;
    conversation(messages, tools(row)?, fixed)
}

/// Earlier turns, as pairs of a question and its answer.
fn history(value: Option<Value>) -> Result<Vec<Value>, String> {
    let turns = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(turns)) => turns,
        Some(Value::String(text)) if text.is_empty() => return Ok(Vec::new()),
        Some(other) => return Err(format!("field `history`: found {}, expected a list of [question, answer]", kind(&other))),
    };
    let mut messages = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        let Some([Value::String(question), Value::String(answer)]) = turn.as_array().map(Vec::as_slice) else {
            return Err(format!("field `history[{index}]`: found {}, expected [question, answer]", kind(turn)));
        };
        messages.extend([json!({ "role": "user", "content": question }), json!({ "role": "assistant", "content": answer })]);
    }
    Ok(messages)
}

fn preference(row: &mut Map<String, Value>) -> Result<Content, String> {
    let mut fields = Map::new();
    let mut fixed = Vec::new();
    let sides = [("prompt", "user"), ("chosen", "assistant"), ("rejected", "assistant")];
    let implicit = usize::from(!row.contains_key("prompt"));
    for (field, role) in sides.into_iter().skip(implicit) {
        let (mut messages, more) = message::side(row.shift_remove(field), field, role)?;
        if field == "prompt" {
            put_system(row, &mut messages)?;
        }
        fixed.extend(more);
        fields.insert(field.to_string(), Value::Array(messages));
    }
    better_and_worse(fields, tools(row)?, fixed)
}

fn openai_preference(row: &mut Map<String, Value>) -> Result<Content, String> {
    let Some(Value::Object(mut input)) = row.shift_remove("input") else {
        return Err("field `input`: expected an object with `messages`".into());
    };
    let (prompt, mut fixed) = message::list(input.shift_remove("messages"), "input.messages")?;
    let mut fields = Map::from_iter([("prompt".to_string(), Value::Array(prompt))]);
    for (from, to) in [("preferred_output", "chosen"), ("non_preferred_output", "rejected")] {
        let (messages, more) = message::list(row.shift_remove(from), from)?;
        fixed.extend(more);
        fields.insert(to.to_string(), Value::Array(messages));
    }
    better_and_worse(fields, tools(&mut input)?, fixed)
}

fn better_and_worse(mut fields: Map<String, Value>, tools: Option<Value>, fixed: Vec<Fix>) -> Result<Content, String> {
    for field in ["chosen", "rejected"] {
        let last = fields[field].as_array().and_then(|messages| messages.last());
        let empty = last.is_none_or(|message| is_empty(&message["content"]) && message.get("tool_calls").is_none());
        if empty || last.is_some_and(|message| message["role"] != "assistant") {
            return Err(format!("field `{field}`: found no answer at its end, expected one of the assistant"));
        }
    }
    if fields["chosen"] == fields["rejected"] {
        return Err("found the same answer as chosen and rejected, expected two".into());
    }
    fields.extend(tools.map(|tools| ("tools".to_string(), tools)));
    Ok(Content { fields, fixed })
}

/// Puts the row's own system prompt in front, unless the conversation has one.
fn put_system(row: &mut Map<String, Value>, messages: &mut Vec<Value>) -> Result<(), String> {
    let Some(system) = row.shift_remove("system").filter(|system| !is_empty(system)) else { return Ok(()) };
    let Value::String(text) = system else {
        return Err(format!("field `system`: found {}, expected text", kind(&system)));
    };
    if messages.first().is_none_or(|first| first["role"] != "system") {
        messages.insert(0, json!({ "role": "system", "content": text }));
    }
    Ok(())
}

fn tools(row: &mut Map<String, Value>) -> Result<Option<Value>, String> {
    match row.shift_remove("tools") {
        None => Ok(None),
        Some(empty) if is_empty(&empty) => Ok(None),
        Some(Value::Array(tools)) => Ok(Some(Value::Array(tools))),
        Some(other) => Err(format!("field `tools`: found {}, expected a list of tools", kind(&other))),
    }
}

/// A list that a table holds as text.
fn unpack(value: &mut Value) {
    if let Value::String(text) = value
        && text.trim_start().starts_with('[')
        && let Ok(list) = serde_json::from_str::<Value>(text)
    {
        *value = list;
    }
}

/// Nothing, an empty text, or an empty list.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
