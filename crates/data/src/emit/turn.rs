//! A conversation that has passed its checks, as the writers of the platforms take it.

use serde_json::{Map, Value, json};

/// A conversation to write.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    pub turns: Vec<Turn>,
    /// Descriptions of tools, `{"type": "function", "function": {...}}`.
    pub tools: Vec<Value>,
    pub parallel: Option<bool>,
}

/// A prompt with a better and a worse answer.
#[derive(Debug, Clone)]
pub struct Preference {
    pub prompt: Conversation,
    pub chosen: Vec<Turn>,
    pub rejected: Vec<Turn>,
}

/// One message.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    pub role: String,
    pub content: Content,
    pub calls: Vec<Call>,
    /// Whose call this result answers.
    pub answers: Option<String>,
    /// Who speaks; of a result, which function gave it.
    pub name: Option<String>,
    pub learned: Option<bool>,
}

/// What a message says.
#[derive(Debug, Clone, Default)]
pub enum Content {
    #[default]
    Nothing,
    Text(String),
    /// Texts and pictures, as OpenAI writes them.
    Parts(Vec<Value>),
}

/// One call of a function.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: Option<String>,
    pub name: String,
    pub arguments: Value,
}

impl Turn {
    /// The text alone.
    pub fn text(&self) -> String {
        match &self.content {
            Content::Nothing => String::new(),
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        }
    }

    /// As OpenAI writes it, but for the weight: `string` tells whether arguments are a string of JSON.
    pub fn to_openai(&self, string: bool) -> Map<String, Value> {
        let mut map = Map::from_iter([("role".to_string(), json!(self.role))]);
        match &self.content {
            Content::Text(text) => map.insert("content".into(), json!(text)),
            Content::Parts(parts) => map.insert("content".into(), json!(parts)),
            Content::Nothing => map.insert("content".into(), Value::Null),
        };
        map.extend(self.name.as_ref().map(|name| ("name".to_string(), json!(name))));
        if !self.calls.is_empty() {
            map.insert("tool_calls".into(), self.calls.iter().map(|call| call.to_openai(string)).collect());
        }
        map.extend(self.answers.as_ref().map(|id| ("tool_call_id".to_string(), json!(id))));
        map
    }
}

impl Call {
    fn to_openai(&self, string: bool) -> Value {
        let arguments = if string { json!(self.arguments.to_string()) } else { self.arguments.clone() };
        let mut map = Map::new();
        map.extend(self.id.as_ref().map(|id| ("id".to_string(), json!(id))));
        map.insert("type".into(), json!("function"));
        map.insert("function".into(), json!({ "name": self.name, "arguments": arguments }));
        Value::Object(map)
    }
}

impl Conversation {
    /// The system prompt and what follows it.
    pub fn parted(&self) -> (Option<&Turn>, &[Turn]) {
        match self.turns.split_first() {
            Some((first, rest)) if first.role == "system" => (Some(first), rest),
            _ => (None, &self.turns),
        }
    }
}
