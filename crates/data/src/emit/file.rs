//! A whole file against a platform's rules, and the lines to write.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::calls;
use super::message::{as_value, messages, order};
use super::pair::preference;
use super::rules::Rules;
use super::tokens::at_least;
use super::turn::Conversation;
use super::violation::{Found, Level, Violation};
use crate::example::Source;
use crate::pairs::is_pair;
use crate::read::{rows, shape};

/// The fields of a row of conversation that are judged one by one.
const KNOWN: [&str; 3] = ["messages", "tools", "parallel_tool_calls"];

/// What the caller adds to a platform's rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Most tokens of an example, in place of the platform's own limit.
    pub max_tokens: Option<usize>,
}

/// A judged file.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// Rows that were read.
    pub rows: usize,
    /// The rows that the platform takes, ready to be written.
    pub good: Vec<Row>,
    /// Lines of the rows that it does not take.
    pub bad: Vec<u32>,
    /// Everything, in the order of lines; what is about the whole file comes first.
    pub violations: Vec<Violation>,
}

/// A row to write.
#[derive(Debug, Clone)]
pub struct Row {
    /// Where it stood.
    pub line: u32,
    pub text: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Chat,
    Pair,
    Text,
}

impl Emitted {
    /// Whether anything stands in the way of writing.
    pub fn refused(&self) -> usize {
        self.violations.iter().filter(|v| v.level == Level::Refused).count()
    }

