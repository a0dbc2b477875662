//! The decoder: forward and backward as mirrored lists of engine ops, for every family and every way to train.
//!
//! Reads a [`MicroBatch`], adds to a flat gradient of what is trained. What backward needs is kept per layer; what is
//! cheap to make again (normed inputs, silu(gate)·up, routing) is made again. The last layer's output projection and
//! feed-forward block, the final norm and the head run for supervised rows only.

use crate::apply::{Applied, Dropping};
use crate::modules::{groups, norm_width};
use crate::room::LOGIT_ROWS;
use crate::{Adapter, Dims, MicroBatch, Weights, attend, balance, feed};
use engine::cpu::gemm::{Mat, Rhs, Term, Write, product};
use engine::ops::rope::Table;
use engine::ops::{cross_entropy, embed, rmsnorm};
use engine::{Cx, Layout};
use std::sync::Arc;

pub use crate::room::{Limits, Room};

/// What is computed once a micro-batch and read by every layer.
pub(crate) struct Pass<'a> {
    pub cx: &'a Cx,
    pub weights: &'a Weights,
    pub adapter: &'a Adapter,
    pub layout: &'a Layout,
    pub table: Arc<Table>,
    /// Which angles turn each row.
    pub angles: Vec<u32>,
    /// Supervised rows, one per target.
    pub rows: Vec<u32>,
    pub tokens: usize,
    /// Whether the last layer's second half runs for supervised rows only.
    few: bool,
    batch: &'a MicroBatch,
    picked_keys: Vec<u64>,
}

/// Sum of the losses of the supervised tokens, and one loss per target.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Sum over all supervised tokens (a target that n examples want counts n times).
    pub sum: f64,
    /// Loss of each target of the micro-batch, times its count.
    pub each: Vec<f64>,
    /// Load-balancing loss of the experts, its coefficient included: the sum over the examples.
    pub balance: f64,
}

/// What a micro-batch's losses are divided by.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// One over the supervised tokens of the whole step.
    pub tokens: f64,
    /// One over the examples of the whole step: the load-balancing loss is a mean over examples.
    pub examples: f64,
}

/// Forward alone: the loss of a micro-batch.
pub fn loss(cx: &Cx, weights: &Weights, adapter: &Adapter, room: &mut Room, batch: &MicroBatch) -> Loss {
    if batch.targets.is_empty() {
        return Loss { sum: 0.0, each: Vec::new(), balance: 0.0 };
    }
    let s = forward(cx, weights, adapter, room, batch);
    let each = head(&s, room);
    Loss { sum: each.iter().sum(), each, balance: balance::collect(&s, room).loss() }
}

/// Forward and backward: adds to `grads`, which is laid out as the adapter's parameters.
pub fn loss_and_gradient(
    cx: &Cx,
    weights: &Weights,
    adapter: &Adapter,
    room: &mut Room,
    batch: &MicroBatch,
    scale: Scale,
    grads: &mut [f32],
) -> Loss {
    assert_eq!(grads.len(), adapter.params.len());
    if batch.targets.is_empty() {
        return Loss { sum: 0.0, each: Vec::new(), balance: 0.0 };
    }
    let s = forward(cx, weights, adapter, room, batch);
    let each = head_backward(&s, room, Weigh::Alike(scale.tokens), grads);
    let balance = backward(&s, room, scale.examples, grads);
    Loss { sum: each.iter().sum(), each, balance }
}

/// Logits of every target row, (targets, vocab): for comparison with other implementations.
pub fn logits(cx: &Cx, weights: &Weights, adapter: &Adapter, room: &mut Room, batch: &MicroBatch) -> Vec<f32> {
    if batch.targets.is_empty() {
        return Vec::new();
    }
    forward(cx, weights, adapter, room, batch).logits(room)
}

