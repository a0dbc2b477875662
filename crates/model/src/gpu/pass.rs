//! Forward and backward on the GPU, as mirrored lists of ops; the same formulas and order as `decoder.rs`.
//!
//! Activations are bfloat16, sums float32, gradients of what is trained float32 or, of weights, as in `gradient.rs`. The residual stream is added to by the
//! products themselves. The last layer's second half and the head run for supervised rows only.

use crate::Dims;
use crate::gpu::batch::Loaded;
use crate::gpu::dora::Dora;
use crate::gpu::drops::Drops;
use crate::gpu::experts::few_rows;
use crate::gpu::room::{Room, Saved};
use crate::gpu::trained::Trained;
use crate::gpu::weights::{Layer, Weights};
use crate::gpu::whole::Whole;
use crate::gpu::wide::Wide;
use crate::modules::{DOWN, GATE_UP, OUT, QKV};
use engine::cuda::product::{Mat, Write, product};
use engine::cuda::{Buffer, Gpu, Rows, bf16};
use engine::ops::rope::Turn;
use engine::ops::{attention, cross_entropy, embed, rmsnorm, rope, rows, swiglu};
use std::ops::Range;

/// What a pass reads and where it writes.
pub(crate) struct Pass<'a> {
    pub gpu: &'a Gpu,
    pub d: &'a Dims,
    pub weights: &'a Weights,
    pub trained: &'a Trained,
    pub whole: &'a Whole,
    pub drops: &'a Drops,
    pub dora: &'a Dora,
    pub room: &'a Room,
    pub table: &'a rope::gpu::Table,
    pub batch: &'a Loaded,
    /// Of each example the rows that it is made of.
    pub examples: &'a [Vec<Range<usize>>],
}

