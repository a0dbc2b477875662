//! The experts of a layer on the GPU, each over the rows that the router sends to it; formulas and order of `../experts.rs`.
//!
//! Rows lie in one list, expert after expert, each expert's padded with rows of zeros, which stay zeros in everything that is made
//! of them: so they add nothing to a gradient. How many rows an expert has must be known where products are asked for, so the host
//! reads the counts once in each layer of the forward pass, and waits for them. A layer's routing is kept until its backward
//! pass: one that is computed again sends the same rows to the same experts.

use crate::Dims;
use crate::experts::dims;
use crate::gpu::balance::Balance;
use crate::gpu::pass::{Pass, compact, keep};
use crate::gpu::room::Saved;
use crate::gpu::trained::Grads;
use crate::gpu::weights::Linear;
use crate::gpu::wide::Wide;
use crate::modules::{DOWN, GATE_UP};
use crate::room::Limits;
use engine::cuda::product::Write;
use engine::cuda::{Arena, Buffer, Rows, bf16};
use engine::ops::route::gpu::{Sorted, listed};
use engine::ops::{experts, rmsnorm, route, swiglu};
use std::cell::RefCell;

/// Buffers of a model with experts.
pub(crate) struct Room {
    x: Wide,              // (listed rows, hidden): normed rows
    y: Wide,              // (listed rows, hidden): what experts give; in the backward pass the gradient of that, then of x
    dw: Buffer<f32>,      // (rows, blocks per token): gradient of what each expert counts for
    dlogits: Buffer<f32>, // (rows, experts)
    routes: Vec<Route>,   // of each layer
    pub balance: Option<RefCell<Balance>>,
}

/// What the router of a layer said.
pub(super) struct Route {
    pub logits: Buffer<f32>, // (rows, experts)
    pub chosen: Buffer<u32>, // (rows, blocks per token)
    weights: Buffer<f32>,    // likewise
    sorted: Sorted,
    shares: RefCell<Vec<Share>>,
}

/// The rows of the list that one expert does.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Share {
    expert: usize,
    from: usize,
    rows: usize,
}

/// Whether the last layer's second half runs for supervised rows only: the load-balancing loss looks at all of them.
pub(super) fn few_rows(d: &Dims, limits: Limits) -> bool {
    d.experts.is_none() || limits.balance == 0.0
}

/// Rows that a layer's feed-forward blocks see of `rows` rows.
pub(super) fn inside_rows(d: &Dims, rows: usize) -> usize {
    d.experts.as_ref().map_or(rows, |e| listed(dims(e, rows)))
}

impl Room {
    /// Takes the buffers for layers of `rows_of` rows, adapters of the columns `pads` behind x and y; none without experts.
    pub fn take(arena: &mut Arena, d: &Dims, limits: Limits, rows_of: &dyn Fn(usize) -> usize, pads: [usize; 2]) -> Option<Room> {
        let e = d.experts.as_ref()?;
        let rows = limits.tokens.max(limits.targets);
        let sorted = inside_rows(d, rows);
        let route = |arena: &mut Arena, rows: usize| Route {
            logits: arena.take("routing", ROUTING, rows * e.count),
            chosen: arena.take("routing", ROUTING, rows * e.per_token),
            weights: arena.take("routing", ROUTING, rows * e.per_token),
            sorted: Sorted::take(arena, dims(e, rows)),
            shares: RefCell::default(),
        };
        Some(Room {
            x: Wide::take(arena, "expert inputs", "rows by the expert that they are sent to", sorted, d.hidden, pads[0]),
            y: Wide::take(arena, "expert outputs", "by expert, and their gradients", sorted, d.hidden, pads[1]),
            dw: arena.take("router gradient", "of what each expert counts for, and of logits", rows * e.per_token),
            dlogits: arena.take("router gradient", "of what each expert counts for, and of logits", rows * e.count),
            routes: (0..d.layers).map(|l| route(arena, rows_of(l))).collect(),
            balance: (limits.balance > 0.0).then(|| RefCell::new(Balance::new(limits.balance))),
        })
    }

    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }
}

const ROUTING: &str = "which expert does which rows, of each layer";

/// One expert after another, without those that have no row.
fn shares(rows: &[usize]) -> Vec<Share> {
    let mut from = 0;
    let all = rows.iter().enumerate().map(|(expert, &rows)| {
        from += rows;
        Share { expert, from: from - rows, rows }
    });
    all.filter(|s| s.rows > 0).collect()
}

