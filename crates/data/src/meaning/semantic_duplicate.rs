//! Rows that say the same in other words: each other's nearest, and much nearer than what else is around.

use std::collections::BTreeSet;

use super::neighbours::{Near, Own, nearest};
use super::shown;
use super::vectors::{ABOUT, Lexicon};
use crate::{Check, Finding, Item, Severity};

/// How paraphrases are looked for.
#[derive(Debug, Clone)]
pub struct DuplicateOptions {
    /// Candidates of each row.
    pub candidates: usize,
}

/// A pair must be this near.
const FLOOR: f32 = 0.45;
/// And this many times as near as the last candidates of both are.
const CONTRAST: f32 = 1.6;
/// Nearer pairs are copies; they are told as near-duplicates.
const COPY: f32 = 0.92;

/// For each row the rows that may say the same, with their likeness, the likeliest first.
pub fn semantic_candidates(items: &[Item], options: &DuplicateOptions) -> Vec<Vec<(usize, f32)>> {
    let plain = |near: Near| (near.index as usize, near.cosine);
    around(items, options).into_iter().map(|near| near.into_iter().map(plain).collect()).collect()
}

fn around(items: &[Item], options: &DuplicateOptions) -> Vec<Vec<Near>> {
    let prompts: Vec<String> = items.iter().map(Item::prompt).collect();
    let rows = Lexicon::learn(&prompts, ABOUT).rows(&prompts);
    nearest(&rows, &rows, options.candidates, Own::Left)
}

/// Pairs of rows that probably say the same, the surest first.
pub fn semantic_duplicates(items: &[Item], options: &DuplicateOptions) -> Vec<Finding> {
    let around = around(items, options);
    let background = |row: usize| around[row].last().map_or(0.0, |near| near.cosine);
    let mut found = Vec::new();
    let mut told = BTreeSet::new();
    for (one, near) in around.iter().enumerate() {
        for near in near.iter().filter(|near| (FLOOR..COPY).contains(&near.cosine)) {
            let other = near.index as usize;
            let mutual = around[other].iter().any(|back| back.index as usize == one);
            let contrast = near.cosine / (0.5 * (background(one) + background(other))).max(0.05);
            if mutual && contrast >= CONTRAST && told.insert((one.min(other), one.max(other))) {
                found.push(finding([&items[one.min(other)], &items[one.max(other)]], near.cosine));
            }
        }
    }
    found.sort_by(|a: &Finding, b| b.score.total_cmp(&a.score).then_with(|| a.examples.cmp(&b.examples)));
    found
}

fn finding([one, other]: [&Item; 2], cosine: f32) -> Finding {
    let same = one.answer() == other.answer();
    Finding {
        check: Check::SemanticDuplicate,
        severity: Severity::Note,
        examples: vec![one.id.clone(), other.id.clone()],
        score: f64::from(cosine).clamp(0.0, 1.0),
        evidence: format!(
            "they seem to say the same (likeness {cosine:.2} by words and pieces of words): {} / {}",
            shown(&one.prompt()),
            shown(&other.prompt())
        ),
        mend: if same {
            "keep both only if the other wording is worth learning"
        } else {
            "read both: keep one, or see that their answers agree"
        }
        .into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_paraphrase_stands_out_of_its_topic() {
        let texts = [
            "NullPointerException in FSDownload when the jar timestamp changed",
            "The timestamp of the jar changed: FSDownload fails with NullPointerException",
            "Build fails on Debian because libcrypt is missing",
            "The scheduler ignores queue limits after a restart",
            "Documentation of the balancer is out of date",
            "Datanode does not start with an IPv6 address",
            "Upgrade the jackson library to a newer version",
        ];
        let rows: Vec<String> = texts.iter().map(|text| serde_json::json!({ "text": text }).to_string()).collect();
        let items = crate::parse_items(rows.join("\n").as_bytes(), Path::new("rows.jsonl")).unwrap();
        let found = semantic_duplicates(&items, &DuplicateOptions { candidates: 5 });
        assert_eq!(found.iter().map(|finding| finding.examples.clone()).collect::<Vec<_>>(), [["1", "2"]]);
    }
}
