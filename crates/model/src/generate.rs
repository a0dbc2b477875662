//! Greedy generation in batches: the common beginning of all prompts is computed once, and each token's keys are kept.

use crate::decoder::{Limits, Pass, Room};
use crate::room::Purpose;
use crate::{Adapter, Error, MicroBatch, Weights, attend, feed};
use engine::ops::attention::{self, Tail};
use engine::ops::cross_entropy::Target;
use engine::{Cx, Layout};

/// What to generate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most new tokens of an answer.
    pub max_new: usize,
    /// Tokens that end an answer.
    pub stop: Vec<u32>,
    /// Answers generated side by side.
    pub batch: usize,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// New tokens, the stop token not among them.
    pub ids: Vec<u32>,
    /// Whether a stop token ended it (else it ran into the limit).
    pub stopped: bool,
}

/// What happens while generating.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Prompt number `index` got token `id`.
    Token {
        /// Which prompt.
        index: usize,
        /// The new token.
        id: u32,
    },
    /// Prompt number `index` is answered.
    Done {
        /// Which prompt.
        index: usize,
    },
}

/// A shorter common beginning is computed with each prompt.
const PREFIX_MIN: usize = 16;

/// Answers every prompt; `see` returns false to stop early (what is there by then is returned).
///
/// # Errors
/// A prompt that is empty or fills the context.
pub fn generate(
    cx: &Cx,
    weights: &Weights,
    adapter: Option<&Adapter>,
    prompts: &[Vec<u32>],
    options: &Options,
    see: &mut dyn FnMut(Progress) -> bool,
) -> Result<Vec<Answer>, Error> {
    let context = weights.dims.context;
    for (index, p) in prompts.iter().enumerate() {
        if p.is_empty() || p.len() >= context {
            return Err(Error::TooLong { index, tokens: p.len(), context });
        }
    }
    let none = Adapter::none(&weights.dims);
    let adapter = adapter.unwrap_or(&none);
    let mut answers = vec![Answer::default(); prompts.len()];
    // Prompts of similar length side by side; the order of the answers is the caller's.
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&i| (prompts[i].len(), i));
    let prefix = common_prefix(prompts);
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let positions = (longest + options.max_new).min(context);
    let long = weights.dims.long_from().is_some_and(|n| positions > n);
    let mut run = Run { cx, weights, adapter, positions, long, room: None, cache: Vec::new(), prefix };
    if prefix > 0 {
        run.cache = vec![(Vec::new(), Vec::new()); weights.dims.layers];
        let mut layout = Layout::new();
        layout.push(prefix, None);
        run.forward(&prompts[0][..prefix], &layout, 0, &[], None);
    }
    for group in order.chunks(options.batch.max(1)) {
        if !run.batch(prompts, group, options, &mut answers, see) {
            break;
        }
    }
    Ok(answers)
}

/// Length of what all prompts begin with, at least one token less than the shortest; 0 if not worth it.
fn common_prefix(prompts: &[Vec<u32>]) -> usize {
    let Some((first, rest)) = prompts.split_first() else { return 0 };
    if rest.is_empty() {
        return 0;
    }
    let agree = |p: &Vec<u32>| first.iter().zip(p).take_while(|(a, b)| a == b).count();
    let common = rest.iter().map(agree).min().unwrap_or(0);
    let shortest = prompts.iter().map(Vec::len).min().unwrap_or(0);
    let usable = common.min(shortest.saturating_sub(1));
    if usable >= PREFIX_MIN { usable } else { 0 }
}

struct Run<'a> {
    cx: &'a Cx,
    weights: &'a Weights,
    adapter: &'a Adapter,
    positions: usize,
    long: bool, // whether the longest sequence may need the angles of long ones
    room: Option<Room>,
    cache: Vec<(Vec<f32>, Vec<f32>)>, // per layer: keys and values (rows, kv_heads * head_dim); rows 0..prefix are the common ones
    prefix: usize,
}

impl Run<'_> {
    /// One batch from prompts to answers; false when the caller said stop.
    fn batch(
        &mut self,
        prompts: &[Vec<u32>],
        group: &[usize],
        options: &Options,
        answers: &mut [Answer],
        see: &mut dyn FnMut(Progress) -> bool,
    ) -> bool {
        let d = &self.weights.dims;
        // Rows of the cache: the prefix, then the prompts one after another as attention wants them, then room for what comes.
        let mut layout = Layout::new();
        let parent = (self.prefix > 0).then(|| layout.push_cached(self.prefix));
        let (mut tokens, mut ends) = (Vec::new(), Vec::new());
        for &i in group {
            tokens.extend_from_slice(&prompts[i][self.prefix..]);
            layout.push(prompts[i].len() - self.prefix, parent);
            ends.push(tokens.len() as u32 - 1);
        }
        if self.cache.is_empty() {
            self.cache = vec![(Vec::new(), Vec::new()); d.layers];
        }
        let mut next = self.forward(&tokens, &layout, self.prefix, &ends, None);
        // Spread the keys out: from now on each sequence has its own stretch of rows with room to grow.
        let mut active: Vec<(usize, Tail)> = Vec::new();
        let mut spread = Vec::new();
        let mut start = self.prefix;
        for (&i, s) in group.iter().zip(layout.segments().iter().filter(|s| !s.cached)) {
            let room = options.max_new.min(d.context - prompts[i].len());
            spread.push((s.start, s.len, start));
            active.push((i, Tail { start, len: s.len }));
            start += s.len + room;
        }
        self.spread(&spread, start);
        loop {
            // Take each sequence's newest token; drop those that are done.
            let mut kept = Vec::new();
            let mut inputs = Vec::new();
            for (&(i, tail), &id) in active.iter().zip(&next) {
                let answer = &mut answers[i];
                answer.stopped = options.stop.contains(&id);
                if !answer.stopped {
                    answer.ids.push(id);
                    if !see(Progress::Token { index: i, id }) {
                        return false;
                    }
                }
                let full = answer.ids.len() >= options.max_new || prompts[i].len() + answer.ids.len() >= d.context;
                if answer.stopped || full {
                    if !see(Progress::Done { index: i }) {
                        return false;
                    }
                } else {
                    kept.push((i, Tail { len: tail.len + 1, ..tail }));
                    inputs.push(id);
                }
            }
            active = kept;
            if active.is_empty() {
                return true;
            }
            let tails: Vec<Tail> = active.iter().map(|a| a.1).collect();
            let rows: Vec<u32> = (0..inputs.len() as u32).collect();
            next = self.forward(&inputs, &Layout::new(), 0, &rows, Some(&tails));
        }
    }

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
            Some(tails) => tails.iter().map(|t| (self.prefix + t.len - 1) as u32).collect(),
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
        let limits = Limits { tokens, targets, positions: self.positions, purpose: Purpose::Answering, ..Limits::NONE };
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
            attention::decode(s.cx, &mut room.saved[0].o[..n * qw], &q, keys, values, self.prefix, tails, d.attention());
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
