//! The attention half of a layer: norm, q, k and v, norms of heads, turning, attention, the output projection; and back.

use crate::apply::Applied;
use crate::decoder::{Pass, norm_dims, pick, put_back};
use crate::modules::{OUT, QKV};
use crate::room::{Room, Saved, Spare};
use engine::Block;
use engine::cpu::gemm::Write;
use engine::ops::rope::{Turn, turn};
use engine::ops::{attention, rmsnorm};

/// q, k, v of layer `i`, turned: in what it saves, or where heads are normed q and k in `room.turned_q` and `_k`.
pub(crate) fn project(s: &Pass, room: &mut Room, i: usize) {
    let (d, cx, n) = (s.dims(), s.cx, s.tokens);
    let (place, x) = (room.place(i), room.input(i));
    let (saved, x) = (&mut room.saved[place], &room.xs[x][..n * d.hidden]);
    let norm = &mut room.norm[..n * d.hidden];
    rmsnorm::forward(cx, norm, &mut saved.r1[..n], x, s.norm(i, 0), norm_dims(n, d.hidden), d.rms_eps);
    let group = Applied::new(cx, s.weights, s.adapter, i, QKV, s.dropping(i, true));
    let (q, k, v) = (&mut saved.q[..n * d.q_width()], &mut saved.k[..n * d.kv_width()], &mut saved.v[..n * d.kv_width()]);
    group.forward(&mut [&mut *q, &mut *k, v], Write::Set, &mut saved.u[QKV][..n * group.ranks()], norm, n, &mut room.spare);
    if !d.qk_norm {
        turn(cx, q, &s.angles, &s.table, d.head_dim, Turn::Forward);
        turn(cx, k, &s.angles, &s.table, d.head_dim, Turn::Forward);
        return;
    }
    for (raw, out, r, heads, which) in [
        (&*q, &mut room.turned_q, &mut saved.rq[..n * d.heads], d.heads, 2),
        (&*k, &mut room.turned_k, &mut saved.rk[..n * d.kv_heads], d.kv_heads, 3),
    ] {
        let out = &mut out[..raw.len()];
        rmsnorm::forward(cx, out, r, raw, s.norm(i, which), norm_dims(n * heads, d.head_dim), d.rms_eps);
        turn(cx, out, &s.angles, &s.table, d.head_dim, Turn::Forward);
    }
}

/// Attention of layer `i` over the micro-batch, up to `saved.o`.
pub(crate) fn forward(s: &Pass, room: &mut Room, i: usize) {
    let (d, n) = (s.dims(), s.tokens);
    project(s, room, i);
    let place = room.place(i);
    let Saved { q, k, v, o, l, .. } = &mut room.saved[place];
    let (q, k) = if d.qk_norm { (&room.turned_q, &room.turned_k) } else { (&*q, &*k) };
    let (wq, wk) = (n * d.q_width(), n * d.kv_width());
    attention::forward(s.cx, &mut o[..wq], &mut l[..n * d.heads], &q[..wq], &k[..wk], &v[..wk], s.layout, d.attention());
}

/// `mid` (a copy of the residual stream) plus the output projection of `o`, for `n` rows.
fn out(s: &Pass, i: usize, mid: &mut [f32], u: &mut [f32], o: &[f32], n: usize, spare: &mut Spare<Block>) {
    let group = Applied::new(s.cx, s.weights, s.adapter, i, OUT, s.dropping(i, false));
    group.forward(&mut [mid], Write::Add, &mut u[..n * group.ranks()], o, n, spare);
}

/// Gradient of the attention output in `room.d_o`; after a layer that ran for supervised rows only, the residual gradient
/// of all rows in `room.dx`.
pub(crate) fn out_backward(s: &Pass, room: &mut Room, i: usize, grads: &mut [f32]) {
    let (d, n, few) = (s.dims(), s.rows_of(i), s.few_rows(i));
    let saved = &room.saved[room.place(i)];
    let dx = if few { &mut room.picked[..n * d.hidden] } else { &mut room.dx[..n * d.hidden] };
    let o = if few { &room.o_rows[..n * d.q_width()] } else { &saved.o[..n * d.q_width()] };
    let group = Applied::new(s.cx, s.weights, s.adapter, i, OUT, s.dropping(i, false));
    let v = &mut room.v[..n * group.ranks()];
    let u = &saved.u[OUT][..n * group.ranks()];
    let dy = group.own_dy(dx, &mut room.scaled);
    group.backward_b(v, grads, &mut [&mut *dy], u, o, n, &mut room.spare);
    group.backward_a(v, grads, &[dy], o, n, &mut room.spare);
    let to = if few { &mut room.o_rows } else { &mut room.d_o };
    group.backward_input(&mut to[..n * d.q_width()], &[dy], v, n, &mut room.spare);
    if few {
        put_back(&mut room.d_o[..s.tokens * d.q_width()], &room.o_rows, &s.rows, d.q_width());
        put_back(&mut room.dx[..s.tokens * d.hidden], &room.picked, &s.rows, d.hidden);
    }
}

