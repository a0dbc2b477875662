//! Answers on the CPU: the training pass's ops over a cache of keys and values in float32.

use crate::decoder::{Limits, Pass, Room};
use crate::generate::{Job, Machine};
use crate::room::Purpose;
use crate::{Adapter, Error, MicroBatch, Weights, attend, feed};
use engine::ops::attention::{self, Tail};
use engine::ops::cross_entropy::Target;
use engine::{Cx, Layout};

/// What a job keeps between its steps.
pub(super) struct Threads<'a> {
    cx: &'a Cx,
    weights: &'a Weights,
    adapter: &'a Adapter,
    job: &'a Job<'a>,
    long: bool, // whether the longest sequence may need the angles of long ones
    room: Option<Room>,
    cache: Vec<(Vec<f32>, Vec<f32>)>, // per layer: keys and values (rows, kv_heads * head_dim); rows 0..prefix are the common ones
    tails: Vec<Tail>,                 // of each sequence of the batch
}

impl<'a> Threads<'a> {
    pub(super) fn new(cx: &'a Cx, weights: &'a Weights, adapter: &'a Adapter, job: &'a Job) -> Threads<'a> {
        let long = weights.dims.long_from().is_some_and(|n| job.positions() > n);
        let cache = vec![(Vec::new(), Vec::new()); weights.dims.layers];
        Threads { cx, weights, adapter, job, long, room: None, cache, tails: Vec::new() }
    }
}

impl Machine for Threads<'_> {
    fn begin(&mut self) -> Result<(), Error> {
        let mut layout = Layout::new();
        layout.push(self.job.prefix, None);
        self.forward(&self.job.prompts[0][..self.job.prefix], &layout, 0, &[], None);
        Ok(())
    }

    fn prompts(&mut self, group: &[usize]) -> Result<Vec<u32>, Error> {
        let (job, prefix) = (self.job, self.job.prefix);
        // Rows of the cache: the prefix, then the prompts one after another as attention wants them, then room for what comes.
        let mut layout = Layout::new();
        let parent = (prefix > 0).then(|| layout.push_cached(prefix));
        let (mut tokens, mut ends) = (Vec::new(), Vec::new());
        for &i in group {
            tokens.extend_from_slice(job.own(i));
            layout.push(job.own(i).len(), parent);
            ends.push(tokens.len() as u32 - 1);
        }
        let next = self.forward(&tokens, &layout, prefix, &ends, None);
        // Spread the keys out: from now on each sequence has its own stretch of rows with room to grow.
        let (mut spread, mut start) = (Vec::new(), prefix);
        self.tails.clear();
        for (&i, s) in group.iter().zip(layout.segments().iter().filter(|s| !s.cached)) {
            spread.push((s.start, s.len, start));
            self.tails.push(Tail { start, len: s.len });
            start += s.len + job.room(i);
        }
        self.spread(&spread, start);
        Ok(next)
    }

    fn step(&mut self, kept: &[usize], ids: &[u32]) -> Result<Vec<u32>, Error> {
        kept.iter().for_each(|&k| self.tails[k].len += 1);
        let tails: Vec<Tail> = kept.iter().map(|&k| self.tails[k]).collect();
        let rows: Vec<u32> = (0..ids.len() as u32).collect();
        Ok(self.forward(ids, &Layout::new(), 0, &rows, Some(&tails)))
    }
}

