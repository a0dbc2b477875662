//! Lengths: what is far from the rest, and what is long because something was read wrongly.

use super::debris::DEBRIS;
use super::{Data, Settings, count, finding, shown};
use crate::finding::{Check, Finding, Severity};

/// How many robust deviations from the median are far. With log-normal lengths one in a million is.
const FAR: f64 = 4.75;
/// Fewer lengths have no distribution.
const ENOUGH: usize = 30;

pub(super) fn check(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    let mut findings = debris(data);
    let asked: Vec<(usize, &str)> = data.asked.iter().map(String::as_str).enumerate().filter(|(_, text)| !text.is_empty()).collect();
    let answers: Vec<(usize, &str)> = data.train.iter().enumerate().filter_map(|(at, item)| Some((at, item.answer()?))).collect();
    for (what, texts) in [("prompt", &asked), ("answer", &answers)] {
        findings.extend(far(data, what, "characters", texts, |text| Some(text.chars().count())));
        if let Some(chat) = settings.chat {
            findings.extend(far(data, what, "tokens", texts, |text| chat.tokenizer.encode(text).ok().map(|ids| ids.len())));
        }
    }
    findings
}

/// Likely parsing errors, each kind one finding.
fn debris(data: &Data) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kind in DEBRIS {
        let mut hits = Vec::new();
        for (item, asked) in data.train.iter().zip(&data.asked) {
            let answer = || (kind.sign)(item.answer()?).map(|found| format!("the answer of {} holds {found}", item.id));
            hits.extend((kind.sign)(asked).map(|found| format!("{}: {found}", item.id)).or_else(answer).map(|found| (item, found)));
        }
        if let Some((_, found)) = hits.first() {
            let evidence = format!("likely parsing error in {}: {}. {found}", count(hits.len(), "example"), kind.what);
            let share = hits.len() as f64 / data.train.len() as f64;
            let examples = hits.iter().map(|(item, _)| item.id.clone()).collect();
            findings.push(finding(
                Check::Length,
                Severity::Warning,
                examples,
                share,
                evidence,
                "cut it: tunesmith data clean shows each change before it is made",
            ));
        }
    }
    findings
}

/// Texts whose length is far from the others', on a log scale by median and median deviation.
fn far(data: &Data, what: &str, unit: &str, texts: &[(usize, &str)], length: impl Fn(&str) -> Option<usize>) -> Option<Finding> {
    let lengths: Vec<(usize, usize)> = texts.iter().filter_map(|(at, text)| Some((*at, length(text)?))).collect();
    let logs: Vec<f64> = lengths.iter().map(|(_, length)| (*length as f64 + 1.0).ln()).collect();
    let (middle, spread) = robust(&logs)?;
    let z = |log: f64| (log - middle) / spread;
    let mut hits: Vec<(f64, usize, usize)> =
        lengths.iter().zip(&logs).filter(|(_, log)| z(**log).abs() > FAR).map(|((at, length), log)| (z(*log), *at, *length)).collect();
    hits.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()).then(a.1.cmp(&b.1)));
    let (score, at, most) = *hits.first()?;
    let side = if score > 0.0 { "long" } else { "short" };
    let text = texts.iter().find(|(row, _)| *row == at).map_or("", |(_, text)| text);
    let evidence = format!(
        "{} far from the usual length of {:.0} {unit} (median). The furthest is {side}, {most} {unit}, in {}: {}",
        count(hits.len(), what),
        middle.exp() - 1.0,
        data.train[at].id,
        shown(text, 160)
    );
    let examples = hits.iter().map(|(_, at, _)| data.train[*at].id.clone()).collect();
    Some(finding(
        Check::Length,
        Severity::Note,
        examples,
        1.0 - FAR / score.abs(),
        evidence,
        "look at each: it is a special case, or two rows in one, or a row that was cut",
    ))
}

/// Median and scaled median deviation; none where there is too little, or no spread.
pub(super) fn robust(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < ENOUGH {
        return None;
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let middle = median(values.to_vec());
    let spread = 1.4826 * median(values.iter().map(|value| (value - middle).abs()).collect());
    // Where most lengths are one and the same a deviation of a tenth still says nothing.
    Some((middle, spread.max(0.1)))
}
