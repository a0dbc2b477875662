//! Examples to a micro-batch: what they begin with in common is held once, and nothing is padded.

use engine::Layout;
use engine::ops::cross_entropy::Target;
use std::collections::BTreeMap;

/// Tokens of one example; `learned[i]` says that token i is to be predicted.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Token ids.
    pub ids: &'a [u32],
    /// Which of them are supervised.
    pub learned: &'a [bool],
}

impl<'a> Sequence<'a> {
    /// Tokens that have to be computed: the last supervised one and what follows it predict nothing.
    fn inputs(&self) -> &'a [u32] {
        let last = self.learned.iter().rposition(|&l| l).unwrap_or(0);
        &self.ids[..last]
    }

    /// Number of supervised tokens (the first token of a sequence cannot be predicted).
    pub fn supervised(&self) -> usize {
        self.learned.iter().skip(1).filter(|&&l| l).count()
    }
}

/// A flat list of tokens with its segments and supervised rows.
#[derive(Clone, Debug, Default)]
pub struct MicroBatch {
    /// Token of every row.
    pub tokens: Vec<u32>,
    /// Segments of the rows.
    pub layout: Layout,
    /// Supervised positions, by row.
    pub targets: Vec<Target>,
    /// Tokens that the same examples would have without sharing.
    pub unshared: usize,
    /// Supervised tokens, each example's own.
    pub supervised: usize,
}

/// Whether examples hold what they have in common once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// A common beginning of at least this many tokens becomes a segment of its own.
    From(usize),
    /// Every example is a segment.
    None,
}

/// Shorter common beginnings are not worth a segment: each costs a visit of the attention op in every layer.
pub const SHARED_TOKENS_MIN: usize = 16;

impl MicroBatch {
    /// Lays out `examples`.
    pub fn new(examples: &[Sequence], sharing: Sharing) -> MicroBatch {
        let mut batch = MicroBatch::default();
        let mut targets = BTreeMap::new();
        let mut all: Vec<Sequence> = examples.to_vec();
        all.sort_by(|a, b| a.ids.cmp(b.ids));
        match sharing {
            Sharing::From(least) => batch.branch(&all, 0, None, &mut Vec::new(), least.max(1), &mut targets),
            Sharing::None => all.iter().for_each(|e| batch.leaf(e, 0, None, &[], &mut targets)),
        }
        batch.targets = targets.into_iter().map(|((row, token), count)| Target { row, token, count }).collect();
        batch.unshared = examples.iter().map(|e| e.inputs().len()).sum();
        batch.supervised = examples.iter().map(Sequence::supervised).sum();
        batch
    }

    /// Lays out sorted examples that agree in their first `depth` tokens, held in rows `path`.
    fn branch(&mut self, all: &[Sequence], depth: usize, parent: Option<usize>, path: &mut Vec<u32>, least: usize, targets: &mut Targets) {
        let common = common(all);
        if all.len() > 1 && common >= depth + least {
            let segment = self.segment(&all[0].inputs()[depth..common], parent);
            let (start, known) = (self.layout.segments()[segment].start as u32, path.len());
            path.extend(start..start + (common - depth) as u32);
            self.children(all, common, Some(segment), path, least, targets);
            path.truncate(known);
        } else {
            self.children(all, depth, parent, path, least, targets);
        }
    }

    /// Lays out what follows after `depth` tokens: neighbours that share enough are branches, others leaves.
    fn children(
        &mut self,
        all: &[Sequence],
        depth: usize,
        parent: Option<usize>,
        path: &mut Vec<u32>,
        least: usize,
        targets: &mut Targets,
    ) {
        let mut from = 0;
        while from < all.len() {
            // Sorted, so those that agree in the next `least` tokens are neighbours.
            let next = all[from].inputs().get(depth..depth + least);
            let same = |e: &Sequence| next.is_some() && e.inputs().get(depth..depth + least) == next;
            let count = all[from..].iter().take_while(|e| same(e)).count().max(1);
            let group = &all[from..from + count];
            // A group that is everything was measured already and shares no more: go on one by one.
            if count > 1 {
                self.branch(group, depth, parent, path, least, targets);
            } else {
                self.leaf(&group[0], depth, parent, path, targets);
            }
            from += count;
        }
    }

    fn leaf(&mut self, e: &Sequence, depth: usize, parent: Option<usize>, path: &[u32], targets: &mut Targets) {
        let inputs = e.inputs();
        let start = self.tokens.len();
        if inputs.len() > depth {
            self.segment(&inputs[depth..], parent);
        }
        for i in (1..=inputs.len()).filter(|&i| i < e.ids.len() && e.learned[i]) {
            let row = if i <= depth { path[i - 1] } else { (start + i - 1 - depth) as u32 };
            *targets.entry((row, e.ids[i])).or_insert(0) += 1;
        }
    }

    fn segment(&mut self, tokens: &[u32], parent: Option<usize>) -> usize {
        self.tokens.extend_from_slice(tokens);
        self.layout.push(tokens.len(), parent)
    }
}

/// How many examples want `token` after `row`.
type Targets = BTreeMap<(u32, u32), u32>;

