//! Vertex AI: Gemini's rows for supervised and preference tuning.

use serde_json::{Map, Value, json};

use super::rules::{Count, Images, Last, Order, Rules, Tools, Weight};
use super::turn::{Conversation, Preference, Turn};

pub const RULES: Rules = Rules {
    name: "vertex",
    title: "Vertex AI, Gemini",
    sources: &[
        "https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare",
        "https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning",
        "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-preference-tuning-prepare",
    ],
    read_on: "2026-11-29",
    examples: Count { least: 1, advised: 100, most: Some(1_000_000) },
    bytes: Some(1 << 30),
    // Of Gemini 2.5.
    tokens: Some(131_072),
    roles: &["system", "user", "assistant", "tool"],
    order: Order::Alternate,
    last: Last::Must,
    tools: Tools::Parts,
    weight: Weight::No,
    // Pictures lie in Cloud Storage there.
    images: Images::No,
    parallel: false,
    named: false,
    texts: false,
    own: &[],
    reserved: &[],
    mark: false,
    chat,
    pair,
    usage: "copy it to Cloud Storage, and name it in the tuning job",
};

fn chat(conversation: &Conversation) -> Value {
    Value::Object(row(conversation))
}

fn pair(preference: &Preference) -> Value {
    let completion = |answer: &[Turn], score: u8| json!({ "score": score, "completion": contents(answer)[0] });
    let mut row = row(&preference.prompt);
    row.insert("completions".into(), json!([completion(&preference.chosen, 1), completion(&preference.rejected, 0)]));
    Value::Object(row)
}

fn row(conversation: &Conversation) -> Map<String, Value> {
    let (system, turns) = conversation.parted();
    let mut row = Map::new();
    row.extend(system.map(|system| ("systemInstruction".to_string(), json!({ "role": "system", "parts": [{ "text": system.text() }] }))));
    row.insert("contents".into(), json!(contents(turns)));
    if !conversation.tools.is_empty() {
        let functions: Vec<&Value> = conversation.tools.iter().map(|tool| &tool["function"]).collect();
        row.insert("tools".into(), json!([{ "functionDeclarations": functions }]));
    }
    row
}

/// The turns; results of calls that were made together stand in one.
fn contents(turns: &[Turn]) -> Vec<Value> {
    let mut contents: Vec<Value> = Vec::new();
    let mut results: Vec<Value> = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        if turn.role == "tool" {
            results.push(result(turn));
            if turns.get(index + 1).is_none_or(|next| next.role != "tool") {
                contents.push(json!({ "role": "user", "parts": std::mem::take(&mut results) }));
            }
            continue;
        }
        let text = turn.text();
        let said = (!text.is_empty()).then(|| json!({ "text": text }));
        let calls = turn.calls.iter().map(|call| json!({ "functionCall": { "name": call.name, "args": call.arguments } }));
        let role = if turn.role == "assistant" { "model" } else { "user" };
        contents.push(json!({ "role": role, "parts": said.into_iter().chain(calls).collect::<Vec<_>>() }));
    }
    contents
}

/// The platform takes objects only; a text is put into one.
fn result(turn: &Turn) -> Value {
    let text = turn.text();
    let response = match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(object)) => Value::Object(object),
        _ => json!({ "result": text }),
    };
    json!({ "functionResponse": { "name": turn.name, "response": response } })
}
