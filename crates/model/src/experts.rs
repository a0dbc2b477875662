//! The experts of a layer: each does the rows that the router sends to it, one expert after another; and back.

use crate::apply::{Applied, Dropping};
use crate::balance::Balance;
use crate::decoder::Pass;
use crate::modules::{DOWN, GATE_UP};
use crate::room::{Room, Saved, Sorted, Spare};
use engine::Block;
use engine::cpu::gemm::{Mat, Rhs, Term, Write, product};
use engine::ops::{experts, route, swiglu};
use formats::Experts;
use std::ops::Range;

/// Which expert does which rows.
pub(crate) struct Routing {
    chosen: Vec<u32>, // (rows, blocks per token)
    groups: route::Groups,
}

impl Routing {
    /// Room for `rows` rows; none without experts.
    pub(crate) fn new(experts: Option<&Experts>, rows: usize) -> Routing {
        let d = experts.map_or(route::Dims { rows: 0, experts: 1, top: 1 }, |e| dims(e, rows));
        Routing { chosen: vec![0; d.rows * d.top], groups: route::Groups::new(d) }
    }
}

/// The router's view of `rows` rows.
pub(crate) fn dims(e: &Experts, rows: usize) -> route::Dims {
    route::Dims { rows, experts: e.count, top: e.per_token }
}

/// The rows of one expert: which of all sorted rows they are, and which of the layer's.
struct Share<'a> {
    at: Range<usize>,
    rows: &'a [u32],
    pairs: &'a [u32],
    keys: Vec<u64>,
}

impl Share<'_> {
    fn len(&self) -> usize {
        self.at.len()
    }

    /// Its part of a buffer of sorted rows of `width` floats.
    fn of<'b>(&self, buffer: &'b mut [f32], width: usize) -> &'b mut [f32] {
        &mut buffer[self.at.start * width..self.at.end * width]
    }

    fn dropping<'b>(&'b self, s: &'b Pass, i: usize) -> Option<Dropping<'b>> {
        s.dropping(i, false).map(|n| Dropping { keys: &self.keys, ..n })
    }
}

/// What every expert was sent, in order; experts without a row are left out.
fn shares<'a>(s: &Pass, i: usize, e: &Experts, groups: &'a route::Groups) -> Vec<(usize, Share<'a>)> {
    let noise = s.dropping(i, false);
    let mut start = 0;
    let mut all = Vec::with_capacity(e.count);
    for expert in 0..e.count {
        let share = groups.of(expert);
        let at = start..start + share.rows.len();
        start = at.end;
        let keys = noise.as_ref().map_or(Vec::new(), |n| share.rows.iter().map(|&r| n.keys[r as usize]).collect());
        if !at.is_empty() {
            all.push((expert, Share { at, rows: share.rows, pairs: share.pairs, keys }));
        }
    }
    all
}

/// Chooses experts by the logits in `logits`.
fn route(s: &Pass, e: &Experts, n: usize, logits: &[f32], weights: &mut [f32], routing: &mut Routing) -> route::Dims {
    let d = dims(e, n);
    let chosen = &mut routing.chosen[..n * d.top];
    route::forward(s.cx, chosen, &mut weights[..n * d.top], &logits[..n * d.experts], d);
    routing.groups.sort(chosen, d);
    d
}

/// Copies a share's rows of `from` into its part of `to`.
fn gather(s: &Pass, share: &Share, to: &mut [f32], from: &[f32], width: usize) {
    experts::gather(s.cx, share.of(to, width), from, share.rows, width);
}

