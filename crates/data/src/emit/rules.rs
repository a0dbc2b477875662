//! A platform as a table: what it takes, in which order, how much, and where that is written.

use serde_json::Value;

use super::turn::{Conversation, Preference};

/// The rules of one platform.
pub struct Rules {
    /// As `--to` names it.
    pub name: &'static str,
    pub title: &'static str,
    /// Where the rules stand.
    pub sources: &'static [&'static str],
    /// The day on which the sources were read.
    pub read_on: &'static str,
    pub examples: Count,
    /// Largest file in bytes.
    pub bytes: Option<u64>,
    /// Most tokens of an example.
    pub tokens: Option<usize>,
    pub roles: &'static [&'static str],
    pub order: Order,
    pub last: Last,
    pub tools: Tools,
    pub weight: Weight,
    pub images: Images,
    /// Whether the field `parallel_tool_calls` is known.
    pub parallel: bool,
    /// Whether a message may have a `name`.
    pub named: bool,
    /// Whether rows of plain text, `{"text": "..."}`, are taken.
    pub texts: bool,
    /// Fields of a row beside `messages` that the platform itself wants.
    pub own: &'static [&'static str],
    /// Words that no prompt may hold.
    pub reserved: &'static [&'static str],
    /// Whether the file begins with a byte order mark.
    pub mark: bool,
    pub chat: fn(&Conversation) -> Value,
    pub pair: fn(&Preference) -> Value,
    /// What to say after writing: how the platform is told to read the file.
    pub usage: &'static str,
}

/// How many examples.
pub struct Count {
    pub least: usize,
    /// Fewer are taken, and seldom enough.
    pub advised: usize,
    pub most: Option<usize>,
}

/// Who speaks after whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The system first, then anyone.
    Free,
    /// The system first, then a user, then in turns; the results of tools stand between two messages of the assistant.
    Alternate,
}

/// Whether a conversation ends with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    Must,
    Advised,
}

/// Calls of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tools {
    No,
    /// As OpenAI writes them: ids, and arguments as a string of JSON.
    Text,
    /// Arguments as an object; ids are not needed.
    Object,
    /// Gemini's parts: objects, no ids, results by the function's name.
    Parts,
}

/// How a row says that an answer is read and not learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It cannot.
    No,
    /// The field `weight`, 0 or 1.
    Whole,
    /// The field `train`, false or true.
    Train,
}

/// Pictures in a user's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// Not written here.
    No,
    /// Inside of the file: `data:image/png;base64,...`, so many of them.
    Data { most: usize },
    /// That, or an address on the web.
    Anywhere,
}

/// Whether a name may stand.
pub(super) type Fits = fn(&str) -> bool;

impl Rules {
    /// Whether messages keep a list of parts, because pictures may stand between texts.
    pub(super) fn keeps_parts(&self) -> bool {
        self.images != Images::No
    }

    /// Whether names of functions are checked, and how.
    pub(super) fn names_functions(&self) -> Option<(&'static str, Fits)> {
        match self.tools {
            Tools::Text => Some(("1 to 64 of a-z, A-Z, 0-9, _ and -", plain_name)),
            Tools::Parts => Some(("a letter or _, then up to 63 of a-z, A-Z, 0-9, _, . and -", dotted_name)),
            Tools::No | Tools::Object => None,
        }
    }
}

fn plain_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(fits)
}

fn dotted_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && plain_name(&name.replace('.', "_"))
}
