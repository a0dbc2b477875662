//! One message of a conversation, as the template sees it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Names under which datasets store the reasoning before an answer; the first is the one that templates read.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A message: who speaks, what is said, and every other field as it was found (tool calls, reasoning, name).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// The text. Empty where only tool calls stand; `extra["content"] = null` then keeps the null for the template.
    pub content: String,
    /// All other fields; an entry here named `role` or `content` wins over the field when the template is run.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A plain message without other fields.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_string(), content: content.to_string(), extra: Map::new() }
    }

    /// A message of the role `system`.
    pub fn system(content: &str) -> Self {
        Self::new("system", content)
    }

    /// A message of the role `user`.
    pub fn user(content: &str) -> Self {
        Self::new("user", content)
    }

    /// A message of the role `assistant`.
    pub fn assistant(content: &str) -> Self {
        Self::new("assistant", content)
    }

    /// Whether this is an answer to learn: an assistant message that is not switched off by `"weight": 0`,
    /// the field that hosted fine-tuning services use for that.
    pub fn is_answer(&self) -> bool {
        let off = self.extra.get("weight").and_then(Value::as_f64) == Some(0.0);
        self.role == "assistant" && !off
    }

    /// The message as a map for the template. Reasoning is offered under the name that templates read.
    pub(crate) fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("role".into(), self.role.clone().into());
        map.insert("content".into(), self.content.clone().into());
        for (key, value) in &self.extra {
            map.insert(key.clone(), value.clone());
        }
        let reasoning = REASONING.iter().find_map(|name| map.get(*name).filter(|value| !value.is_null()).cloned());
        if let Some(reasoning) = reasoning {
            map.entry("thinking").or_insert_with(|| reasoning.clone());
            map.insert(REASONING[0].into(), reasoning);
        }
        Value::Object(map)
    }
}
