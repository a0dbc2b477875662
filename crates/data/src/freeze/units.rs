//! What must stay on one side: examples of one thread or customer, and examples whose prompts are nearly the same.

use std::collections::{BTreeMap, HashMap};

use record::hash::sha256;
use serde_json::Value;

use super::content::content;
use crate::item::Item;
use crate::near;

/// Least likeness of prompts that may not stand on both sides.
const LEAST: f32 = 0.6;
/// Least share of a shorter prompt that a longer one holds.
const CONTAINED: f32 = 0.9;

/// Examples that stay together.
pub(crate) struct Unit {
    /// In the order of the file.
    pub rows: Vec<usize>,
    /// Where it stands when units are drawn by chance; it depends on seed and members alone.
    pub rank: u64,
}

/// The units of some examples, and how they came about.
pub(crate) struct Units {
    pub all: Vec<Unit>,
    /// Different groups.
    pub groups: usize,
    /// Examples that have a group.
    pub grouped: usize,
    /// Units of two and more examples that hang together by their prompts, at least in part.
    pub clusters: usize,
    /// Examples in them.
    pub clustered: usize,
}

/// Joins examples by group and by near prompts.
pub(crate) fn units(items: &[Item], group: &str, seed: u64) -> Units {
    let mut parents: Vec<usize> = (0..items.len()).collect();
    let mut first: HashMap<String, usize> = HashMap::new();
    let groups: Vec<Option<String>> = items.iter().map(|item| named(item, group)).collect();
    for (at, name) in groups.iter().enumerate() {
        if let Some(name) = name {
            let with = *first.entry(name.clone()).or_insert(at);
            join(&mut parents, with, at);
        }
    }
    let prompts: Vec<String> = items.iter().map(Item::prompt).collect();
    let mut near_rows = vec![false; items.len()];
    for (a, b) in alike(&prompts) {
        join(&mut parents, a, b);
        (near_rows[a], near_rows[b]) = (true, true);
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in 0..items.len() {
        members.entry(root(&mut parents, at)).or_default().push(at);
    }
    let joined = || members.values().filter(|rows| rows.len() > 1 && rows.iter().any(|row| near_rows[*row]));
    let (clusters, clustered) = (joined().count(), near_rows.iter().filter(|near| **near).count());
    let all = members.into_values().map(|rows| unit(items, &groups, rows, seed)).collect();
    Units { all, groups: first.len(), grouped: groups.iter().flatten().count(), clusters, clustered }
}

/// Pairs of prompts that are the same but for case and spaces, or nearly the same.
fn alike(prompts: &[String]) -> Vec<(usize, usize)> {
    let same = near::exact(prompts).into_iter();
    let same = same.flat_map(|group| group.windows(2).map(|pair| (pair[0] as usize, pair[1] as usize)).collect::<Vec<_>>());
    let options = near::Options { least: LEAST, contained: Some(CONTAINED), ..near::Options::default() };
    let near = near::pairs(prompts, &options).into_iter().map(|pair| (pair.a as usize, pair.b as usize));
    same.chain(near).collect()
}

/// The rank is that of one member, the first by its name, drawn anew with the seed: large units come no sooner than small ones,
/// and a unit keeps its rank when others are added, mostly even to itself.
fn unit(items: &[Item], groups: &[Option<String>], rows: Vec<usize>, seed: u64) -> Unit {
    let name = |row: &usize| match &groups[*row] {
        Some(name) => sha256(format!("group {name}").as_bytes()),
        None => content(&items[*row]),
    };
    let anchor = rows.iter().map(name).min().unwrap_or_default();
    Unit { rank: rank(seed, &anchor), rows }
}

/// A number by chance that seed and name decide.
pub(crate) fn rank(seed: u64, name: &str) -> u64 {
    let hash = sha256(format!("{seed} {name}").as_bytes());
    u64::from_str_radix(&hash[..16], 16).unwrap_or_default()
}

/// The group of an example: a text or a number.
pub(super) fn named(item: &Item, field: &str) -> Option<String> {
    match item.tag(field)? {
        Value::String(name) if !name.trim().is_empty() => Some(name.clone()),
        Value::Number(name) => Some(name.to_string()),
        _ => None,
    }
}

fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}
