//! Rows that cannot be used, or that teach something else than was meant.

use std::collections::{BTreeMap, HashMap};

use super::cases::structured;
use super::{Data, Settings, count, debris, declared, finding, shown};
use crate::error::Fault;
use crate::finding::{Check, Finding, Severity};
use crate::item::{Content, Item};

pub(super) fn check(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    let mut findings = broken(&data.train, "");
    findings.extend(broken(&data.eval, " to be measured with"));
    findings.extend(ids(&data.train));
    findings.extend(signs(data));
    findings.extend(declared::check(data, settings));
    if settings.declared.schema.is_none() {
        findings.extend(structure(data));
    }
    findings.extend(unfinished(data));
    findings
}

/// What kind of fault it is, and what to do about it.
fn named(fault: &Fault) -> (&'static str, &'static str) {
    match fault {
        Fault::Json { .. } => ("no valid JSON", "write the row again, one JSON object a line"),
        Fault::NotUtf8 { .. } => ("not UTF-8", "convert the file to UTF-8, or mend the row"),
        Fault::NotObject { .. } => ("no JSON object", "write each row as a JSON object"),
        Fault::Fields { .. } => ("unknown fields", "rename its fields to a known shape: tunesmith data import reads most others"),
        Fault::FieldType { .. } => ("a field of the wrong type", "give the field the type that is expected"),
        Fault::Role { .. } => {
            ("roles out of order", "put the messages in order: user and assistant take turns, a system prompt comes first")
        }
        Fault::LastRole { .. } => ("no answer at the end", "add the answer, or cut what comes after the last one"),
        Fault::EmptyAnswer { .. } => ("an empty answer", "write the answer, or remove the row"),
        Fault::Preferences => ("a pair among answers", "keep pairs in a file of their own"),
        Fault::SamePair => ("a pair of equal answers", "remove the pair: nothing is preferred"),
        Fault::NoMessage => ("no message", "remove the row"),
        Fault::NoAnswer => ("zero learned tokens: every answer has the weight 0", "give one answer the weight 1, or remove the row"),
    }
}

/// Rows with a fault each.
type Rows<'a> = Vec<(&'a Item, &'a Fault)>;

fn broken(items: &[Item], of: &str) -> Vec<Finding> {
    let mut by_kind: BTreeMap<(&str, &str), Rows<'_>> = BTreeMap::new();
    for item in items {
        if let Content::Broken(fault) = &item.content {
            by_kind.entry(named(fault)).or_default().push((item, fault));
        }
    }
    let told = |((kind, mend), rows): ((&str, &str), Rows<'_>)| {
        let first: Vec<String> = rows.iter().take(3).map(|(item, fault)| format!("line {}: {fault}", item.line)).collect();
        let evidence = format!("{}{of} cannot be used: {kind}. {}", count(rows.len(), "row"), first.join("; "));
        let share = rows.len() as f64 / items.len() as f64;
        finding(Check::Format, Severity::Error, rows.iter().map(|(item, _)| item.id.clone()).collect(), share, evidence, mend)
    };
    by_kind.into_iter().map(told).collect()
}

/// Ids that several rows have.
fn ids(items: &[Item]) -> Option<Finding> {
    let mut lines: HashMap<&str, Vec<u32>> = HashMap::new();
    items.iter().filter(|item| item.tag("id").is_some()).for_each(|item| lines.entry(&item.id).or_default().push(item.line));
    let mut twice: Vec<(&str, Vec<u32>)> = lines.into_iter().filter(|(_, lines)| lines.len() > 1).collect();
    twice.sort_unstable();
    let (id, at) = twice.first()?;
    let at: Vec<String> = at.iter().take(5).map(u32::to_string).collect();
    let evidence = format!("{} stand in several rows: {} in the lines {}", count(twice.len(), "id"), shown(id, 60), at.join(", "));
    let share = twice.len() as f64 / items.len() as f64;
    Some(finding(
        Check::Format,
        Severity::Warning,
        twice.iter().map(|(id, _)| id.to_string()).collect(),
        share,
        evidence,
        "give each row an id of its own, else findings cannot name it",
    ))
}

/// What shows in a text that something went wrong.
type Sign = fn(&str) -> Option<String>;

