//! The decoder over prompts, and over one new token a sequence: the forward half of `gpu/pass.rs` with a cache, nothing kept.

use super::list::Loaded;
use super::room::Room;
use super::{Speaker, With};
use crate::gpu::weights::Linear;
use crate::gpu::wide::Wide;
use crate::modules::{DOWN, GATE_UP, OUT, QKV};
use engine::cuda::product::{Mat, Write, product};
use engine::cuda::{Buffer, Rows, bf16};
use engine::ops::attention::gpu::decode::{Asks, decode};
use engine::ops::rope::Turn;
use engine::ops::{answer, attention, embed, rmsnorm, rope, rows, swiglu};

/// What a pass reads and where it writes.
pub(super) struct Pass<'a> {
    pub s: Speaker<'a>,
    pub room: &'a Room,
    pub table: &'a rope::gpu::Table,
}

impl Pass<'_> {
    /// Prompts: their keys and values go to the cache, the most likely token after each to the sequences from `first` on; of what
    /// all prompts begin with, keys and values alone, where `first` is none.
    pub fn prompts(&self, p: &Loaded, first: Option<usize>) {
        let (d, n, room, gpu) = (self.s.d, p.tokens, self.room, self.s.gpu);
        self.embed(n, &p.ids);
        let all = d.q_width() + 2 * d.kv_width();
        let whole = room.qkv.rows(p.before + n, 0, all, all);
        let own = room.qkv.part(p.before * all..(p.before + n) * all).rows(n, 0, all, all);
        let stride = room.o.stride();
        let own_o = Wide { buffer: room.o.buffer.part(p.before * stride..(p.before + n) * stride), ..room.o.clone() };
        // The cached rows ask nothing: nobody reads their output.
        rows::zero(gpu, room.qkv.rows(p.before, 0, d.q_width(), all));
        for i in 0..d.layers {
            self.project(i, own, &p.angles, &p.rows);
            let last = i + 1 == d.layers;
            if last && first.is_none() {
                return;
            }
            if p.before > 0 {
                let cached = room.qkv.rows(p.before, 0, all, all).columns(d.q_width()..all);
                answer::fetch(gpu, cached, &room.cache[i]);
            }
            attention::gpu::forward(gpu, room.o.own(p.before + n), &room.l, whole, &p.seen, d.attention());
            if last {
                break;
            }
            self.out(i, n, &own_o, self.rows(&room.x, n));
            self.feed(i, n, self.rows(&room.x, n));
        }
        let Some(first) = first else { return };
        let (i, count) = (d.layers - 1, p.last.len());
        let picked = self.rows(&room.picked, count);
        rows::pick(gpu, picked, self.rows(&room.x, n), &p.last);
        rows::pick(gpu, room.o_rows.own(count), own_o.own(n), &p.last);
        self.out(i, count, &room.o_rows, picked);
        self.feed(i, count, picked);
        self.choose(picked, first);
    }

    /// One new token of every sequence that asks.
    pub fn step(&self) {
        let (d, room, gpu) = (self.s.d, self.room, self.s.gpu);
        let (n, state) = (room.sizes.slots, &room.state);
        self.embed(n, &state.ids);
        let x = self.rows(&room.x, n);
        let all = d.q_width() + 2 * d.kv_width();
        let qkv = room.qkv.rows(n, 0, all, all);
        for i in 0..d.layers {
            self.project(i, qkv, &state.angles, &state.rows);
            let asks = Asks { len: &state.len, start: &state.start, prefix: room.sizes.prefix };
            decode(gpu, room.o.own(n), qkv.columns(0..d.q_width()), &room.cache[i], &asks, &room.parts, d.attention());
            self.out(i, n, &room.o, x);
            self.feed(i, n, x);
        }
        self.choose(x, 0);
        answer::next(gpu, &state.len, &state.angles, &state.rows);
    }

    /// Rows of the residual stream.
    fn rows(&self, x: &Buffer<bf16>, n: usize) -> Rows {
        x.rows(n, 0, self.s.d.hidden, self.s.d.hidden)
    }

    fn embed(&self, n: usize, ids: &Buffer<u32>) {
        let table = self.rows(&self.s.weights.embed, self.s.d.vocab);
        embed::gpu::forward(self.s.gpu, self.rows(&self.room.x, n), table, ids);
    }

    /// q, k and v of layer `i`, turned; k and v also go to the cache's rows `index`.
    fn project(&self, i: usize, qkv: Rows, angles: &Buffer<u32>, index: &Buffer<u32>) {
        let (gpu, d, n, layer, room) = (self.s.gpu, self.s.d, qkv.rows, &self.s.weights.layers[i], self.room);
        rmsnorm::gpu::forward(gpu, room.norm.own(n), &room.r, self.rows(&room.x, n), &layer.norms[0], d.rms_eps);
        self.apply(&layer.groups[QKV], qkv, Write::Set, &room.norm, n);
        let (q, k) = (0..d.q_width(), d.q_width()..d.q_width() + d.kv_width());
        if d.qk_norm {
            for (which, columns) in [(2, q.clone()), (3, k.clone())] {
                let x = qkv.columns(columns);
                rmsnorm::gpu::heads_forward(gpu, x, &room.rqk, x, &layer.norms[which], d.rms_eps);
            }
        }
        rope::gpu::turn(gpu, qkv.columns(q.start..k.end), d.head_dim, self.table, angles, Turn::Forward);
        answer::keep(gpu, &room.cache[i], qkv.columns(k.start..qkv.width), index);
    }

    /// Adds the output projection of layer `i` to `x`.
    fn out(&self, i: usize, n: usize, o: &Wide, x: Rows) {
        self.apply(&self.s.weights.layers[i].groups[OUT], x, Write::Add, o, n);
    }

    /// Adds the feed-forward half of layer `i` to `x`.
    fn feed(&self, i: usize, n: usize, x: Rows) {
        let (gpu, d, layer, room) = (self.s.gpu, self.s.d, &self.s.weights.layers[i], self.room);
        rmsnorm::gpu::forward(gpu, room.norm.own(n), &room.r, x, &layer.norms[1], d.rms_eps);
        let gate_up = room.gate_up.rows(n, 0, 2 * d.intermediate, 2 * d.intermediate);
        self.apply(&layer.groups[GATE_UP], gate_up, Write::Set, &room.norm, n);
        swiglu::gpu::forward(gpu, room.act.own(n), gate_up);
        self.apply(&layer.groups[DOWN], x, Write::Add, &room.act, n);
    }

    /// The most likely token after each row of `x`: of the sequences from `first` on.
    fn choose(&self, x: Rows, first: usize) {
        let (gpu, d, n, room) = (self.s.gpu, self.s.d, x.rows, self.room);
        rmsnorm::gpu::forward(gpu, room.norm.own(n), &room.r, x, &self.s.weights.norm, d.rms_eps);
        let logits = room.logits.part(first * d.vocab..(first + n) * d.vocab);
        let head = Mat::new(&self.s.weights.head, d.vocab, d.hidden);
        product(gpu, Mat::new(&logits, n, d.vocab), Write::Set, room.norm.own(n).into(), head.t());
        answer::best(gpu, &room.state.ids.part(first..first + n), &logits, n);
    }

    /// The product with a group's weight, with the adapter around it or without.
    fn apply(&self, group: &Linear, y: Rows, write: Write, x: &Wide, n: usize) {
        match self.s.with {
            With::Adapter => {
                group.inside(self.s.gpu, x, n);
                group.forward(self.s.gpu, y, write, x, n, false);
            }
            With::Base => {
                group.ready(self.s.gpu);
                group.plain(self.s.gpu, y, write, x, n);
            }
        }
    }
}
