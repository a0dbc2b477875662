//! The shapes that a row may have, told by its fields; none is guessed.

use serde_json::{Map, Value};
use text::Message;

use super::contents;
use crate::error::Fault;

/// What an error tells a row without a known shape.
const EXPECTED: &str =
    "one of: messages | conversations | contents | prompt + completion | instruction + response | instruction (+ input) + output";

/// A row taken apart.
pub(crate) struct Row {
    pub messages: Vec<Message>,
    pub tools: Option<Value>,
    pub tags: Map<String, Value>,
}

/// Takes the messages out of a row; what is left are tags.
type Take = fn(&mut Map<String, Value>) -> Result<Vec<Message>, Fault>;

/// A shape: the fields that tell it, and how its messages are read. The first shape whose fields are all there counts.
struct Shape {
    fields: &'static [&'static str],
    read: Take,
}

const SHAPES: [Shape; 6] = [
    Shape { fields: &["messages"], read: |row| list(row, "messages") },
    Shape { fields: &["conversations"], read: |row| list(row, "conversations") },
    Shape { fields: &["contents"], read: contents::read },
    Shape { fields: &["prompt", "completion"], read: prompt_completion },
    Shape { fields: &["instruction", "response"], read: |row| instruction(row, "response") },
    Shape { fields: &["instruction", "output"], read: |row| instruction(row, "output") },
];

/// Takes a row apart.
pub(crate) fn row(value: Value) -> Result<Row, Fault> {
    let Value::Object(mut row) = value else {
        return Err(Fault::NotObject { found: kind(&value) });
    };
    if ["chosen", "rejected"].iter().all(|field| row.contains_key(*field)) {
        return Err(Fault::Preferences);
    }
    let Some(shape) = SHAPES.iter().find(|shape| shape.fields.iter().all(|field| row.contains_key(*field))) else {
        return Err(Fault::Fields { found: row.keys().cloned().collect(), expected: EXPECTED.to_string() });
    };
    let mut messages = (shape.read)(&mut row)?;
    put_system(&mut row, &mut messages)?;
    let tools = tools(&mut row)?;
    Ok(Row { messages, tools, tags: row })
}

/// Puts the row's own system prompt in front, unless the conversation has one.
pub(crate) fn put_system(row: &mut Map<String, Value>, messages: &mut Vec<Message>) -> Result<(), Fault> {
    let first_is_user = messages.first().is_none_or(|message| !super::check::is_instruction(&message.role));
    if first_is_user && row.get("system").is_some_and(|system| system.is_string() || system.is_array()) {
        // Bedrock writes a list of parts.
        let system = match row.shift_remove("system") {
            Some(Value::Array(parts)) => joined(&parts, "system")?,
            other => other.as_ref().and_then(Value::as_str).unwrap_or_default().to_string(),
        };
        if !system.trim().is_empty() {
            messages.insert(0, Message::system(&system));
        }
    }
    Ok(())
}

fn instruction(row: &mut Map<String, Value>, answer: &str) -> Result<Vec<Message>, Fault> {
    let mut question = text(row, "instruction")?;
    if matches!(row.get("input"), Some(Value::String(_))) {
        let input = text(row, "input")?;
        if !input.trim().is_empty() {
            question = format!("{question}\n\n{input}");
        }
    }
    Ok(vec![Message::user(&question), Message::assistant(&text(row, answer)?)])
}

fn prompt_completion(row: &mut Map<String, Value>) -> Result<Vec<Message>, Fault> {
    let mut side = |field: &str, role: &str| match row.get(field) {
        Some(Value::Array(_)) => list(row, field),
        _ => Ok(vec![Message::new(role, &text(row, field)?)]),
    };
    let mut messages = side("prompt", "user")?;
    messages.extend(side("completion", "assistant")?);
    Ok(messages)
}

