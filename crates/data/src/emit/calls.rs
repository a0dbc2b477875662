//! Calls of tools against a platform's rules: descriptions, names, arguments, and which result answers which call.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::rules::{Rules, Tools};
use super::turn::{Call, Turn};
use super::violation::{Found, Level};
use crate::read::shape::kind;

/// A name as errors show it.
pub(super) fn shown(name: &str) -> String {
    match name.chars().count() {
        count @ 65.. => format!("{count} characters, `{}...`", name.chars().take(24).collect::<String>()),
        _ => format!("`{name}`"),
    }
}

/// The calls of a message.
pub(super) fn calls(map: &Map<String, Value>, field: &str, role: &str, rules: &Rules, found: &mut Found) -> Vec<Call> {
    let field = format!("{field}.tool_calls");
    let calls = match map.get("tool_calls") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(calls)) => calls,
        Some(other) => {
            found.refuse("tool_calls", field, kind(other), "a list of calls", "");
            return Vec::new();
        }
    };
    if rules.tools == Tools::No {
        let mend = "take the line out, or choose a platform that learns calls";
        found.refuse("tools", field, "calls of tools", "none: the platform does not learn them", mend);
        return Vec::new();
    }
    if role != "assistant" {
        found.refuse("tool_calls", &field, format!("calls of the role `{role}`"), "calls of the role `assistant` only", "");
    }
    let each = calls.iter().enumerate().map(|(index, call)| (format!("{field}[{index}]"), call));
    each.filter_map(|(field, call)| self::call(call, &field, rules, found)).collect()
}

fn call(call: &Value, field: &str, rules: &Rules, found: &mut Found) -> Option<Call> {
    let id = call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
    if id.is_none() && rules.tools == Tools::Text {
        found.refuse(
            "tool_call_id",
            format!("{field}.id"),
            call.get("id").map_or("nothing", kind),
            "the call's id",
            "number the calls: call_1",
        );
    }
    match call.get("type").and_then(Value::as_str) {
        Some("function") => {}
        None if rules.tools == Tools::Text => found.mended("tool_calls", format!("{field}.type"), "nothing", "`function`"),
        None => {}
        Some(other) => found.refuse("tool_calls", format!("{field}.type"), format!("`{other}`"), "`function`", ""),
    }
    let Some(name) = call["function"]["name"].as_str() else {
        found.refuse("tool_calls", format!("{field}.function.name"), kind(&call["function"]["name"]), "the function's name", "");
        return None;
    };
    function_name(name, &format!("{field}.function.name"), rules, found);
    let arguments = arguments(&call["function"]["arguments"], &format!("{field}.function.arguments"), rules, found)?;
    Some(Call { id: id.map(str::to_string), name: name.to_string(), arguments })
}

fn function_name(name: &str, field: &str, rules: &Rules, found: &mut Found) {
    if let Some((expected, fits)) = rules.names_functions()
        && !fits(name)
    {
        found.refuse("function_name", field, shown(name), expected, "rename the function, in `tools` and in every call");
    }
}

/// Arguments as a value, whether a row has them as an object or as a string of JSON.
fn arguments(arguments: &Value, field: &str, rules: &Rules, found: &mut Found) -> Option<Value> {
    match arguments {
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) if value.is_object() => {
                if rules.tools != Tools::Text {
                    found.mended("arguments", field, "a string of JSON", "an object");
                }
                Some(value)
            }
            _ => {
                let start: String = text.chars().take(40).collect();
                let mend = "write the arguments as JSON: {\"city\": \"Oslo\"}";
                found.refuse("arguments", field, format!("the string `{start}`, which is no JSON object"), "a JSON object", mend);
                None
            }
        },
        Value::Object(_) => {
            if rules.tools == Tools::Text {
                found.mended("arguments", field, "an object", "a string of JSON");
            }
            Some(arguments.clone())
        }
        other => {
            found.refuse("arguments", field, kind(other), "a JSON object", "a call without arguments has {}");
            None
        }
    }
}

/// Whose call a result answers.
pub(super) fn answers(map: &Map<String, Value>, field: &str, role: &str, rules: &Rules, found: &mut Found) -> Option<String> {
    let id = map.get("tool_call_id").and_then(Value::as_str);
    if role != "tool" {
        if map.contains_key("tool_call_id") {
            found.mended("unknown_key", format!("{field}.tool_call_id"), "the id of a call", "none but in results; it is left out");
        }
        return None;
    }
    if id.is_none() && rules.tools == Tools::Text {
        let what = map.get("tool_call_id").map_or("nothing", kind);
        found.refuse("tool_call_id", format!("{field}.tool_call_id"), what, "the id of the call that this answers", "copy the call's `id`");
    }
    id.map(str::to_string)
}

