//! Greedy generation in batches: the common beginning of all prompts is computed once, and each token's keys are kept.

use crate::adapter::{DOWN, GATE_UP, OUT, QKV};
use crate::weights::Layer;
use crate::{Adapter, Error, Weights};
use engine::cpu::gemm::{Mat, Rhs, Term, Write, product};
use engine::ops::attention::Tail;
use engine::ops::rope::{Table, Turn};
use engine::ops::{attention, linear, rmsnorm, swiglu};
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
    let table = Table::new(&weights.dims.frequencies(positions), positions, 1.0);
    let mut run = Run { cx, weights, adapter, table, cache: Vec::new(), prefix };
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
    table: Table,
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
        let (d, n) = (&self.weights.dims, tokens.len());
        let mut x = vec![0f32; n * d.hidden];
        for (row, &t) in x.chunks_exact_mut(d.hidden).zip(tokens) {
            self.weights.embed.row(t as usize, row);
        }
        let positions = match tails {
            Some(tails) => tails.iter().map(|t| (self.prefix + t.len - 1) as u32).collect(),
            None => layout.positions()[at..].to_vec(),
        };
        let mut room = Buffers::new(d, self.adapter, n, at);
        for (i, layer) in self.weights.layers.iter().enumerate() {
            self.attend(i, layer, &mut x, &positions, layout, at, tails, &mut room);
            self.feed_forward(i, layer, &mut x, &mut room);
        }
        self.most_likely(&x, rows)
    }

    fn attend(
        &mut self,
        i: usize,
        layer: &Layer,
        x: &mut [f32],
        positions: &[u32],
        layout: &Layout,
        at: usize,
        tails: Option<&[Tail]>,
        b: &mut Buffers,
    ) {
        let (d, cx, n) = (&self.weights.dims, self.cx, positions.len());
        let (qw, kw) = (d.q_width(), d.kv_width());
        let dims = rmsnorm::Dims { rows: n, width: d.hidden };
        rmsnorm::forward(cx, &mut b.norm, &mut b.r, x, &layer.norm1, dims, d.rms_eps);
        let mut members = Vec::new();
        let group = self.adapter.group(i, QKV, layer, &mut members);
        let q = &mut b.q[at * qw..];
        linear::forward(cx, &mut [&mut *q, &mut b.k, &mut b.v], Write::Set, &mut b.u[..n * group.ranks()], &b.norm, &group, n);
        engine::ops::rope::turn(cx, q, positions, &self.table, d.head_dim, Turn::Forward);
        engine::ops::rope::turn(cx, &mut b.k, positions, &self.table, d.head_dim, Turn::Forward);
        let (keys, values) = &mut self.cache[i];
        let row_of = |j: usize| tails.map_or(at + j, |t| t[j].start + t[j].len - 1);
        let end = (0..n).map(row_of).max().map_or(0, |r| r + 1) * kw;
        if keys.len() < end {
            keys.resize(end, 0.0);
            values.resize(end, 0.0);
        }
        for j in 0..n {
            let to = row_of(j) * kw;
            keys[to..to + kw].copy_from_slice(&b.k[j * kw..(j + 1) * kw]);
            values[to..to + kw].copy_from_slice(&b.v[j * kw..(j + 1) * kw]);
        }
        if let Some(tails) = tails {
            attention::decode(cx, &mut b.o, &b.q, keys, values, self.prefix, tails, d.attention());
        } else {
            let all = at + n;
            attention::forward(cx, &mut b.o, &mut b.l, &b.q, &keys[..all * kw], &values[..all * kw], layout, d.attention());
        }
        let mut members = Vec::new();
        let group = self.adapter.group(i, OUT, layer, &mut members);
        linear::forward(cx, &mut [x], Write::Add, &mut b.u[..n * group.ranks()], &b.o[at * qw..], &group, n);
    }

    fn feed_forward(&self, i: usize, layer: &Layer, x: &mut [f32], b: &mut Buffers) {
        let (d, cx, n) = (&self.weights.dims, self.cx, b.r.len());
        rmsnorm::forward(cx, &mut b.norm, &mut b.r, x, &layer.norm2, rmsnorm::Dims { rows: n, width: d.hidden }, d.rms_eps);
        let mut members = Vec::new();
        let group = self.adapter.group(i, GATE_UP, layer, &mut members);
        linear::forward(cx, &mut [&mut b.gate, &mut b.up], Write::Set, &mut b.u[..n * group.ranks()], &b.norm, &group, n);
        swiglu::forward(cx, &mut b.wide, &b.gate, &b.up);
        let mut members = Vec::new();
        let group = self.adapter.group(i, DOWN, layer, &mut members);
        linear::forward(cx, &mut [x], Write::Add, &mut b.u[..n * group.ranks()], &b.wide, &group, n);
    }

    /// The token with the largest logit after each of `rows`; the first of equals.
    fn most_likely(&self, x: &[f32], rows: &[u32]) -> Vec<u32> {
        let (d, n) = (&self.weights.dims, rows.len());
        if n == 0 {
            return Vec::new();
        }
        let picked: Vec<f32> = rows.iter().flat_map(|&r| &x[r as usize * d.hidden..][..d.hidden]).copied().collect();
        let (mut norm, mut r) = (vec![0f32; n * d.hidden], vec![0f32; n]);
        rmsnorm::forward(self.cx, &mut norm, &mut r, &picked, &self.weights.norm, rmsnorm::Dims { rows: n, width: d.hidden }, d.rms_eps);
        let mut logits = vec![0f32; n * d.vocab];
        let head = Term { a: Mat::new(&norm, n, d.hidden), b: Rhs::Weight(self.weights.head()) };
        product(self.cx, &mut logits, d.vocab, Write::Set, &[head]);
        let best =
            |line: &[f32]| line.iter().enumerate().fold((0, f32::NEG_INFINITY), |b, (i, &v)| if v > b.1 { (i, v) } else { b }).0 as u32;
        logits.chunks_exact(d.vocab).map(best).collect()
    }
}

/// Buffers of one pass; `at` rows in front of q and o belong to cached tokens.
struct Buffers {
    norm: Vec<f32>,
    r: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    o: Vec<f32>,
    l: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    wide: Vec<f32>,
    u: Vec<f32>,
}

impl Buffers {
    fn new(d: &crate::Dims, adapter: &Adapter, n: usize, at: usize) -> Buffers {
        let f = |n: usize| vec![0f32; n];
        let ranks = (0..d.layers).flat_map(|l| (0..4).map(move |g| (l, g))).map(|(l, g)| adapter.places.ranks(l, g)).max().unwrap_or(0);
        Buffers {
            norm: f(n * d.hidden),
            r: f(n),
            q: f((at + n) * d.q_width()),
            k: f(n * d.kv_width()),
            v: f(n * d.kv_width()),
            o: f((at + n) * d.q_width()),
            l: f((at + n) * d.heads),
            gate: f(n * d.intermediate),
            up: f(n * d.intermediate),
            wide: f(n * d.intermediate),
            u: f(n * ranks),
        }
    }
}
