//! What the checks found, as the report's page wants it.

use super::Asked;
use data::check::{Data, Dossier, worst};
use data::{Finding, Item, Severity};
use eval::report::dataset::{Bars, Card, Dataset, Lengths, Text, dataset};
use std::collections::HashMap;

/// Texts of a finding that are shown whole.
const TEXTS: usize = 4;

pub fn page(asked: &Asked, data: &Data, dossier: &Dossier, findings: &[Finding]) -> String {
    let rows: HashMap<&str, &Item> = data.eval.iter().chain(&data.train).map(|item| (item.id.as_str(), item)).collect();
    let names: Vec<String> = asked.train.iter().map(|path| path.display().to_string()).collect();
    let worst = worst(findings, data.train.len());
    dataset(&Dataset {
        title: names.join(", "),
        subtitle: subtitle(asked, dossier),
        rows: dossier.rows,
        worst: worst.map(|worst| (worst.severity == Severity::Error, worst.sentence, worst.instance, worst.mend)),
        cards: findings.iter().map(|finding| card(finding, &rows)).collect(),
        lengths: dossier
            .sizes
            .iter()
            .map(|sizes| Lengths { title: format!("{}, {}", sizes.of, sizes.unit), lengths: sizes.lengths.clone() })
            .collect(),
        bars: bars(dossier),
    })
}

fn subtitle(asked: &Asked, dossier: &Dossier) -> String {
    let mut parts = vec![format!("{} rows to train on", dossier.rows)];
    if dossier.eval > 0 {
        parts.push(format!("{} to measure with", dossier.eval));
    }
    if dossier.production > 0 {
        parts.push(format!("{} from production", dossier.production));
    }
    parts.extend(asked.model.iter().map(|model| format!("for {model}")));
    parts.join(", ")
}

fn card(finding: &Finding, rows: &HashMap<&str, &Item>) -> Card {
    let text = |id: &String| {
        let item = rows.get(id.as_str())?;
        Some(Text { id: id.clone(), asked: item.prompt(), answer: item.answer().map(str::to_string) })
    };
    Card {
        check: finding.check.name(),
        severity: finding.severity.name(),
        examples: finding.examples.clone(),
        score: finding.score,
        evidence: finding.evidence.clone(),
        mend: finding.mend.clone(),
        texts: finding.examples.iter().filter_map(text).take(TEXTS).collect(),
        compared: matches!(finding.check.name(), "near_duplicate" | "semantic_duplicate" | "template" | "contradiction" | "leakage"),
    }
}

fn bars(dossier: &Dossier) -> Vec<Bars> {
    let mut bars = Vec::new();
    if let Some((field, classes)) = &dossier.classes {
        bars.push(Bars { title: format!("Classes of `{field}`"), rows: classes.clone() });
    }
    if !dossier.languages.is_empty() {
        bars.push(Bars { title: "Languages of prompts".to_string(), rows: dossier.languages.clone() });
    }
    bars
}
