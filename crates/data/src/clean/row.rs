//! One row: its texts repaired, what is personal in them found and replaced, its line written as it was else.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::change::{Change, differing};
use super::lines::Line;
use super::pseudonym::{Pseudonyms, Sighting, words_of};
use super::splice::{Step, edit, escapes_letters, key_of, told};
use super::{CleanOptions, Hide, boilerplate, repair};
use crate::error::Fault;
use crate::private::{Found, Kind, Lead, Talk};
use crate::read::shape;
use crate::spoken::{is_structure, json_inside, turns};

/// Who says a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    Asking,
    Answering,
    /// Nobody: it is a value in JSON.
    Data,
}

/// What is done to every row.
pub(super) struct Plan {
    pub options: CleanOptions,
    pub repeated: HashMap<String, u64>,
    pub pseudonyms: Pseudonyms,
}

impl Plan {
    pub(super) fn new(options: &CleanOptions) -> Plan {
        Plan { options: options.clone(), repeated: HashMap::new(), pseudonyms: Pseudonyms::default() }
    }

    fn hides(&self, kind: Kind) -> bool {
        self.options.hide != Hide::Nothing && self.options.kinds.contains(&kind)
    }
}

/// What the first reading of a row is for.
#[derive(Default)]
pub(super) struct Seen {
    pub values: Vec<Sighting>,
    /// Numbers and names that stand anywhere in it.
    pub words: HashSet<String>,
    /// Lines that may repeat.
    pub lines: Vec<String>,
    /// Whether letters beyond ASCII are written as escapes; nothing where there are none.
    pub escaped: Option<bool>,
}

/// Reads a row: what will be hidden, and what stands in it.
pub(super) fn survey(line: &Line, plan: &Plan) -> Result<Seen, Fault> {
    let (_, json, _) = line.parts()?;
    let escaped = if json.is_ascii() { escapes_letters(json).then_some(true) } else { Some(false) };
    let mut seen = Seen { escaped, ..Seen::default() };
    texts(line, plan, &mut |text| {
        if plan.options.hide == Hide::Pseudonyms {
            words_of(text.now, &mut seen.words);
        }
        if text.speaker == Speaker::Asking {
            seen.lines.extend(boilerplate::candidates(text.now));
        }
        for one in text.found.iter().filter(|one| plan.hides(one.kind)) {
            seen.values.push(Sighting { kind: one.kind, text: text.now[one.start..one.end].to_string(), why: one.why });
        }
        None
    })?;
    Ok(seen)
}

/// The bytes to write for a line, and what was changed in it.
pub(super) fn clean(line: &Line, plan: &Plan) -> Result<(Vec<u8>, Vec<Change>), Fault> {
    let mut changes: Vec<Change> = Vec::new();
    let row = texts(line, plan, &mut |text| {
        let change =
            |what, kind, before, after| Change { id: text.id.clone(), line: line.line, field: told(text.path), what, kind, before, after };
        for done in text.done {
            let (before, after) = differing(&done.before, &done.after);
            changes.push(change(done.what, None, before, after));
        }
        let mut now = String::with_capacity(text.now.len());
        let mut at = 0;
        for one in text.found.iter().filter(|one| plan.hides(one.kind)) {
            let value = &text.now[one.start..one.end];
            let new = match plan.options.hide {
                Hide::Tags => format!("[{}]", one.kind.name().to_uppercase()),
                _ => plan.pseudonyms.of(value, one.kind),
            };
            changes.push(change(one.kind.name(), Some(one.kind), value.to_string(), new.clone()));
            now.push_str(&text.now[at..one.start]);
            now.push_str(&new);
            at = one.end;
        }
        now.push_str(&text.now[at..]);
        Some(now)
    })?;
    let bytes = match row {
        Some(row) => {
            let (before, _, after) = line.parts()?;
            format!("{before}{row}{after}").into_bytes()
        }
        None => line.bytes.clone(),
    };
    Ok((bytes, changes))
}

/// One text of a row after its repair.
struct Text<'a> {
    id: &'a Value,
    path: &'a [Step],
    speaker: Speaker,
    now: &'a str,
    done: Vec<repair::Done>,
    found: &'a [Found],
}