/// Gradient through attention into the residual stream. Below the first layer it is needed only where the embedding is trained.
pub(crate) fn backward(s: &Pass, room: &mut Room, i: usize, grads: &mut [f32]) {
    let (d, cx, n) = (s.dims(), s.cx, s.tokens);
    let place = room.place(i);
    let saved = &mut room.saved[place];
    let (wq, wk) = (n * d.q_width(), n * d.kv_width());
    let (dq, dk, dv) = (&mut room.dq[..wq], &mut room.dk[..wk], &mut room.dv[..wk]);
    if d.qk_norm {
        again(s, i, saved, &mut room.turned_q[..wq], &mut room.turned_k[..wk]);
    }
    let (q, k) = if d.qk_norm { (&room.turned_q[..wq], &room.turned_k[..wk]) } else { (&saved.q[..wq], &saved.k[..wk]) };
    attention::backward(
        cx,
        (dq, dk, dv),
        &room.d_o[..wq],
        (&saved.o[..wq], &saved.l[..n * d.heads]),
        (q, k, &saved.v[..wk]),
        s.layout,
        d.attention(),
    );
    turn(cx, dq, &s.angles, &s.table, d.head_dim, Turn::Backward);
    turn(cx, dk, &s.angles, &s.table, d.head_dim, Turn::Backward);
    let (dq, dk) = if d.qk_norm {
        let (tq, tk) = (&mut room.turned_q[..wq], &mut room.turned_k[..wk]);
        for (out, dy, raw, r, heads, which) in [
            (&mut *tq, &*dq, &saved.q[..wq], &saved.rq[..n * d.heads], d.heads, 2),
            (&mut *tk, &*dk, &saved.k[..wk], &saved.rk[..n * d.kv_heads], d.kv_heads, 3),
        ] {
            out.fill(0.0);
            let dw = s.norm_gradient(i, which, grads);
            rmsnorm::backward(cx, out, dw, dy, raw, s.norm(i, which), r, norm_dims(n * heads, d.head_dim));
        }
        (tq, tk)
    } else {
        (dq, dk)
    };
    let x = &room.xs[i][..n * d.hidden];
    let norm = &mut room.norm[..n * d.hidden];
    rmsnorm::again(cx, norm, x, s.norm(i, 0), &saved.r1[..n], norm_dims(n, d.hidden));
    let group = Applied::new(cx, s.weights, s.adapter, i, QKV, s.dropping(i, true));
    let v = &mut room.v[..n * group.ranks()];
    group.backward_b(v, grads, &mut [&mut *dq, &mut *dk, &mut *dv], &saved.u[QKV][..n * group.ranks()], norm, n, &mut room.spare);
    group.backward_a(v, grads, &[dq, dk, dv], norm, n, &mut room.spare);
    if s.goes_below(i) {
        group.backward_input(norm, &[dq, dk, dv], v, n, &mut room.spare);
        let dw = s.norm_gradient(i, 0, grads);
        rmsnorm::backward(cx, &mut room.dx[..n * d.hidden], dw, norm, x, s.norm(i, 0), &saved.r1[..n], norm_dims(n, d.hidden));
    }
}

/// Queries and keys as attention read them, from the raw ones.
fn again(s: &Pass, i: usize, saved: &Saved<Block>, q: &mut [f32], k: &mut [f32]) {
    let (d, cx, n) = (s.dims(), s.cx, s.tokens);
    for (out, raw, r, heads, which) in
        [(q, &saved.q, &saved.rq[..n * d.heads], d.heads, 2), (k, &saved.k, &saved.rk[..n * d.kv_heads], d.kv_heads, 3)]
    {
        rmsnorm::again(cx, out, &raw[..out.len()], s.norm(i, which), r, norm_dims(n * heads, d.head_dim));
        turn(cx, out, &s.angles, &s.table, d.head_dim, Turn::Forward);
    }
}

/// `saved.mid`: the residual stream plus the output projection, for the rows of the layer's second half.
pub(crate) fn out_of_layer(s: &Pass, room: &mut Room, i: usize) {
    let (d, n) = (s.dims(), s.rows_of(i));
    let (place, x) = (room.place(i), room.input(i));
    let Saved { mid, o, u, .. } = &mut room.saved[place];
    let mid = &mut mid[..n * d.hidden];
    let o = if s.few_rows(i) {
        pick(mid, &room.xs[x], &s.rows, d.hidden);
        pick(&mut room.o_rows, o, &s.rows, d.q_width());
        &room.o_rows
    } else {
        mid.copy_from_slice(&room.xs[x][..n * d.hidden]);
        &*o
    };
    out(s, i, mid, &mut u[OUT], &o[..n * d.q_width()], n, &mut room.spare);
}
