//! Any other system: a mapping says where in its JSON a ticket's parts lie.

use super::{Message, Ticket, time, word};
use crate::conversation::Side;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Paths are names with dots between them; a number is a place in a list. Those of a message begin at the message.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Where the list of tickets lies; without it the file is the list, or holds one ticket a line.
    pub tickets: Option<String>,
    /// The ticket's id.
    pub id: String,
    pub subject: Option<String>,
    /// The ticket's own text, said by a customer before all messages.
    pub first: Option<String>,
    /// When that was.
    pub first_time: Option<String>,
    /// The list of messages.
    pub messages: String,
    /// The text of a message.
    pub text: String,
    /// What tells agents from customers.
    pub role: String,
    /// Values of `role` that are agents; one that begins with `@` is a domain.
    pub agents: Vec<String>,
    /// Values that are customers; without them all others are.
    pub customers: Option<Vec<String>>,
    pub time: Option<String>,
    pub author: Option<String>,
    /// True on private notes.
    pub private: Option<String>,
    /// True on what customers may read; anything else is a private note.
    pub public: Option<String>,
}

impl Mapping {
    /// Reads a mapping from TOML, or from JSON if it begins with `{`.
    pub fn parse(text: &str) -> Result<Mapping, Error> {
        let wrong = |what: String| Error::Mapping { what };
        let mapping: Mapping = match text.trim_start().starts_with('{') {
            true => serde_json::from_str(text).map_err(|cause| wrong(cause.to_string()))?,
            false => toml::from_str(text).map_err(|cause| wrong(cause.to_string()))?,
        };
        mapping.checked()
    }

    /// The mapping, if it can work.
    pub fn checked(self) -> Result<Mapping, Error> {
        let paths = [Some(&self.id), Some(&self.messages), Some(&self.text), Some(&self.role), self.tickets.as_ref(), self.time.as_ref()];
        if let Some(path) = paths.into_iter().flatten().find(|path| path.split('.').any(str::is_empty)) {
            return Err(Error::Mapping {
                what: format!("{path:?} is no path: expected names with dots between them, such as `author.type`"),
            });
        }
        if self.agents.is_empty() {
            return Err(Error::Mapping { what: "`agents` is empty: expected the values of `role` that are agents".to_string() });
        }
        if self.private.is_some() && self.public.is_some() {
            return Err(Error::Mapping { what: "`private` and `public` are both given: expected one of them".to_string() });
        }
        Ok(self)
    }

    /// A ticket by this mapping.
    pub(super) fn ticket(&self, value: &Value) -> Result<Ticket, String> {
        let missing = |path: &str, what: &str| format!("no `{path}`: expected {what}");
        let id = word(at(value, &self.id)).ok_or_else(|| missing(&self.id, "the ticket's id, text or number"))?;
        let list = at(value, &self.messages).and_then(Value::as_array).ok_or_else(|| missing(&self.messages, "a list of messages"))?;
        let mut messages = Vec::new();
        if let Some(text) = self.first.as_deref().and_then(|path| word(at(value, path))) {
            let when = self.first_time.as_deref().and_then(|path| time(at(value, path)));
            messages.push(Message { id: Some("first".into()), side: Some(Side::Customer), text, at: when, ..Message::default() });
        }
        messages.extend(list.iter().enumerate().map(|(n, message)| self.message(message, n + 1)));
        Ok(Ticket { id, subject: self.subject.as_deref().and_then(|path| word(at(value, path))), messages })
    }

    fn message(&self, value: &Value, number: usize) -> Message {
        let get = |path: &Option<String>| path.as_deref().and_then(|path| at(value, path));
        let hidden = get(&self.private).is_some_and(truthy) || (self.public.is_some() && !get(&self.public).is_some_and(truthy));
        let role = at(value, &self.role).and_then(|role| match role {
            Value::Bool(yes) => Some(yes.to_string()),
            other => word(Some(other)),
        });
        let side = role.as_deref().and_then(|role| self.side(role));
        let left = match (hidden, &role, side) {
            (true, _, _) => Some("a private note".to_string()),
            (_, None, _) => Some(format!("no `{}`: expected who says this", self.role)),
            (_, Some(role), None) => {
                Some(format!("`{}` is {role:?}: neither one of the agents nor of the customers of the mapping", self.role))
            }
            _ => None,
        };
        let text = word(at(value, &self.text));
        let left = left.or_else(|| text.is_none().then(|| format!("no `{}`: expected its text", self.text)));
        let author = get(&self.author).and_then(|author| word(Some(author))).or(role);
        Message {
            id: word(value.get("id")).or(Some(number.to_string())),
            side,
            left,
            text: text.unwrap_or_default(),
            at: time(get(&self.time)),
            author,
            attached: Vec::new(),
        }
    }

    fn side(&self, role: &str) -> Option<Side> {
        let is = |names: &[String]| {
            names.iter().any(|name| {
                let domain = name.starts_with('@') && role.to_lowercase().ends_with(&name.to_lowercase());
                domain || name.eq_ignore_ascii_case(role)
            })
        };
        if is(&self.agents) {
            return Some(Side::Agent);
        }
        self.customers.as_ref().is_none_or(|customers| is(customers)).then_some(Side::Customer)
    }
}

fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| match value {
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        other => other.get(name),
    })
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.to_lowercase().as_str(), "" | "false" | "no" | "0"),
        _ => false,
    }
}
