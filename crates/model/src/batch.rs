//! Examples to a micro-batch: what they begin with in common is held once, and nothing is padded.

use crate::random;
use engine::Layout;
use engine::ops::cross_entropy::Target;
use std::collections::BTreeMap;
use std::ops::Range;

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
    /// Of each example, in the order given: which targets it wants.
    pub wanted: Vec<Vec<u32>>,
    /// Of each example, in the order given: the rows that it is made of.
    pub rows: Vec<Vec<Range<usize>>>,
    /// Of every row: a number that depends on its example and position alone, whatever else is in the batch.
    pub keys: Vec<u64>,
    /// Of every row: whether its example is longer than [`Rules::long_from`].
    pub long: Vec<bool>,
    /// Tokens that the same examples would have without sharing.
    pub unshared: usize,
    /// Supervised tokens, each example's own.
    pub supervised: usize,
    /// What random numbers are drawn from in training; none outside of it.
    pub noise: Option<Noise>,
}

/// What the random numbers of a training step depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise {
    /// The run's seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
}

impl Noise {
    /// The stream of a group of a layer: each has masks of its own at each step.
    pub(crate) fn stream(&self, layer: usize, group: usize) -> u64 {
        random::mix(self.step) ^ ((layer as u64) << 16 | group as u64)
    }
}

/// Whether examples hold what they have in common once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// A common beginning of at least this many tokens becomes a segment of its own.
    From(usize),
    /// Every example is a segment.
    None,
}

/// How examples are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What is held once.
    pub sharing: Sharing,
    /// Examples of more tokens than this share nothing with shorter ones: their positions mean other angles.
    pub long_from: Option<usize>,
}

impl From<Sharing> for Rules {
    fn from(sharing: Sharing) -> Rules {
        Rules { sharing, long_from: None }
    }
}

impl Rules {
    fn is_long(&self, e: &Sequence) -> bool {
        self.long_from.is_some_and(|n| e.ids.len() > n)
    }
}

/// Shorter common beginnings are not worth a segment: each costs a visit of the attention op in every layer.
pub const SHARED_TOKENS_MIN: usize = 16;

impl MicroBatch {
    /// Lays out `examples`.
    pub fn new(examples: &[Sequence], rules: impl Into<Rules>) -> MicroBatch {
        let rules = rules.into();
        let mut maker =
            Maker { batch: MicroBatch::default(), targets: BTreeMap::new(), wants: vec![Vec::new(); examples.len()], long: false };
        maker.batch.rows = vec![Vec::new(); examples.len()];
        let mut all: Vec<Numbered> = examples.iter().enumerate().map(|(number, e)| Numbered { number, e }).collect();
        all.sort_by(|a, b| rules.is_long(a.e).cmp(&rules.is_long(b.e)).then_with(|| a.e.ids.cmp(b.e.ids)));
        let short = all.iter().take_while(|n| !rules.is_long(n.e)).count();
        for (part, long) in [(&all[..short], false), (&all[short..], true)] {
            maker.long = long;
            match rules.sharing {
                Sharing::From(least) => maker.branch(part, 0, None, &mut Vec::new(), least.max(1)),
                Sharing::None => part.iter().for_each(|n| maker.leaf(n, 0, None, &[])),
            }
        }
        let mut batch = maker.finish();
        batch.unshared = examples.iter().map(|e| e.inputs().len()).sum();
        batch.supervised = examples.iter().map(Sequence::supervised).sum();
        batch
    }
}

/// An example and its place in the caller's list.
#[derive(Clone, Copy)]
struct Numbered<'a> {
    number: usize,
    e: &'a Sequence<'a>,
}

/// A micro-batch while it is laid out.
struct Maker {
    batch: MicroBatch,
    targets: Targets,
    wants: Vec<Vec<(u32, u32)>>,
    long: bool,
}

