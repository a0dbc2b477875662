//! Gemini's rows: `contents` of `user` and `model` with their parts, `systemInstruction` and `functionDeclarations`.

use serde_json::{Map, Value, json};
use text::Message;

use super::shape::{joined, kind};
use crate::error::Fault;

/// Takes the conversation out of a row.
pub(super) fn read(row: &mut Map<String, Value>) -> Result<Vec<Message>, Fault> {
    let mut messages = Vec::new();
    for name in ["systemInstruction", "system_instruction"] {
        if let Some(instruction) = row.shift_remove(name) {
            messages.push(Message::system(&joined(parts(&instruction, name)?, name)?));
        }
    }
    if let Some(tools) = row.shift_remove("tools") {
        row.insert("tools".into(), declared(tools));
    }
    match row.shift_remove("contents") {
        Some(Value::Array(turns)) => {
            for (index, turn) in turns.iter().enumerate() {
                self::turn(turn, index, &mut messages)?;
            }
        }
        other => {
            let found = other.as_ref().map_or("nothing", kind).to_string();
            return Err(Fault::FieldType { field: "contents".into(), found, expected: "a list of turns" });
        }
    }
    Ok(messages)
}

fn parts<'a>(turn: &'a Value, field: &str) -> Result<&'a [Value], Fault> {
    let parts = turn.get("parts");
    parts.and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| Fault::FieldType {
        field: format!("{field}.parts"),
        found: parts.map_or("nothing", kind).to_string(),
        expected: "a list of parts",
    })
}

/// One turn: a text, calls of functions, or what functions gave.
fn turn(turn: &Value, index: usize, messages: &mut Vec<Message>) -> Result<(), Fault> {
    let field = format!("contents[{index}]");
    let parts = parts(turn, &field)?;
    let role = match turn.get("role").and_then(Value::as_str) {
        Some("model") => "assistant",
        Some(role) => role,
        None => "user",
    };
    let given: Vec<&Value> = parts.iter().filter_map(|part| part.get("functionResponse")).collect();
    if !given.is_empty() {
        messages.extend(given.into_iter().map(|given| {
            let name = given["name"].as_str().unwrap_or_default();
            let response = &given["response"];
            // A text stands alone in an object, because the platform takes objects only.
            let text = match response.get("result").and_then(Value::as_str) {
                Some(text) if response.as_object().is_some_and(|o| o.len() == 1) => text.to_string(),
                _ => response.to_string(),
            };
            let mut message = Message::new("tool", &text);
            message.extra.insert("name".into(), name.into());
            message
        }));
        return Ok(());
    }
    let calls: Vec<Value> = parts.iter().filter_map(|part| part.get("functionCall")).map(called).collect();
    let texts: Vec<Value> = parts.iter().filter(|part| part.get("functionCall").is_none()).cloned().collect();
    let mut message = Message::new(role, &joined(&texts, &format!("{field}.parts"))?);
    if !calls.is_empty() {
        if texts.is_empty() {
            message.extra.insert("content".into(), Value::Null);
        }
        message.extra.insert("tool_calls".into(), calls.into());
    }
    messages.push(message);
    Ok(())
}

fn called(call: &Value) -> Value {
    json!({ "type": "function", "function": { "name": call["name"], "arguments": call.get("args").cloned().unwrap_or(json!({})) } })
}

/// Functions as all other rows name them.
fn declared(tools: Value) -> Value {
    let Value::Array(tools) = tools else { return tools };
    let of = |tool: &Value| tool.get("functionDeclarations").and_then(Value::as_array).cloned().unwrap_or_default();
    let functions = tools.iter().flat_map(of).map(|function| json!({ "type": "function", "function": function }));
    functions.collect()
}
