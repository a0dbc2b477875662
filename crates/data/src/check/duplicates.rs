//! Copies: told as duplicate, template or conflict, each with what to keep and why. Nothing is deleted here.

use rayon::prelude::*;

use super::cases::{Case, Relation, agree};
use super::{Data, Settings, count, finding, shown};
use crate::finding::{Check, Finding, Severity};
use crate::near::{self, Pair};

/// Characters of a text that the evidence shows.
const SHOWN: usize = 220;
/// From so many cases on a form is worth a look: it may drown the rest.
const FORM: usize = 5;

/// One finding for each cluster, and one for each form that several cases fill in.
pub(super) fn check(data: &Data, settings: &Settings<'_>) -> Vec<Finding> {
    let pairs = data.near(&settings.near);
    let clusters = near::clusters(&data.asked, pairs, &settings.near);
    clusters.par_iter().flat_map_iter(|cluster| tell(data, cluster, settings)).collect()
}

/// Members of a cluster that tell one case.
struct Told {
    members: Vec<u32>,
    relations: Vec<Relation>,
    likeness: f32,
}

fn tell(data: &Data, cluster: &[u32], settings: &Settings<'_>) -> Vec<Finding> {
    let (cases, differs) = by_case(data, cluster, settings);
    let mut findings: Vec<Finding> = cases.iter().filter(|told| told.members.len() > 1).map(|told| copies(data, told)).collect();
    if cases.len() > 1 {
        findings.push(form(data, &cases, &differs));
    }
    findings
}

/// The cluster by cases: a text joins the first case whose first text tells the same.
fn by_case(data: &Data, cluster: &[u32], settings: &Settings<'_>) -> (Vec<Told>, Vec<String>) {
    let mut told: Vec<(Case, Told)> = Vec::new();
    let mut differs = Vec::new();
    // The longest first, so that what stands inside of it joins it.
    let mut members = cluster.to_vec();
    members.sort_by_key(|at| std::cmp::Reverse(data.asked[*at as usize].len()));
    for at in members {
        let text = &data.asked[at as usize];
        let case = Case::of(text);
        let mut home = None;
        for (place, (first, group)) in told.iter().enumerate() {
            let pair = compare(&data.asked[group.members[0] as usize], text, settings);
            match first.relation(&case, pair.contained) {
                Relation::Template(words) => differs.extend(words),
                relation => {
                    home = Some((place, relation, pair.jaccard));
                    break;
                }
            }
        }
        match home {
            Some((place, relation, likeness)) => {
                let group = &mut told[place].1;
                group.members.push(at);
                group.relations.push(relation);
                group.likeness = group.likeness.min(likeness);
            }
            None => told.push((case, Told { members: vec![at], relations: Vec::new(), likeness: 1.0 })),
        }
    }
    (told.into_iter().map(|(_, told)| told).collect(), differs)
}

fn compare(a: &str, b: &str, settings: &Settings<'_>) -> Pair {
    let mut shingler = near::Shingler::words(settings.near.slots);
    let (left, right) = (shingler.set(a), shingler.set(b));
    Pair { a: 0, b: 1, jaccard: near::jaccard(&left, &right), contained: near::contained(&left, &right) }
}

/// Texts that tell one case several times.
fn copies(data: &Data, told: &Told) -> Finding {
    let answer = |at: u32| data.train[at as usize].answer();
    let (kept, why) = keep(data, told);
    let mut examples = vec![kept];
    examples.extend(told.members.iter().copied().filter(|at| *at != kept));
    let names = data.names(&examples);
    let text = |at: u32| shown(&data.asked[at as usize], SHOWN);
    let other = examples[1];
    let against = examples.iter().copied().find(|at| !agree(answer(kept), answer(*at)));
    let exact = told.relations.iter().all(|relation| *relation == Relation::Same);
    let texts =
        if exact { text(kept) } else { format!("{}: {}; {}: {}", names[0], text(kept), data.train[other as usize].id, text(other)) };
    match against {
        Some(against) => finding(
            Check::NearDuplicate,
            Severity::Error,
            names,
            f64::from(told.likeness),
            format!(
                "conflict: {} of the same prompt with different answers ({}). {} is answered {}, {} is answered {}. {texts}",
                count(examples.len(), "copy").replace("copys", "copies"),
                kind(told),
                data.train[kept as usize].id,
                shown(answer(kept).unwrap_or_default(), 120),
                data.train[against as usize].id,
                shown(answer(against).unwrap_or_default(), 120),
            ),
            "decide which answer is right before a copy is removed: the copy may hold the better one",
        ),
        None => finding(
            Check::NearDuplicate,
            Severity::Warning,
            names.clone(),
            f64::from(told.likeness),
            format!("duplicate ({}): {} say the same, with the same answer. {texts}", kind(told), count(examples.len(), "example")),
            format!("keep {} ({why}), remove {}", names[0], names[1..].join(", ")),
        ),
    }
}

/// The kind of copy, by what is furthest from the text itself.
fn kind(told: &Told) -> &'static str {
    let any = |relation: Relation| told.relations.contains(&relation);
    match () {
        () if any(Relation::Edited) => "near: some words differ",
        () if any(Relation::Inside) => "contained: one text stands inside of the other",
        () => "exact but for case, punctuation and spaces",
    }
}

/// Which one to keep, and why.
fn keep(data: &Data, told: &Told) -> (u32, &'static str) {
    let newest = told.members.iter().copied().filter(|at| data.at(*at).is_some()).max_by_key(|at| (data.at(*at), std::cmp::Reverse(*at)));
    let dated = told.members.iter().all(|at| data.at(*at).is_some());
    if told.relations.contains(&Relation::Inside) {
        return (told.members[0], "it is the most complete");
    }
    let first = told.members.iter().copied().min().unwrap_or_default();
    match newest {
        Some(newest) if dated && data.at(newest) != data.at(first) => (newest, "it is the newest"),
        // A text in lower case throughout, or with runs of spaces, is the worse copy.
        _ => {
            let worn = |at: &u32| {
                let text = &data.asked[*at as usize];
                (usize::from(!text.contains(char::is_uppercase)) + text.matches("  ").count(), *at)
            };
            let best = told.members.iter().copied().min_by_key(worn).unwrap_or(first);
            (best, if best == first { "it comes first" } else { "it is written best" })
        }
    }
}

/// One form, filled in for several cases.
fn form(data: &Data, cases: &[Told], differs: &[String]) -> Finding {
    let heads: Vec<u32> = cases.iter().map(|told| told.members[0]).collect();
    let likeness = cases.iter().map(|told| told.likeness).fold(1.0, f32::min);
    let mut words = differs.to_vec();
    words.sort_unstable();
    words.dedup();
    words.truncate(6);
    let share = heads.len() as f64 / data.train.len().max(1) as f64;
    let many = heads.len() >= FORM && share >= 0.005;
    let text = |at: u32| shown(&data.asked[at as usize], SHOWN);
    let other = heads[1];
    finding(
        Check::Template,
        if many { Severity::Warning } else { Severity::Note },
        data.names(&heads),
        f64::from(likeness),
        format!(
            "template: {} with the same wording, {:.1} % of the data, differ in ids, numbers, dates or names such as {}. {}: {}; {}: {}",
            count(heads.len(), "case"),
            share * 100.0,
            words.join(", "),
            data.train[heads[0] as usize].id,
            text(heads[0]),
            data.train[other as usize].id,
            text(other)
        ),
        match many {
            true => format!("cap the form: keep about {FORM} of them, else it is learned by heart"),
            false => "keep them: each is a case of its own".to_string(),
        },
    )
}
