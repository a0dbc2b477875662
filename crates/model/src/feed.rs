//! The feed-forward half of a layer: norm, gate and up, silu, down, or the experts in their place; and back.

use crate::apply::Applied;
use crate::balance::Balance;
use crate::decoder::{Pass, norm_dims, pick};
use crate::experts;
use crate::modules::{DOWN, GATE_UP};
use crate::room::Room;
use engine::cpu::gemm::Write;
use engine::ops::{rmsnorm, swiglu};

/// The output of layer `i`: into the next layer's input, or supervised rows of it into `room.picked`.
pub(crate) fn forward(s: &Pass, room: &mut Room, i: usize) {
    let (d, n) = (s.dims(), s.rows_of(i));
    inside(s, room, i);
    let last = i + 1 == d.layers;
    let (place, next) = (room.place(i), room.input(i + 1));
    let out = match last {
        false => &mut room.xs[next],
        true if s.few_rows(i) => &mut room.picked,
        true => &mut room.dx,
    };
    let (saved, out) = (&mut room.saved[place], &mut out[..n * d.hidden]);
    out.copy_from_slice(&saved.mid[..n * d.hidden]);
    if d.experts.is_some() {
        experts::out(s, i, saved, (&mut room.sorted, &mut room.wide, &room.routing), out, &mut room.spare);
    } else {
        let group = Applied::new(s.cx, s.weights, s.adapter, i, DOWN, s.dropping(i, false));
        let u = &mut saved.u[DOWN][..n * group.ranks()];
        group.forward(&mut [out], Write::Add, u, &room.wide[..n * d.intermediate], n, &mut room.spare);
    }
    if last && !s.few_rows(i) {
        pick(&mut room.picked, &room.dx, &s.rows, d.hidden);
    }
}

/// All that layer `i` saves of this half, without its output.
pub(crate) fn again(s: &Pass, room: &mut Room, i: usize) {
    let (d, n, place) = (s.dims(), s.rows_of(i), room.place(i));
    inside(s, room, i);
    let saved = &mut room.saved[place];
    if d.experts.is_some() {
        return experts::inside_down(s, i, saved, (&room.sorted, &mut room.wide, &room.routing), &mut room.spare);
    }
    let group = Applied::new(s.cx, s.weights, s.adapter, i, DOWN, s.dropping(i, false));
    group.inside(&mut saved.u[DOWN][..n * group.ranks()], &room.wide[..n * d.intermediate], n, &mut room.spare);
}

/// What layer `i` saves of this half up to silu(gate)·up, which is left in `room.wide`.
fn inside(s: &Pass, room: &mut Room, i: usize) {
    let (d, n) = (s.dims(), s.rows_of(i));
    let place = room.place(i);
    let saved = &mut room.saved[place];
    let norm = &mut room.norm[..n * d.hidden];
    rmsnorm::forward(s.cx, norm, &mut saved.r2[..n], &saved.mid[..n * d.hidden], s.norm(i, 1), norm_dims(n, d.hidden), d.rms_eps);
    if d.experts.is_some() {
        return experts::inside(s, room, i, n);
    }
    let group = Applied::new(s.cx, s.weights, s.adapter, i, GATE_UP, s.dropping(i, false));
    let (gate, up) = (&mut saved.gate[..n * d.intermediate], &mut saved.up[..n * d.intermediate]);
    let u = &mut saved.u[GATE_UP][..n * group.ranks()];
    group.forward(&mut [&mut *gate, &mut *up], Write::Set, u, norm, n, &mut room.spare);
    swiglu::forward(s.cx, &mut room.wide[..n * d.intermediate], gate, up);
}

/// Gradient of the residual stream through this half, in place; `examples` is one over the examples of the step.
pub(crate) fn backward(s: &Pass, room: &mut Room, i: usize, balance: (&mut Balance, f64), grads: &mut [f32]) {
    let (d, cx, n) = (s.dims(), s.cx, s.rows_of(i));
    let place = room.place(i);
    rmsnorm::again(
        cx,
        &mut room.norm[..n * d.hidden],
        &room.saved[place].mid[..n * d.hidden],
        s.norm(i, 1),
        &room.saved[place].r2[..n],
        norm_dims(n, d.hidden),
    );
    if d.experts.is_some() {
        experts::backward(s, room, i, n, balance, grads);
    } else {
        dense_backward(s, room, i, n, grads);
    }
    let saved = &room.saved[place];
    let dx = if s.few_rows(i) { &mut room.picked } else { &mut room.dx };
    let (dx, mid) = (&mut dx[..n * d.hidden], &saved.mid[..n * d.hidden]);
    rmsnorm::backward(
        cx,
        dx,
        s.norm_gradient(i, 1, grads),
        &room.norm[..n * d.hidden],
        mid,
        s.norm(i, 1),
        &saved.r2[..n],
        norm_dims(n, d.hidden),
    );
}

/// From the gradient of the output to that of the normed input, which takes that input's place in `room.norm`.
fn dense_backward(s: &Pass, room: &mut Room, i: usize, n: usize, grads: &mut [f32]) {
    let (d, cx) = (s.dims(), s.cx);
    let place = room.place(i);
    let saved = &mut room.saved[place];
    let dx = if s.few_rows(i) { &mut room.picked[..n * d.hidden] } else { &mut room.dx[..n * d.hidden] };
    let (gate, up, wide) =
        (&mut saved.gate[..n * d.intermediate], &mut saved.up[..n * d.intermediate], &mut room.wide[..n * d.intermediate]);
    // down: its input silu(gate) * up is made again when its gradient is known; so v first, dA after. Magnitudes want it before.
    let group = Applied::new(cx, s.weights, s.adapter, i, DOWN, s.dropping(i, false));
    let v = &mut room.v[..n * group.ranks()];
    let dy = group.own_dy(dx, &mut room.scaled);
    if group.wants_input() {
        swiglu::forward(cx, wide, gate, up);
    }
    group.backward_b(v, grads, &mut [&mut *dy], &saved.u[DOWN][..n * group.ranks()], wide, n, &mut room.spare);
    group.backward_input(wide, &[dy], v, n, &mut room.spare);
    swiglu::backward(cx, gate, up, wide);
    group.backward_a(v, grads, &[dy], wide, n, &mut room.spare);
    // gate, up
    let norm = &mut room.norm[..n * d.hidden];
    let group = Applied::new(cx, s.weights, s.adapter, i, GATE_UP, s.dropping(i, false));
    let v = &mut room.v[..n * group.ranks()];
    group.backward_b(v, grads, &mut [&mut *gate, &mut *up], &saved.u[GATE_UP][..n * group.ranks()], norm, n, &mut room.spare);
    group.backward_a(v, grads, &[gate, up], norm, n, &mut room.spare);
    group.backward_input(norm, &[gate, up], v, n, &mut room.spare);
}
