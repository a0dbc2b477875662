//! Whether the training set covers what production asks: the gaps, each with its most typical inputs.
//!
//! A production input is covered where training examples lie as densely around it as production inputs do. The inputs that are
//! not are put together by likeness; a group that is large enough is a gap.

mod group;
mod two_sample;

use super::neighbours::{Near, Own, nearest};
use super::shown;
use super::vectors::{ASKED, Lexicon, Rows};
use crate::{Check, Finding, Item, Severity};
use group::groups;
use two_sample::two_sample;

/// How gaps are looked for.
#[derive(Debug, Clone)]
pub struct CoverageOptions {
    /// The share of production inputs from which a gap is told; 0.01 is usual.
    pub least: f64,
}

/// Neighbours that are asked where they come from.
const AROUND: usize = 20;
/// Neighbours in production whose answers are averaged with an input's own.
const SMOOTHED: usize = 8;
/// Training is this much thinner than production where an input is not covered: a quarter.
const THIN: f64 = 0.2;
/// The share of production inputs whose nearest other production input is nearer than the threshold.
const NEAR: f64 = 0.95;
/// Inputs that are shown of a gap.
const TYPICAL: usize = 5;
/// Fewer inputs say nothing about a distribution.
const ENOUGH: usize = 30;

/// Gaps of the training set, the largest first, behind one finding on the whole.
pub fn coverage(training: &[Item], production: &[Item], options: &CoverageOptions) -> Vec<Finding> {
    let prompts = |items: &[Item]| items.iter().map(Item::prompt).collect::<Vec<_>>();
    let (trained, asked) = (prompts(training), prompts(production));
    if trained.is_empty() || asked.len() < ENOUGH {
        return Vec::new();
    }
    let lexicon = Lexicon::learn(&[trained.as_slice(), asked.as_slice()].concat(), ASKED);
    let (trained, asked) = (lexicon.rows(&trained), lexicon.rows(&asked));
    let within = nearest(&asked, &asked, AROUND, Own::Left);
    let across = nearest(&trained, &asked, AROUND, Own::Kept);
    let density = smoothed(&densities(&within, &across, asked.len(), trained.len()), &within);
    let uncovered: Vec<usize> = (0..asked.len()).filter(|row| density[*row] < THIN).collect();
    let least = ((options.least * asked.len() as f64).ceil() as usize).max(3);
    let gaps = groups(&asked, &uncovered, least);
    let mut found = vec![whole(&within, &across, &trained, &asked, gaps.len())];
    let mut told: Vec<Finding> = gaps.iter().map(|gap| finding(gap, production, &density, training.len())).collect();
    told.sort_by(|a, b| b.examples.len().cmp(&a.examples.len()).then_with(|| b.score.total_cmp(&a.score)));
    found.extend(told);
    found
}

/// For each production input the share of training among its nearest inputs, as if both sets were equally large: 0.5 is even.
fn densities(within: &[Vec<Near>], across: &[Vec<Near>], asked: usize, trained: usize) -> Vec<f64> {
    let one = |(within, across): (&Vec<Near>, &Vec<Near>)| {
        let mut all: Vec<(f32, bool)> = within.iter().map(|near| (near.cosine, false)).collect();
        all.extend(across.iter().map(|near| (near.cosine, true)));
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all.truncate(AROUND);
        let count = |side: bool| all.iter().filter(|(_, training)| *training == side).count() as f64;
        let (training, production) = (count(true) / trained as f64, count(false) / (asked as f64 - 1.0));
        if training + production > 0.0 { training / (training + production) } else { 0.0 }
    };
    within.iter().zip(across).map(one).collect()
}

/// Each value averaged with those of the nearest production inputs, weighted by likeness.
fn smoothed(values: &[f64], within: &[Vec<Near>]) -> Vec<f64> {
    let one = |(own, near): (&f64, &Vec<Near>)| {
        let near = near.iter().take(SMOOTHED);
        let (sum, weight) = near.fold((*own, 1.0), |(sum, weight), near| {
            let likeness = f64::from(near.cosine);
            (sum + likeness * values[near.index as usize], weight + likeness)
        });
        sum / weight
    };
    values.iter().zip(within).map(one).collect()
}