/// The descriptions of a row's tools. A string that holds the list is taken too.
pub(super) fn tools(row: &Map<String, Value>, field: &str, rules: &Rules, found: &mut Found) -> Vec<Value> {
    let list = match row.get("tools") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(list)) => list.clone(),
        Some(Value::String(text)) if matches!(serde_json::from_str(text), Ok(Value::Array(_))) => {
            if rules.tools == Tools::Text {
                found.mended("tools", field, "a string of JSON", "a list");
            }
            serde_json::from_str(text).unwrap_or_default()
        }
        Some(other) => {
            found.refuse("tools", field, kind(other), "a list of tools", "");
            return Vec::new();
        }
    };
    if rules.tools == Tools::No && !list.is_empty() {
        found.refuse(
            "tools",
            field,
            "tools",
            "none: the platform does not learn calls",
            "take them out, or choose a platform that learns calls",
        );
        return Vec::new();
    }
    let each = list.into_iter().enumerate().map(|(index, tool)| (format!("{field}[{index}]"), tool));
    each.filter_map(|(field, tool)| described(tool, &field, rules, found)).collect()
}

fn described(tool: Value, field: &str, rules: &Rules, found: &mut Found) -> Option<Value> {
    // Some datasets write the function without its envelope.
    let tool = match tool {
        Value::Object(function) if function.contains_key("name") && !function.contains_key("function") => {
            found.mended("tools", field, "a function alone", "`{\"type\": \"function\", \"function\": {...}}`");
            json!({ "type": "function", "function": function })
        }
        other => other,
    };
    let Some(name) = tool["function"]["name"].as_str() else {
        found.refuse("tools", format!("{field}.function.name"), kind(&tool["function"]["name"]), "the function's name", "");
        return None;
    };
    function_name(name, &format!("{field}.function.name"), rules, found);
    let parameters = &tool["function"]["parameters"];
    if !parameters.is_null() && !parameters.is_object() {
        found.refuse("tools", format!("{field}.function.parameters"), kind(parameters), "a JSON Schema", "");
    }
    Some(tool)
}

/// Whether calls name tools that are described, and results calls that were made. Names of results are filled in.
pub(super) fn joined(turns: &mut [Turn], tools: &[Value], field: &str, rules: &Rules, found: &mut Found) {
    let known: HashSet<&str> = tools.iter().filter_map(|tool| tool["function"]["name"].as_str()).collect();
    let level = if rules.tools == Tools::Object { Level::Advice } else { Level::Refused };
    let mut made: HashMap<String, String> = HashMap::new();
    let mut latest: Option<String> = None;
    for (index, turn) in turns.iter_mut().enumerate() {
        for (number, call) in turn.calls.iter().enumerate() {
            if !known.contains(call.name.as_str()) {
                let at = format!("{field}[{index}].tool_calls[{number}].function.name");
                let expected = if known.is_empty() { "a function that `tools` describes".into() } else { listed(&known) };
                found.add(level, "unknown_tool", at, format!("`{}`", call.name), expected, "describe it in `tools`, or mend the name");
            }
            made.extend(call.id.clone().map(|id| (id, call.name.clone())));
            latest = Some(call.name.clone());
        }
        if turn.role != "tool" {
            continue;
        }
        match turn.answers.as_ref().map(|id| (id, made.get(id))) {
            Some((id, None)) if rules.tools == Tools::Text => {
                let at = format!("{field}[{index}].tool_call_id");
                found.refuse("tool_call_id", at, format!("`{id}`"), "the id of a call before it", "copy the call's `id`");
            }
            Some((_, Some(name))) => drop(turn.name.get_or_insert_with(|| name.clone())),
            _ => {
                if let Some(name) = &latest {
                    turn.name.get_or_insert_with(|| name.clone());
                }
            }
        }
        if turn.name.is_none() && rules.tools == Tools::Parts {
            let mend = "name the function: \"name\": \"get_weather\"";
            found.refuse(
                "tool_call_id",
                format!("{field}[{index}].name"),
                "a result without a call before it",
                "the function's name",
                mend,
            );
        }
    }
}

fn listed(known: &HashSet<&str>) -> String {
    let mut names: Vec<&str> = known.iter().copied().collect();
    names.sort_unstable();
    format!("one of `tools`: {}", names.join(", "))
}