impl Share {
    fn of(&self, x: &Wide) -> Wide {
        x.after(self.from)
    }

    /// Its part of what an adapter left inside.
    fn inside(&self, u: &Buffer<bf16>, pad: usize) -> Buffer<bf16> {
        u.part(self.from * pad..(self.from + self.rows) * pad)
    }
}

/// A layer's experts at work.
struct Work<'a> {
    pass: &'a Pass<'a>,
    room: &'a Room,
    saved: &'a Saved,
    layer: usize,
    d: route::Dims,
    shares: Vec<Share>,
}

impl<'a> Work<'a> {
    fn new(pass: &'a Pass, room: &'a Room, layer: usize) -> Option<Work<'a>> {
        let d = dims(pass.d.experts.as_ref()?, pass.rows(layer));
        let shares = room.routes[layer].shares.borrow().clone();
        // That nobody has a row means that something failed.
        (!shares.is_empty()).then(|| Work { pass, room, saved: pass.saved(layer), layer, d, shares })
    }

    fn route(&self) -> &'a Route {
        &self.room.routes[self.layer]
    }

    /// What each chosen expert counts for.
    fn weights(&self) -> Buffer<f32> {
        self.route().weights.part(0..self.d.rows * self.d.top)
    }

    /// Rows of the list.
    fn listed(&self) -> usize {
        self.shares.last().map_or(0, |s| s.from + s.rows)
    }

    fn linear(&self, share: &Share, kind: usize) -> &'a Linear {
        &self.pass.layer(self.layer).groups[kind + 2 * share.expert]
    }

    fn grads(&self, share: &Share, kind: usize) -> Grads<'a> {
        self.pass.trained.group(self.layer, kind + 2 * share.expert)
    }

    fn gather(&self, to: &Wide, from: Rows) {
        experts::gpu::gather(self.pass.gpu, to.own(self.listed()), from, &self.route().sorted.list, self.d);
    }

    /// Whether any expert has an adapter on the layers of this kind.
    fn adapted(&self, kind: usize) -> bool {
        self.shares.iter().any(|s| self.linear(s, kind).pad > 0)
    }
}

impl Pass<'_> {
    /// Sends the rows of `norm` to experts.
    fn send(&self, room: &Room, i: usize, norm: Rows) {
        let (gpu, Some(e), r) = (self.gpu, &self.d.experts, &room.routes[i]) else { return };
        let d = dims(e, norm.rows);
        route::gpu::logits(gpu, &r.logits, norm, &self.layer(i).router, e.count);
        route::gpu::forward(gpu, &r.chosen, &r.weights, &r.logits, d);
        route::gpu::sort(gpu, &r.sorted, &r.chosen, d);
        *r.shares.borrow_mut() = shares(&r.sorted.rows(d));
    }

    /// From the normed rows in `room.norm` to `to`, the output of layer `i`. `again` stops where only what the backward pass reads
    /// is wanted.
    pub(super) fn experts(&self, room: &Room, i: usize, again: bool, to: impl FnOnce() -> Rows) {
        let norm = self.room.norm.own(self.rows(i));
        if !again {
            self.send(room, i, norm);
        }
        let Some(w) = Work::new(self, room, i) else { return };
        w.gather(&room.x, norm);
        w.shares.iter().for_each(|share| w.gate_up(share));
        if again && !w.adapted(DOWN) {
            return;
        }
        let (gpu, all, act, r) = (self.gpu, w.listed(), &self.room.act, w.route());
        swiglu::gpu::forward_weighted(gpu, act.own(all), w.saved.gate_up.own(all), &r.sorted.list, &w.weights());
        w.shares.iter().for_each(|share| w.down(share, again));
        if !again {
            let mid = self.hidden(&w.saved.mid, w.d.rows);
            experts::gpu::combine(gpu, to(), mid, room.y.own(all), &r.sorted.places, w.d);
        }
    }

    /// From the gradient of the output, in `dx`, to that of the normed rows, in `room.dnorm`; `examples` is one over the examples of
    /// the step.
    pub(super) fn experts_backward(&self, room: &Room, i: usize, examples: f64) {
        let Some(w) = Work::new(self, room, i) else { return };
        let (gpu, n, all, r) = (self.gpu, w.d.rows, w.listed(), w.route());
        w.gather(&room.y, self.dx(i).own(n));
        w.shares.iter().for_each(|share| w.down_backward(share));
        let (gate_up, act) = (w.saved.gate_up.own(all), self.room.act.own(all));
        swiglu::gpu::backward_weighted(gpu, gate_up, act, &room.dw, &r.sorted.list, &w.weights());
        w.shares.iter().for_each(|share| w.down_adapter(share));
        if w.adapted(GATE_UP) {
            let (norm, mid) = (self.room.norm.own(n), self.hidden(&w.saved.mid, n));
            rmsnorm::gpu::forward(gpu, norm, &w.saved.r2, mid, &self.layer(i).norms[1], self.d.rms_eps);
            w.gather(&room.x, norm);
        }
        w.shares.iter().for_each(|share| w.gate_up_backward(share));
        w.router_backward(examples);
        let (dnorm, router) = (self.hidden(&self.room.dnorm, n), &self.layer(i).router);
        experts::gpu::back(gpu, dnorm, room.y.own(all), &r.sorted.places, &room.dlogits, router, w.d);
    }
}

