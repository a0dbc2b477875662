//! Real conversations to ones that can be learned from: what is cut or joined is told.

use serde_json::{Value, json};

use super::is_empty;
use crate::records::short;
use crate::row::Fix;

/// Mends a conversation. Its end and beginning are cut to where somebody asks and is answered; several messages in a row
/// of one speaker become one.
pub(super) fn mend(messages: Vec<Value>) -> Result<(Vec<Value>, Vec<Fix>), String> {
    let mut fixed = Vec::new();
    let mut messages = joined(messages, &mut fixed);
    let end = messages.iter().rposition(|m| m["role"] == "assistant").map_or(0, |at| at + 1);
    if end == 0 {
        return Err("found no answer, expected one of the assistant".into());
    }
    for message in messages.drain(end..) {
        fixed.push(Fix { what: "unanswered_cut", before: said(&message), after: String::new() });
    }
    let system = usize::from(messages[0]["role"] == "system");
    let first = messages.iter().position(|m| m["role"] == "user").ok_or("found an answer to nothing, expected a message of the user")?;
    for message in messages.drain(system.min(first)..first) {
        fixed.push(Fix { what: "opening_cut", before: said(&message), after: String::new() });
    }
    check(&messages)?;
    Ok((messages, fixed))
}

/// What is left must have something to say, in an order that makes sense.
fn check(messages: &[Value]) -> Result<(), String> {
    for (at, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "system" && at > 0 {
            return Err(format!("message {}: found a system prompt, expected it at the beginning only", at + 1));
        }
        if is_empty(&message["content"]) && !calls_tool(message) && role != "tool" {
            return Err(format!("message {}: found an empty text of the {role}, expected one that says something", at + 1));
        }
        if at > 0 && calls_tool(&messages[at - 1]) && role != "tool" {
            return Err(format!("message {}: found `{role}` after a call of a tool, expected the tool's result", at + 1));
        }
    }
    if messages.iter().any(|m| m["role"] == "assistant") {
        return Ok(());
    }
    Err("found no answer, expected one of the assistant after a message of the user".into())
}

fn joined(messages: Vec<Value>, fixed: &mut Vec<Fix>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for message in messages {
        match kept.last_mut() {
            Some(last) if one_speaker(last, &message) => {
                fixed.push(Fix {
                    what: "turns_joined",
                    before: said(&message),
                    after: "to the message of the same speaker before it".into(),
                });
                let both = [&last["content"], &message["content"]].map(|text| text.as_str().unwrap_or_default());
                last["content"] = json!(both.join("\n\n").trim());
            }
            _ => kept.push(message),
        }
    }
    kept
}

/// Whether two messages are one that was sent in two. Those with a weight or a call of their own are not.
fn one_speaker(a: &Value, b: &Value) -> bool {
    let plain = |m: &Value| m.as_object().is_some_and(|m| m.len() == 2) && m["content"].is_string();
    a["role"] == b["role"] && a["role"] != "tool" && plain(a) && plain(b)
}

fn calls_tool(message: &Value) -> bool {
    message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty())
}

fn said(message: &Value) -> String {
    format!("{}: {}", message["role"].as_str().unwrap_or_default(), short(message["content"].as_str().unwrap_or_default()))
}