/// Signs that a text was read or written wrongly, in prompts and answers.
fn signs(data: &Data) -> Vec<Finding> {
    let kinds: [(&str, Sign, &str); 4] = [
        ("text that was decoded with the wrong encoding", debris::mojibake, "repair it: tunesmith data clean"),
        (
            "characters that were lost (U+FFFD) or control characters",
            debris::lost,
            "read the source again with its real encoding: tunesmith data import --encoding",
        ),
        ("control tokens of a chat template in the text", debris::control_token, "remove them: the template writes its own"),
        ("a prompt without words", |_| None, "write the prompt, or remove the row"),
    ];
    let mut findings = Vec::new();
    for (what, sign, mend) in kinds {
        let mut hits = Vec::new();
        for (item, asked) in data.train.iter().zip(&data.asked) {
            let empty = what.starts_with("a prompt") && !matches!(item.content, Content::Broken(_)) && asked.trim().is_empty();
            let found = if empty { Some("nothing is asked".to_string()) } else { sign(asked).or_else(|| sign(item.answer()?)) };
            hits.extend(found.map(|found| (item, found)));
        }
        if let Some((first, found)) = hits.first() {
            let evidence = format!("{} with {what}. {}: {found}", count(hits.len(), "example"), first.id);
            let share = hits.len() as f64 / data.train.len() as f64;
            findings.push(finding(
                Check::Format,
                Severity::Warning,
                hits.iter().map(|(item, _)| item.id.clone()).collect(),
                share,
                evidence,
                mend,
            ));
        }
    }
    findings
}

/// Where nine tenths of the answers are JSON, the others are likely mistakes; so are objects with other fields.
fn structure(data: &Data) -> Vec<Finding> {
    let answers: Vec<(&Item, &str)> = data.train.iter().filter_map(|item| Some((item, item.answer()?))).collect();
    let parsed: Vec<Option<serde_json::Value>> = answers.iter().map(|(_, answer)| structured(answer)).collect();
    let good = parsed.iter().flatten().count();
    if good * 10 < answers.len() * 9 || good == 0 {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut tell = |rows: Vec<usize>, what: &str, mend: &str| {
        let Some(first) = rows.first() else { return };
        let (item, answer) = answers[*first];
        let evidence = format!("{} {what}. {}: {}", count(rows.len(), "answer"), item.id, shown(answer, 160));
        let share = rows.len() as f64 / answers.len() as f64;
        findings.push(finding(
            Check::Format,
            Severity::Error,
            rows.iter().map(|at| answers[*at].0.id.clone()).collect(),
            share,
            evidence,
            mend,
        ));
    };
    let bad = (0..answers.len()).filter(|at| parsed[*at].is_none()).collect();
    tell(bad, "that are no valid JSON, where nearly all others are", "write them as the others are written");
    let fields = |at: usize| {
        let mut fields: Vec<&str> = parsed[at].as_ref()?.as_object()?.keys().map(String::as_str).collect();
        fields.sort_unstable();
        Some(fields.join(", "))
    };
    let mut shapes: HashMap<String, Vec<usize>> = HashMap::new();
    (0..answers.len()).for_each(|at| fields(at).into_iter().for_each(|fields| shapes.entry(fields).or_default().push(at)));
    let most = shapes
        .iter()
        .max_by_key(|(fields, rows)| (rows.len(), std::cmp::Reverse(fields.as_str())))
        .map(|(fields, rows)| (fields.clone(), rows.len()));
    if let Some((usual, rows)) = most
        && rows * 10 >= good * 9
    {
        let mut others: Vec<usize> = shapes.into_iter().filter(|(fields, _)| *fields != usual).flat_map(|(_, rows)| rows).collect();
        others.sort_unstable();
        tell(others, &format!("with other fields than [{usual}]"), "give every answer the same fields");
    }
    findings
}

/// Answers that stop in the middle: an open fence or bracket; no end where nearly all others have one.
fn unfinished(data: &Data) -> Option<Finding> {
    let answers: Vec<(&Item, &str)> = data.train.iter().filter_map(|item| Some((item, item.answer()?.trim_end()))).collect();
    let long: Vec<&(&Item, &str)> =
        answers.iter().filter(|(_, answer)| answer.split_whitespace().nth(7).is_some() && structured(answer).is_none()).collect();
    let ends = |text: &str| {
        text.ends_with(['.', '!', '?', ':', ')', ']', '}', '"', '\'', '”', '’', '»', '`', '*', '>', '。', '！', '？', '…', '|'])
    };
    let usual = long.iter().filter(|(_, answer)| ends(answer)).count() * 10 >= long.len() * 9;
    let cut = |text: &str| {
        let open = text.matches("```").count() % 2 == 1;
        let middle = usual && !ends(text) && (text.ends_with([',', ';', '-', '(']) || text.ends_with(char::is_alphanumeric));
        open || middle
    };
    let hits: Vec<&(&Item, &str)> = long.iter().copied().filter(|(_, answer)| cut(answer)).collect();
    let (item, answer) = hits.first()?;
    let tail: String = answer.chars().rev().take(80).collect::<Vec<_>>().into_iter().rev().collect();
    let evidence = format!(
        "{} stop in the middle, where nearly all others end a sentence. {}: …{}",
        count(hits.len(), "answer"),
        item.id,
        shown(&tail, 80)
    );
    let share = hits.len() as f64 / answers.len() as f64;
    let examples = hits.iter().map(|(item, _)| item.id.clone()).collect();
    Some(finding(Check::Format, Severity::Warning, examples, share, evidence, "complete the answer: the model would learn to stop there"))
}