/// How near the whole of production is to the training set.
fn whole(within: &[Vec<Near>], across: &[Vec<Near>], trained: &Rows, asked: &Rows, gaps: usize) -> Finding {
    let distance = |near: &Vec<Near>| near.first().map_or(1.0, |near| 1.0 - f64::from(near.cosine));
    let mut own: Vec<f64> = within.iter().map(distance).collect();
    own.sort_by(f64::total_cmp);
    let limit = own[((NEAR * own.len() as f64) as usize).min(own.len() - 1)];
    let covered = across.iter().filter(|near| distance(near) <= limit).count() as f64 / across.len() as f64;
    let test = two_sample(trained, asked);
    let severity = if gaps > 0 || covered < 0.85 { Severity::Warning } else { Severity::Note };
    Finding {
        check: Check::Coverage,
        severity,
        examples: Vec::new(),
        score: (1.0 - covered).clamp(0.0, 1.0),
        evidence: format!(
            "{:.1} % of {} production inputs have a training example as near as {:.0} % of them have another production input (distance {limit:.2}); a classifier tells training from production with an AUC of {:.2} (0.5 is the same; {:.2} at most in {} trials with shuffled labels); {gaps} gaps; compared by words and pieces of words",
            100.0 * covered,
            asked.len(),
            100.0 * NEAR,
            test.auc,
            test.null,
            test.trials,
        ),
        mend: if gaps > 0 { "close the gaps below, the largest first".into() } else { "nothing".into() },
    }
}

fn finding(gap: &[usize], production: &[Item], density: &[f64], trained: usize) -> Finding {
    let share = gap.len() as f64 / production.len() as f64;
    let mean = gap.iter().map(|row| density[*row]).sum::<f64>() / gap.len() as f64;
    let typical: Vec<String> = gap.iter().take(TYPICAL).map(|row| shown(&production[*row].prompt())).collect();
    let wanted = ((share * trained as f64).round() as usize).max(10);
    Finding {
        check: Check::Coverage,
        severity: Severity::Warning,
        examples: gap.iter().map(|row| production[*row].id.clone()).collect(),
        score: (1.0 - mean / 0.5).clamp(0.0, 1.0),
        evidence: format!(
            "{:.1} % of production ({} of {} inputs) is hardly in the training set: around it training is {:.0} % as dense as production. Typical: {}",
            100.0 * share,
            gap.len(),
            production.len(),
            100.0 * mean / (1.0 - mean),
            typical.join(" "),
        ),
        mend: format!("import or write {wanted} of these, the share that they have in production"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn rows(topics: &[&str], each: usize) -> Vec<Item> {
        let tails = ["please", "today", "again", "now", "quickly", "for my mother", "at work", "since monday"];
        let lines: Vec<String> = topics
            .iter()
            .enumerate()
            .flat_map(|(t, topic)| {
                (0..each)
                    .map(move |i| serde_json::json!({ "id": format!("{t}-{i}"), "text": format!("{topic} {}", tails[i % 8]) }).to_string())
            })
            .collect();
        crate::parse_items(lines.join("\n").as_bytes(), Path::new("rows.jsonl")).unwrap()
    }

    #[test]
    fn a_topic_that_is_left_out_is_named_and_no_other() {
        let topics = [
            "where is my parcel",
            "refund the money for the lamp",
            "the app crashes on start",
            "change the delivery address",
            "cancel the yearly plan",
        ];
        let found = coverage(&rows(&topics[..4], 24), &rows(&topics, 24), &CoverageOptions { least: 0.01 });
        let gaps: Vec<&Finding> = found.iter().filter(|finding| !finding.examples.is_empty()).collect();
        assert_eq!(gaps.len(), 1, "{found:#?}");
        assert!(gaps[0].examples.iter().all(|id| id.starts_with("4-")) && gaps[0].examples.len() == 24);
        assert!(gaps[0].evidence.contains("“cancel the yearly plan") && gaps[0].mend.contains("19 of these"), "{:?}", gaps[0]);
        let all = coverage(&rows(&topics, 24), &rows(&topics, 24), &CoverageOptions { least: 0.01 });
        assert_eq!(all.len(), 1, "{all:#?}");
    }
}