/// Routes the normed rows in `room.norm` and computes gate, up and silu(gate)·up of each expert's share.
pub(crate) fn inside(s: &Pass, room: &mut Room, i: usize, n: usize) {
    let d = s.dims();
    let Some(e) = &d.experts else { return };
    let norm = &room.norm[..n * d.hidden];
    let logits = &mut room.routers[i][..n * e.count];
    let router = Rhs::Mat(Mat::new(s.router(i), e.count, d.hidden));
    product(s.cx, logits, e.count, Write::Set, &[Term { a: Mat::new(norm, n, d.hidden), b: router }]);
    let r = route(s, e, n, logits, &mut room.sorted.weights, &mut room.routing);
    let place = room.place(i);
    let Saved { gate, up, u, .. } = &mut room.saved[place];
    for (expert, share) in shares(s, i, e, &room.routing.groups) {
        gather(s, &share, &mut room.sorted.x, norm, d.hidden);
        let group = Applied::new(s.cx, s.weights, s.adapter, i, GATE_UP + 2 * expert, share.dropping(s, i));
        let (gate, up) = (share.of(gate, d.intermediate), share.of(up, d.intermediate));
        let u = share.of(&mut u[GATE_UP], group.ranks());
        group.forward(&mut [gate, up], Write::Set, u, share.of(&mut room.sorted.x, d.hidden), share.len(), &mut room.spare);
    }
    let all = n * r.top * d.intermediate;
    swiglu::forward(s.cx, &mut room.wide[..all], &gate[..all], &up[..all]);
}

/// Adds each expert's output to `out`; its weight is taken up by its input, so that the output need not be kept.
pub(crate) fn out(
    s: &Pass,
    i: usize,
    saved: &mut Saved<Block>,
    (sorted, wide, routing): (&mut Sorted<Block>, &mut [f32], &Routing),
    out: &mut [f32],
    spare: &mut Spare<Block>,
) {
    let d = s.dims();
    let Some(e) = &d.experts else { return };
    for (expert, share) in shares(s, i, e, &routing.groups) {
        let group = Applied::new(s.cx, s.weights, s.adapter, i, DOWN + 2 * expert, share.dropping(s, i));
        let (y, h) = (share.of(&mut sorted.dy, d.hidden), share.of(wide, d.intermediate));
        experts::weigh(s.cx, h, &sorted.weights, share.pairs, d.intermediate);
        let u = share.of(&mut saved.u[DOWN], group.ranks());
        group.forward(&mut [&mut *y], Write::Set, u, h, share.len(), spare);
        experts::scatter(s.cx, out, y, share.rows, d.hidden);
    }
}

/// What [`out`] saves, alone: x·A of each expert's last product.
pub(crate) fn inside_down(
    s: &Pass,
    i: usize,
    saved: &mut Saved<Block>,
    (sorted, wide, routing): (&Sorted<Block>, &mut [f32], &Routing),
    spare: &mut Spare<Block>,
) {
    let d = s.dims();
    let Some(e) = &d.experts else { return };
    for (expert, share) in shares(s, i, e, &routing.groups) {
        let group = Applied::new(s.cx, s.weights, s.adapter, i, DOWN + 2 * expert, share.dropping(s, i));
        let h = share.of(wide, d.intermediate);
        experts::weigh(s.cx, h, &sorted.weights, share.pairs, d.intermediate);
        group.inside(share.of(&mut saved.u[DOWN], group.ranks()), h, share.len(), spare);
    }
}

/// From the gradient of the output to that of the normed input, which takes that input's place in `room.norm`.
pub(crate) fn backward(s: &Pass, room: &mut Room, i: usize, n: usize, balance: (&mut Balance, f64), grads: &mut [f32]) {
    let d = s.dims();
    let Some(e) = &d.experts else { return };
    let r = route(s, e, n, &room.routers[i], &mut room.sorted.weights, &mut room.routing);
    let routing = std::mem::replace(&mut room.routing, Routing::new(None, 0));
    let all = shares(s, i, e, &routing.groups);
    for (expert, share) in &all {
        expert_backward(s, room, i, *expert, share, grads);
    }
    router_backward(s, room, i, (&routing.chosen[..n * r.top], r), balance, grads);
    for (_, share) in &all {
        experts::scatter(s.cx, &mut room.norm, share.of(&mut room.sorted.dy, d.hidden), share.rows, d.hidden);
    }
    drop(all);
    room.routing = routing;
}

