//! One text inside of another: both hold the same run of words, whatever stands around it.
//!
//! Of every eight shingles in a row the least is a mark (winnowing, Schleimer, Wilkerson and Aiken 2003), so
//! two texts that share ten words in a row share a mark. A text that holds another whole shares nearly all
//! marks of the smaller one.

use rayon::prelude::*;

use super::bands::{FEW, couple};

/// Shingles of which one is a mark.
const WINDOW: usize = 8;
/// A run that this many texts share is a phrase of the house, not the mark of a copy.
const PHRASE: usize = 64;
/// Pairs, each once for every mark that it shares, held at a time: 128 MB.
const AT_ONCE: usize = 1 << 24;

/// Adds the marks of a text.
pub(super) fn mark(shingles: &[u64], id: u32, marks: &mut Vec<u64>) {
    let from = marks.len();
    let push = |at: usize, marks: &mut Vec<u64>| marks.push((shingles[at] & !0xffff_ffff) | u64::from(id));
    let mut last = usize::MAX;
    for start in 0..=shingles.len().saturating_sub(WINDOW) {
        let end = (start + WINDOW).min(shingles.len());
        // The least of the last window is still the least unless it has left, or a lesser one has come.
        let least = if last != usize::MAX && last >= start {
            if shingles[end - 1] < shingles[last] { end - 1 } else { last }
        } else {
            (start..end).min_by_key(|at| shingles[*at]).unwrap_or(start)
        };
        if least != last {
            push(least, marks);
            last = least;
        }
    }
    marks[from..].sort_unstable();
    let mut kept = from;
    for at in from..marks.len() {
        if at == from || marks[at] != marks[kept - 1] {
            marks[kept] = marks[at];
            kept += 1;
        }
    }
    marks.truncate(kept);
}

/// Pairs of which the one with fewer marks shares at least a quarter of them with the other: of what a text holds whole
/// nearly all are shared, of a text that lost a word in six about a third.
pub(super) fn candidates(mut marks: Vec<u64>) -> Vec<u64> {
    let texts = marks.iter().map(|mark| mark & 0xffff_ffff).max().map_or(0, |most| most as usize + 1);
    let mut counts = vec![0_u32; texts];
    marks.iter().for_each(|mark| counts[(mark & 0xffff_ffff) as usize] += 1);
    marks.par_sort_unstable();
    let groups = || marks.chunk_by(|a, b| a >> 32 == b >> 32).filter(|group| (2..=PHRASE).contains(&group.len()));
    let enough = |run: &[u64]| {
        let [a, b] = [run[0] >> 32, run[0] & 0xffff_ffff].map(|id| counts[id as usize] as usize);
        run.len() * 4 >= a.min(b)
    };
    // A pair is there once for each mark it shares. Only so many are held at a time: those of some of the texts.
    let all: usize = groups().map(|group| group.len() * group.len().min(2 * FEW) / 2).sum();
    let passes = all.div_ceil(AT_ONCE).max(1) as u64;
    let mut found = Vec::new();
    for pass in 0..passes {
        let mut shared = Vec::new();
        let mut pairs = Vec::new();
        for group in groups() {
            pairs.clear();
            couple(group, &mut pairs);
            shared.extend(pairs.iter().filter(|pair| (**pair >> 32) % passes == pass));
        }
        shared.par_sort_unstable();
        found.extend(shared.chunk_by(|a, b| a == b).filter(|run| enough(run)).map(|run| run[0]));
    }
    found
}