    /// The file's bytes.
    pub fn bytes(&self, rules: &Rules) -> Vec<u8> {
        let mut bytes = if rules.mark { b"\xEF\xBB\xBF".to_vec() } else { Vec::new() };
        for row in &self.good {
            bytes.extend_from_slice(row.text.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }

    /// Leaves the bad rows out; what remains is what the good ones as a file are still refused for.
    pub fn without_bad(mut self, rules: &Rules) -> Emitted {
        self.violations.retain(|v| v.level != Level::Refused && v.line.is_some_and(|line| !self.bad.contains(&line)));
        let whole = whole(&self.good, self.good.len(), rules);
        self.violations.splice(0..0, whole);
        self
    }
}

/// Judges a file's content; `path` is only told in sources.
pub fn emit(bytes: &[u8], path: &Path, rules: &Rules, options: Options) -> Emitted {
    let mut violations = Vec::new();
    if let Some(found) = rows::foreign_encoding(bytes) {
        let mend = format!("convert it: iconv -f UTF-16 -t UTF-8 {}", path.display());
        violations.push(of_file(Level::Refused, "encoding", format!("text in {found}"), "UTF-8".into(), &mend));
        return Emitted { rows: 0, good: Vec::new(), bad: Vec::new(), violations };
    }
    if bytes.starts_with(b"\xEF\xBB\xBF") && !rules.mark {
        violations.push(of_file(Level::Mended, "byte_order_mark", "a byte order mark".into(), "none; it is left out".into(), ""));
    }
    let rows = rows::rows(bytes);
    let count = rows.len();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let mut seen: HashMap<String, u32> = HashMap::new();
    for row in rows {
        let before = violations.len();
        let mut found = Found { line: row.line, all: &mut violations };
        let written = match row.value {
            Ok(value) => judge(value, path, rules, options, &mut found),
            Err(fault) => {
                let encoding = matches!(fault, crate::Fault::NotUtf8 { .. });
                let (rule, expected) = if encoding { ("encoding", "UTF-8") } else { ("json", "one JSON object") };
                found.refuse(rule, "", fault.to_string(), expected, "mend the line, or take it out");
                None
            }
        };
        let refused = violations[before..].iter().any(|v| v.level == Level::Refused);
        match written {
            Some((kind, text)) if !refused => {
                let first = *seen.entry(text.clone()).or_insert(row.line);
                if first != row.line {
                    let mut found = Found { line: row.line, all: &mut violations };
                    found.add(
                        Level::Advice,
                        "duplicate",
                        "",
                        format!("the same as line {first}"),
                        "each example once",
                        "take one of them out",
                    );
                }
                good.push(Row { line: row.line, text, kind });
            }
            _ => bad.push(row.line),
        }
    }
    let whole = whole(&good, count, rules);
    let mut violations = gathered(violations);
    violations.splice(0..0, whole);
    Emitted { rows: count, good, bad, violations }
}

/// What is wrong with one row, and the row as it is written.
fn judge(value: Value, path: &Path, rules: &Rules, options: Options, found: &mut Found) -> Option<(Kind, String)> {
    let Value::Object(row) = &value else {
        found.refuse("json", "", shape::kind(&value), "one JSON object", "mend the line, or take it out");
        return None;
    };
    if is_pair(&value) {
        let source = Source { file: path.to_path_buf(), line: found.line };
        let preference = preference(value, source, rules, found)?;
        let length = [&preference.prompt.turns, &preference.chosen].into_iter().flatten().map(|turn| at_least(&turn.text())).sum();
        too_long(length, rules, options, found);
        let refused = found.all.iter().rev().take_while(|v| v.line == Some(found.line)).any(|v| v.level == Level::Refused);
        return (!refused).then(|| (Kind::Pair, (rules.pair)(&preference).to_string()));
    }
    if let Some(text) = row.get("text").and_then(Value::as_str).filter(|_| !row.contains_key("messages")) {
        if !rules.texts {
            found.refuse("messages", "text", "a text without a conversation", "a list of messages", "import it as question and answer");
            return None;
        }
        too_long(at_least(text), rules, options, found);
        return Some((Kind::Text, json!({ "text": text }).to_string()));
    }
    let conversation = conversation(value, rules, found)?;
    let length = conversation.turns.iter().map(|turn| at_least(&turn.text()) + called(&turn.calls)).sum();
    too_long(length, rules, options, found);
    Some((Kind::Chat, (rules.chat)(&conversation).to_string()))
}

fn called(calls: &[super::turn::Call]) -> usize {
    calls.iter().map(|call| at_least(&call.arguments.to_string()) + at_least(&call.name)).sum()
}

fn too_long(length: usize, rules: &Rules, options: Options, found: &mut Found) {
    if let Some(most) = options.max_tokens.or(rules.tokens)
        && length > most
    {
        found.refuse("tokens", "", format!("at least {length} tokens"), format!("at most {most}"), "shorten or split the conversation");
    }
}

fn conversation(value: Value, rules: &Rules, found: &mut Found) -> Option<Conversation> {
    let Value::Object(row) = value else { return None };
    let row = if row.contains_key("messages") { row } else { renamed(row, found)? };
    for key in row.keys().filter(|key| !KNOWN.contains(&key.as_str()) && !rules.own.contains(&key.as_str())) {
        if key == "system" {
            found.mended("system", key, "a system prompt beside the messages", "a first message of the role `system`");
        } else if matches!(key.as_str(), "functions" | "function_call") {
            found.refuse("function_call", key, "functions as they were written before 2024", "`tools`", "write them as `tools`");
        } else {
            found.mended("unknown_key", key, "a field that the platform does not know", "none; it is left out");
        }
    }
    let parallel = match row.get("parallel_tool_calls") {
        None | Some(Value::Null) => None,
        Some(_) if !rules.parallel => {
            found.mended("unknown_key", "parallel_tool_calls", "a field that the platform does not know", "none; it is left out");
            None
        }
        Some(Value::Bool(parallel)) => Some(*parallel),
        Some(other) => {
            found.refuse("parallel_tool_calls", "parallel_tool_calls", shape::kind(other), "true or false", "");
            None
        }
    };
    let tools = calls::tools(&row, "tools", rules, found);
    let mut turns = messages(row.get("messages"), "messages", rules, found);
    if !turns.is_empty() {
        calls::joined(&mut turns, &tools, "messages", rules, found);
        order(&turns, "messages", rules, found);
    }
    if let Some(system) = row.get("system").filter(|_| turns.first().is_some_and(|first| first.role != "system")) {
        let system = json!([{ "role": "system", "content": system }]);
        turns.splice(0..0, messages(Some(&system), "system", rules, found));
    }
    Some(Conversation { turns, tools, parallel })
}

/// A row of another shape with its conversation under `messages`.
fn renamed(mut row: Map<String, Value>, found: &mut Found) -> Option<Map<String, Value>> {
    // What a conversation was made of is no field that is lost.
    let parallel = row.shift_remove("parallel_tool_calls");
    match shape::row(Value::Object(row)) {
        Ok(shape::Row { messages, tools, mut tags }) => {
            for spent in ["system", "input", "schemaVersion"] {
                tags.shift_remove(spent);
            }
            let mut row = Map::from_iter([("messages".to_string(), messages.iter().map(as_value).collect())]);
            row.extend(tools.map(|tools| ("tools".to_string(), tools)));
            row.extend(parallel.map(|parallel| ("parallel_tool_calls".to_string(), parallel)));
            row.extend(tags);
            Some(row)
        }
        Err(fault) => {
            found.refuse("messages", "messages", fault.to_string(), "a list of messages", "write the conversation, or take the line out");
            None
        }
    }
}

fn of_file(level: Level, rule: &'static str, found: String, expected: String, mend: &str) -> Violation {
    Violation { level, line: None, field: String::new(), rule, found, expected, mend: mend.into(), more: 0 }
}

/// What is wrong with the file as a whole.
fn whole(good: &[Row], count: usize, rules: &Rules) -> Vec<Violation> {
    let mut found = Vec::new();
    let have = format!("{count} examples");
    if count < rules.examples.least {
        let expected = format!("{} or more", rules.examples.least);
        found.push(of_file(Level::Refused, "examples", have, expected, "add examples"));
    } else if count < rules.examples.advised {
        let expected = format!("{} or more are advised", rules.examples.advised);
        found.push(of_file(Level::Advice, "examples", have, expected, "add examples"));
    } else if let Some(most) = rules.examples.most.filter(|most| count > *most) {
        found.push(of_file(Level::Refused, "examples", have, format!("at most {most}"), "draw fewer"));
    }
    let bytes: u64 = good.iter().map(|row| row.text.len() as u64 + 1).sum();
    if let Some(most) = rules.bytes.filter(|most| bytes > *most) {
        let mend = "split the file, or draw fewer examples";
        found.push(of_file(Level::Refused, "bytes", format!("{bytes} bytes"), format!("at most {most}"), mend));
    }
    let kinds: HashSet<Kind> = good.iter().map(|row| row.kind).collect();
    if kinds.len() > 1 {
        let mend = "write conversations, pairs and texts into files of their own";
        found.push(of_file(Level::Refused, "mixed", "rows of several kinds".into(), "one kind a file".into(), mend));
    }
    found
}

/// What is mended in the same way in many lines is told once, with their number.
fn gathered(violations: Vec<Violation>) -> Vec<Violation> {
    let mut first: HashMap<(&'static str, String, String), usize> = HashMap::new();
    let mut told: Vec<Violation> = Vec::new();
    for violation in violations {
        if violation.level == Level::Mended && violation.line.is_some() {
            let key = (violation.rule, violation.field.clone(), violation.found.clone());
            if let Some(at) = first.get(&key) {
                told[*at].more += 1;
                continue;
            }
            first.insert(key, told.len());
        }
        told.push(violation);
    }
    told
}
