//! Examples by risk: what a check has found, the worst first and each check in turn.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use super::error::{Error, Result};

/// A finding as a check printed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    pub check: String,
    /// 3 an error, 2 a warning, 1 a note.
    pub severity: u8,
    pub examples: Vec<String>,
    pub score: f64,
    pub evidence: String,
}

/// Reads what `tunesmith data check --json` printed.
///
/// # Errors
/// A file that cannot be read, or is something else.
pub fn read_findings(path: &Path) -> Result<Vec<Noted>> {
    let not = |why: String| Error::Findings { path: path.to_path_buf(), why };
    let text = std::fs::read_to_string(path).map_err(|why| crate::Error::Read { path: path.to_path_buf(), why })?;
    let value: Value = serde_json::from_str(&text).map_err(|e| not(format!("no JSON ({e})")))?;
    let findings = value.get("findings").and_then(Value::as_array).ok_or_else(|| not("found no list `findings`".into()))?;
    let noted = |(at, finding): (usize, &Value)| {
        let check = finding["check"].as_str().ok_or_else(|| not(format!("findings[{at}].check is no text")))?;
        let examples = finding["examples"].as_array().ok_or_else(|| not(format!("findings[{at}].examples is no list")))?;
        let name = |example: &Value| example.as_str().map_or_else(|| example.to_string(), str::to_string);
        let severity = match finding["severity"].as_str() {
            Some("error") => 3,
            Some("warning") => 2,
            _ => 1,
        };
        Ok(Noted {
            check: check.into(),
            severity,
            examples: examples.iter().map(name).collect(),
            score: finding["score"].as_f64().unwrap_or(0.0),
            evidence: finding["evidence"].as_str().unwrap_or_default().to_string(),
        })
    };
    findings.iter().enumerate().map(noted).collect()
}

/// The riskiest examples, by name, and why. Names in `taken` are passed over, names that are not in `known` are no examples.
pub(super) fn riskiest<'a>(
    findings: &'a [Noted],
    count: usize,
    known: &HashMap<&str, usize>,
    taken: &HashSet<usize>,
) -> Vec<(usize, &'a Noted)> {
    let mut by_check: BTreeMap<&str, Vec<&Noted>> = BTreeMap::new();
    for finding in findings {
        by_check.entry(&finding.check).or_default().push(finding);
    }
    // Of each check one list of examples, worst first; of a finding its first example is the one to look at.
    let mut queues: Vec<std::vec::IntoIter<(usize, &Noted)>> = Vec::new();
    for mut list in by_check.into_values() {
        list.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.score.total_cmp(&a.score)));
        let of = |finding: &&'a Noted| {
            finding.examples.iter().filter_map(|name| Some((*known.get(name.as_str())?, *finding))).collect::<Vec<_>>()
        };
        queues.push(list.iter().flat_map(of).collect::<Vec<_>>().into_iter());
    }
    // Checks whose worst finding is worse come first in each round.
    queues.sort_by_key(|queue| std::cmp::Reverse(queue.as_slice().first().map(|(_, finding)| finding.severity)));
    let mut seen = taken.clone();
    let mut drawn = Vec::new();
    while drawn.len() < count {
        let before = drawn.len();
        for queue in &mut queues {
            if drawn.len() < count
                && let Some(next) = queue.find(|(at, _)| !seen.contains(at))
            {
                seen.insert(next.0);
                drawn.push(next);
            }
        }
        if drawn.len() == before {
            break;
        }
    }
    drawn
}
