//! A micro-batch on the GPU: everything that a pass reads of it, copied in one piece.

use crate::room::Limits;
use crate::{Dims, MicroBatch};
use engine::cuda::staging::Staging;
use engine::cuda::{Buffer, Error};
use engine::ops::attention::gpu::{Host, Seen, Version};
use std::ops::Range;

/// A micro-batch that lies on the GPU.
pub(crate) struct Loaded {
    pub tokens: usize,
    pub targets: usize,
    /// Token of every row.
    pub ids: Buffer<u32>,
    /// Row of the rotary table of every row.
    pub angles: Buffer<u32>,
    /// Supervised rows, one a target.
    pub rows: Buffer<u32>,
    /// Of every row the first target at or after it, and one more: which targets are its.
    pub starts: Buffer<u32>,
    pub seen: Seen,
    wanted: Buffer<u32>,
    weights: Buffer<f32>,
}

impl Loaded {
    /// Token that each of the targets `from..from + n` wants, and how often.
    pub fn wanted(&self, from: usize, n: usize) -> (Buffer<u32>, Buffer<f32>) {
        (self.wanted.part(from..from + n), self.weights.part(from..from + n))
    }

    /// From now on each target's loss is multiplied by its own of `weights`.
    pub fn weigh(&self, weights: &[f64]) -> Result<(), Error> {
        self.weights.write(&weights.iter().map(|&w| w as f32).collect::<Vec<_>>())
    }
}

/// A micro-batch as one list of words, ready to be copied.
pub(crate) struct Packed {
    words: Vec<u32>,
    parts: Vec<Range<usize>>,
    host: Host,
    tokens: usize,
    targets: usize,
}

/// Words that parts begin at multiples of, so that each is aligned as a buffer is.
pub(crate) const STEP: usize = engine::cuda::memory::ALIGN / size_of::<u32>();

impl Packed {
    /// Packs `b`; `long` is the row of the rotary table where long examples' angles begin, `version` which
    /// kernels will do its attention.
    pub fn new(b: &MicroBatch, d: &Dims, long: u32, version: Version) -> Packed {
        let host = Host::of(&b.layout, d.attention(), version);
        let angles = b.layout.positions().iter().zip(&b.long).map(|(&p, &is)| if is { p + long } else { p }).collect();
        let mut starts = vec![0u32; b.tokens.len() + 1];
        b.targets.iter().for_each(|t| starts[t.row as usize + 1] += 1);
        (1..starts.len()).for_each(|r| starts[r] += starts[r - 1]);
        let own = [
            b.tokens.clone(),
            angles,
            b.targets.iter().map(|t| t.row).collect(),
            starts,
            b.targets.iter().map(|t| t.token).collect(),
            b.targets.iter().map(|t| (t.count as f32).to_bits()).collect(),
        ];
        let mut p = Packed { words: Vec::new(), parts: Vec::new(), host, tokens: b.tokens.len(), targets: b.targets.len() };
        for array in own.iter().chain(p.host.arrays()) {
            let from = p.words.len();
            p.words.extend_from_slice(array);
            p.parts.push(from..p.words.len());
            p.words.resize(p.words.len().next_multiple_of(STEP), 0);
        }
        p
    }

    /// Copies it to `to`, by way of `staging`.
    pub fn load(&self, staging: &mut Staging, to: &Buffer<u32>) -> Result<Loaded, Error> {
        staging.write(to, &self.words)?;
        let mut parts = self.parts.iter().map(|range| to.part(range.clone()));
        let mut next = || parts.next().expect("six parts and those of attention");
        let (ids, angles, rows, starts, wanted, weights) = (next(), next(), next(), next(), next(), next());
        let weights = weights.view(self.targets);
        let seen = self.host.seen(parts.collect());
        Ok(Loaded { tokens: self.tokens, targets: self.targets, ids, angles, rows, starts, seen, wanted, weights })
    }

    /// The most words of a micro-batch within `limits`.
    pub fn words(limits: Limits) -> usize {
        3 * limits.tokens + 1 + 3 * limits.targets + Host::words(limits.tokens) + 20 * STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Sequence, Sharing};
    use crate::dims::tests::tiny;

    fn shared() -> MicroBatch {
        let all: Vec<(Vec<u32>, Vec<bool>)> = (0..40)
            .map(|e: u32| {
                let ids: Vec<u32> = (0..150).chain((0..3 + e % 7).map(|i| 200 + i * e)).collect();
                let learned = (0..ids.len()).map(|i| i > 140).collect();
                (ids, learned)
            })
            .collect();
        let all: Vec<Sequence> = all.iter().map(|(ids, learned)| Sequence { ids, learned }).collect();
        MicroBatch::new(&all, Sharing::From(4))
    }

    #[test]
    fn a_row_knows_its_targets_and_every_version_fits_its_room() {
        let (b, d) = (shared(), tiny());
        let several = b.targets.windows(2).any(|t| t[0].row == t[1].row);
        assert!(several, "some row is to predict several tokens");
        for version in [Version::General, Version::Hopper { multiprocessors: 132 }] {
            let p = Packed::new(&b, &d, 1000, version);
            let part = |i: usize| &p.words[p.parts[i].clone()];
            let (rows, starts, wanted) = (part(2), part(3), part(4));
            assert_eq!((starts.len(), starts[b.tokens.len()] as usize), (b.tokens.len() + 1, b.targets.len()));
            for row in 0..b.tokens.len() {
                for t in starts[row] as usize..starts[row + 1] as usize {
                    assert_eq!((rows[t] as usize, wanted[t]), (row, b.targets[t].token));
                }
            }
            assert!(p.parts.iter().all(|part| part.start % STEP == 0));
            assert!(p.words.len() <= Packed::words(Limits::of([&b])), "{} words", p.words.len());
        }
    }

    #[test]
    fn long_examples_turn_by_the_second_half_of_the_table() {
        let mut b = shared();
        b.long[3] = true;
        let p = Packed::new(&b, &tiny(), 1000, Version::General);
        assert_eq!(&p.words[p.parts[1].clone()][2..5], [2, 1003, 4]);
    }
}
