//! Is there enough, of each kind, in one language?

use std::collections::{BTreeMap, HashMap};

use super::dossier::{classes, language};
use super::{Data, Settings, count, finding, shown};
use crate::finding::{Check, Finding, Severity};

/// Examples with which format and style are learned, and with which behaviour is (the field's advice).
const STYLE: usize = 1_000;
const BEHAVIOUR: usize = 10_000;
/// A class of fewer examples is hardly learned.
const FEW: usize = 10;

pub(super) fn check(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    [size(data), labels(data, settings), languages(data), answered_otherwise(data)].into_iter().flatten().collect()
}

fn size(data: &Data) -> Option<Finding> {
    let n = data.train.len();
    let (severity, what) = match n {
        _ if n < 200 => (Severity::Warning, "fewer than most tasks need even for a fixed format"),
        _ if n < STYLE => (Severity::Note, "enough for a narrow format; about 1,000 good ones teach format and style"),
        _ if n < BEHAVIOUR => (Severity::Note, "enough for format and style; new behaviour takes 10,000 to 50,000"),
        _ => return None,
    };
    let evidence = format!("{}: {what}", count(n, "example"));
    let score = (1.0 - n as f64 / BEHAVIOUR as f64) * if severity == Severity::Warning { 1.0 } else { 0.5 };
    Some(finding(
        Check::Coverage,
        severity,
        Vec::new(),
        score,
        evidence,
        "add good examples where the model is weak; more of what it can do helps little",
    ))
}

fn labels(data: &Data, settings: &Settings<'_>) -> Option<Finding> {
    let (field, classes) = classes(data, settings.label.as_deref())?;
    let (most, least) = (classes.first()?, classes.last()?);
    let rare: Vec<&(String, usize)> = classes.iter().filter(|(_, n)| *n < FEW).collect();
    if rare.is_empty() && most.1 < least.1 * 20 {
        return None;
    }
    let named: Vec<String> = classes.iter().rev().take(5).map(|(label, n)| format!("{} ({n})", shown(label, 40))).collect();
    let evidence = format!(
        "{} of `{field}`, from {} examples of {} down to {} of {}. The rarest: {}",
        count(classes.len(), "class").replace("classs", "classes"),
        most.1,
        shown(&most.0, 40),
        least.1,
        shown(&least.0, 40),
        named.join(", ")
    );
    let severity = if rare.is_empty() { Severity::Note } else { Severity::Warning };
    Some(finding(
        Check::Coverage,
        severity,
        Vec::new(),
        1.0 - least.1 as f64 / most.1 as f64,
        evidence,
        format!("import or write more of the rare ones, {FEW} of each at least"),
    ))
}

fn languages(data: &Data) -> Option<Finding> {
    let mut by: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    data.asked.iter().enumerate().for_each(|(at, text)| language(text).into_iter().for_each(|name| by.entry(name).or_default().push(at)));
    let all: usize = by.values().map(Vec::len).sum();
    let (main, rows) = by.iter().max_by_key(|(_, rows)| rows.len())?;
    let mut others: Vec<(&str, &Vec<usize>)> = by.iter().filter(|(name, _)| *name != main).map(|(name, rows)| (*name, rows)).collect();
    others.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    let (_, first) = others.first()?;
    let shares: Vec<String> = others.iter().take(5).map(|(name, rows)| format!("{name} {}", rows.len())).collect();
    let evidence = format!(
        "prompts in {} languages: {main} {}, {} (of {all} long enough to tell). {}: {}",
        by.len(),
        rows.len(),
        shares.join(", "),
        data.train[first[0]].id,
        shown(&data.asked[first[0]], 120)
    );
    let examples = others.iter().flat_map(|(_, rows)| rows.iter().map(|at| data.train[*at].id.clone())).collect();
    let share = 1.0 - rows.len() as f64 / all as f64;
    Some(finding(
        Check::Coverage,
        Severity::Note,
        examples,
        share,
        evidence,
        "keep them if they are served too; then add enough of each to be learned and measured",
    ))
}

/// Answers in another language than most answers to prompts of that language.
fn answered_otherwise(data: &Data) -> Option<Finding> {
    let spoken: Vec<(usize, &str, &str)> =
        data.train.iter().enumerate().filter_map(|(at, item)| Some((at, language(&data.asked[at])?, language(item.answer()?)?))).collect();
    let mut usual: HashMap<&str, HashMap<&str, usize>> = HashMap::new();
    spoken.iter().for_each(|(_, asked, said)| *usual.entry(asked).or_default().entry(said).or_default() += 1);
    let rare = |asked: &str, said: &str| {
        let counts = &usual[asked];
        let all: usize = counts.values().sum();
        asked != said && counts[said] * 10 < all
    };
    let hits: Vec<&(usize, &str, &str)> = spoken.iter().filter(|(_, asked, said)| rare(asked, said)).collect();
    let (at, asked, said) = hits.first()?;
    let item = &data.train[*at];
    let evidence = format!(
        "{} in another language than the prompt. {} asks in {asked} and is answered in {said}: {}",
        count(hits.len(), "answer"),
        item.id,
        shown(item.answer().unwrap_or_default(), 120)
    );
    let share = hits.len() as f64 / spoken.len() as f64;
    Some(finding(
        Check::Coverage,
        Severity::Warning,
        hits.iter().map(|(at, _, _)| data.train[*at].id.clone()).collect(),
        share,
        evidence,
        "answer in the customer's language, unless that is what you want",
    ))
}
