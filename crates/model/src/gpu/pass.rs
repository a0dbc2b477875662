//! Forward and backward on the GPU, as mirrored lists of ops; the same formulas and order as `decoder.rs`.
//!
//! Activations are bfloat16, sums float32, gradients of what is trained float32. The residual stream is added to by the
//! products themselves. The last layer's second half and the head run for supervised rows only.

use crate::Dims;
use crate::gpu::batch::Loaded;
use crate::gpu::room::{Room, Saved};
use crate::gpu::trained::Trained;
use crate::gpu::weights::{Layer, Weights};
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
    pub room: &'a Room,
    pub table: &'a rope::gpu::Table,
    pub batch: &'a Loaded,
}

impl Pass<'_> {
    fn layer(&self, i: usize) -> &Layer {
        &self.weights.layers[i]
    }

    fn saved(&self, i: usize) -> &Saved {
        &self.room.saved[self.room.place(i)]
    }

    fn is_last(&self, i: usize) -> bool {
        i + 1 == self.d.layers
    }

    /// Rows of the second half of layer `i`.
    fn rows(&self, i: usize) -> usize {
        if self.is_last(i) { self.batch.targets } else { self.batch.tokens }
    }

    /// Columns 0..hidden of compact rows.
    fn hidden(&self, x: &Buffer<bf16>, n: usize) -> Rows {
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
    }

    /// q, k, v and attention of layer `i`, up to `saved.o`.
    fn attend(&self, i: usize) {
        let (gpu, d, n, s, layer) = (self.gpu, self.d, self.batch.tokens, self.saved(i), self.layer(i));
        let (norm, group) = (&self.room.norm, &layer.groups[QKV]);
        rmsnorm::gpu::forward(gpu, norm.own(n), &s.r1, self.hidden(&self.room.xs[i], n), &layer.norms[0], d.rms_eps);
        group.inside(gpu, norm, n);
        keep(gpu, &s.u[QKV], norm, n, group.pad);
        group.forward(gpu, s.qkv.rows(n, 0, group.outputs, group.outputs), Write::Set, norm, n);
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
        group.inside(gpu, o, n);
        group.forward(gpu, mid, Write::Plus(x.into()), o, n);
    }

    /// The feed-forward half. `again` stops where only what the backward pass reads is wanted.
    fn feed(&self, i: usize, again: bool) {
        let (gpu, d, n, s, layer) = (self.gpu, self.d, self.rows(i), self.saved(i), self.layer(i));
        let (norm, act) = (&self.room.norm, &self.room.act);
        rmsnorm::gpu::forward(gpu, norm.own(n), &s.r2, self.hidden(&s.mid, n), &layer.norms[1], d.rms_eps);
        layer.groups[GATE_UP].inside(gpu, norm, n);
        keep(gpu, &s.u[GATE_UP], norm, n, layer.groups[GATE_UP].pad);
        layer.groups[GATE_UP].forward(gpu, s.gate_up.own(n), Write::Set, norm, n);
        if again && layer.groups[DOWN].pad == 0 {
            return;
        }
        swiglu::gpu::forward(gpu, act.own(n), s.gate_up.own(n));
        layer.groups[DOWN].inside(gpu, act, n);
        keep(gpu, &s.u[DOWN], act, n, layer.groups[DOWN].pad);
        if again {
            return;
        }
        let to = if self.is_last(i) { self.room.picked.own(n) } else { self.hidden(&self.room.xs[i + 1], n) };
        layer.groups[DOWN].forward(gpu, to, Write::Plus(self.hidden(&s.mid, n).into()), act, n);
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
            let dnorm = self.hidden(&room.dnorm, n);
            product(gpu, dnorm.into(), Write::Set, logits.into(), self.head());
            let (x, r) = (self.picked(from, n), room.r.part(from..from + n));
            rmsnorm::gpu::backward_set(gpu, x, dnorm, x, &self.weights.norm, &r);
        }
    }

    /// The list of [`Pass::forward`] read upwards; adds to the gradients of what is trained.
    pub fn backward(&self) {
        for i in (0..self.d.layers).rev() {
            if i < self.room.limits.recompute {
                self.attend(i);
                self.out(i);
                self.feed(i, true);
            }
            self.feed_backward(i);
            self.out_backward(i);
            self.attend_backward(i);
        }
    }

    /// The gradient of the residual stream in the second half of layer `i`.
    fn dx(&self, i: usize) -> &Wide {
        if self.is_last(i) { &self.room.picked } else { &self.room.dx }
    }

    fn feed_backward(&self, i: usize) {
        let (gpu, n, s, layer, room) = (self.gpu, self.rows(i), self.saved(i), self.layer(i), self.room);
        let (dx, act, grads) = (self.dx(i), &room.act, self.trained.group(i, DOWN));
        let down = &layer.groups[DOWN];
        down.inside_back(gpu, dx, n);
        down.backward(gpu, act.own(n), dx, n);
        grads.b(gpu, dx.own(n), compact(&s.u[DOWN], n, down.pad));
        swiglu::gpu::backward(gpu, s.gate_up.own(n), act.own(n));
        grads.a(gpu, dx.inside(n, down.pad), act.own(n));

        let (gate_up, grads) = (&layer.groups[GATE_UP], self.trained.group(i, GATE_UP));
        gate_up.inside_back(gpu, &s.gate_up, n);
        let dnorm = self.hidden(&room.dnorm, n);
        gate_up.backward(gpu, dnorm, &s.gate_up, n);
        grads.b(gpu, s.gate_up.own(n), compact(&s.u[GATE_UP], n, gate_up.pad));
        if gate_up.pad > 0 {
            rmsnorm::gpu::forward(gpu, room.norm.own(n), &s.r2, self.hidden(&s.mid, n), &layer.norms[1], self.d.rms_eps);
            grads.a(gpu, s.gate_up.inside(n, gate_up.pad), room.norm.own(n));
        }
        rmsnorm::gpu::backward(gpu, dx.own(n), dnorm, self.hidden(&s.mid, n), &layer.norms[1], &s.r2);
    }

    fn out_backward(&self, i: usize) {
        let (gpu, n, s, room) = (self.gpu, self.rows(i), self.saved(i), self.room);
        let (dx, group, grads) = (self.dx(i), &self.layer(i).groups[OUT], self.trained.group(i, OUT));
        let o = if self.is_last(i) { &room.o_rows } else { &s.o };
        group.inside_back(gpu, dx, n);
        grads.b(gpu, dx.own(n), o.inside(n, group.pad));
        grads.a(gpu, dx.inside(n, group.pad), o.own(n));
        if !self.is_last(i) {
            group.backward(gpu, room.d_o.own(n), dx, n);
            return;
        }
        // What was picked for the last layer goes back to its rows; the others have no gradient yet.
        group.backward(gpu, o.own(n), dx, n);
        let all = self.batch.tokens;
        rows::put_back(gpu, room.d_o.own(all), o.own(n), &self.batch.starts);
        rows::put_back(gpu, room.dx.own(all), dx.own(n), &self.batch.starts);
    }

    fn attend_backward(&self, i: usize) {
        let (gpu, d, n, s, layer, room) = (self.gpu, self.d, self.batch.tokens, self.saved(i), self.layer(i), self.room);
        let (group, grads) = (&layer.groups[QKV], self.trained.group(i, QKV));
        let (width, all) = (d.q_width(), group.outputs);
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
                let (dy, x) = (turned.columns(columns.clone()), raw.columns(columns));
                rmsnorm::gpu::heads_backward(gpu, dy, dy, x, &layer.norms[which], &s.rqk.part(r));
            }
        }
        group.inside_back(gpu, &room.dqkv, n);
        grads.b(gpu, room.dqkv.own(n), compact(&s.u[QKV], n, group.pad));
        let x = self.hidden(&room.xs[i], n);
        if group.pad > 0 {
            rmsnorm::gpu::forward(gpu, room.norm.own(n), &s.r1, x, &layer.norms[0], d.rms_eps);
            grads.a(gpu, room.dqkv.inside(n, group.pad), room.norm.own(n));
        }
        // Below the first layer nothing is trained.
        if i > 0 {
            let dnorm = self.hidden(&room.dnorm, n);
            group.backward(gpu, dnorm, &room.dqkv, n);
            rmsnorm::gpu::backward(gpu, room.dx.own(n), dnorm, x, &layer.norms[0], &s.r1);
        }
    }
}

/// Copies what lies behind the rows of `x`, for the backward pass.
fn keep(gpu: &Gpu, to: &Buffer<bf16>, x: &Wide, n: usize, pad: usize) {
    if pad > 0 {
        rows::copy(gpu, compact(to, n, pad), x.inside(n, pad));
    }
}

fn compact(u: &Buffer<bf16>, n: usize, pad: usize) -> Rows {
    u.rows(n, 0, pad, pad)
}
