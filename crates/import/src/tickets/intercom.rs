//! Intercom: a conversation, which begins with its source and goes on in its parts.

use super::{Message, Ticket, names, time, word};
use crate::conversation::Side;
use crate::html;
use serde_json::Value;

/// A conversation with its parts.
pub fn ticket(value: &Value) -> Result<Ticket, String> {
    let id = word(value.get("id")).ok_or("no conversation: expected an object with `id`, `source` and `conversation_parts`")?;
    let parts = value.get("conversation_parts").map(|parts| parts.get("conversation_parts").unwrap_or(parts));
    let parts = parts.and_then(Value::as_array).ok_or("no `conversation_parts`: expected the list of what was said")?;
    let source = value.get("source").or_else(|| value.get("conversation_message"));
    let mut messages = Vec::new();
    if let Some(source) = source {
        let mut first = part(source);
        first.at = time(value.get("created_at"));
        messages.push(first);
    }
    // Parts without words are events: assigned, snoozed, closed.
    messages.extend(parts.iter().filter(|p| word(p.get("body")).is_some()).map(part));
    messages.retain(|message| message.left.is_some() || !message.text.trim().is_empty());
    let subject = source.and_then(|s| word(s.get("subject"))).or_else(|| word(value.get("title")));
    Ok(Ticket { id, subject: subject.map(|s| if html::is_html(&s) { html::text(&s) } else { s }), messages })
}

fn part(value: &Value) -> Message {
    let author = value.get("author");
    let role = author.and_then(|a| a.get("type")).and_then(Value::as_str).unwrap_or_default();
    let kind = value.get("part_type").and_then(Value::as_str).unwrap_or_default();
    let side = match role {
        "user" | "lead" | "contact" => Some(Side::Customer),
        "admin" | "teammate" => Some(Side::Agent),
        _ => None,
    };
    let left = if kind == "note" || kind.ends_with("_note") || kind == "note_and_reopen" {
        Some("a private note".to_string())
    } else if value.get("redacted") == Some(&Value::Bool(true)) {
        Some("redacted".to_string())
    } else if matches!(role, "bot" | "team" | "operator") {
        Some(format!("said by a {role}, not by a person"))
    } else {
        None
    };
    Message {
        id: word(value.get("id")),
        side,
        left,
        text: word(value.get("body")).unwrap_or_default(),
        at: time(value.get("created_at")),
        author: author.and_then(|a| word(a.get("name")).or_else(|| word(a.get("email"))).or_else(|| word(a.get("id")))),
        attached: names(value.get("attachments"), &["name", "filename"]),
    }
}
