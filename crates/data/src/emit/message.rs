//! Messages of a row against a platform's rules: who speaks, what is said, in which order, and what is learned.

use serde_json::{Map, Value, json};

use super::calls;
use super::rules::{Images, Last, Order, Rules, Weight};
use super::turn::{Content, Turn};
use super::violation::{Found, Level};
use crate::read::shape::{kind, role_of};

/// Fields of a message that are judged one by one; all others are left out.
const KNOWN: [&str; 6] = ["role", "content", "name", "weight", "tool_calls", "tool_call_id"];

/// Checks a list of messages; the turns are whole where nothing was refused.
pub(super) fn messages(list: Option<&Value>, field: &str, rules: &Rules, found: &mut Found) -> Vec<Turn> {
    let list = match list {
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(Value::Array(_)) => {
            found.refuse("messages", field, "an empty list", "one message or more", "write the conversation, or take the line out");
            return Vec::new();
        }
        other => {
            let what = other.map_or("nothing", kind);
            found.refuse("messages", field, what, "a list of messages", "write the conversation, or take the line out");
            return Vec::new();
        }
    };
    let each = list.iter().enumerate().map(|(index, message)| (format!("{field}[{index}]"), message));
    each.filter_map(|(field, message)| turn(message, &field, rules, found)).collect()
}

fn turn(message: &Value, field: &str, rules: &Rules, found: &mut Found) -> Option<Turn> {
    let Value::Object(map) = message else {
        found.refuse("message", field, kind(message), "an object with `role` and `content`", "");
        return None;
    };
    let mut turn = Turn { role: role(map, field, rules, found), ..Turn::default() };
    turn.calls = calls::calls(map, field, &turn.role, rules, found);
    turn.content = content(map, field, &turn, rules, found);
    turn.answers = calls::answers(map, field, &turn.role, rules, found);
    turn.name = name(map, field, &turn.role, rules, found);
    turn.learned = learned(map, field, &turn.role, rules, found);
    for key in map.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
        if key == "function_call" && !map[key].is_null() {
            let mend = "write it as `tool_calls` with an id";
            found.refuse("function_call", format!("{field}.{key}"), "a call as it was written before 2024", "`tool_calls`", mend);
        } else {
            found.mended("unknown_key", format!("{field}.{key}"), "a field that the platform does not know", "none; it is left out");
        }
    }
    Some(turn)
}

fn role(map: &Map<String, Value>, field: &str, rules: &Rules, found: &mut Found) -> String {
    let field = format!("{field}.role");
    let Some(role) = map.get("role").and_then(Value::as_str) else {
        let what = map.get("role").map_or("nothing", kind);
        found.refuse("role", field, what, named(rules.roles), "say who speaks");
        return String::new();
    };
    // Whose words these are decides about the platform's names only.
    let meant = if role == "developer" { "system" } else { role_of(role).unwrap_or(role) };
    if !rules.roles.contains(&meant) {
        let tools = if role == "tool" {
            "take the calls of tools out, or choose a platform that learns them"
        } else {
            "name the speaker by one of these"
        };
        found.refuse("role", field, format!("`{role}`"), named(rules.roles), tools);
    } else if meant != role {
        found.mended("role", field, format!("`{role}`"), format!("`{meant}`"));
    }
    meant.to_string()
}

fn named(roles: &[&str]) -> String {
    roles.iter().map(|role| format!("`{role}`")).collect::<Vec<_>>().join(", ")
}