impl<'a> Pass<'a> {
    /// Embeds the tokens of a micro-batch and measures what the pass needs to know.
    pub(crate) fn at(
        cx: &'a Cx,
        weights: &'a Weights,
        adapter: &'a Adapter,
        room: &mut Room,
        batch: &'a MicroBatch,
        positions: Vec<u32>,
    ) -> Pass<'a> {
        let sets = if weights.dims.long_from().is_some() { 2 } else { 1 };
        let long = (room.table.rows() / sets) as u32;
        let rows: Vec<u32> = batch.targets.iter().map(|t| t.row).collect();
        let s = Pass {
            cx,
            weights,
            adapter,
            layout: &batch.layout,
            table: room.table.clone(),
            angles: positions.iter().zip(&batch.long).map(|(&p, &is)| if is { p + long } else { p }).collect(),
            picked_keys: rows.iter().map(|&r| batch.keys[r as usize]).collect(),
            rows,
            tokens: batch.tokens.len(),
            few: room.limits.balance == 0.0,
            batch,
        };
        measure(&s, room);
        s.embed(&mut room.xs[0][..s.tokens * weights.dims.hidden]);
        s
    }

    /// Logits of the supervised rows after the last layer.
    pub(crate) fn logits(&self, room: &mut Room) -> Vec<f32> {
        let (d, n) = (self.dims(), self.rows.len());
        let mut out = vec![0f32; n * d.vocab];
        let mut norm = vec![0f32; n * d.hidden];
        self.last(&room.picked[..n * d.hidden], &mut norm, &mut room.r[..n], &mut out);
        out
    }

    pub(crate) fn dims(&self) -> &'a Dims {
        &self.weights.dims
    }

    pub(crate) fn batch(&self) -> &'a MicroBatch {
        self.batch
    }

    /// Whether layer `i` needs its second half for supervised rows only.
    pub(crate) fn few_rows(&self, i: usize) -> bool {
        self.few && i + 1 == self.dims().layers
    }

    /// Rows of the second half of layer `i`.
    pub(crate) fn rows_of(&self, i: usize) -> usize {
        if self.few_rows(i) { self.rows.len() } else { self.tokens }
    }

    /// What dropout needs for the first or second half of layer `i`.
    pub(crate) fn dropping(&self, i: usize, all: bool) -> Option<Dropping<'_>> {
        let keys = if all || !self.few_rows(i) { &self.batch.keys } else { &self.picked_keys };
        let noise = self.batch.noise.filter(|_| self.adapter.places.dropout() > 0.0)?;
        Some(Dropping { share: self.adapter.places.dropout(), noise, keys })
    }

    /// Weight of a layer's norm, by the order of [`crate::modules::norm`].
    pub(crate) fn norm(&self, i: usize, which: usize) -> &'a [f32] {
        match self.adapter.places.norm(i, which) {
            Some(at) => self.adapter.part(at, norm_width(self.dims(), which)),
            None => &self.weights.layers[i].norms[which],
        }
    }

    /// Where the gradient of that weight goes, if it is trained.
    pub(crate) fn norm_gradient<'g>(&self, i: usize, which: usize, grads: &'g mut [f32]) -> Option<&'g mut [f32]> {
        self.adapter.places.norm(i, which).map(|at| &mut grads[at..at + norm_width(self.dims(), which)])
    }

    /// Whether anything below layer `i`'s first projections is trained.
    pub(crate) fn goes_below(&self, i: usize) -> bool {
        i > 0 || self.adapter.places.embed().is_some() || self.adapter.places.norm(0, 0).is_some()
    }

    /// The router's weight (experts, hidden).
    pub(crate) fn router(&self, i: usize) -> &'a [f32] {
        let d = self.dims();
        match self.adapter.places.router(i) {
            Some(at) => self.adapter.part(at, d.blocks() * d.hidden),
            None => &self.weights.layers[i].router,
        }
    }

    fn last_norm(&self) -> &'a [f32] {
        match self.adapter.places.last_norm() {
            Some(at) => self.adapter.part(at, self.dims().hidden),
            None => &self.weights.norm,
        }
    }

    /// The head as right operand: forward, or its transpose.
    fn head(&self, back: bool) -> Rhs<'a> {
        let d = self.dims();
        let Some(at) = self.adapter.places.head() else {
            let w = self.weights.head().expect("a head that is not trained was loaded");
            return if back { Rhs::WeightT(w) } else { Rhs::Weight(w) };
        };
        let w = Mat::new(self.adapter.part(at, d.vocab * d.hidden), d.vocab, d.hidden);
        Rhs::Mat(if back { w.t() } else { w })
    }

    /// Final norm and logits of some rows.
    fn last(&self, x: &[f32], norm: &mut [f32], r: &mut [f32], logits: &mut [f32]) {
        let (d, n) = (self.dims(), r.len());
        rmsnorm::forward(self.cx, norm, r, x, self.last_norm(), norm_dims(n, d.hidden), d.rms_eps);
        product(self.cx, logits, d.vocab, Write::Set, &[Term { a: Mat::new(norm, n, d.hidden), b: self.head(false) }]);
    }

    /// Embeds the tokens.
    fn embed(&self, out: &mut [f32]) {
        let d = self.dims();
        match (self.adapter.places.embed(), &self.weights.embed) {
            (Some(at), _) => embed::forward(self.cx, out, self.adapter.part(at, d.vocab * d.hidden), &self.batch.tokens, d.hidden),
            (None, Some(table)) => {
                out.chunks_exact_mut(d.hidden).zip(&self.batch.tokens).for_each(|(row, &t)| table.row(t as usize, row));
            }
            (None, None) => unreachable!("an embedding is trained or loaded"),
        }
    }
}

