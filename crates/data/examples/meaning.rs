//! Runs one check of meaning on files, one JSON object a line, to measure it by hand.
//!
//! `cargo run -p data --example meaning -- label_error FILE [COLUMN]`, the same with `contradiction`;
//! `coverage TRAINING PRODUCTION`; `semantic_duplicate FILE`; `candidates FILE`.

use std::path::Path;

use data::{
    ContradictionOptions, CoverageOptions, DuplicateOptions, Finding, LabelOptions, contradictions, coverage, items, label_doubts,
    semantic_candidates, semantic_duplicates,
};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [check, file, rest @ ..] = arguments.as_slice() else { return Err("say a check and a file".into()) };
    let items = items(Path::new(file))?;
    let second = rest.first().cloned();
    match (check.as_str(), second) {
        ("label_error", column) => {
            for doubt in label_doubts(&items, &LabelOptions { column }) {
                let id = &items[doubt.row].id;
                println!(
                    "{}",
                    json!({ "id": id, "field": doubt.field, "given": doubt.given, "suggested": doubt.suggested, "score": doubt.score, "flagged": doubt.flagged })
                );
            }
        }
        ("contradiction", column) => tell(&contradictions(&items, &ContradictionOptions { column })),
        ("coverage", Some(production)) => tell(&coverage(&items, &data::items(Path::new(&production))?, &CoverageOptions { least: 0.01 })),
        ("semantic_duplicate", _) => tell(&semantic_duplicates(&items, &DuplicateOptions { candidates: 10 })),
        ("candidates", _) => {
            for (one, near) in semantic_candidates(&items, &DuplicateOptions { candidates: 10 }).iter().enumerate() {
                let ids: Vec<&str> = near.iter().map(|(other, _)| items[*other].id.as_str()).collect();
                println!("{}", json!({ "id": items[one].id, "candidates": ids }));
            }
        }
        (other, _) => return Err(format!("`{other}` is no check of meaning, or lacks a file").into()),
    }
    Ok(())
}

fn tell(found: &[Finding]) {
    found.iter().for_each(|finding| println!("{}", finding.to_json()));
}
