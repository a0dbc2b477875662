//! The texts of a row: every string that somebody wrote, in order, also inside of JSON that is written as a string.

use serde_json::Value;

/// Fields whose strings are names of things of the data itself.
const STRUCTURE: [&str; 14] =
    ["id", "role", "from", "type", "tool_call_id", "at", "source", "weight", "finish_reason", "file", "line", "what", "split", "format"];

/// Whether the strings below a field are structure, not text.
pub(crate) fn is_structure(key: &str) -> bool {
    STRUCTURE.contains(&key)
}

/// One text and the field that it is in.
pub(crate) struct Spoken<'a> {
    pub key: &'a str,
    pub text: &'a str,
}

/// Calls back for every text of a row.
pub(crate) fn spoken(row: &Value, each: &mut dyn FnMut(Spoken)) {
    walk("", row, each);
}

fn walk(key: &str, value: &Value, each: &mut dyn FnMut(Spoken)) {
    match value {
        Value::String(text) => match json_inside(text) {
            Some(inner) => walk(key, &inner, each),
            None => each(Spoken { key, text }),
        },
        Value::Array(items) => items.iter().for_each(|item| walk(key, item, each)),
        Value::Object(map) => {
            for (name, value) in map.iter().filter(|(name, _)| !is_structure(name)) {
                // The name of a function is no person's.
                if name == "name" && (map.contains_key("arguments") || map.contains_key("parameters") || map.contains_key("role")) {
                    continue;
                }
                walk(name, value, each);
            }
        }
        Value::Number(number) if number.is_u64() && number.as_u64() >= Some(1000) => each(Spoken { key, text: &number.to_string() }),
        _ => {}
    }
}

/// The JSON object or list that a string is, as tool calls and strict answers are written.
pub(crate) fn json_inside(text: &str) -> Option<Value> {
    let trimmed = text.trim();
    let enclosed = trimmed.starts_with('{') && trimmed.ends_with('}') || trimmed.starts_with('[') && trimmed.ends_with(']');
    enclosed.then(|| serde_json::from_str::<Value>(trimmed).ok()).flatten().filter(|value| value.is_object() || value.is_array())
}

/// How many messages the conversation of a row has; one or two where it is a question with its answer.
pub(crate) fn turns(row: &Value) -> usize {
    ["messages", "conversations"].iter().filter_map(|field| row.get(field)?.as_array()).map(Vec::len).max().unwrap_or(1)
}
