//! One setting's value, between TOML text and the typed recipe.

use serde_json::Value as Json;
use toml::de::DeValue;

/// A value as it stands in a recipe.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Whole(i64),
    Real(f64),
    Flag(bool),
    List(Vec<Value>),
    /// Keys and values, in the order of the keys.
    Table(Vec<(String, Value)>),
    /// An optional key that is not set; written as absence.
    Unset,
    /// A kind that no key takes, by its name.
    Other(&'static str),
}

/// Why a value was refused; the caller knows where it stood.
#[derive(Debug)]
pub(super) enum Refusal {
    Type(String),
    Range(String),
}

impl Value {
    /// From TOML.
    pub(super) fn of(value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(whole) => Value::Whole(whole),
                Err(_) => Value::Other("a number beyond 64 bits"),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(real) => Value::Real(real),
                Err(_) => Value::Other("a number that cannot be read"),
            },
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(items.iter().map(|item| Value::of(item.get_ref())).collect()),
            DeValue::Table(entries) => {
                let mut entries: Vec<_> =
                    entries.iter().map(|(key, item)| (key.get_ref().to_string(), Value::of(item.get_ref()))).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Value::Table(entries)
            }
        }
    }

    /// As TOML; an unset value reads `none`.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Value::Text(text) => toml::Value::String(text.clone()).to_string(),
            Value::Whole(whole) => whole.to_string(),
            // The shortest text that reads back as the same bits, and a valid TOML float.
            Value::Real(real) => format!("{real:?}"),
            Value::Flag(flag) => flag.to_string(),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Value::to_toml).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Table(entries) => {
                let entry = |(key, item): &(String, Value)| format!("{} = {}", toml::Value::String(key.clone()), item.to_toml());
                let entries: Vec<String> = entries.iter().map(entry).collect();
                if entries.is_empty() { "{}".to_string() } else { format!("{{ {} }}", entries.join(", ")) }
            }
            Value::Unset => "none".to_string(),
            Value::Other(kind) => (*kind).to_string(),
        }
    }

    /// For the fingerprint.
    pub(super) fn to_json(&self) -> Json {
        match self {
            Value::Text(text) => Json::from(text.clone()),
            Value::Whole(whole) => Json::from(*whole),
            Value::Real(real) => Json::from(*real),
            Value::Flag(flag) => Json::from(*flag),
            Value::List(items) => Json::Array(items.iter().map(Value::to_json).collect()),
            Value::Table(entries) => Json::Object(entries.iter().map(|(key, item)| (key.clone(), item.to_json())).collect()),
            Value::Unset | Value::Other(_) => Json::Null,
        }
    }

    /// Kind and content, as a message shows it.
    pub(super) fn described(&self) -> String {
        match self {
            Value::Text(_) => format!("the text {}", self.to_toml()),
            Value::List(items) if items.is_empty() => "an empty list".to_string(),
            Value::List(_) => format!("the list {}", self.to_toml()),
            Value::Table(_) => "a table".to_string(),
            _ => self.to_toml(),
        }
    }

    pub(super) fn whole(&self, low: u64, high: u64) -> Result<u64, Refusal> {
        let wanted = || format!("a whole number from {low} to {high}");
        match self {
            Value::Whole(found) => match u64::try_from(*found) {
                Ok(found) if (low..=high).contains(&found) => Ok(found),
                _ => Err(Refusal::Range(wanted())),
            },
            _ => Err(Refusal::Type(wanted())),
        }
    }

    /// A number for which `fits` holds; `wanted` says so in words.
    pub(super) fn real(&self, wanted: &str, fits: fn(f64) -> bool) -> Result<f64, Refusal> {
        let found = match self {
            Value::Real(real) => *real,
            // A whole number of a recipe is far below 2^53, so this is exact.
            Value::Whole(whole) => *whole as f64,
            _ => return Err(Refusal::Type(wanted.to_string())),
        };
        if found.is_finite() && fits(found) { Ok(found) } else { Err(Refusal::Range(wanted.to_string())) }
    }

    pub(super) fn flag(&self) -> Result<bool, Refusal> {
        match self {
            Value::Flag(flag) => Ok(*flag),
            _ => Err(Refusal::Type("true or false".to_string())),
        }
    }

    /// Text that is not empty.
    pub(super) fn text(&self, wanted: &str) -> Result<String, Refusal> {
        match self {
            Value::Text(text) if !text.trim().is_empty() => Ok(text.clone()),
            Value::Text(_) => Err(Refusal::Range(wanted.to_string())),
            _ => Err(Refusal::Type(wanted.to_string())),
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Refusal> {
        let wanted = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let Value::Text(found) = self else {
            return Err(Refusal::Type(wanted));
        };
        let hit = words.iter().find(|(word, _)| word == found);
        hit.map(|(_, value)| *value).ok_or(Refusal::Range(wanted))
    }
}