pub(crate) fn norm_dims(rows: usize, width: usize) -> rmsnorm::Dims {
    rmsnorm::Dims { rows, width }
}

/// Embeds and runs all layers; the last one leaves its output, for supervised rows, in `room.picked`.
pub(crate) fn forward<'a>(cx: &'a Cx, weights: &'a Weights, adapter: &'a Adapter, room: &mut Room, batch: &'a MicroBatch) -> Pass<'a> {
    let s = Pass::at(cx, weights, adapter, room, batch, batch.layout.positions());
    for i in 0..weights.dims.layers {
        layer(&s, room, i);
    }
    s
}

/// One layer, from `room.xs[i]` to the next layer's or to `room.picked`.
fn layer(s: &Pass, room: &mut Room, i: usize) {
    attend::forward(s, room, i);
    attend::out_of_layer(s, room, i);
    feed::forward(s, room, i);
}

/// DoRA: the lengths of all rows, as the adapter is now.
fn measure(s: &Pass, room: &mut Room) {
    if !s.adapter.places.is_dora() {
        return;
    }
    let first = !std::mem::replace(&mut room.measured, true);
    for i in 0..s.dims().layers {
        for g in 0..groups(s.dims()) {
            let group = Applied::new(s.cx, s.weights, s.adapter, i, g, None);
            if first {
                group.squares(&mut room.spare);
            }
            group.measure(&mut room.spare);
        }
    }
}

/// Losses of the supervised rows, in chunks.
pub(crate) fn head(s: &Pass, room: &mut Room) -> Vec<f64> {
    let d = s.dims();
    let mut each = vec![0f64; s.rows.len()];
    for (chunk, (targets, each)) in s.batch.targets.chunks(LOGIT_ROWS).zip(each.chunks_mut(LOGIT_ROWS)).enumerate() {
        let n = targets.len();
        let (x, logits) = (&room.picked[chunk * LOGIT_ROWS * d.hidden..][..n * d.hidden], &mut room.logits[..n * d.vocab]);
        s.last(x, &mut room.norm[..n * d.hidden], &mut room.r[..n], logits);
        cross_entropy::forward(s.cx, logits, each, targets, d.vocab);
    }
    each
}

/// What the gradient of each target's loss is multiplied by.
#[derive(Clone, Copy)]
pub(crate) enum Weigh<'a> {
    /// This, and how many examples want it.
    Alike(f64),
    /// Its own weight.
    Each(&'a [f64]),
}