impl Maker {
    fn finish(self) -> MicroBatch {
        let mut batch = self.batch;
        let place: BTreeMap<(u32, u32), u32> = self.targets.keys().zip(0..).map(|(key, i)| (*key, i)).collect();
        batch.wanted = self.wants.iter().map(|all| all.iter().filter_map(|key| place.get(key).copied()).collect()).collect();
        batch.targets = self.targets.into_iter().map(|((row, token), count)| Target { row, token, count }).collect();
        batch
    }

    /// Lays out sorted examples that agree in their first `depth` tokens, held in rows `path`.
    fn branch(&mut self, all: &[Numbered], depth: usize, parent: Option<usize>, path: &mut Vec<u32>, least: usize) {
        let common = common(all);
        if all.len() > 1 && common >= depth + least {
            let segment = self.segment(&all[0], depth..common, parent);
            let (start, known) = (self.batch.layout.segments()[segment].start as u32, path.len());
            path.extend(start..start + (common - depth) as u32);
            self.children(all, common, Some(segment), path, least);
            path.truncate(known);
        } else {
            self.children(all, depth, parent, path, least);
        }
    }

    /// Lays out what follows after `depth` tokens: neighbours that share enough are branches, others leaves.
    fn children(&mut self, all: &[Numbered], depth: usize, parent: Option<usize>, path: &mut Vec<u32>, least: usize) {
        let mut from = 0;
        while from < all.len() {
            // Sorted, so those that agree in the next `least` tokens are neighbours.
            let next = all[from].e.inputs().get(depth..depth + least);
            let same = |n: &Numbered| next.is_some() && n.e.inputs().get(depth..depth + least) == next;
            let count = all[from..].iter().take_while(|n| same(n)).count().max(1);
            let group = &all[from..from + count];
            // A group that is everything was measured already and shares no more: go on one by one.
            if count > 1 {
                self.branch(group, depth, parent, path, least);
            } else {
                self.leaf(&group[0], depth, parent, path);
            }
            from += count;
        }
    }

    fn leaf(&mut self, n: &Numbered, depth: usize, parent: Option<usize>, path: &[u32]) {
        let (e, inputs) = (n.e, n.e.inputs());
        let start = self.batch.tokens.len();
        if inputs.len() > depth {
            self.segment(n, depth..inputs.len(), parent);
        }
        let row_of = |i: usize| if i < depth { path[i] } else { (start + i - depth) as u32 };
        for i in (1..=inputs.len()).filter(|&i| i < e.ids.len() && e.learned[i]) {
            let key = (row_of(i - 1), e.ids[i]);
            *self.targets.entry(key).or_insert(0) += 1;
            self.wants[n.number].push(key);
        }
        self.batch.rows[n.number] = runs((0..inputs.len()).map(row_of));
    }

    fn segment(&mut self, n: &Numbered, part: Range<usize>, parent: Option<usize>) -> usize {
        let example = n.e.ids.iter().fold(0, |key, &id| random::mix(key ^ u64::from(id)));
        self.batch.tokens.extend_from_slice(&n.e.inputs()[part.clone()]);
        self.batch.keys.extend(part.clone().map(|position| random::mix(example ^ position as u64)));
        self.batch.long.extend(part.clone().map(|_| self.long));
        self.batch.layout.push(part.len(), parent)
    }
}

/// Runs of consecutive rows.
fn runs(rows: impl Iterator<Item = u32>) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for row in rows.map(|r| r as usize) {
        match all.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => all.push(row..row + 1),
        }
    }
    all
}

/// How many examples want `token` after `row`.
type Targets = BTreeMap<(u32, u32), u32>;

/// Length of the longest beginning that all share.
fn common(all: &[Numbered]) -> usize {
    let Some(first) = all.first() else { return 0 };
    let agree = |n: &Numbered| first.e.inputs().iter().zip(n.e.inputs()).take_while(|(a, b)| a == b).count();
    all.iter().map(agree).min().unwrap_or(0)
}

/// Cuts the examples of a step into micro-batches of at most `limit` tokens each (one example at least).
///
/// Sorted by their tokens, so that examples with a common beginning come together.
pub fn micro_batches(examples: &[Sequence], rules: impl Into<Rules>, limit: usize) -> Vec<MicroBatch> {
    let units: Vec<Vec<Sequence>> = examples.iter().map(|&e| vec![e]).collect();
    cut(units, rules.into(), limit).into_iter().map(|(batch, _)| batch).collect()
}