impl Work<'_> {
    fn gate_up(&self, share: &Share) {
        let (gpu, n, x, group) = (self.pass.gpu, share.rows, share.of(&self.room.x), self.linear(share, GATE_UP));
        group.inside(gpu, &x, n);
        keep(gpu, &share.inside(&self.saved.u[GATE_UP], group.pad), &x, n, group.pad);
        group.forward(gpu, share.of(&self.saved.gate_up).own(n), Write::Set, &x, n, false);
    }

    /// The last product, over weighted rows; `again` stops at what an adapter leaves inside.
    fn down(&self, share: &Share, again: bool) {
        let (gpu, n, act, group) = (self.pass.gpu, share.rows, share.of(&self.pass.room.act), self.linear(share, DOWN));
        group.inside(gpu, &act, n);
        keep(gpu, &share.inside(&self.saved.u[DOWN], group.pad), &act, n, group.pad);
        if !again {
            group.forward(gpu, share.of(&self.room.y).own(n), Write::Set, &act, n, false);
        }
    }

    /// `room.act` becomes the gradient of the rows before they were weighted.
    fn down_backward(&self, share: &Share) {
        let (gpu, n, dy, group) = (self.pass.gpu, share.rows, share.of(&self.room.y), self.linear(share, DOWN));
        group.inside_back(gpu, &dy, n);
        group.backward(gpu, share.of(&self.pass.room.act).own(n), &dy, n, false);
    }

    /// Gradients of the last product's adapter, once `room.act` holds its input again.
    fn down_adapter(&self, share: &Share) {
        let (n, group) = (share.rows, self.linear(share, DOWN));
        let (dy, act) = (share.of(&self.room.y), share.of(&self.pass.room.act).own(n));
        let u = compact(&share.inside(&self.saved.u[DOWN], group.pad), n, group.pad);
        self.grads(share, DOWN).add(self.pass.gpu, (dy.own(n), u), (dy.inside(n, group.pad), act));
    }

    /// `room.y` becomes the gradient of the rows as they came in.
    fn gate_up_backward(&self, share: &Share) {
        let (gpu, n, dy, group) = (self.pass.gpu, share.rows, share.of(&self.saved.gate_up), self.linear(share, GATE_UP));
        group.inside_back(gpu, &dy, n);
        group.backward(gpu, share.of(&self.room.y).own(n), &dy, n, false);
        let u = compact(&share.inside(&self.saved.u[GATE_UP], group.pad), n, group.pad);
        self.grads(share, GATE_UP).add(gpu, (dy.own(n), u), (dy.inside(n, group.pad), share.of(&self.room.x).own(n)));
    }

    fn router_backward(&self, examples: f64) {
        let (gpu, room, r) = (self.pass.gpu, self.room, self.route());
        let Some(balance) = &room.balance else {
            return route::gpu::backward(gpu, &room.dlogits, &room.dw, &r.weights, &r.chosen, self.d);
        };
        room.dlogits.poke(&balance.borrow_mut().gradient(self.layer, self.pass.examples, examples, self.d));
        route::gpu::backward_add(gpu, &room.dlogits, &room.dw, &r.weights, &r.chosen, self.d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_follow_each_other_and_those_without_a_row_are_left_out() {
        let share = |expert, from, rows| Share { expert, from, rows };
        assert_eq!(shares(&[64, 0, 128, 0]), [share(0, 0, 64), share(2, 64, 128)]);
        assert_eq!(shares(&[0, 0]), []);
    }
}
