//! Texts that say nearly the same: found by MinHash and by shared runs of words, then compared exactly.
//!
//! Each text is read once into small sketches; only texts that some sketch brings together are read
//! again to be compared. Texts are numbered from 0 in the order in which they are given.

mod bands;
mod cluster;
mod mask;
mod runs;
mod scheme;
mod shingle;
mod sketch;
mod verify;
mod words;

pub use cluster::{clusters, exact};
pub use mask::{Part, Slot, masked, parts};
pub use scheme::Scheme;
pub use shingle::{Set, Shingler, contained, jaccard};
pub use words::Slots;

use rayon::prelude::*;
use shingle::SHORT;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// How texts are brought together.
    pub scheme: Scheme,
    /// Least Jaccard similarity of a pair; a little less will do where the words as such agree.
    pub least: f32,
    /// Least share of the smaller text that the larger holds; `None` looks for no such pairs.
    pub contained: Option<f32>,
    /// Whether ids, numbers and addresses are one and the same.
    pub slots: Slots,
}

impl Default for Options {
    fn default() -> Self {
        Self { scheme: Scheme::default(), least: 0.5, contained: Some(0.85), slots: Slots::Masked }
    }
}

/// Two texts that are near each other; `a` is below `b`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    pub a: u32,
    pub b: u32,
    /// Jaccard similarity of their shingles, exact.
    pub jaccard: f32,
    /// Share of the smaller one's shingles that the larger one holds, exact.
    pub contained: f32,
}

/// All pairs of near texts, sorted. The result does not depend on the number of threads.
///
/// Of more than 32 texts that one band brings together each is compared with the first and the next eight:
/// enough to join them, where all pairs would be too many to tell.
pub fn pairs<T: AsRef<str> + Sync>(texts: &[T], options: &Options) -> Vec<Pair> {
    let words = pass(texts, None, Shingler::words(options.slots), options);
    let short: Vec<u32> = texts
        .par_iter()
        .enumerate()
        .map_init(|| Shingler::words(options.slots), |shingler, (at, text)| (at as u32, shingler.count(text.as_ref())))
        .filter(|(_, count)| (1..=SHORT).contains(count))
        .map(|(at, _)| at)
        .collect();
    // Of a few words one that differs takes all three-word shingles with it; characters still agree.
    let chars = pass(texts, Some(&short), Shingler::chars(options.slots), &Options { contained: None, ..*options });
    merged(words, chars)
}

/// One way of cutting, over all texts or some.
fn pass<T: AsRef<str> + Sync>(texts: &[T], only: Option<&[u32]>, shingler: Shingler, options: &Options) -> Vec<Pair> {
    let text = |at: u32| texts[only.map_or(at, |only| only[at as usize]) as usize].as_ref();
    let count = only.map_or(texts.len(), <[u32]>::len);
    let sketches = sketch::all(count, &text, &shingler, options);
    let mut candidates = bands::candidates(&sketches);
    if options.contained.is_some() {
        candidates.extend(runs::candidates(sketches.runs));
        candidates.par_sort_unstable();
        candidates.dedup();
    }
    let mut found = verify::verify(&candidates, &text, &shingler, options);
    if let Some(only) = only {
        for pair in &mut found {
            (pair.a, pair.b) = (only[pair.a as usize], only[pair.b as usize]);
        }
    }
    found
}

/// Both lists, each pair once with what is more alike.
fn merged(mut pairs: Vec<Pair>, more: Vec<Pair>) -> Vec<Pair> {
    pairs.extend(more);
    pairs.par_sort_by_key(|pair| (pair.a, pair.b));
    pairs.dedup_by(|next, kept| {
        let same = (next.a, next.b) == (kept.a, kept.b);
        if same {
            kept.jaccard = kept.jaccard.max(next.jaccard);
            kept.contained = kept.contained.max(next.contained);
        }
        same
    });
    pairs
}

/// Spreads the bits of a number (the finaliser of SplitMix64).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
