//! What an answer was declared to be: a JSON Schema, a pattern, a list of labels, a list of codes.

use std::collections::{BTreeMap, HashSet};

use super::cases::{distance, structured};
use super::{Data, Settings, count, finding, shown};
use crate::finding::{Check, Finding, Severity};
use serde_json::Value;

/// Tells what a JSON Schema holds against a value.
pub type JsonFault<'a> = Box<dyn Fn(&Value) -> Option<String> + Sync + 'a>;

/// What every answer has to be; what is absent is not asked.
#[derive(Default)]
pub struct Declared<'a> {
    /// A JSON Schema.
    pub schema: Option<JsonFault<'a>>,
    /// A pattern that the whole answer matches.
    pub pattern: Option<regex::Regex>,
    /// The labels there are.
    pub labels: Vec<String>,
    /// What a code or citation looks like inside of an answer, and those there are.
    pub codes: Option<(regex::Regex, HashSet<String>)>,
}

/// Findings about answers that are not what was declared.
pub(super) fn check(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    let declared = &settings.declared;
    let answers: Vec<(&str, &str)> = data.train.iter().filter_map(|item| Some((item.id.as_str(), item.answer()?))).collect();
    let mut findings = Vec::new();
    if let Some(schema) = &declared.schema {
        let complaint = |answer: &str| match serde_json::from_str::<Value>(answer.trim()) {
            Ok(value) => schema(&value),
            Err(why) => Some(format!("not JSON: {why}")),
        };
        findings.extend(gather(&answers, "does not obey the JSON Schema", "mend the answer, or the schema if it is too narrow", complaint));
    }
    if let Some(pattern) = &declared.pattern {
        let complaint = |answer: &str| (!pattern.is_match(answer)).then(|| format!("does not match {}", pattern.as_str()));
        findings.extend(gather(&answers, "does not match the declared pattern", "mend the answer, or the pattern", complaint));
    }
    if !declared.labels.is_empty() {
        findings.extend(labels(data, settings, &answers));
    }
    if let Some((pattern, known)) = &declared.codes {
        let complaint = |answer: &str| {
            let unknown = pattern.find_iter(answer).map(|found| found.as_str()).find(|code| !known.contains(*code))?;
            Some(format!("cites {unknown}, which is not in the list{}", meant(unknown, known.iter().map(String::as_str))))
        };
        findings.extend(gather(&answers, "cites what is not in the list", "correct the code, or add it to the list", complaint));
    }
    findings
}

/// Labels that are not in the list, each of them one finding.
fn labels(data: &Data, settings: &Settings<'_>, answers: &[(&str, &str)]) -> Vec<Finding> {
    let known = &settings.declared.labels;
    let mut unknown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for (id, answer) in answers {
        match label(answer, settings.label.as_deref()) {
            Some(label) if known.contains(&label) => {}
            Some(label) => unknown.entry(label).or_default().push(id.to_string()),
            None => without.push(id.to_string()),
        }
    }
    let all = data.train.len().max(1) as f64;
    let mut findings: Vec<Finding> = unknown
        .into_iter()
        .map(|(label, examples)| {
            let evidence = format!(
                "the label {} of {} is none of the {} declared ones{}",
                shown(&label, 60),
                count(examples.len(), "example"),
                known.len(),
                meant(&label, known.iter().map(String::as_str))
            );
            let share = examples.len() as f64 / all;
            finding(Check::Format, Severity::Error, examples, share, evidence, "correct the label, or declare it")
        })
        .collect();
    if !without.is_empty() {
        let field = settings.label.as_deref().unwrap_or("label");
        let (share, evidence) =
            (without.len() as f64 / all, format!("{} have no `{field}` in their answer", count(without.len(), "example")));
        findings.push(finding(Check::Format, Severity::Error, without, share, evidence, "give each answer its label"));
    }
    findings
}

/// The label of an answer: a field of it, or all of it.
pub(super) fn label(answer: &str, field: Option<&str>) -> Option<String> {
    match field {
        Some(field) => match structured(answer)?.get(field)? {
            Value::String(label) => Some(label.clone()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
            other => Some(other.to_string()),
        },
        None => Some(answer.trim().to_string()),
    }
}

/// "; did you mean …?", where one of the known ones is close.
fn meant<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> String {
    let lower = given.to_lowercase();
    let near = known.map(|known| (distance(&lower, &known.to_lowercase()), known)).min();
    match near {
        Some((away, known)) if away * 3 <= known.chars().count().max(3) => format!("; did you mean “{known}”?"),
        _ => String::new(),
    }
}

/// One finding for all answers that something is held against.
fn gather(answers: &[(&str, &str)], what: &str, mend: &str, complaint: impl Fn(&str) -> Option<String>) -> Option<Finding> {
    let faults: Vec<(&str, String)> = answers.iter().filter_map(|(id, answer)| Some((*id, complaint(answer)?))).collect();
    let told: Vec<String> = faults.iter().take(3).map(|(id, why)| format!("{id}: {why}")).collect();
    let evidence = format!("the answer of {} {what}. {}", count(faults.len(), "example"), told.join("; "));
    let share = faults.len() as f64 / answers.len().max(1) as f64;
    let examples = faults.iter().map(|(id, _)| id.to_string()).collect();
    (!faults.is_empty()).then(|| finding(Check::Format, Severity::Error, examples, share, evidence, mend))
}