/// Calls back for every text of a line with what was repaired and found; the answer is its new text. Gives the changed row.
fn texts(line: &Line, plan: &Plan, each: &mut dyn FnMut(Text) -> Option<String>) -> Result<Option<String>, Fault> {
    if line.is_blank() {
        return Ok(None);
    }
    let (_, json, _) = line.parts()?;
    let value: Value = serde_json::from_str(json).map_err(|error| Fault::Json {
        column: error.column(),
        why: error.to_string().split(" at line ").next().unwrap_or_default().to_string(),
        found: json.chars().skip(error.column().saturating_sub(1)).take(40).collect(),
    })?;
    if !value.is_object() {
        return Err(Fault::NotObject { found: shape::kind(&value) });
    }
    let id = value.get("id").cloned().filter(|id| !id.is_null()).unwrap_or_else(|| line.line.into());
    let mut talk = if turns(&value) > 2 { Talk::chat() } else { Talk::single() };
    let ascii = escapes_letters(json);
    let mut one = |path: &[Step], text: &str, number: bool| text_of(path, text, number, &value, &id, plan, &mut talk, ascii, each);
    Ok(edit(json, ascii, &mut one))
}

fn text_of(
    path: &[Step],
    text: &str,
    number: bool,
    row: &Value,
    id: &Value,
    plan: &Plan,
    talk: &mut Talk,
    ascii: bool,
    each: &mut dyn FnMut(Text) -> Option<String>,
) -> Option<String> {
    if is_named_thing(path, row) || number && text.len() < 4 {
        return None;
    }
    let key = key_of(path);
    if !number && json_inside(text).is_some() {
        // A call of a tool, or a strict answer: its strings are texts, its form stays.
        let mut inner = |below: &[Step], text: &str, number: bool| {
            if below.iter().any(|step| matches!(step, Step::Key(key) if is_structure(key))) || number && text.len() < 4 {
                return None;
            }
            let whole: Vec<Step> = path.iter().chain(below).cloned().collect();
            one_text(&whole, text, number, Speaker::Data, key_of(below), id, plan, talk, each)
        };
        return edit(text, escapes_letters(text) && !ascii || text.contains("\\u") && text.is_ascii(), &mut inner);
    }
    one_text(path, text, number, speaker(path, row), key, id, plan, talk, each)
}

fn one_text(
    path: &[Step],
    text: &str,
    number: bool,
    speaker: Speaker,
    key: &str,
    id: &Value,
    plan: &Plan,
    talk: &mut Talk,
    each: &mut dyn FnMut(Text) -> Option<String>,
) -> Option<String> {
    let speaker = if number { Speaker::Data } else { speaker };
    let (mut now, mut done) = match plan.options.repair && !number {
        true => repair::repair(text, speaker, plan.options.quotes),
        false => (text.to_string(), Vec::new()),
    };
    if plan.options.boilerplate
        && speaker == Speaker::Asking
        && let Some(cut) = boilerplate::cut(&now, &plan.repeated)
    {
        done.push(repair::Done { what: "boilerplate_cut", before: now.clone(), after: cut.clone() });
        now = cut;
    }
    let found = if plan.options.hide == Hide::Nothing { Vec::new() } else { Lead::of(key).find(talk, &now) };
    // A number stays a number: only what keeps its digits can stand in its place.
    let found: Vec<Found> = if number && plan.options.hide == Hide::Tags { Vec::new() } else { found };
    let new = each(Text { id, path, speaker, now: &now, done, found: &found })?;
    (new != text).then_some(new)
}

/// Whether a string is the name of a thing of the data itself: a role, an id, a function.
fn is_named_thing(path: &[Step], row: &Value) -> bool {
    let keys = path.iter().filter_map(|step| if let Step::Key(key) = step { Some(key.as_str()) } else { None });
    if keys.clone().any(is_structure) {
        return true;
    }
    let Some((Step::Key(last), above)) = path.split_last() else { return false };
    let holder = above.iter().try_fold(row, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    });
    last == "name" && holder.is_some_and(|holder| ["arguments", "parameters", "role"].iter().any(|field| holder.get(field).is_some()))
}

/// Who says a text, by its message's role or its field.
fn speaker(path: &[Step], row: &Value) -> Speaker {
    const ANSWERS: [&str; 10] = ["response", "output", "completion", "chosen", "rejected", "answer", "system", "tools", "label", "fixed"];
    const ASKED: [&str; 8] = ["text", "instruction", "input", "prompt", "question", "body", "messages", "conversations"];
    let Some(Step::Key(first)) = path.first() else { return Speaker::Data };
    if let (Some(Step::Index(index)), Some(list)) = (path.get(1), row.get(first)) {
        let message = &list[*index];
        let role = message.get("role").or_else(|| message.get("from")).and_then(Value::as_str).unwrap_or_default();
        let said = matches!(key_of(path), "content" | "value" | "text");
        return match role {
            "user" | "human" | "customer" if said => Speaker::Asking,
            _ if said => Speaker::Answering,
            _ => Speaker::Data,
        };
    }
    match first.as_str() {
        first if ANSWERS.contains(&first) => Speaker::Answering,
        first if ASKED.contains(&first) => Speaker::Asking,
        _ => Speaker::Data,
    }
}