fn content(map: &Map<String, Value>, field: &str, turn: &Turn, rules: &Rules, found: &mut Found) -> Content {
    let field = format!("{field}.content");
    let calls = map.get("tool_calls").is_some_and(|calls| !calls.is_null()) || map.contains_key("function_call");
    let content = match map.get("content") {
        Some(Value::String(text)) => Content::Text(text.clone()),
        Some(Value::Array(parts)) => self::parts(parts, &field, turn, rules, found),
        None | Some(Value::Null) if calls => Content::Nothing,
        other => {
            let what = other.map_or("nothing", kind);
            found.refuse("content", field, what, "text", "write what was said, or take the line out");
            return Content::Nothing;
        }
    };
    if let Content::Text(text) = &content {
        if text.trim().is_empty() && !calls && turn.role != "tool" {
            found.refuse("content", &field, "an empty text", "text", "write what was said, or take the line out");
        }
        let word = rules.reserved.iter().find(|word| text.contains(**word));
        if let Some(word) = word.filter(|_| turn.role != "assistant") {
            found.refuse(
                "reserved",
                &field,
                format!("the reserved word `{word}`"),
                "a prompt without it",
                "write it otherwise, such as `User -`",
            );
        }
    }
    content
}

/// A list of parts. Where the platform takes no pictures the texts are joined.
fn parts(parts: &[Value], field: &str, turn: &Turn, rules: &Rules, found: &mut Found) -> Content {
    let mut pictures = 0;
    for (index, part) in parts.iter().enumerate() {
        let field = format!("{field}[{index}]");
        match part.get("type").and_then(Value::as_str) {
            Some("text") | None if part.get("text").is_some_and(Value::is_string) => {}
            Some("image_url") => {
                pictures += 1;
                picture(part, &field, turn, rules, found);
            }
            other => {
                let what = other.map_or_else(|| kind(part).to_string(), |name| format!("a part of type `{name}`"));
                let expected = if rules.keeps_parts() { "`text` or `image_url`" } else { "`text`" };
                found.refuse("content_part", field, what, expected, "take the part out, or say it in words");
            }
        }
    }
    if let Images::Data { most } = rules.images
        && pictures > most
    {
        found.refuse("image", field, format!("{pictures} pictures"), format!("at most {most}"), "take some out");
    }
    let text: String = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
    if pictures > 0 && rules.keeps_parts() {
        return Content::Parts(parts.to_vec());
    }
    // Where pictures are taken a part names its type, elsewhere it is a text.
    if parts.iter().any(|part| part.get("type").is_some() != rules.keeps_parts()) {
        found.mended("content_part", field, "a list of parts", "one text; the parts are joined");
    }
    Content::Text(text)
}

fn picture(part: &Value, field: &str, turn: &Turn, rules: &Rules, found: &mut Found) {
    let field = format!("{field}.image_url.url");
    let Some(url) = part["image_url"]["url"].as_str() else {
        found.refuse("image", field, kind(&part["image_url"]["url"]), "an address of a picture", "");
        return;
    };
    let within = ["jpeg", "png", "webp"].iter().any(|form| url.starts_with(&format!("data:image/{form};base64,")));
    let web = url.starts_with("http://") || url.starts_with("https://");
    let shown: String = url.chars().take(40).collect();
    if turn.role != "user" {
        found.refuse("image", field, format!("a picture of the role `{}`", turn.role), "pictures of the role `user` only", "take it out");
        return;
    }
    match rules.images {
        Images::No => found.refuse(
            "image",
            field,
            format!("`{shown}`"),
            "text only",
            "take the picture out, or write the row by hand for this platform",
        ),
        Images::Data { .. } if !within => {
            let expected = "`data:image/png;base64,...` (png, jpeg, webp)";
            found.refuse("image", field, format!("`{shown}`"), expected, "fetch the picture, and put it into the file");
        }
        Images::Anywhere if !within && !web => {
            found.refuse("image", field, format!("`{shown}`"), "an address on the web, or `data:image/png;base64,...`", "");
        }
        Images::Data { .. } | Images::Anywhere => {}
    }
}

/// The speaker's name. Of a result it is the function's, and platforms without ids need it.
fn name(map: &Map<String, Value>, field: &str, role: &str, rules: &Rules, found: &mut Found) -> Option<String> {
    let name = map.get("name").filter(|name| !name.is_null())?;
    let field = format!("{field}.name");
    let Some(name) = name.as_str() else {
        found.refuse("name", field, kind(name), "text", "");
        return None;
    };
    if role == "tool" {
        return Some(name.to_string());
    }
    if !rules.named {
        found.mended("unknown_key", field, "the speaker's name", "none; it is left out");
        return None;
    }
    if let Some((expected, fits)) = rules.names_functions()
        && !fits(name)
    {
        found.refuse("name", field, calls::shown(name), expected, "shorten it, and write _ for other characters");
    }
    Some(name.to_string())
}