pub(crate) fn list(row: &mut Map<String, Value>, field: &str) -> Result<Vec<Message>, Fault> {
    match row.shift_remove(field) {
        Some(Value::Array(items)) => items.into_iter().enumerate().map(|(index, item)| message(item, field, index)).collect(),
        other => Err(Fault::FieldType {
            field: field.to_string(),
            found: other.as_ref().map_or("nothing", kind).to_string(),
            expected: "a list of messages",
        }),
    }
}

/// One message, with `role` and `content` or, as ShareGPT names them, `from` and `value`.
fn message(item: Value, field: &str, index: usize) -> Result<Message, Fault> {
    let at = |name: &str| format!("{field}[{index}].{name}");
    let Value::Object(mut map) = item else {
        return Err(Fault::FieldType { field: format!("{field}[{index}]"), found: kind(&item).to_string(), expected: "a message" });
    };
    let names = [("role", "content"), ("from", "value")];
    let Some((role_name, content_name)) = names.into_iter().find(|(role, _)| map.contains_key(*role)) else {
        let found = map.keys().cloned().collect();
        return Err(Fault::Fields { found, expected: format!("`role` and `content` (or `from` and `value`) in {field}[{index}]") });
    };
    let role = match map.shift_remove(role_name) {
        Some(Value::String(role)) => role_of(&role).map(str::to_string).unwrap_or(role),
        other => return Err(not_text(at(role_name), other.as_ref())),
    };
    let content = match map.shift_remove(content_name) {
        Some(Value::String(content)) => content,
        Some(Value::Array(parts)) => joined(&parts, &at(content_name))?,
        // A call of a tool has no text. The template is told null, as the data said.
        None | Some(Value::Null) if map.get("tool_calls").is_some_and(|calls| !calls.is_null()) => {
            map.insert("content".into(), Value::Null);
            String::new()
        }
        other => return Err(not_text(at(content_name), other.as_ref())),
    };
    Ok(Message { role, content, extra: map })
}

/// The text of a list of parts, `{"type": "text", "text": "..."}` or `{"text": "..."}`. Other parts are no text.
pub(crate) fn joined(parts: &[Value], field: &str) -> Result<String, Fault> {
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        match part.get("text").and_then(Value::as_str) {
            Some(said) if part.get("type").is_none_or(|kind| kind == "text") => text.push_str(said),
            _ => {
                let found = part.get("type").and_then(Value::as_str).map_or(kind(part), |kind| kind).to_string();
                return Err(Fault::FieldType { field: format!("{field}[{index}]"), found, expected: "a part with text" });
            }
        }
    }
    Ok(text)
}

/// The role that a dataset's name for the speaker means.
pub(crate) fn role_of(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "user" | "human" | "customer" => "user",
        "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "function_call" => "assistant",
        "system" => "system",
        "tool" | "observation" | "function_response" => "tool",
        _ => return None,
    })
}

/// The row's description of tools: a list, or a string that holds one.
pub(crate) fn tools(row: &mut Map<String, Value>) -> Result<Option<Value>, Fault> {
    let fault = |found: &str| Fault::FieldType { field: "tools".into(), found: found.to_string(), expected: "a list of tools" };
    match row.shift_remove("tools") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(tools)) => Ok((!tools.is_empty()).then_some(Value::Array(tools))),
        Some(Value::String(tools)) if tools.trim().is_empty() => Ok(None),
        Some(Value::String(tools)) => match serde_json::from_str(&tools) {
            Ok(Value::Array(tools)) => Ok((!tools.is_empty()).then_some(Value::Array(tools))),
            _ => Err(fault("a string that is no JSON list")),
        },
        Some(other) => Err(fault(kind(&other))),
    }
}

pub(crate) fn text(row: &mut Map<String, Value>, field: &str) -> Result<String, Fault> {
    match row.shift_remove(field) {
        Some(Value::String(text)) => Ok(text),
        other => Err(not_text(field.to_string(), other.as_ref())),
    }
}

fn not_text(field: String, value: Option<&Value>) -> Fault {
    Fault::FieldType { field, found: value.map_or("nothing", kind).to_string(), expected: "text" }
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
