//! Figures about a dataset that a report draws: lengths, classes, languages.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::Value;

use super::cases::structured;
use super::declared::label;
use super::{Data, Settings};

/// Lengths of one kind of text.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    /// "prompts" or "answers".
    pub of: &'static str,
    /// "characters" or "tokens".
    pub unit: &'static str,
    /// Sorted.
    pub lengths: Vec<usize>,
}

/// What there is.
#[derive(Debug, Clone, PartialEq)]
pub struct Dossier {
    pub rows: usize,
    pub eval: usize,
    pub production: usize,
    pub sizes: Vec<Sizes>,
    /// The label's field, and how many examples each label has, most frequent first.
    pub classes: Option<(String, Vec<(String, usize)>)>,
    /// Languages of prompts and how many each, most frequent first.
    pub languages: Vec<(String, usize)>,
}

/// Counts what a report draws.
pub fn dossier(data: &Data, settings: &Settings<'_>) -> Dossier {
    let prompts: Vec<&str> = data.asked.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    let answers: Vec<&str> = data.train.iter().filter_map(|item| item.answer()).collect();
    let mut sizes = Vec::new();
    for (of, texts) in [("prompts", &prompts), ("answers", &answers)] {
        let sorted = |length: &(dyn Fn(&str) -> Option<usize> + Sync)| {
            let mut lengths: Vec<usize> = texts.par_iter().filter_map(|text| length(text)).collect();
            lengths.sort_unstable();
            lengths
        };
        sizes.push(Sizes { of, unit: "characters", lengths: sorted(&|text| Some(text.chars().count())) });
        if let Some(chat) = settings.chat {
            sizes.push(Sizes { of, unit: "tokens", lengths: sorted(&|text| chat.tokenizer.encode(text).ok().map(|ids| ids.len())) });
        }
    }
    sizes.retain(|sizes| !sizes.lengths.is_empty());
    let names: Vec<&str> = prompts.par_iter().filter_map(|text| language(text)).collect();
    Dossier {
        rows: data.train.len(),
        eval: data.eval.len(),
        production: data.production.len(),
        sizes,
        classes: classes(data, settings.label.as_deref()),
        languages: ranked(names.into_iter().map(str::to_string)),
    }
}

/// The language of a text that is long enough to tell.
pub(super) fn language(text: &str) -> Option<&'static str> {
    if text.len() < 60 {
        return None;
    }
    let info = whatlang::detect(text)?;
    info.is_reliable().then(|| info.lang().eng_name())
}

/// The labels: of the named field, or of the first field of all answers that has few values; or whole answers if they are few.
pub(super) fn classes(data: &Data, field: Option<&str>) -> Option<(String, Vec<(String, usize)>)> {
    let answers: Vec<&str> = data.train.iter().filter_map(|item| item.answer()).collect();
    if let Some(field) = field {
        let of_answers: Vec<String> = answers.iter().filter_map(|answer| label(answer, Some(field))).collect();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let of_rows = || data.train.iter().filter_map(|item| item.tag(field)).map(text).collect();
        let all = if of_answers.is_empty() { of_rows() } else { of_answers };
        return (!all.is_empty()).then(|| (field.to_string(), ranked(all.into_iter())));
    }
    let few = |counts: &Vec<(String, usize)>, all: usize| counts.len() >= 2 && counts.len() * 10 <= all;
    let first = structured(answers.first()?);
    if let Some(Value::Object(first)) = first {
        for name in first.iter().filter(|(_, value)| value.is_string()).map(|(name, _)| name) {
            let counts = ranked(answers.iter().filter_map(|answer| label(answer, Some(name))));
            if few(&counts, answers.len()) {
                return Some((name.clone(), counts));
            }
        }
        return None;
    }
    let counts = ranked(answers.iter().map(|answer| answer.trim().to_string()));
    (few(&counts, answers.len()) && counts.iter().all(|(label, _)| label.len() <= 60)).then(|| ("answer".to_string(), counts))
}

/// How often each occurs, most frequent first, equal counts by name.
fn ranked(all: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts
}