/// One expert: gradients of what is trained in it, of the weights of its rows, and of its input in `room.sorted.dy`.
fn expert_backward(s: &Pass, room: &mut Room, i: usize, expert: usize, share: &Share, grads: &mut [f32]) {
    let (d, cx, m) = (s.dims(), s.cx, share.len());
    let place = room.place(i);
    let (saved, sorted, spare) = (&mut room.saved[place], &mut room.sorted, &mut room.spare);
    let dx = if s.few_rows(i) { &room.picked } else { &room.dx };
    gather(s, share, &mut sorted.x, &room.norm, d.hidden);
    gather(s, share, &mut sorted.dy, dx, d.hidden);
    let w: Vec<f32> = share.pairs.iter().map(|&p| sorted.weights[p as usize]).collect();
    let (gate, up) = (share.of(&mut saved.gate, d.intermediate), share.of(&mut saved.up, d.intermediate));
    let wide = share.of(&mut room.wide, d.intermediate);
    let dy = share.of(&mut sorted.dy, d.hidden);

    // down: u and, after the activation's backward pass, silu(gate) * up are already those of rows that count w times.
    let group = Applied::new(cx, s.weights, s.adapter, i, DOWN + 2 * expert, share.dropping(s, i));
    let v = &mut room.v[..m * group.ranks()];
    let u = share.of(&mut saved.u[DOWN], group.ranks());
    group.backward_b(v, grads, &mut [&mut *dy], u, &[], m, spare);
    group.backward_input(wide, &[dy], v, m, spare);
    let mut dw = vec![0f32; m];
    swiglu::backward_weighted(cx, gate, up, wide, &w, &mut dw);
    group.backward_a(v, grads, &[dy], wide, m, spare);
    share.pairs.iter().zip(&dw).for_each(|(&p, dw)| sorted.dw[p as usize] = *dw);

    // gate, up
    let group = Applied::new(cx, s.weights, s.adapter, i, GATE_UP + 2 * expert, share.dropping(s, i));
    let v = &mut room.v[..m * group.ranks()];
    let x = share.of(&mut sorted.x, d.hidden);
    group.backward_b(v, grads, &mut [&mut *gate, &mut *up], share.of(&mut saved.u[GATE_UP], group.ranks()), x, m, spare);
    group.backward_a(v, grads, &[gate, up], x, m, spare);
    group.backward_input(dy, &[gate, up], v, m, spare);
}

/// Gradient of the router, and its part of that of the normed input in `room.norm`, which until then holds that input.
fn router_backward(
    s: &Pass,
    room: &mut Room,
    i: usize,
    (chosen, r): (&[u32], route::Dims),
    (balance, examples): (&mut Balance, f64),
    grads: &mut [f32],
) {
    let (d, cx, n) = (s.dims(), s.cx, r.rows);
    let (sorted, norm) = (&mut room.sorted, &mut room.norm[..n * d.hidden]);
    let dlogits = &mut sorted.dlogits[..n * r.experts];
    route::backward(cx, dlogits, &sorted.dw[..n * r.top], &sorted.weights[..n * r.top], chosen, r);
    balance.backward(s, dlogits, &room.routers[i][..n * r.experts], examples, r);
    let dlogits = Mat::new(dlogits, n, r.experts);
    if let Some(at) = s.adapter.places.router(i) {
        let dw = &mut grads[at..at + r.experts * d.hidden];
        product(cx, dw, d.hidden, Write::Add, &[Term { a: dlogits.t(), b: Rhs::Mat(Mat::new(norm, n, d.hidden).t()) }]);
    }
    let router = Mat::new(s.router(i), r.experts, d.hidden);
    product(cx, norm, d.hidden, Write::Set, &[Term { a: dlogits, b: Rhs::Mat(router.t()) }]);
}
