//! Pairs of answers against a platform's rules.

use serde_json::Value;

use super::calls;
use super::message::{as_value, messages, order};
use super::rules::{Order, Rules};
use super::turn::{Conversation, Preference};
use super::violation::Found;
use crate::example::Source;
use crate::pairs::pair;
use crate::read::ReadOptions;

/// Checks a row with a better and a worse answer.
pub(super) fn preference(row: Value, source: Source, rules: &Rules, found: &mut Found) -> Option<Preference> {
    let both = match pair(row.clone(), source, &ReadOptions::default()) {
        Ok(both) => both,
        Err(fault) => {
            found.refuse("pair", "", fault.to_string(), "a prompt, a better and a worse answer", "mend the row, or take it out");
            return None;
        }
    };
    for key in row.as_object().into_iter().flat_map(|row| row.keys()).filter(|key| extra(key)) {
        found.mended("unknown_key", key, "a field that the platform does not know", "none; it is left out");
    }
    let (chosen, rejected) = (&both.chosen.messages, &both.rejected.messages);
    let shared = chosen.iter().zip(rejected).take_while(|(a, b)| a == b).count();
    for (answer, field) in [(&chosen[shared..], "chosen"), (&rejected[shared..], "rejected")] {
        // TRL alone lets an answer be several messages.
        if answer.len() != 1 && (rules.order == Order::Alternate || rules.name != "trl") {
            let mend = "end the prompt before the last answer";
            found.refuse("pair", field, format!("{} messages", answer.len()), "one message of the assistant", mend);
        }
    }
    let mut prompt: Vec<Value> = chosen[..shared].iter().map(as_value).collect();
    // The reader has marked earlier answers as not learned; in a pair that goes without saying.
    prompt.iter_mut().filter_map(Value::as_object_mut).for_each(|message| drop(message.shift_remove("weight")));
    let tools = both.chosen.tools.clone().map(|tools| ("tools".to_string(), tools)).into_iter().collect();
    let tools = calls::tools(&tools, "tools", rules, found);
    let mut turns = if prompt.is_empty() { Vec::new() } else { messages(Some(&Value::Array(prompt)), "prompt", rules, found) };
    calls::joined(&mut turns, &tools, "prompt", rules, found);
    let mut answer = |list: &[text::Message], field: &str| {
        let list: Value = list.iter().map(as_value).collect();
        let mut turns = messages(Some(&list), field, rules, found);
        turns.iter_mut().for_each(|turn| turn.learned = None);
        turns
    };
    let (chosen, rejected) = (answer(&chosen[shared..], "chosen"), answer(&rejected[shared..], "rejected"));
    let whole: Vec<_> = turns.iter().chain(&chosen).cloned().collect();
    order(&whole, "prompt", rules, found);
    Some(Preference { prompt: Conversation { turns, tools, parallel: None }, chosen, rejected })
}

/// Whether a field of a row is none of a pair's, in any spelling.
fn extra(key: &str) -> bool {
    let known = [
        "prompt",
        "chosen",
        "rejected",
        "tools",
        "system",
        "messages",
        "input",
        "preferred_output",
        "non_preferred_output",
        "contents",
        "completions",
        "systemInstruction",
        "system_instruction",
        "schemaVersion",
    ];
    !known.contains(&key)
}
