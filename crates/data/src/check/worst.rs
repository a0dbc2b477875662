//! The worst problem in one sentence, so that who reads nothing else knows what to do first.

use std::collections::BTreeSet;

use super::count;
use crate::finding::{Check, Finding, Severity};

/// The worst problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst {
    pub check: Check,
    pub severity: Severity,
    /// What it is, with its count.
    pub sentence: String,
    /// An instance of it, as it was found.
    pub instance: String,
    /// What to do.
    pub mend: String,
}

/// The worst problem; none where nothing is worth more than a note.
///
/// Errors come before warnings; of one severity, what spoils training or measuring comes before what wastes it, and
/// then counts decide.
pub fn worst(findings: &[Finding], rows: usize) -> Option<Worst> {
    let severity = findings.iter().map(|f| f.severity).max().filter(|severity| *severity > Severity::Note)?;
    let of = |check: Check| findings.iter().filter(move |f| f.check == check && f.severity == severity);
    let examples = |check: Check| of(check).flat_map(|f| &f.examples).collect::<BTreeSet<_>>().len();
    let checks: BTreeSet<Check> = findings.iter().filter(|f| f.severity == severity).map(|f| f.check).collect();
    let check = checks.into_iter().max_by_key(|check| (gravity(*check) * examples(*check).max(1), std::cmp::Reverse(*check)))?;
    let n = examples(check);
    let worst = of(check).max_by(|a, b| a.examples.len().cmp(&b.examples.len()).then(a.score.total_cmp(&b.score)))?;
    let share = 100.0 * n as f64 / rows.max(1) as f64;
    let sentence = match n {
        0 => worst.evidence.clone(),
        _ => format!("{} ({share:.1} %) {}", count(n, "example"), said(check, severity)),
    };
    Some(Worst { check, severity, sentence, instance: worst.evidence.clone(), mend: worst.mend.clone() })
}

/// How much one example counts.
fn gravity(check: Check) -> usize {
    match check {
        Check::Secret | Check::Leakage | Check::Contradiction => 8,
        Check::Format | Check::LabelError | Check::PersonalData => 4,
        Check::Length | Check::NearDuplicate => 2,
        Check::SemanticDuplicate | Check::Template | Check::Coverage => 1,
    }
}

/// What is the matter with them.
fn said(check: Check, severity: Severity) -> &'static str {
    match (check, severity) {
        (Check::Format, Severity::Error) => "cannot be learned from as they stand, or are not what was declared",
        (Check::Format, _) => "are malformed",
        (Check::Length, _) => "hold what was read wrongly, or are far from the usual length",
        (Check::Contradiction, _) => "contradict each other: the same question has different answers",
        (Check::LabelError, _) => "probably have the wrong label",
        (Check::NearDuplicate, Severity::Error) => "are copies of one prompt with different answers",
        (Check::NearDuplicate, _) => "are copies of each other",
        (Check::SemanticDuplicate, _) => "say the same in other words",
        (Check::Template, _) => "are one form filled in again and again",
        (Check::Coverage, _) => "are where the data is out of balance",
        (Check::Leakage, _) => "are measured with although training has seen them",
        (Check::PersonalData, _) => "hold personal data",
        (Check::Secret, _) => "hold passwords or keys",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_before_warnings_however_many() {
        let finding = |check, severity, n: usize| Finding {
            check,
            severity,
            examples: (0..n).map(|n| format!("{check:?}{n}")).collect(),
            score: 0.5,
            evidence: "seen".into(),
            mend: "mend it".into(),
        };
        let all = [
            finding(Check::NearDuplicate, Severity::Warning, 300),
            finding(Check::Contradiction, Severity::Error, 24),
            finding(Check::Format, Severity::Error, 30),
            finding(Check::Template, Severity::Note, 3),
        ];
        assert_eq!(
            worst(&all, 1200).unwrap().sentence,
            "24 examples (2.0 %) contradict each other: the same question has different answers"
        );
        assert_eq!(worst(&all[3..], 1200), None);
        assert_eq!(worst(&all[..1], 600).unwrap().sentence, "300 examples (50.0 %) are copies of each other");
    }
}