impl Pass<'_> {
    pub(super) fn layer(&self, i: usize) -> &Layer {
        &self.weights.layers[i]
    }

    pub(super) fn saved(&self, i: usize) -> &Saved {
        &self.room.saved[self.room.place(i)]
    }

    /// Whether layer `i` is the last one, of which only supervised rows are wanted.
    fn is_last(&self, i: usize) -> bool {
        i + 1 == self.d.layers && few_rows(self.d, self.room.limits)
    }

    /// Rows of the second half of layer `i`.
    pub(super) fn rows(&self, i: usize) -> usize {
        if self.is_last(i) { self.batch.targets } else { self.batch.tokens }
    }

    /// Columns 0..hidden of compact rows.
    pub(super) fn hidden(&self, x: &Buffer<bf16>, n: usize) -> Rows {
        x.rows(n, 0, self.d.hidden, self.d.hidden)
    }

    fn heads(&self) -> attention::Dims {
        self.d.attention()
    }

    /// Embeds and runs all layers; the last one leaves its output, for supervised rows, in `room.picked`.
    pub fn forward(&self) {
        let table = self.hidden(&self.weights.embed, self.d.vocab);
        embed::gpu::forward(self.gpu, self.hidden(&self.room.xs[0], self.batch.tokens), table, &self.batch.ids);
        for i in 0..self.d.layers {
            self.attend(i);
            self.out(i);
            self.feed(i, false);
        }
        if !few_rows(self.d, self.room.limits) {
            rows::pick(self.gpu, self.room.picked.own(self.batch.targets), self.room.dx.own(self.batch.tokens), &self.batch.rows);
        }
    }

    /// q, k, v and attention of layer `i`, up to `saved.o`.
    fn attend(&self, i: usize) {
        let (gpu, d, n, s, layer) = (self.gpu, self.d, self.batch.tokens, self.saved(i), self.layer(i));
        let (norm, group) = (&self.room.norm, &layer.groups[QKV]);
        group.normed(gpu, norm.own(n), &s.r1, self.hidden(&self.room.xs[i], n), &layer.norms[0], d.rms_eps);
        self.drops.inside(gpu, (i, QKV), group, norm, n);
        keep(gpu, &s.u[QKV], norm, n, group.pad);
        let y = s.qkv.rows(n, 0, group.outputs, group.outputs);
        self.dora.forward(gpu, (i, QKV), group, (y, None), (norm, true), n);
        if d.qk_norm {
            self.norm_heads(i);
        }
        rope::gpu::turn(gpu, self.turned(&s.qkv, n), d.head_dim, self.table, &self.batch.angles, Turn::Forward);
        attention::gpu::forward(gpu, s.o.own(n), &s.l, s.qkv.rows(n, 0, group.outputs, group.outputs), &self.batch.seen, self.heads());
    }

    /// The columns of q and k.
    fn turned(&self, qkv: &Buffer<bf16>, n: usize) -> Rows {
        let d = self.d;
        qkv.rows(n, 0, d.q_width() + d.kv_width(), d.q_width() + 2 * d.kv_width())
    }

    fn norm_heads(&self, i: usize) {
        let (d, n, s, layer) = (self.d, self.batch.tokens, self.saved(i), self.layer(i));
        let raw = s.raw.rows(n, 0, d.q_width() + d.kv_width(), d.q_width() + d.kv_width());
        rows::copy(self.gpu, raw, self.turned(&s.qkv, n));
        for (which, columns, r) in self.normed(n) {
            let (y, x) = (self.turned(&s.qkv, n).columns(columns.clone()), raw.columns(columns));
            rmsnorm::gpu::heads_forward(self.gpu, y, &s.rqk.part(r), x, &layer.norms[which], d.rms_eps);
        }
    }

    /// Of q and of k: the place of their norm, their columns, and where the factors of their heads lie.
    fn normed(&self, n: usize) -> [(usize, Range<usize>, Range<usize>); 2] {
        let d = self.d;
        let (q, all) = (d.q_width(), d.q_width() + d.kv_width());
        [(2, 0..q, 0..n * d.heads), (3, q..all, n * d.heads..n * (d.heads + d.kv_heads))]
    }

    /// `saved.mid`: the residual stream plus the output projection, for the rows of the layer's second half.
    fn out(&self, i: usize) {
        let (gpu, d, n, s) = (self.gpu, self.d, self.rows(i), self.saved(i));
        let group = &self.layer(i).groups[OUT];
        let mid = self.hidden(&s.mid, n);
        let (o, x) = if self.is_last(i) {
            rows::pick(gpu, mid, self.hidden(&self.room.xs[i], self.batch.tokens), &self.batch.rows);
            rows::pick(gpu, self.room.o_rows.own(n), s.o.own(self.batch.tokens), &self.batch.rows);
            (&self.room.o_rows, mid)
        } else {
            (&s.o, self.hidden(&self.room.xs[i], n))
        };
        debug_assert_eq!(o.width, d.q_width());
        self.drops.inside(gpu, (i, OUT), group, o, n);
        self.dora.forward(gpu, (i, OUT), group, (mid, Some(x)), (o, false), n);
    }

    /// The feed-forward half. `again` stops where only what the backward pass reads is wanted.
    fn feed(&self, i: usize, again: bool) {
        let (gpu, d, n, s, layer) = (self.gpu, self.d, self.rows(i), self.saved(i), self.layer(i));
        let (norm, act) = (&self.room.norm, &self.room.act);
        let (gate_up, down) = (&layer.groups[GATE_UP], &layer.groups[DOWN]);
        gate_up.normed(gpu, norm.own(n), &s.r2, self.hidden(&s.mid, n), &layer.norms[1], d.rms_eps);
        if let Some(experts) = &self.room.experts {
            return self.experts(experts, i, again, || self.output(i, n));
        }
        self.drops.inside(gpu, (i, GATE_UP), gate_up, norm, n);
        keep(gpu, &s.u[GATE_UP], norm, n, gate_up.pad);
        self.dora.forward(gpu, (i, GATE_UP), gate_up, (s.gate_up.own(n), None), (norm, true), n);
        if again && down.pad == 0 {
            return;
        }
        down.activated(gpu, act.own(n), s.gate_up.own(n));
        self.drops.inside(gpu, (i, DOWN), down, act, n);
        keep(gpu, &s.u[DOWN], act, n, down.pad);
        if again {
            return;
        }
        self.dora.forward(gpu, (i, DOWN), down, (self.output(i, n), Some(self.hidden(&s.mid, n))), (act, true), n);
    }

    /// Where layer `i` leaves its output.
    fn output(&self, i: usize, n: usize) -> Rows {
        match self.room.xs.get(i + 1) {
            Some(next) => self.hidden(next, n),
            None if self.is_last(i) => self.room.picked.own(n),
            None => self.room.dx.own(n),
        }
    }

    /// Final norm and logits of supervised rows `from..from + n`.
    fn logits(&self, from: usize, n: usize) -> Rows {
        let (d, room) = (self.d, self.room);
        let (x, norm) = (self.picked(from, n), room.norm.own(n));
        rmsnorm::gpu::forward(self.gpu, norm, &room.r.part(from..from + n), x, &self.weights.norm, d.rms_eps);
        let logits = room.logits.rows(n, 0, d.vocab, d.vocab);
        product(self.gpu, logits.into(), Write::Set, norm.into(), self.head().t());
        logits
    }

    fn head(&self) -> Mat {
        Mat::new(&self.weights.head, self.d.vocab, self.d.hidden)
    }

    fn picked(&self, from: usize, n: usize) -> Rows {
        let p = &self.room.picked;
        p.buffer.part(from * p.stride()..(from + n) * p.stride()).rows(n, 0, p.width, p.stride())
    }

    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> {
        let (all, some) = (self.batch.targets, self.room.logit_rows);
        (0..all).step_by(some.max(1)).map(move |from| (from, some.min(all - from)))
    }

    /// Losses of the supervised rows, into `room.losses`.
    pub fn losses(&self) {
        for (from, n) in self.chunks() {
            let (targets, weights) = self.batch.wanted(from, n);
            cross_entropy::gpu::forward(self.gpu, self.logits(from, n), &self.room.losses.part(from..from + n), &targets, &weights);
        }
    }

    /// As [`Pass::losses`]; `room.picked` becomes its own gradient, each loss times `scale`.
    pub fn losses_backward(&self, scale: &Buffer<f32>) {
        let (gpu, room) = (self.gpu, self.room);
        for (from, n) in self.chunks() {
            let logits = self.logits(from, n);
            let (targets, weights) = self.batch.wanted(from, n);
            cross_entropy::gpu::forward_backward(gpu, logits, &room.losses.part(from..from + n), &targets, &weights, scale);
            self.whole.head(gpu, from, logits, room.norm.own(n));
            let dnorm = self.hidden(&room.dnorm, n);
            product(gpu, dnorm.into(), Write::Set, logits.into(), self.head());
            let (x, r) = (self.picked(from, n), room.r.part(from..from + n));
            self.whole.last_norm(gpu, dnorm, x, &r);
            rmsnorm::gpu::backward_set(gpu, x, dnorm, x, &self.weights.norm, &r);
        }
    }

    /// The list of [`Pass::forward`] read upwards; adds to the gradients of what is trained. `examples` is one over the examples of
    /// the step.
    pub fn backward(&self, examples: f64) {
        self.weigh_routers();
        if !few_rows(self.d, self.room.limits) {
            rows::put_back(self.gpu, self.room.dx.own(self.batch.tokens), self.room.picked.own(self.batch.targets), &self.batch.starts);
        }
        for i in (0..self.d.layers).rev() {
            if i < self.room.limits.recompute {
                self.attend(i);
                self.out(i);
                self.feed(i, true);
            }
            self.feed_backward(i, examples);
            self.out_backward(i);
            self.attend_backward(i);
        }
        self.whole.embed(self.gpu, self.room.dx.own(self.batch.tokens));
        self.whole.done();
    }

    /// The gradient of the residual stream in the second half of layer `i`.
    pub(super) fn dx(&self, i: usize) -> &Wide {
        if self.is_last(i) { &self.room.picked } else { &self.room.dx }
    }

    fn feed_backward(&self, i: usize, examples: f64) {
        let (gpu, n, s, layer, room) = (self.gpu, self.rows(i), self.saved(i), self.layer(i), self.room);
        let (dx, dnorm, mid) = (self.dx(i), self.hidden(&room.dnorm, n), self.hidden(&s.mid, n));
        match &room.experts {
            Some(experts) => self.experts_backward(experts, i, examples),
            None => {
                self.down_backward(i);
                self.gate_up_backward(i);
            }
        }
        self.whole.norm(gpu, (i, 1), dnorm, mid, &s.r2);
        rmsnorm::gpu::backward(gpu, dx.own(n), dnorm, mid, &layer.norms[1], &s.r2);
    }

    /// From the gradient of gate and up to that of the normed input, in `room.dnorm`.
    fn gate_up_backward(&self, i: usize) {
        let (gpu, n, s, layer, room) = (self.gpu, self.rows(i), self.saved(i), self.layer(i), self.room);
        let (group, grads, at) = (&layer.groups[GATE_UP], self.trained.group(i, GATE_UP), (i, GATE_UP));
        let (dnorm, mid, dy) = (self.hidden(&room.dnorm, n), self.hidden(&s.mid, n), &s.gate_up);
        if group.pad > 0 || self.whole.is_model() {
            rmsnorm::gpu::forward(gpu, room.norm.own(n), &s.r2, mid, &layer.norms[1], self.d.rms_eps);
        }
        if self.dora.scales(at) {
            give_back(gpu, &room.norm, &s.u[GATE_UP], n, group.pad);
            self.dora.backward(gpu, at, group, dy, &room.norm, n, &self.trained.grads);
        }
        group.inside_back(gpu, dy, n);
        self.drops.backward(gpu, at, group, dnorm, (dy, true), n);
        if group.pad > 0 || self.whole.is_model() {
            let x = self.drops.left(gpu, at, group, room.norm.own(n));
            grads.add(gpu, (dy.own(n), compact(&s.u[GATE_UP], n, group.pad)), (dy.inside(n, group.pad), x));
            self.whole.group(gpu, at, dy.own(n), room.norm.own(n));
        }
    }

    /// From the gradient of the residual stream to that of gate and up, in their place.
    fn down_backward(&self, i: usize) {
        let (gpu, n, s, layer, room) = (self.gpu, self.rows(i), self.saved(i), self.layer(i), self.room);
        let (dx, act, at) = (self.dx(i), &room.act, (i, DOWN));
        let (group, grads) = (&layer.groups[DOWN], self.trained.group(i, DOWN));
        if self.dora.scales(at) {
            swiglu::gpu::forward(gpu, act.own(n), s.gate_up.own(n));
            give_back(gpu, act, &s.u[DOWN], n, group.pad);
        }
        let dy = self.dora.backward(gpu, at, group, dx, act, n, &self.trained.grads);
        group.inside_back(gpu, dy, n);
        self.drops.backward(gpu, at, group, act.own(n), (dy, false), n);
        layer.groups[GATE_UP].activated_backward(gpu, s.gate_up.own(n), act.own(n));
        let x = self.drops.left(gpu, at, group, act.own(n));
        grads.add(gpu, (dy.own(n), compact(&s.u[DOWN], n, group.pad)), (dy.inside(n, group.pad), x));
        self.whole.group(gpu, at, dy.own(n), act.own(n));
    }

    fn out_backward(&self, i: usize) {
        let (gpu, n, s, room) = (self.gpu, self.rows(i), self.saved(i), self.room);
        let (dx, group, grads) = (self.dx(i), &self.layer(i).groups[OUT], self.trained.group(i, OUT));
        let o = if self.is_last(i) { &room.o_rows } else { &s.o };
        let at = (i, OUT);
        let dy = self.dora.backward(gpu, at, group, dx, o, n, &self.trained.grads);
        group.inside_back(gpu, dy, n);
        let x = self.drops.left(gpu, at, group, o.own(n));
        grads.add(gpu, (dy.own(n), o.inside(n, group.pad)), (dy.inside(n, group.pad), x));
        self.whole.group(gpu, at, dy.own(n), o.own(n));
        if !self.is_last(i) {
            self.drops.backward(gpu, at, group, room.d_o.own(n), (dy, false), n);
            return;
        }
        // What was picked for the last layer goes back to its rows; the others have no gradient yet.
        self.drops.backward(gpu, at, group, o.own(n), (dy, false), n);
        let all = self.batch.tokens;
        rows::put_back(gpu, room.d_o.own(all), o.own(n), &self.batch.starts);
        rows::put_back(gpu, room.dx.own(all), dx.own(n), &self.batch.starts);
    }

    fn attend_backward(&self, i: usize) {
        let (gpu, d, n, s, layer, room) = (self.gpu, self.d, self.batch.tokens, self.saved(i), self.layer(i), self.room);
        let (width, all) = (d.q_width(), layer.groups[QKV].outputs);
        let qkv = s.qkv.rows(n, 0, all, all);
        attention::gpu::backward(
            gpu,
            room.dqkv.own(n),
            room.d_o.own(n),
            &room.delta,
            (s.o.own(n), &s.l),
            qkv,
            &self.batch.seen,
            self.heads(),
        );
        let turned = room.dqkv.columns(n, 0, width + d.kv_width());
        rope::gpu::turn(gpu, turned, d.head_dim, self.table, &self.batch.angles, Turn::Backward);
        if d.qk_norm {
            let raw = s.raw.rows(n, 0, turned.width, turned.width);
            for (which, columns, r) in self.normed(n) {
                let (dy, x, r) = (turned.columns(columns.clone()), raw.columns(columns), s.rqk.part(r));
                self.whole.norm(gpu, (i, which), dy, x, &r);
                rmsnorm::gpu::heads_backward(gpu, dy, dy, x, &layer.norms[which], &r);
            }
        }
        self.qkv_backward(i);
    }

    /// From the gradient of the projections to that of the residual stream.
    fn qkv_backward(&self, i: usize) {
        let (gpu, n, s, layer, room) = (self.gpu, self.batch.tokens, self.saved(i), self.layer(i), self.room);
        let (group, grads, at) = (&layer.groups[QKV], self.trained.group(i, QKV), (i, QKV));
        let (x, dy) = (self.hidden(&room.xs[i], n), &room.dqkv);
        if group.pad > 0 || self.whole.is_model() {
            rmsnorm::gpu::forward(gpu, room.norm.own(n), &s.r1, x, &layer.norms[0], self.d.rms_eps);
        }
        if self.dora.scales(at) {
            give_back(gpu, &room.norm, &s.u[QKV], n, group.pad);
            self.dora.backward(gpu, at, group, dy, &room.norm, n, &self.trained.grads);
        }
        group.inside_back(gpu, dy, n);
        if group.pad > 0 || self.whole.is_model() {
            let left = self.drops.left(gpu, at, group, room.norm.own(n));
            grads.add(gpu, (dy.own(n), compact(&s.u[QKV], n, group.pad)), (dy.inside(n, group.pad), left));
            self.whole.group(gpu, at, dy.own(n), room.norm.own(n));
        }
        // Below the first layer often nothing is trained.
        if i > 0 || self.whole.goes_below() {
            let dnorm = self.hidden(&room.dnorm, n);
            self.drops.backward(gpu, at, group, dnorm, (dy, false), n);
            self.whole.norm(gpu, (i, 0), dnorm, x, &s.r1);
            rmsnorm::gpu::backward(gpu, room.dx.own(n), dnorm, x, &layer.norms[0], &s.r1);
        }
    }
}

/// Copies what lies behind the rows of `x`, for the backward pass.
pub(super) fn keep(gpu: &Gpu, to: &Buffer<bf16>, x: &Wide, n: usize, pad: usize) {
    if pad > 0 {
        rows::copy(gpu, compact(to, n, pad), x.inside(n, pad));
    }
}

/// Copies it back.
fn give_back(gpu: &Gpu, x: &Wide, from: &Buffer<bf16>, n: usize, pad: usize) {
    rows::copy(gpu, x.inside(n, pad), compact(from, n, pad));
}

pub(super) fn compact(u: &Buffer<bf16>, n: usize, pad: usize) -> Rows {
    u.rows(n, 0, pad, pad)
}
