//! Pairs to clusters in which no two are unlike.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::shingle::{Set, Shingler, contained, jaccard};
use super::{Options, Pair};

/// Of two clusters that are to be joined this many members each are compared.
const MEMBERS: usize = 8;
/// Two members of a cluster are at least this share of a pair's likeness alike.
const DIAMETER: f32 = 0.6;

/// Texts that are the same but for case, punctuation and spaces: groups of two and more, sorted.
pub fn exact<T: AsRef<str> + Sync>(texts: &[T]) -> Vec<Vec<u32>> {
    let hash = |shingler: &mut Shingler, (at, text): (usize, &T)| {
        let shingles = shingler.shingles(text.as_ref());
        let whole =
            shingles.iter().fold([shingles.len() as u64, 1], |[a, b], hash| [super::mix(a ^ hash), super::mix(b).wrapping_add(*hash)]);
        (whole, at as u32, shingles.is_empty())
    };
    let mut keyed: Vec<([u64; 2], u32, bool)> =
        texts.par_iter().enumerate().map_init(|| Shingler::words(super::Slots::Kept), hash).collect();
    keyed.retain(|(_, _, empty)| !empty);
    keyed.par_sort_unstable();
    let groups = keyed.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1);
    let mut groups: Vec<Vec<u32>> = groups.map(|group| group.iter().map(|(_, at, _)| *at).collect()).collect();
    groups.sort_unstable();
    groups
}

/// Joins pairs to clusters, the nearest first; two clusters are joined only where their members are alike,
/// so a chain of small changes does not bring unlike ends together. Sorted, each with its members in order.
pub fn clusters<T: AsRef<str> + Sync>(texts: &[T], pairs: &[Pair], options: &Options) -> Vec<Vec<u32>> {
    let mut all: Vec<Vec<u32>> = components(pairs).into_par_iter().flat_map_iter(|pairs| split(texts, pairs, options)).collect();
    all.sort_unstable();
    all
}

/// Pairs that hang together, each component's apart.
fn components(pairs: &[Pair]) -> Vec<Vec<Pair>> {
    let most = pairs.iter().map(|pair| pair.b as usize + 1).max().unwrap_or(0);
    let mut parents: Vec<u32> = (0..most as u32).collect();
    for pair in pairs {
        let (a, b) = (root(&mut parents, pair.a), root(&mut parents, pair.b));
        parents[a.max(b) as usize] = a.min(b);
    }
    let mut by_root: BTreeMap<u32, Vec<Pair>> = BTreeMap::new();
    for pair in pairs {
        by_root.entry(root(&mut parents, pair.a)).or_default().push(*pair);
    }
    by_root.into_values().collect()
}

fn root(parents: &mut [u32], mut at: u32) -> u32 {
    while parents[at as usize] != at {
        parents[at as usize] = parents[parents[at as usize] as usize];
        at = parents[at as usize];
    }
    at
}

/// The clusters of one component.
fn split<T: AsRef<str>>(texts: &[T], mut pairs: Vec<Pair>, options: &Options) -> Vec<Vec<u32>> {
    if let [pair] = pairs[..] {
        return vec![vec![pair.a, pair.b]];
    }
    let likeness = |pair: &Pair| pair.jaccard.max(options.contained.map_or(0.0, |_| pair.contained));
    pairs.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)).then((a.a, a.b).cmp(&(b.a, b.b))));
    let mut sets = Sets { texts, words: Shingler::words(options.slots), chars: Shingler::chars(options.slots), read: BTreeMap::new() };
    let mut home: BTreeMap<u32, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for pair in &pairs {
        let [a, b] = [pair.a, pair.b].map(|id| {
            *home.entry(id).or_insert_with(|| {
                groups.push(vec![id]);
                groups.len() - 1
            })
        });
        if a == b || !alike(&groups[a], &groups[b], pair, &mut sets, options) {
            continue;
        }
        let (into, from) = if groups[a].len() >= groups[b].len() { (a, b) } else { (b, a) };
        let moved = std::mem::take(&mut groups[from]);
        home.extend(moved.iter().map(|id| (*id, into)));
        groups[into].extend(moved);
    }
    groups.retain(|group| group.len() > 1);
    groups.iter_mut().for_each(|group| group.sort_unstable());
    groups
}

/// Whether members of both are as alike as members of one cluster have to be; the pair itself is known to be.
fn alike<T: AsRef<str>>(left: &[u32], right: &[u32], pair: &Pair, sets: &mut Sets<'_, T>, options: &Options) -> bool {
    let some = |group: &[u32]| -> Vec<u32> { group.iter().step_by(group.len().div_ceil(MEMBERS)).copied().collect() };
    let (left, right) = (some(left), some(right));
    left.iter().all(|a| {
        right.iter().all(|b| {
            let known = [pair.a, pair.b] == [*a, *b] || [pair.a, pair.b] == [*b, *a];
            known || sets.near(*a, *b, options.contained.is_some()) >= options.least * DIAMETER
        })
    })
}

/// The sets of a component's texts, read when they are asked for.
struct Sets<'a, T> {
    texts: &'a [T],
    words: Shingler,
    chars: Shingler,
    read: BTreeMap<u32, [Set; 2]>,
}

impl<T: AsRef<str>> Sets<'_, T> {
    /// How alike two texts are, by words or, if both are short, by characters.
    fn near(&mut self, a: u32, b: u32, held: bool) -> f32 {
        for id in [a, b] {
            if !self.read.contains_key(&id) {
                let text = self.texts[id as usize].as_ref();
                let short = self.words.count(text) <= super::shingle::SHORT;
                let chars = if short { self.chars.set(text) } else { Set::new() };
                self.read.insert(id, [self.words.set(text), chars]);
            }
        }
        let [left, right] = [&self.read[&a], &self.read[&b]];
        let mut near = jaccard(&left[0], &right[0]).max(jaccard(&left[1], &right[1]));
        if held {
            near = near.max(contained(&left[0], &right[0]));
        }
        near
    }
}
