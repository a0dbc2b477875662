//! Pairs that sketches brought together, compared exactly.

use std::collections::HashMap;

use rayon::prelude::*;

use super::shingle::{Set, Shingler, contained, jaccard};
use super::{Options, Pair};

/// Pairs compared at a time: only their sets are in memory.
const BLOCK: usize = 1 << 16;

/// Those that are as near as asked.
pub(super) fn verify<'a>(candidates: &[u64], text: &(impl Fn(u32) -> &'a str + Sync), shingler: &Shingler, options: &Options) -> Vec<Pair> {
    let ends = |pair: &u64| [(pair >> 32) as u32, *pair as u32];
    let mut found = Vec::new();
    for block in candidates.chunks(BLOCK) {
        let mut ids: Vec<u32> = block.iter().flat_map(ends).collect();
        ids.sort_unstable();
        ids.dedup();
        let read = |shingler: &mut Shingler, id: &u32| (*id, shingler.set(text(*id)));
        let sets: HashMap<u32, Set> = ids.par_iter().map_init(|| shingler.clone(), read).collect();
        let pair = |pair: &u64| {
            let [a, b] = ends(pair);
            let (left, right) = (&sets[&a], &sets[&b]);
            let pair = Pair { a, b, jaccard: jaccard(left, right), contained: contained(left, right) };
            let worn = || pair.jaccard >= options.least * WORN && shingler.clone().words_held(text(a), text(b)) >= WHOLE;
            let held = options.contained.is_some_and(|least| pair.contained >= least && left.len().min(right.len()) >= LONG);
            (pair.jaccard >= options.least || held || worn()).then_some(pair)
        };
        found.par_extend(block.par_iter().filter_map(pair));
    }
    found
}

/// A text of fewer shingles is a phrase that many others hold.
const LONG: usize = 6;
/// A text that lost a word in six has lost half of its three-word runs, though nearly all of its words are there:
/// above this share of the least likeness the words themselves are asked.
const WORN: f32 = 0.6;
/// Share of the smaller text's words that the larger one then holds.
const WHOLE: f32 = 0.95;
