//! Amazon Bedrock: Nova's rows in the Converse format. Claude 3 Haiku, the other model that could be tuned, ended on 10 September 2026.

use serde_json::{Map, Value, json};

use super::rules::{Count, Images, Last, Order, Rules, Tools, Weight};
use super::turn::{Conversation, Preference, Turn};

pub const RULES: Rules = Rules {
    name: "bedrock",
    title: "Amazon Bedrock, Nova",
    sources: &[
        "https://docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html",
        "https://docs.aws.amazon.com/bedrock/latest/userguide/nova-2-sft-data-prep.html",
        "https://docs.aws.amazon.com/sagemaker/latest/dg/nova-fine-tuning-training-job.html (preferences)",
    ],
    read_on: "2026-11-29",
    examples: Count { least: 1, advised: 100, most: None },
    bytes: None,
    // Quotas differ by model and region; `--max-tokens` names the one that holds.
    tokens: None,
    roles: &["system", "user", "assistant"],
    order: Order::Alternate,
    last: Last::Must,
    // The format knows them; a job on them may fail.
    tools: Tools::No,
    weight: Weight::No,
    images: Images::No,
    parallel: false,
    named: false,
    texts: false,
    own: &["schemaVersion", "system"],
    reserved: &["User:", "Bot:", "Assistant:", "System:", "<image>", "<video>", "[EOS]"],
    mark: false,
    chat,
    pair,
    usage: "copy it to S3; its name may hold letters, digits, _, -, / and . only",
};

fn chat(conversation: &Conversation) -> Value {
    let (system, turns) = conversation.parted();
    row(system, turns.iter().map(message).collect())
}

fn pair(preference: &Preference) -> Value {
    let (system, turns) = preference.prompt.parted();
    let candidate = |answer: &[Turn], label: &str| json!({ "content": parts(&answer[0]), "preferenceLabel": label });
    let candidates = [candidate(&preference.chosen, "preferred"), candidate(&preference.rejected, "non-preferred")];
    let mut messages: Vec<Value> = turns.iter().map(message).collect();
    messages.push(json!({ "role": "assistant", "candidates": candidates }));
    row(system, messages)
}

fn row(system: Option<&Turn>, messages: Vec<Value>) -> Value {
    let mut row = Map::from_iter([("schemaVersion".to_string(), json!("bedrock-conversation-2024"))]);
    row.extend(system.map(|system| ("system".to_string(), parts(system))));
    row.insert("messages".into(), json!(messages));
    Value::Object(row)
}

fn message(turn: &Turn) -> Value {
    json!({ "role": turn.role, "content": parts(turn) })
}

fn parts(turn: &Turn) -> Value {
    json!([{ "text": turn.text() }])
}
