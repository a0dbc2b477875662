//! Pairs as hosted platforms want them: OpenAI's `preferred_output`, Gemini's `completions`, Nova's `candidates`, Axolotl's `messages`.

use serde_json::{Map, Value};
use text::Message;

use crate::error::Fault;
use crate::read::shape;

/// Whether a row holds a better and a worse answer, in any spelling.
pub(crate) fn is_pair(row: &Value) -> bool {
    let has = |field: &str| row.get(field).is_some();
    has("chosen") && has("rejected")
        || has("preferred_output") && has("non_preferred_output")
        || has("contents") && has("completions")
        || candidates(row.get("messages")).is_some()
}

fn candidates(messages: Option<&Value>) -> Option<&Vec<Value>> {
    messages?.as_array()?.last()?.get("candidates")?.as_array()
}

/// Gives a row of a hosted platform the names `prompt`, `chosen` and `rejected`.
pub(crate) fn renamed(row: &mut Map<String, Value>) -> Result<(), Fault> {
    if let (Some(chosen), Some(rejected)) = (row.shift_remove("preferred_output"), row.shift_remove("non_preferred_output")) {
        if let Some(Value::Object(mut input)) = row.shift_remove("input") {
            row.extend(input.shift_remove("messages").map(|messages| ("prompt".to_string(), messages)));
            row.extend(input);
        }
        row.extend([("chosen".to_string(), chosen), ("rejected".to_string(), rejected)]);
    } else if row.contains_key("contents") && row.contains_key("completions") {
        completions(row)?;
    } else if let Some(answers) = candidates(row.get("messages")).cloned() {
        labelled(row, &answers);
    } else if row.contains_key("chosen")
        && !row.contains_key("prompt")
        && let Some(messages) = row.shift_remove("messages")
    {
        row.insert("prompt".into(), messages);
    }
    Ok(())
}

/// Gemini: two completions with scores. The prompt's messages are written as everybody else writes them.
fn completions(row: &mut Map<String, Value>) -> Result<(), Fault> {
    let both = row.shift_remove("completions");
    let shape::Row { messages, tools, tags } = shape::row(Value::Object(std::mem::take(row)))?;
    *row = tags;
    row.insert("prompt".into(), messages.iter().map(as_value).collect());
    row.extend(tools.map(|tools| ("tools".to_string(), tools)));
    for answer in both.as_ref().and_then(Value::as_array).into_iter().flatten() {
        let name = if answer["score"].as_f64() == Some(1.0) { "chosen" } else { "rejected" };
        let turns = Map::from_iter([("contents".to_string(), Value::Array(vec![answer["completion"].clone()]))]);
        let shape::Row { messages, .. } = shape::row(Value::Object(turns))?;
        row.insert(name.into(), messages.iter().map(as_value).collect());
    }
    Ok(())
}

fn as_value(message: &Message) -> Value {
    let mut map =
        Map::from_iter([("role".to_string(), message.role.clone().into()), ("content".to_string(), message.content.clone().into())]);
    map.extend(message.extra.clone());
    Value::Object(map)
}

/// Nova: the last message holds the candidates, each with its label.
fn labelled(row: &mut Map<String, Value>, answers: &[Value]) {
    let Some(Value::Array(mut messages)) = row.shift_remove("messages") else { return };
    messages.pop();
    row.insert("prompt".into(), Value::Array(messages));
    for answer in answers {
        let name = if answer["preferenceLabel"] == "preferred" { "chosen" } else { "rejected" };
        let message = Map::from_iter([("role".to_string(), "assistant".into()), ("content".to_string(), answer["content"].clone())]);
        row.insert(name.into(), Value::Array(vec![Value::Object(message)]));
    }
}