impl Threads<'_> {
    /// Moves stretches of cache rows (from, len, to) apart; `rows` rows afterwards.
    fn spread(&mut self, moves: &[(usize, usize, usize)], rows: usize) {
        let width = self.weights.dims.kv_width();
        for (k, v) in &mut self.cache {
            for buffer in [k, v] {
                buffer.resize((rows * width).max(buffer.len()), 0.0);
                // Targets lie at or behind their sources: the last one first.
                for &(from, len, to) in moves.iter().rev() {
                    buffer.copy_within(from * width..(from + len) * width, to * width);
                }
            }
        }
    }

    /// Runs `tokens` through all layers and returns the most likely next token after each of `rows`.
    ///
    /// Without tails the tokens are new segments of `layout`, whose keys go to cache rows from `at` on. With
    /// tails each token belongs to one sequence and its keys go to the tail's last row.
    fn forward(&mut self, tokens: &[u32], layout: &Layout, at: usize, rows: &[u32], tails: Option<&[Tail]>) -> Vec<u32> {
        let n = tokens.len();
        let batch = MicroBatch {
            tokens: tokens.to_vec(),
            targets: rows.iter().map(|&row| Target { row, token: 0, count: 1 }).collect(),
            keys: vec![0; n],
            long: vec![self.long; n],
            ..MicroBatch::default()
        };
        let positions = match tails {
            Some(tails) => tails.iter().map(|t| (self.job.prefix + t.len - 1) as u32).collect(),
            None => layout.positions()[at..].to_vec(),
        };
        let mut room = self.room_for(n, rows.len());
        let s = Pass::at(self.cx, self.weights, self.adapter, &mut room, &batch, positions);
        for i in 0..self.weights.dims.layers {
            self.attend(&s, &mut room, i, layout, at, tails);
            attend::out_of_layer(&s, &mut room, i);
            feed::forward(&s, &mut room, i);
        }
        let best = most_likely(&s.logits(&mut room), self.weights.dims.vocab);
        self.room = Some(room);
        best
    }

    /// The room of the calls before, if it is large enough.
    fn room_for(&mut self, tokens: usize, targets: usize) -> Room {
        let fits = |r: &Room| r.limits.tokens >= tokens && r.limits.targets >= targets;
        let limits = Limits { tokens, targets, positions: self.job.positions(), purpose: Purpose::Answering, ..Limits::NONE };
        self.room.take().filter(fits).unwrap_or_else(|| Room::new(&self.weights.dims, &self.adapter.places, limits))
    }

    /// Attention of layer `i` over the cache, up to what its output projection reads.
    fn attend(&mut self, s: &Pass, room: &mut Room, i: usize, layout: &Layout, at: usize, tails: Option<&[Tail]>) {
        let (d, n) = (&self.weights.dims, s.tokens);
        let (qw, kw) = (d.q_width(), d.kv_width());
        attend::project(s, room, i);
        let (q, k) = if d.qk_norm { (&room.turned_q, &room.turned_k) } else { (&room.saved[0].q, &room.saved[0].k) };
        let (keys, values) = &mut self.cache[i];
        let row_of = |j: usize| tails.map_or(at + j, |t| t[j].start + t[j].len - 1);
        let end = (0..n).map(row_of).max().map_or(0, |r| r + 1) * kw;
        if keys.len() < end {
            keys.resize(end, 0.0);
            values.resize(end, 0.0);
        }
        for j in 0..n {
            let to = row_of(j) * kw;
            keys[to..to + kw].copy_from_slice(&k[j * kw..(j + 1) * kw]);
            values[to..to + kw].copy_from_slice(&room.saved[0].v[j * kw..(j + 1) * kw]);
        }
        if let Some(tails) = tails {
            let q = q[..n * qw].to_vec();
            attention::decode(s.cx, &mut room.saved[0].o[..n * qw], &q, keys, values, self.job.prefix, tails, d.attention());
            return;
        }
        // The rows of cached tokens ask nothing, but attention counts them.
        let all = at + n;
        let (mut queries, mut o, mut l) = (vec![0f32; all * qw], vec![0f32; all * qw], vec![0f32; all * d.heads]);
        queries[at * qw..].copy_from_slice(&q[..n * qw]);
        attention::forward(s.cx, &mut o, &mut l, &queries, &keys[..all * kw], &values[..all * kw], layout, d.attention());
        room.saved[0].o[..n * qw].copy_from_slice(&o[at * qw..]);
    }
}

/// The token with the largest logit of each row; the first of equals.
fn most_likely(logits: &[f32], vocab: usize) -> Vec<u32> {
    let best = |line: &[f32]| line.iter().enumerate().fold((0, f32::NEG_INFINITY), |b, (i, &v)| if v > b.1 { (i, v) } else { b }).0 as u32;
    logits.chunks_exact(vocab).map(best).collect()
}