/// As [`micro_batches`], for examples that belong together (such as a chosen and a rejected answer): each unit stays
/// in one micro-batch. Beside each batch: which units are in it, whose examples it holds one after another.
pub fn micro_batches_of_units(units: &[Vec<Sequence>], rules: impl Into<Rules>, limit: usize) -> Vec<(MicroBatch, Vec<usize>)> {
    cut(units.to_vec(), rules.into(), limit)
}

fn cut(units: Vec<Vec<Sequence>>, rules: Rules, limit: usize) -> Vec<(MicroBatch, Vec<usize>)> {
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by(|&a, &b| {
        let key = |i: usize| units[i].first().map(|e| (rules.is_long(e), e.ids));
        key(a).cmp(&key(b)).then(a.cmp(&b))
    });
    let lay = |part: &[usize]| MicroBatch::new(&part.iter().flat_map(|&i| units[i].iter().copied()).collect::<Vec<_>>(), rules);
    let mut all = Vec::new();
    let mut from = 0;
    while from < order.len() {
        let mut batch = lay(&order[from..from + 1]);
        let mut to = from + 1;
        while to < order.len() {
            let larger = lay(&order[from..to + 1]);
            if larger.tokens.len() > limit {
                break;
            }
            (batch, to) = (larger, to + 1);
        }
        all.push((batch, order[from..to].to_vec()));
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
    fn each_example_knows_its_rows_and_targets() {
        for seed in 0..100 {
            let data = random_examples(seed);
            let all: Vec<Sequence> = data.iter().map(|(ids, learned)| Sequence { ids, learned }).collect();
            let b = MicroBatch::new(&all, Sharing::From(1));
            for (e, (rows, wanted)) in all.iter().zip(b.rows.iter().zip(&b.wanted)) {
                let tokens: Vec<u32> = rows.iter().cloned().flatten().map(|r| b.tokens[r]).collect();
                assert_eq!(tokens, e.inputs());
                let learned: Vec<u32> = (1..e.ids.len()).filter(|&i| e.learned[i]).map(|i| e.ids[i]).collect();
                assert_eq!(wanted.iter().map(|&t| b.targets[t as usize].token).collect::<Vec<_>>(), learned);
            }
        }
    }

    #[test]
    fn long_examples_share_nothing_with_short_ones() {
        let (short, long) = ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6]);
        let learned = [false, false, false, true, true, true];
        let of = |ids| Sequence { ids, learned: &learned[..ids.len()] };
        let rules = Rules { sharing: Sharing::From(1), long_from: Some(4) };
        let b = MicroBatch::new(&[of(&long), of(&short), of(&long)], rules);
        assert_eq!(b.tokens, [1, 2, 3, 1, 2, 3, 4, 5]);
        assert_eq!(b.long, [false, false, false, true, true, true, true, true]);
        // Keys tell examples and positions apart, and do not depend on the company.
        let alone = MicroBatch::new(&[of(&long)], rules);
        assert_eq!(alone.keys, b.keys[3..]);
        assert_ne!(b.keys[0], b.keys[3]);
    }

    #[test]
    fn units_stay_together() {
        let data = random_examples(3);
        let all: Vec<Sequence> = data.iter().map(|(ids, learned)| Sequence { ids, learned }).collect();
        let units: Vec<Vec<Sequence>> = all.chunks(2).map(<[_]>::to_vec).collect();
        let cut = micro_batches_of_units(&units, Sharing::From(2), 10);
        assert!(cut.len() > 1);
        let mut seen: Vec<usize> = cut.iter().flat_map(|c| c.1.clone()).collect();
        assert!(cut.iter().all(|(b, list)| b.wanted.len() == list.iter().map(|&u| units[u].len()).sum::<usize>()));
        seen.sort_unstable();
        assert_eq!(seen, (0..units.len()).collect::<Vec<_>>());
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
