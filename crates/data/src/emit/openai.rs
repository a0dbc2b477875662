//! OpenAI: chat and preference files for supervised fine-tuning and DPO.
//!
//! The platform is being wound down: since 7 May 2026 it takes no new users, and from 6 January 2027 no new jobs.

use serde_json::{Map, Value, json};

use super::rules::{Count, Images, Last, Order, Rules, Tools, Weight};
use super::turn::{Conversation, Preference, Turn};

pub const RULES: Rules = Rules {
    name: "openai",
    title: "OpenAI fine-tuning",
    sources: &[
        "https://developers.openai.com/api/docs/guides/supervised-fine-tuning",
        "https://developers.openai.com/api/docs/guides/vision-fine-tuning",
        "https://github.com/openai/openai-openapi (FineTuneChatRequestInput, FineTunePreferenceRequestInput)",
    ],
    read_on: "2026-11-23",
    examples: Count { least: 10, advised: 50, most: None },
    bytes: Some(512 << 20),
    // The training context of gpt-4o and gpt-4.1; what is longer is cut without a word.
    tokens: Some(65_536),
    roles: &["system", "user", "assistant", "tool"],
    order: Order::Free,
    last: Last::Must,
    tools: Tools::Text,
    weight: Weight::Whole,
    images: Images::Anywhere,
    parallel: true,
    named: true,
    texts: false,
    own: &[],
    reserved: &[],
    mark: false,
    chat,
    pair,
    usage: "upload it with purpose fine-tune",
};

/// `{"messages": [...], "tools": [...], "parallel_tool_calls": ...}`.
pub(super) fn chat(conversation: &Conversation) -> Value {
    let mut row = Map::from_iter([("messages".to_string(), conversation.turns.iter().map(weighed).collect())]);
    around(&mut row, conversation);
    Value::Object(row)
}

/// `{"input": {"messages": [...], ...}, "preferred_output": [...], "non_preferred_output": [...]}`.
pub(super) fn pair(preference: &Preference) -> Value {
    let plain = |turns: &[Turn]| turns.iter().map(|turn| Value::Object(turn.to_openai(true))).collect::<Vec<_>>();
    let mut input = Map::from_iter([("messages".to_string(), json!(plain(&preference.prompt.turns)))]);
    around(&mut input, &preference.prompt);
    json!({ "input": input, "preferred_output": plain(&preference.chosen), "non_preferred_output": plain(&preference.rejected) })
}

fn weighed(turn: &Turn) -> Value {
    let mut map = turn.to_openai(true);
    map.extend(turn.learned.map(|learned| ("weight".to_string(), json!(u8::from(learned)))));
    Value::Object(map)
}

fn around(row: &mut Map<String, Value>, conversation: &Conversation) {
    if !conversation.tools.is_empty() {
        row.insert("tools".into(), json!(conversation.tools));
    }
    row.extend(conversation.parallel.map(|parallel| ("parallel_tool_calls".to_string(), json!(parallel))));
}