fn learned(map: &Map<String, Value>, field: &str, role: &str, rules: &Rules, found: &mut Found) -> Option<bool> {
    let weight = map.get("weight").filter(|weight| !weight.is_null())?;
    let field = format!("{field}.weight");
    let learned = match weight.as_u64() {
        Some(weight @ 0..=1) => weight == 1,
        _ => {
            found.refuse("weight", field, weight.to_string(), "0 or 1", "an answer is learned, or it is not");
            return None;
        }
    };
    if role != "assistant" {
        found.mended("weight", field, format!("a weight of the role `{role}`"), "none; only answers are learned, and it is left out");
        return None;
    }
    match rules.weight {
        Weight::No if !learned => {
            let mend = "take the line out, or choose a platform that knows weights";
            found.refuse("weight", field, "0: an answer that is not to be learned", "answers that are all learned", mend);
        }
        Weight::No => found.mended("weight", field, "1", "none; all answers are learned, and it is left out"),
        Weight::Train => found.mended("weight", field, "`weight`", "`train`, false or true"),
        Weight::Whole => {}
    }
    (rules.weight != Weight::No).then_some(learned)
}

/// Who speaks after whom, and whether an answer stands at the end.
pub(super) fn order(turns: &[Turn], field: &str, rules: &Rules, found: &mut Found) {
    let mut before: Option<&str> = None;
    for (index, turn) in turns.iter().enumerate() {
        let role = turn.role.as_str();
        let field = format!("{field}[{index}].role");
        if role == "system" && index > 0 {
            if rules.order == Order::Alternate {
                found.refuse("order", field, "`system` behind the beginning", "one system prompt, first", "join it with the first one");
            }
        } else if rules.order == Order::Alternate && !follows(before, role) && rules.roles.contains(&role) {
            let expected = if before.is_none_or(|b| b == "system") { "`user`" } else { "user and assistant in turns" };
            found.refuse(
                "order",
                field,
                format!("`{role}` after {}", before.map_or("nothing".into(), |b| format!("`{b}`"))),
                expected,
                "join messages of one speaker",
            );
        }
        before = Some(role);
    }
    if !turns.iter().any(|turn| turn.role == "assistant") {
        found.refuse("no_answer", field, "no message of the assistant", "an answer to learn", "write the answer, or take the line out");
    } else if turns.iter().filter(|turn| turn.role == "assistant").all(|turn| turn.learned == Some(false)) {
        found.refuse("no_answer", field, "the weight 0 on every answer", "an answer to learn", "take the line out");
    } else if let Some(last) = turns.last().filter(|last| last.role != "assistant") {
        let level = if rules.last == Last::Must { Level::Refused } else { Level::Advice };
        let at = format!("{field}[{}].role", turns.len() - 1);
        found.add(
            level,
            "last",
            at,
            format!("`{}`", last.role),
            "`assistant` at the end",
            "write the answer, or cut what follows the last one",
        );
    }
}

fn follows(before: Option<&str>, role: &str) -> bool {
    match before {
        None | Some("system") => matches!(role, "user" | "system"),
        Some("user") | Some("tool") => role == "assistant" || (before == Some("tool") && role == "tool"),
        Some("assistant") => matches!(role, "user" | "tool"),
        // What the role is was told already.
        Some(_) => true,
    }
}

/// A message of ours as a row holds it.
pub(super) fn as_value(message: &text::Message) -> Value {
    let mut map = Map::from_iter([("role".to_string(), json!(message.role)), ("content".to_string(), json!(message.content))]);
    map.extend(message.extra.clone());
    Value::Object(map)
}