/// Length of the longest beginning that all share.
fn common(all: &[Sequence]) -> usize {
    let Some(first) = all.first() else { return 0 };
    let agree = |e: &Sequence| first.inputs().iter().zip(e.inputs()).take_while(|(a, b)| a == b).count();
    all.iter().map(agree).min().unwrap_or(0)
}

/// Cuts the examples of a step into micro-batches of at most `limit` tokens each (one example at least).
///
/// Sorted by their tokens, so that examples with a common beginning come together.
pub fn micro_batches(examples: &[Sequence], sharing: Sharing, limit: usize) -> Vec<MicroBatch> {
    let mut sorted: Vec<Sequence> = examples.to_vec();
    sorted.sort_by(|a, b| a.ids.cmp(b.ids));
    let mut all = Vec::new();
    let mut from = 0;
    while from < sorted.len() {
        let mut batch = MicroBatch::new(&sorted[from..from + 1], sharing);
        let mut to = from + 1;
        while to < sorted.len() {
            let larger = MicroBatch::new(&sorted[from..to + 1], sharing);
            if larger.tokens.len() > limit {
                break;
            }
            (batch, to) = (larger, to + 1);
        }
        all.push(batch);
        from = to;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each row sees and must predict, spelled out as whole sequences: the meaning of a layout.
    fn meaning(b: &MicroBatch) -> BTreeMap<(Vec<u32>, u32), u32> {
        let mut all = BTreeMap::new();
        for t in &b.targets {
            let (s, segment) = b
                .layout
                .segments()
                .iter()
                .enumerate()
                .find(|(_, s)| (s.start..s.start + s.len).contains(&(t.row as usize)))
                .expect("a segment");
            let mut rows = b.layout.ancestor_rows(s, 0);
            rows.extend(segment.start as u32..=t.row);
            let seen: Vec<u32> = rows.iter().map(|&r| b.tokens[r as usize]).collect();
            *all.entry((seen, t.token)).or_insert(0) += t.count;
        }
        all
    }

    fn random_examples(seed: u64) -> Vec<(Vec<u32>, Vec<bool>)> {
        use crate::random::{Stream, bits};
        let r = |i: u64| bits(seed, Stream::Order(9), i);
        let system: Vec<u32> = (0..6).map(|i| i as u32).collect();
        (0..7)
            .map(|e| {
                let mut ids = system[..(r(e) % 7) as usize].to_vec();
                ids.extend((0..2 + r(100 + e) % 6).map(|i| (r(200 + e * 20 + i) % 2) as u32));
                let learned = (0..ids.len()).map(|i| i > 0 && r(900 + e * 40 + i as u64).is_multiple_of(2)).collect();
                (ids, learned)
            })
            .collect()
    }

    #[test]
    fn sharing_keeps_the_meaning_of_random_trees() {
        let mut shared_any = false;
        for seed in 0..300 {
            let data = random_examples(seed);
            let all: Vec<Sequence> = data.iter().map(|(ids, learned)| Sequence { ids, learned }).collect();
            let plain = MicroBatch::new(&all, Sharing::None);
            for least in [1, 2, 4] {
                let shared = MicroBatch::new(&all, Sharing::From(least));
                assert_eq!(meaning(&plain), meaning(&shared), "seed {seed}, least {least}");
                assert_eq!(shared.supervised, plain.supervised);
                assert_eq!(shared.unshared, plain.tokens.len());
                shared_any |= shared.tokens.len() < plain.tokens.len();
            }
        }
        assert!(shared_any);
    }

    #[test]
    fn nothing_is_computed_after_the_last_supervised_token() {
        let e = Sequence { ids: &[5, 6, 7, 8, 9], learned: &[false, false, true, true, false] };
        let b = MicroBatch::new(&[e], Sharing::None);
        assert_eq!(b.tokens, [5, 6, 7]);
        assert_eq!(b.targets, [Target { row: 1, token: 7, count: 1 }, Target { row: 2, token: 8, count: 1 }]);
    }

    #[test]
    fn equal_examples_are_held_once_and_count_twice() {
        let e = Sequence { ids: &[1, 2, 3], learned: &[false, true, true] };
        let b = MicroBatch::new(&[e, e], Sharing::From(1));
        assert_eq!(b.tokens, [1, 2]);
        assert_eq!(b.targets, [Target { row: 0, token: 2, count: 2 }, Target { row: 1, token: 3, count: 2 }]);
        assert_eq!(b.supervised, 4);
    }

    #[test]
    fn micro_batches_respect_the_limit_and_lose_nothing() {
        let data = random_examples(5);
        let all: Vec<Sequence> = data.iter().map(|(ids, learned)| Sequence { ids, learned }).collect();
        let cut = micro_batches(&all, Sharing::From(2), 12);
        assert!(cut.len() > 1 && cut.iter().all(|b| b.tokens.len() <= 12));
        let supervised: usize = cut.iter().map(|b| b.supervised).sum();
        assert_eq!(supervised, all.iter().map(Sequence::supervised).sum::<usize>());
    }
}
