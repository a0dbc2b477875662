//! Whether a conversation can be learned from: who may speak after whom, and that every answer says something.

use serde_json::Value;
use text::Message;

use crate::error::Fault;

/// Whether the role tells the assistant how to behave.
pub(crate) fn is_instruction(role: &str) -> bool {
    matches!(role, "system" | "developer")
}

/// Checks roles, their order and the answers.
pub(crate) fn conversation(messages: &[Message]) -> Result<(), Fault> {
    let Some(last) = messages.last() else {
        return Err(Fault::NoMessage);
    };
    let mut before: Option<&Message> = None;
    for (index, message) in messages.iter().enumerate() {
        let expected = expected_after(before);
        if !expected.contains(&message.role.as_str()) {
            return Err(Fault::Role { message: index, found: message.role.clone(), expected: named(&expected) });
        }
        if message.role == "assistant" && message.content.trim().is_empty() && !calls_tool(message) {
            return Err(Fault::EmptyAnswer { message: index });
        }
        before = Some(message);
    }
    if last.role != "assistant" {
        return Err(Fault::LastRole { found: last.role.clone() });
    }
    if !messages.iter().any(Message::is_answer) {
        return Err(Fault::NoAnswer);
    }
    Ok(())
}

/// The roles that may speak after a message.
fn expected_after(before: Option<&Message>) -> Vec<&'static str> {
    match before {
        None => vec!["system", "developer", "user"],
        Some(message) => match message.role.as_str() {
            "system" | "developer" => vec!["user"],
            // Some datasets write calls of tools as plain text, so a tool may answer any assistant message.
            "assistant" if calls_tool(message) => vec!["tool"],
            "assistant" => vec!["user", "tool"],
            "tool" => vec!["assistant", "tool"],
            _ => vec!["assistant"],
        },
    }
}

fn calls_tool(message: &Message) -> bool {
    matches!(message.extra.get("tool_calls"), Some(Value::Array(calls)) if !calls.is_empty())
}

fn named(roles: &[&str]) -> String {
    roles.iter().map(|role| format!("`{role}`")).collect::<Vec<_>>().join(" or ")
}
