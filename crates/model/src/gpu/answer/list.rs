//! Prompts as a pass reads them: tokens, angles, rows of the cache and who sees whom, copied in one piece.

use crate::Dims;
use crate::gpu::batch::STEP;
use engine::Layout;
use engine::cuda::{Buffer, Error};
use engine::ops::attention::gpu::{Host, Seen, Version};
use std::ops::Range;

/// Prompts side by side behind tokens that lie in the cache.
pub(crate) struct Prompts<'a> {
    /// Their own tokens, and the cache row where each begins.
    pub own: Vec<(&'a [u32], usize)>,
    /// Tokens before each of them, in the cache's first rows.
    pub before: usize,
}

/// The same as one list of words.
pub(crate) struct List {
    words: Vec<u32>,
    parts: Vec<Range<usize>>,
    host: Host,
    tokens: usize,
    before: usize,
}

/// The same on the device.
pub(crate) struct Loaded {
    /// Rows of the pass.
    pub tokens: usize,
    /// Cached rows before them.
    pub before: usize,
    /// Token of every row.
    pub ids: Buffer<u32>,
    /// Row of the rotary table of every row.
    pub angles: Buffer<u32>,
    /// Cache row of every row.
    pub rows: Buffer<u32>,
    /// The last row of each prompt.
    pub last: Buffer<u32>,
    pub seen: Seen,
}

impl List {
    /// `long` is added to a position for its row of the rotary table; `version` says which kernels do the attention.
    pub fn new(p: &Prompts, d: &Dims, long: u32, version: Version) -> List {
        let mut layout = Layout::new();
        let parent = (p.before > 0).then(|| layout.push_cached(p.before));
        let (mut ids, mut angles, mut rows, mut last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (own, start) in &p.own {
            layout.push(own.len(), parent);
            ids.extend_from_slice(own);
            angles.extend((0..own.len()).map(|i| (p.before + i) as u32 + long));
            rows.extend((0..own.len()).map(|i| (start + i) as u32));
            last.push(ids.len() as u32 - 1);
        }
        let tokens = ids.len();
        let host = Host::of(&layout, d.attention(), version);
        let (mut words, mut parts) = (Vec::new(), Vec::new());
        for array in [ids, angles, rows, last].iter().chain(host.arrays()) {
            let from = words.len();
            words.extend_from_slice(array);
            parts.push(from..words.len());
            words.resize(words.len().next_multiple_of(STEP), 0);
        }
        List { words, parts, host, tokens, before: p.before }
    }

    /// Copies it to `to`.
    pub fn load(&self, to: &Buffer<u32>) -> Result<Loaded, Error> {
        to.write(&self.words)?;
        let mut parts = self.parts.iter().map(|range| to.part(range.clone()));
        let mut next = || parts.next().expect("four parts and those of attention");
        let (ids, angles, rows, last) = (next(), next(), next(), next());
        let seen = self.host.seen(parts.collect());
        Ok(Loaded { tokens: self.tokens, before: self.before, ids, angles, rows, last, seen })
    }

    /// The most words of `prompts` prompts of `rows` tokens behind `before` cached ones.
    pub fn most(rows: usize, before: usize, prompts: usize) -> usize {
        3 * rows + prompts + Host::words(before + rows) + 20 * STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dims::tests::tiny;

    #[test]
    fn rows_know_their_token_position_and_place() {
        let (a, b): (Vec<u32>, Vec<u32>) = ((10..15).collect(), (20..22).collect());
        let p = Prompts { own: vec![(&a, 7), (&b, 100)], before: 3 };
        let l = List::new(&p, &tiny(), 1000, Version::General);
        let part = |i: usize| &l.words[l.parts[i].clone()];
        assert_eq!(part(0), [10, 11, 12, 13, 14, 20, 21]);
        assert_eq!(part(1), [1003, 1004, 1005, 1006, 1007, 1003, 1004]);
        assert_eq!(part(2), [7, 8, 9, 10, 11, 100, 101]);
        assert_eq!(part(3), [4, 6]);
        // What attention knows counts the cached rows: those of both prompts see them.
        assert_eq!(part(4), [10, 10, 10, 8, 8, 8, 8, 8, 10, 10]);
        assert!(l.parts.iter().all(|part| part.start % STEP == 0));
    }

    #[test]
    fn every_list_has_room() {
        let tokens = vec![1u32; 300];
        for before in [0, 40, 500] {
            for lens in [vec![300], vec![1; 100], vec![200, 3, 90, 7]] {
                let own: Vec<(&[u32], usize)> = lens.iter().map(|&n| (&tokens[..n], 0)).collect();
                let (rows, count) = (lens.iter().sum(), lens.len());
                for version in [Version::General, Version::Hopper { multiprocessors: 132 }] {
                    let l = List::new(&Prompts { own: own.clone(), before }, &tiny(), 0, version);
                    assert!(l.words.len() <= List::most(rows, before, count), "{} words of {lens:?} after {before}", l.words.len());
                }
            }
        }
    }
}
