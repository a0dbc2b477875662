//! One message, with `role` and `content` or, as ShareGPT names them, `from` and `value`.

use serde_json::{Map, Value, json};

use super::kind;
use crate::row::Fix;

/// A list of messages.
pub(super) fn list(value: Option<Value>, field: &str) -> Result<(Vec<Value>, Vec<Fix>), String> {
    let Some(Value::Array(items)) = value else {
        return Err(format!("field `{field}`: found {}, expected a list of messages", value.as_ref().map_or("nothing", kind)));
    };
    let mut fixed = Vec::new();
    let messages = items.into_iter().enumerate().map(|(index, item)| message(item, &format!("{field}[{index}]"), &mut fixed));
    Ok((messages.collect::<Result<_, _>>()?, fixed))
}

/// A text of the role, or a list of messages.
pub(super) fn side(value: Option<Value>, field: &str, role: &str) -> Result<(Vec<Value>, Vec<Fix>), String> {
    if matches!(value, Some(Value::Array(_))) {
        return list(value, field);
    }
    let mut fixed = Vec::new();
    let text = text(value, field, &mut fixed)?;
    Ok((vec![json!({ "role": role, "content": text })], fixed))
}

/// A text; what is none but can be written as one is.
pub(crate) fn text(value: Option<Value>, field: &str, fixed: &mut Vec<Fix>) -> Result<String, String> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
        Some(value @ (Value::Object(_) | Value::Array(_))) => {
            fixed.push(Fix { what: "json_to_text", before: format!("{} in `{field}`", kind(&value)), after: "its JSON as text".into() });
            Ok(value.to_string())
        }
        other => Err(format!("field `{field}`: found {}, expected text", other.as_ref().map_or("nothing", kind))),
    }
}

fn message(item: Value, at: &str, fixed: &mut Vec<Fix>) -> Result<Value, String> {
    let Value::Object(mut map) = item else {
        return Err(format!("`{at}`: found {}, expected a message", kind(&item)));
    };
    let names = [("role", "content"), ("from", "value")];
    let Some((role_name, content_name)) = names.into_iter().find(|(role, _)| map.contains_key(*role)) else {
        let found: Vec<&str> = map.keys().map(String::as_str).collect();
        return Err(format!("`{at}`: found the fields [{}], expected `role` and `content`", found.join(", ")));
    };
    let role = match map.shift_remove(role_name) {
        Some(Value::String(name)) => role_of(&name).ok_or_else(|| {
            format!("`{at}`: found the role `{name}`, expected one of system, user (human, customer), assistant (gpt, agent), tool")
        })?,
        other => return Err(format!("`{at}.{role_name}`: found {}, expected text", other.as_ref().map_or("nothing", kind))),
    };
    let content = match map.shift_remove(content_name) {
        None | Some(Value::Null) if map.get("tool_calls").is_some_and(|calls| !calls.is_null()) => Value::Null,
        Some(Value::Array(parts)) => json!(joined(&parts, at, fixed)?),
        other => json!(text(other, &format!("{at}.{content_name}"), fixed)?),
    };
    // Tables of columns write what a message does not have as null.
    map.retain(|_, value| !value.is_null());
    let mut message = Map::from_iter([("role".to_string(), json!(role)), ("content".to_string(), content)]);
    message.extend(map);
    Ok(Value::Object(message))
}

/// The texts of a message that is written in parts.
fn joined(parts: &[Value], at: &str, fixed: &mut Vec<Fix>) -> Result<String, String> {
    let text = |part: &Value| match part {
        Value::String(text) => Some(text.clone()),
        part => part.get("text").and_then(Value::as_str).map(str::to_string),
    };
    let texts: Option<Vec<String>> = parts.iter().map(text).collect();
    let Some(texts) = texts else {
        return Err(format!("`{at}`: found a part that is no text, such as an image, expected texts only"));
    };
    if texts.len() > 1 {
        let before = format!("{} parts in `{at}`", texts.len());
        fixed.push(Fix { what: "parts_joined", before, after: "one text, a line's end between them".into() });
    }
    Ok(texts.join("\n"))
}

/// The role that a dataset's name for the speaker means.
fn role_of(name: &str) -> Option<&'static str> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "user" | "human" | "customer" | "client" | "prompter" | "end-user" => "user",
        "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "agent" | "ai" | "function_call" => "assistant",
        "system" | "developer" => "system",
        "tool" | "observation" | "function_response" | "function" => "tool",
        _ => return None,
    })
}
