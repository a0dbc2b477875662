//! Checks of a dataset: a plain list of functions from data to findings.
//!
//! The order is that of the work to be done: what breaks training first, then answers that contradict each other,
//! and only then copies, since a copy that is deleted may have held the better answer.

mod balance;
mod cases;
mod debris;
mod declared;
mod dossier;
mod duplicates;
mod format;
mod leakage;
mod length;
mod loaded;
mod tokens;
mod worst;

pub use declared::{Declared, JsonFault};
pub use dossier::{Dossier, Sizes, dossier};
pub use loaded::Data;
pub use worst::{Worst, worst};

use crate::finding::{Check, Finding, Severity};
use crate::meaning::{ContradictionOptions, CoverageOptions, DuplicateOptions, LabelOptions};
use crate::meaning::{contradictions, coverage, label_errors, semantic_duplicates};
use crate::private::private_findings;

/// What is asked of the checks.
#[derive(Default)]
pub struct Settings<'a> {
    /// What an answer has to be.
    pub declared: Declared<'a>,
    /// Field of the answer, or of the row, that holds the label.
    pub label: Option<String>,
    /// The target model's tokenizer and template.
    pub chat: Option<&'a text::Chat>,
    /// Tokens that an example may have; only with `chat`.
    pub context: Option<usize>,
    /// A system prompt for conversations that have none.
    pub system: Option<String>,
    /// What counts as near.
    pub near: crate::near::Options,
}

/// Looks at all data and tells what it found.
pub type Look = fn(&Data, &Settings<'_>) -> Vec<Finding>;

/// The checks: what a progress bar says meanwhile, and what is done.
pub const CHECKS: &[(&str, Look)] = &[
    ("format", format::check),
    ("tokens", tokens::check),
    ("length", length::check),
    ("contradictions", disagreeing),
    ("labels", labels),
    ("duplicates", duplicates::check),
    ("paraphrases", |data, _| semantic_duplicates(&data.train, &DuplicateOptions { candidates: 10 })),
    ("coverage", |data, _| coverage(&data.train, &data.production, &CoverageOptions { least: 0.01 })),
    ("balance", balance::check),
    ("leakage", leakage::check),
    ("personal data and secrets", |data, _| private_findings(&data.train)),
];

/// The column that holds the label, where it is not the answer or one of its fields.
fn column(data: &Data, settings: &Settings<'_>) -> Option<String> {
    settings.label.clone().filter(|label| data.train.iter().any(|item| item.tag(label).is_some()))
}

fn labels(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    label_errors(&data.train, &LabelOptions { column: column(data, settings) })
}

fn disagreeing(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    contradictions(&data.train, &ContradictionOptions { column: column(data, settings) })
}

/// Makes all checks; `before` hears of each and may stop them by `false`, then nothing is told.
pub fn check(data: &Data, settings: &Settings<'_>, before: &mut dyn FnMut(&str) -> bool) -> Option<Vec<Finding>> {
    let mut found = Vec::new();
    for (name, look) in CHECKS {
        if !before(name) {
            return None;
        }
        found.extend(look(data, settings));
    }
    // Stable: within one check and severity a check's own order stands where scores are equal.
    found.sort_by(|a, b| (a.check, b.severity).cmp(&(b.check, a.severity)).then(b.score.total_cmp(&a.score)));
    Some(found)
}

/// How many findings of each severity, the worst last.
pub fn counts(findings: &[Finding]) -> [(Severity, usize); 3] {
    [Severity::Note, Severity::Warning, Severity::Error]
        .map(|severity| (severity, findings.iter().filter(|f| f.severity == severity).count()))
}

/// One finding for all examples with the same fault.
fn finding(check: Check, severity: Severity, examples: Vec<String>, score: f64, evidence: String, mend: impl Into<String>) -> Finding {
    Finding { check, severity, examples, score, evidence, mend: mend.into() }
}

/// The beginning of a text on one line, in quotes.
fn shown(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("“{}…”", &line[..end]),
        None => format!("“{line}”"),
    }
}

/// "1 example", "7 examples".
fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
