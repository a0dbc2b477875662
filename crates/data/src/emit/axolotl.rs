//! Axolotl: its `chat_template` format, and `chat_template.default` for DPO.

use serde_json::{Map, Value, json};

use super::rules::{Rules, Weight};
use super::trl;
use super::turn::{Conversation, Preference, Turn};

pub const RULES: Rules = Rules {
    name: "axolotl",
    title: "Axolotl",
    sources: &[
        "https://docs.axolotl.ai/docs/dataset-formats/conversation.html",
        "https://docs.axolotl.ai/docs/rlhf.html (DPO, chat_template.default)",
    ],
    read_on: "2026-11-29",
    weight: Weight::Train,
    chat,
    pair,
    usage: "datasets: [{path: FILE, type: chat_template, message_field_training: train}]; of pairs {type: chat_template.default}",
    ..trl::RULES
};

fn chat(conversation: &Conversation) -> Value {
    let mut row = trl::chat(conversation);
    if let Some(Value::Array(messages)) = row.get_mut("messages") {
        for (message, turn) in messages.iter_mut().zip(&conversation.turns) {
            if let (Value::Object(message), Some(learned)) = (message, turn.learned) {
                message.insert("train".into(), json!(learned));
            }
        }
    }
    row
}

fn pair(preference: &Preference) -> Value {
    let plain = |turn: &Turn| Value::Object(turn.to_openai(false));
    let mut row = Map::from_iter([
        ("messages".to_string(), preference.prompt.turns.iter().map(plain).collect()),
        ("chosen".to_string(), plain(&preference.chosen[0])),
        ("rejected".to_string(), plain(&preference.rejected[0])),
    ]);
    if !preference.prompt.tools.is_empty() {
        row.insert("tools".into(), json!(Value::Array(preference.prompt.tools.clone()).to_string()));
    }
    Value::Object(row)
}