/// As [`head`]; `room.picked` becomes its own gradient. The losses come back as they were weighed, but for the common factor.
pub(crate) fn head_backward(s: &Pass, room: &mut Room, weigh: Weigh, grads: &mut [f32]) -> Vec<f64> {
    let (d, cx) = (s.dims(), s.cx);
    let places = &s.adapter.places;
    let mut each = vec![0f64; s.rows.len()];
    for (chunk, (targets, each)) in s.batch.targets.chunks(LOGIT_ROWS).zip(each.chunks_mut(LOGIT_ROWS)).enumerate() {
        let n = targets.len();
        let x = &mut room.picked[chunk * LOGIT_ROWS * d.hidden..][..n * d.hidden];
        let (norm, r, logits) = (&mut room.norm[..n * d.hidden], &mut room.r[..n], &mut room.logits[..n * d.vocab]);
        s.last(x, norm, r, logits);
        match weigh {
            Weigh::Alike(scale) => cross_entropy::forward_backward(cx, logits, each, targets, d.vocab, scale),
            Weigh::Each(all) => {
                cross_entropy::forward_backward_weighted(cx, logits, each, targets, &all[chunk * LOGIT_ROWS..][..n], d.vocab);
            }
        }
        let dlogits = Mat::new(logits, n, d.vocab);
        if let Some(at) = places.head() {
            let dw = &mut grads[at..at + d.vocab * d.hidden];
            product(cx, dw, d.hidden, Write::Add, &[Term { a: dlogits.t(), b: Rhs::Mat(Mat::new(norm, n, d.hidden).t()) }]);
        }
        product(cx, norm, d.hidden, Write::Set, &[Term { a: dlogits, b: s.head(true) }]);
        let dx = &mut room.dx[..n * d.hidden];
        dx.fill(0.0);
        let dw = places.last_norm().map(|at| &mut grads[at..at + d.hidden]);
        rmsnorm::backward(cx, dx, dw, norm, x, s.last_norm(), r, norm_dims(n, d.hidden));
        x.copy_from_slice(dx);
    }
    each
}

/// The list of [`forward`] read upwards. `room.picked` holds the gradient of the last layer's output rows. Returns the
/// load-balancing loss.
pub(crate) fn backward(s: &Pass, room: &mut Room, examples: f64, grads: &mut [f32]) -> f64 {
    let d = s.dims();
    let mut balance = balance::collect(s, room);
    if !s.few {
        put_back(&mut room.dx[..s.tokens * d.hidden], &room.picked, &s.rows, d.hidden);
    }
    for i in (0..d.layers).rev() {
        if i < room.limits.recompute {
            again(s, room, i);
        }
        feed::backward(s, room, i, (&mut balance, examples), grads);
        attend::out_backward(s, room, i, grads);
        attend::backward(s, room, i, grads);
    }
    if let Some(at) = s.adapter.places.embed() {
        embed::backward(s.cx, &mut grads[at..at + d.vocab * d.hidden], &room.dx[..s.tokens * d.hidden], &s.batch.tokens, d.hidden);
    }
    balance.loss()
}

/// What layer `i` had saved, once more; its output is not needed.
fn again(s: &Pass, room: &mut Room, i: usize) {
    attend::forward(s, room, i);
    attend::out_of_layer(s, room, i);
    feed::again(s, room, i);
}

/// Copies the listed rows of `from` one after another into `to`.
pub(crate) fn pick(to: &mut [f32], from: &[f32], rows: &[u32], width: usize) {
    for (line, &r) in to.chunks_exact_mut(width).zip(rows) {
        line.copy_from_slice(&from[r as usize * width..][..width]);
    }
}

/// The transpose of [`pick`]: zero but for the listed rows, to which the lines of `from` are added.
pub(crate) fn put_back(to: &mut [f32], from: &[f32], rows: &[u32], width: usize) {
    to.fill(0.0);
    for (line, &r) in from.chunks_exact(width).zip(rows) {
        for (o, v) in to[r as usize * width..][..width].iter_mut().zip(line) {
            *o += v;
        }
    }
}
