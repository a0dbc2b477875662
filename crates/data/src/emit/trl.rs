//! TRL: its conversational format for SFTTrainer and DPOTrainer.

use serde_json::{Map, Value, json};

use super::rules::{Count, Images, Last, Order, Rules, Tools, Weight};
use super::turn::{Conversation, Preference, Turn};

pub const RULES: Rules = Rules {
    name: "trl",
    title: "TRL",
    sources: &["https://huggingface.co/docs/trl/dataset_formats", "trl 0.29 (docs/source/dataset_formats.md)"],
    read_on: "2026-11-23",
    examples: Count { least: 1, advised: 50, most: None },
    bytes: None,
    tokens: None,
    // What the model's template knows, which are these for most.
    roles: &["system", "user", "assistant", "tool"],
    order: Order::Free,
    last: Last::Advised,
    tools: Tools::Object,
    weight: Weight::No,
    images: Images::No,
    parallel: false,
    named: true,
    texts: true,
    own: &[],
    reserved: &[],
    mark: false,
    chat,
    pair,
    usage: "load_dataset(\"json\", data_files=FILE), then SFTConfig(assistant_only_loss=True) to learn the answers alone",
};

/// Rows of a file need not have the same arguments, so calls and tools are written as Arrow can take them: tools as a string.
pub(super) fn chat(conversation: &Conversation) -> Value {
    let mut row = Map::from_iter([("messages".to_string(), plain(&conversation.turns))]);
    around(&mut row, conversation);
    Value::Object(row)
}

fn pair(preference: &Preference) -> Value {
    let mut row = Map::from_iter([
        ("prompt".to_string(), plain(&preference.prompt.turns)),
        ("chosen".to_string(), plain(&preference.chosen)),
        ("rejected".to_string(), plain(&preference.rejected)),
    ]);
    around(&mut row, &preference.prompt);
    Value::Object(row)
}

fn plain(turns: &[Turn]) -> Value {
    turns.iter().map(|turn| Value::Object(turn.to_openai(false))).collect()
}

fn around(row: &mut Map<String, Value>, conversation: &Conversation) {
    if !conversation.tools.is_empty() {
        row.insert("tools".into(), json!(Value::Array(conversation.tools.clone()).to_string()));
    }
}
