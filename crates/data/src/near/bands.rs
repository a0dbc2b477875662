//! Keys of bands to pairs that are worth comparing: each band is sorted, and equal keys lie side by side.

use rayon::prelude::*;

use super::sketch::Sketches;

/// Up to this many texts with one key are all compared with each other.
pub(super) const FEW: usize = 32;
/// Of more, each is compared with the first and with this many that follow.
const NEXT: usize = 8;

/// Pairs of texts that share a key, the lower number above, sorted.
pub(super) fn candidates(sketches: &Sketches) -> Vec<u64> {
    let band = |band: usize| {
        let keys = sketches.keys.iter().skip(band).step_by(sketches.bands);
        let mut keyed: Vec<u64> = keys
            .zip(&sketches.sizes)
            .enumerate()
            .filter(|(_, (_, size))| **size > 0)
            .map(|(id, (key, _))| (u64::from(*key) << 32) | id as u64)
            .collect();
        keyed.sort_unstable();
        let mut pairs = Vec::new();
        keyed.chunk_by(|a, b| a >> 32 == b >> 32).for_each(|group| couple(group, &mut pairs));
        pairs
    };
    // A few bands at a time, and what several of them found is kept once: memory follows the pairs, not the bands.
    let mut all: Vec<u64> = Vec::new();
    for first in (0..sketches.bands).step_by(8) {
        let found: Vec<Vec<u64>> = (first..sketches.bands.min(first + 8)).into_par_iter().map(band).collect();
        all.extend(found.iter().flatten());
        all.par_sort_unstable();
        all.dedup();
    }
    all
}

/// Pairs within a group of numbers that are in order in their low halves.
pub(super) fn couple(group: &[u64], pairs: &mut Vec<u64>) {
    let id = |at: usize| group[at] & 0xffff_ffff;
    let next = if group.len() <= FEW { FEW } else { NEXT };
    for a in 0..group.len() {
        for b in a + 1..group.len().min(a + 1 + next) {
            pairs.push((id(a) << 32) | id(b));
        }
        if a > next {
            pairs.push((id(0) << 32) | id(a));
        }
    }
}
