//! The decoder: forward and backward as mirrored lists of engine ops, LoRA on any of its linear layers.
//!
//! Reads a [`MicroBatch`], adds to a flat gradient of the adapter. What backward needs is kept per
//! layer; what is cheap to make again (normed inputs, silu(gate)·up) is made again. The last layer's
//! output projection and feed-forward block, the final norm and the head run for supervised rows only.

use crate::MicroBatch;
use crate::adapter::{Adapter, DOWN, GATE_UP, OUT, QKV};
use crate::weights::{Layer, Weights};
use engine::cpu::gemm::{Mat, Rhs, Term, Write, product};
use engine::ops::cross_entropy::Target;
use engine::ops::rope::{Table, Turn};
use engine::ops::{attention, cross_entropy, linear, rmsnorm, swiglu};
use engine::{Cx, Layout};

/// Rows of logits that exist at a time.
pub(crate) const LOGIT_ROWS: usize = 256;

/// What one layer keeps for its backward pass. Sizes are for the largest micro-batch.
struct Saved {
    x: Vec<f32>,      // (tokens, hidden): the residual stream as it comes in
    r1: Vec<f32>,     // (tokens)
    q: Vec<f32>,      // (tokens, heads * head_dim), turned
    k: Vec<f32>,      // (tokens, kv_heads * head_dim), turned
    v: Vec<f32>,      // (tokens, kv_heads * head_dim)
    o: Vec<f32>,      // (tokens, heads * head_dim)
    l: Vec<f32>,      // (tokens, heads)
    mid: Vec<f32>,    // (rows, hidden): the residual stream after attention
    r2: Vec<f32>,     // (rows)
    gate: Vec<f32>,   // (rows, intermediate)
    up: Vec<f32>,     // (rows, intermediate)
    u: [Vec<f32>; 4], // (rows, ranks of the group)
}

/// All buffers of training: made once for the largest micro-batch, used for every step.
pub struct Room {
    layers: Vec<Saved>,
    table: Table,
    norm: Vec<f32>,   // (tokens, hidden)
    wide: Vec<f32>,   // (tokens, intermediate)
    v: Vec<f32>,      // (tokens, ranks)
    dq: Vec<f32>,     // (tokens, heads * head_dim)
    d_o: Vec<f32>,    // (tokens, heads * head_dim)
    dk: Vec<f32>,     // (tokens, kv_heads * head_dim)
    dv: Vec<f32>,     // (tokens, kv_heads * head_dim)
    dx: Vec<f32>,     // (tokens, hidden): gradient of the residual stream
    picked: Vec<f32>, // (rows, hidden): supervised rows, and their gradient
    o_rows: Vec<f32>, // (rows, heads * head_dim)
    r: Vec<f32>,      // (rows)
    logits: Vec<f32>, // (LOGIT_ROWS, vocab)
}

/// Most rows a micro-batch may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tokens.
    pub tokens: usize,
    /// Supervised positions.
    pub targets: usize,
    /// Positions of one sequence.
    pub positions: usize,
}

impl Limits {
    /// The limits that fit every one of `batches`.
    pub fn of<'a>(batches: impl IntoIterator<Item = &'a MicroBatch>) -> Limits {
        let mut l = Limits { tokens: 1, targets: 1, positions: 1 };
        for b in batches {
            l.tokens = l.tokens.max(b.tokens.len());
            l.targets = l.targets.max(b.targets.len());
            l.positions = l.positions.max(b.layout.positions().iter().max().map_or(1, |&p| p as usize + 1));
        }
        l
    }
}

impl Room {
    /// Allocates for `limits`.
    pub fn new(weights: &Weights, adapter: &Adapter, limits: Limits) -> Room {
        let d = &weights.dims;
        let t = limits.tokens;
        let buffer = |n: usize| vec![0f32; n];
        let layers = (0..d.layers)
            .map(|l| {
                let last = l + 1 == d.layers;
                let rows = if last { limits.targets } else { t };
                let per_group = [t, rows, rows, rows];
                Saved {
                    x: buffer(t * d.hidden),
                    r1: buffer(t),
                    q: buffer(t * d.q_width()),
                    k: buffer(t * d.kv_width()),
                    v: buffer(t * d.kv_width()),
                    o: buffer(t * d.q_width()),
                    l: buffer(t * d.heads),
                    mid: buffer(rows * d.hidden),
                    r2: buffer(rows),
                    gate: buffer(rows * d.intermediate),
                    up: buffer(rows * d.intermediate),
                    u: std::array::from_fn(|g| buffer(per_group[g] * adapter.places.ranks(l, g))),
                }
            })
            .collect();
        let ranks = (0..d.layers).flat_map(|l| (0..4).map(move |g| (l, g))).map(|(l, g)| adapter.places.ranks(l, g)).max().unwrap_or(0);
        let rows = t.max(limits.targets);
        Room {
            layers,
            table: Table::new(&d.frequencies(limits.positions), limits.positions, 1.0),
            norm: buffer(rows * d.hidden),
            wide: buffer(rows * d.intermediate),
            v: buffer(rows * ranks),
            dq: buffer(t * d.q_width()),
            d_o: buffer(t * d.q_width()),
            dk: buffer(t * d.kv_width()),
            dv: buffer(t * d.kv_width()),
            dx: buffer(t * d.hidden),
            picked: buffer(limits.targets * d.hidden),
            o_rows: buffer(limits.targets * d.q_width()),
            r: buffer(limits.targets),
            logits: buffer(LOGIT_ROWS.min(limits.targets) * d.vocab),
        }
    }

    /// Bytes held, the weights and the adapter apart.
    pub fn bytes(&self) -> usize {
        let saved = |s: &Saved| {
            [&s.x, &s.r1, &s.q, &s.k, &s.v, &s.o, &s.l, &s.mid, &s.r2, &s.gate, &s.up].iter().map(|v| v.len()).sum::<usize>()
                + s.u.iter().map(Vec::len).sum::<usize>()
        };
        let own = [
            &self.norm,
            &self.wide,
            &self.v,
            &self.dq,
            &self.d_o,
            &self.dk,
            &self.dv,
            &self.dx,
            &self.picked,
            &self.o_rows,
            &self.r,
            &self.logits,
        ];
        size_of::<f32>() * (self.layers.iter().map(saved).sum::<usize>() + own.iter().map(|v| v.len()).sum::<usize>())
    }
}

/// What is computed once a micro-batch and read by every layer.
struct Shape<'a> {
    cx: &'a Cx,
    weights: &'a Weights,
    adapter: &'a Adapter,
    layout: &'a Layout,
    positions: Vec<u32>,
    rows: Vec<u32>, // supervised rows, one per target
    tokens: usize,
}

/// Sum of the losses of the supervised tokens, and one loss per target.
pub struct Loss {
    /// Sum over all supervised tokens (a target that n examples want counts n times).
    pub sum: f64,
    /// Loss of each target of the micro-batch, times its count.
    pub each: Vec<f64>,
}

/// Forward alone: the loss of a micro-batch.
pub fn loss(cx: &Cx, weights: &Weights, adapter: &Adapter, room: &mut Room, batch: &MicroBatch) -> Loss {
    let s = shape(cx, weights, adapter, batch);
    if batch.targets.is_empty() {
        return Loss { sum: 0.0, each: Vec::new() };
    }
    forward(&s, room, batch);
    head(&s, room, &batch.targets, None)
}

/// Forward and backward: adds to `grads` (laid out as the adapter's parameters); `scale` is one over the
/// supervised tokens of the whole step.
pub fn loss_and_gradient(
    cx: &Cx,
    weights: &Weights,
    adapter: &Adapter,
    room: &mut Room,
    batch: &MicroBatch,
    scale: f64,
    grads: &mut [f32],
) -> Loss {
    assert_eq!(grads.len(), adapter.params.len());
    let s = shape(cx, weights, adapter, batch);
    if batch.targets.is_empty() {
        return Loss { sum: 0.0, each: Vec::new() };
    }
    forward(&s, room, batch);
    let loss = head(&s, room, &batch.targets, Some(scale));
    backward(&s, room, grads);
    loss
}

/// Logits of every target row, (targets, vocab): for comparison with other implementations.
pub fn logits(cx: &Cx, weights: &Weights, adapter: &Adapter, room: &mut Room, batch: &MicroBatch) -> Vec<f32> {
    let s = shape(cx, weights, adapter, batch);
    let (d, n) = (&weights.dims, batch.targets.len());
    if n == 0 {
        return Vec::new();
    }
    forward(&s, room, batch);
    let mut out = vec![0f32; n * d.vocab];
    let norm = &mut room.norm[..n * d.hidden];
    rmsnorm::forward(cx, norm, &mut room.r[..n], &room.picked[..n * d.hidden], &weights.norm, norm_dims(n, d.hidden), d.rms_eps);
    product(cx, &mut out, d.vocab, Write::Set, &[Term { a: Mat::new(norm, n, d.hidden), b: Rhs::Weight(weights.head()) }]);
    out
}

fn shape<'a>(cx: &'a Cx, weights: &'a Weights, adapter: &'a Adapter, batch: &'a MicroBatch) -> Shape<'a> {
    Shape {
        cx,
        weights,
        adapter,
        layout: &batch.layout,
        positions: batch.layout.positions(),
        rows: batch.targets.iter().map(|t| t.row).collect(),
        tokens: batch.tokens.len(),
    }
}

fn norm_dims(rows: usize, width: usize) -> rmsnorm::Dims {
    rmsnorm::Dims { rows, width }
}

/// Embeds and runs all layers; the last one leaves its output, for supervised rows, in `room.picked`.
fn forward(s: &Shape, room: &mut Room, batch: &MicroBatch) {
    let d = &s.weights.dims;
    embed(s.weights, &mut room.layers[0].x[..s.tokens * d.hidden], &batch.tokens);
    for (i, layer) in s.weights.layers.iter().enumerate() {
        attend(s, room, i, layer);
        let (this, next) = room.layers.split_at_mut(i + 1);
        let saved = &mut this[i];
        let n = if !next.is_empty() {
            saved.mid[..s.tokens * d.hidden].copy_from_slice(&saved.x[..s.tokens * d.hidden]);
            s.tokens
        } else {
            pick(&mut saved.mid, &saved.x, &s.rows, d.hidden);
            pick(&mut room.o_rows, &saved.o, &s.rows, d.q_width());
            s.rows.len()
        };
        let o = if next.is_empty() { &room.o_rows } else { &saved.o };
        // mid = x + o_proj(o)
        let mut members = Vec::new();
        let group = s.adapter.group(i, OUT, layer, &mut members);
        let mid = &mut saved.mid[..n * d.hidden];
        linear::forward(s.cx, &mut [mid], Write::Add, &mut saved.u[OUT][..n * group.ranks()], &o[..n * d.q_width()], &group, n);
        let out = next.first_mut().map_or(&mut room.picked, |l| &mut l.x);
        feed_forward(s, saved, i, layer, (&mut room.norm, &mut room.wide), out, n);
    }
}

fn embed(weights: &Weights, out: &mut [f32], tokens: &[u32]) {
    for (row, &t) in out.chunks_exact_mut(weights.dims.hidden).zip(tokens) {
        weights.embed.row(t as usize, row);
    }
}

/// Attention of layer `i`, up to `saved.o`.
fn attend(s: &Shape, room: &mut Room, i: usize, layer: &Layer) {
    let (d, n) = (&s.weights.dims, s.tokens);
    let saved = &mut room.layers[i];
    let norm = &mut room.norm[..n * d.hidden];
    rmsnorm::forward(s.cx, norm, &mut saved.r1[..n], &saved.x[..n * d.hidden], &layer.norm1, norm_dims(n, d.hidden), d.rms_eps);
    let mut members = Vec::new();
    let group = s.adapter.group(i, QKV, layer, &mut members);
    let (q, k, v) = (&mut saved.q[..n * d.q_width()], &mut saved.k[..n * d.kv_width()], &mut saved.v[..n * d.kv_width()]);
    linear::forward(s.cx, &mut [&mut *q, &mut *k, &mut *v], Write::Set, &mut saved.u[QKV][..n * group.ranks()], norm, &group, n);
    engine::ops::rope::turn(s.cx, q, &s.positions, &room.table, d.head_dim, Turn::Forward);
    engine::ops::rope::turn(s.cx, k, &s.positions, &room.table, d.head_dim, Turn::Forward);
    attention::forward(s.cx, &mut saved.o[..n * d.q_width()], &mut saved.l[..n * d.heads], q, k, v, s.layout, d.attention());
}

/// out = mid + down(silu(gate(x)) * up(x)), x = norm(mid), for `n` rows.
fn feed_forward(s: &Shape, saved: &mut Saved, i: usize, layer: &Layer, (norm, wide): (&mut [f32], &mut [f32]), out: &mut [f32], n: usize) {
    let d = &s.weights.dims;
    let mid = &saved.mid[..n * d.hidden];
    let norm = &mut norm[..n * d.hidden];
    rmsnorm::forward(s.cx, norm, &mut saved.r2[..n], mid, &layer.norm2, norm_dims(n, d.hidden), d.rms_eps);
    let mut members = Vec::new();
    let group = s.adapter.group(i, GATE_UP, layer, &mut members);
    let (gate, up) = (&mut saved.gate[..n * d.intermediate], &mut saved.up[..n * d.intermediate]);
    linear::forward(s.cx, &mut [&mut *gate, &mut *up], Write::Set, &mut saved.u[GATE_UP][..n * group.ranks()], norm, &group, n);
    let wide = &mut wide[..n * d.intermediate];
    swiglu::forward(s.cx, wide, gate, up);
    let out = &mut out[..n * d.hidden];
    out.copy_from_slice(mid);
    let mut members = Vec::new();
    let group = s.adapter.group(i, DOWN, layer, &mut members);
    linear::forward(s.cx, &mut [out], Write::Add, &mut saved.u[DOWN][..n * group.ranks()], wide, &group, n);
}

/// Final norm, head, softmax and loss of the supervised rows in chunks. With a scale, `room.picked` becomes its own gradient.
fn head(s: &Shape, room: &mut Room, targets: &[Target], scale: Option<f64>) -> Loss {
    let (d, cx) = (&s.weights.dims, s.cx);
    let mut each = vec![0f64; targets.len()];
    for (chunk, (targets, each)) in targets.chunks(LOGIT_ROWS).zip(each.chunks_mut(LOGIT_ROWS)).enumerate() {
        let n = targets.len();
        let x = &mut room.picked[chunk * LOGIT_ROWS * d.hidden..][..n * d.hidden];
        let (norm, r, logits) = (&mut room.norm[..n * d.hidden], &mut room.r[..n], &mut room.logits[..n * d.vocab]);
        rmsnorm::forward(cx, norm, r, x, &s.weights.norm, norm_dims(n, d.hidden), d.rms_eps);
        product(cx, logits, d.vocab, Write::Set, &[Term { a: Mat::new(norm, n, d.hidden), b: Rhs::Weight(s.weights.head()) }]);
        let Some(scale) = scale else {
            cross_entropy::forward(cx, logits, each, targets, d.vocab);
            continue;
        };
        cross_entropy::forward_backward(cx, logits, each, targets, d.vocab, scale);
        product(cx, norm, d.hidden, Write::Set, &[Term { a: Mat::new(logits, n, d.vocab), b: Rhs::WeightT(s.weights.head()) }]);
        let dx = &mut room.dx[..n * d.hidden];
        dx.fill(0.0);
        rmsnorm::backward(cx, dx, None, norm, x, &s.weights.norm, r, norm_dims(n, d.hidden));
        x.copy_from_slice(dx);
    }
    Loss { sum: each.iter().sum(), each }
}

/// The list of [`forward`] read upwards. `room.picked` holds the gradient of the last layer's output rows.
fn backward(s: &Shape, room: &mut Room, grads: &mut [f32]) {
    let d = &s.weights.dims;
    for (i, layer) in s.weights.layers.iter().enumerate().rev() {
        let last = i + 1 == d.layers;
        let n = if last { s.rows.len() } else { s.tokens };
        feed_forward_backward(s, room, i, layer, last, n, grads);
        out_backward(s, room, i, layer, last, n, grads);
        attend_backward(s, room, i, layer, grads);
    }
}

/// Gradient of the residual stream through the feed-forward block, in place.
fn feed_forward_backward(s: &Shape, room: &mut Room, i: usize, layer: &Layer, last: bool, n: usize, grads: &mut [f32]) {
    let (d, cx) = (&s.weights.dims, s.cx);
    let saved = &mut room.layers[i];
    let dx = if last { &mut room.picked[..n * d.hidden] } else { &mut room.dx[..n * d.hidden] };
    let (gate, up, wide) =
        (&mut saved.gate[..n * d.intermediate], &mut saved.up[..n * d.intermediate], &mut room.wide[..n * d.intermediate]);
    // down: its input silu(gate) * up is made again below, when dh is known; so v first, dA after.
    let mut members = Vec::new();
    let group = s.adapter.group(i, DOWN, layer, &mut members);
    let v = &mut room.v[..n * group.ranks()];
    linear::backward_b(cx, v, &mut s.adapter.grads(i, DOWN, grads), &[dx], &saved.u[DOWN][..n * group.ranks()], &group, n);
    linear::backward_input(cx, wide, Write::Set, &[dx], v, &group, n);
    swiglu::backward(cx, gate, up, wide);
    linear::backward_a(cx, v, &mut s.adapter.grads(i, DOWN, grads), wide, &group, n);
    // gate, up
    let mid = &saved.mid[..n * d.hidden];
    let norm = &mut room.norm[..n * d.hidden];
    rmsnorm::again(cx, norm, mid, &layer.norm2, &saved.r2[..n], norm_dims(n, d.hidden));
    let mut members = Vec::new();
    let group = s.adapter.group(i, GATE_UP, layer, &mut members);
    let v = &mut room.v[..n * group.ranks()];
    let mut g = s.adapter.grads(i, GATE_UP, grads);
    linear::backward_b(cx, v, &mut g, &[gate, up], &saved.u[GATE_UP][..n * group.ranks()], &group, n);
    linear::backward_a(cx, v, &mut g, norm, &group, n);
    linear::backward_input(cx, norm, Write::Set, &[gate, up], v, &group, n);
    rmsnorm::backward(cx, dx, None, norm, mid, &layer.norm2, &saved.r2[..n], norm_dims(n, d.hidden));
}

/// Gradient of the attention output in `room.d_o`; after the last layer, the residual gradient of all rows in `room.dx`.
fn out_backward(s: &Shape, room: &mut Room, i: usize, layer: &Layer, last: bool, n: usize, grads: &mut [f32]) {
    let (d, cx) = (&s.weights.dims, s.cx);
    let saved = &room.layers[i];
    let dx = if last { &room.picked[..n * d.hidden] } else { &room.dx[..n * d.hidden] };
    let o = if last { &room.o_rows[..n * d.q_width()] } else { &saved.o[..n * d.q_width()] };
    let mut members = Vec::new();
    let group = s.adapter.group(i, OUT, layer, &mut members);
    let v = &mut room.v[..n * group.ranks()];
    let mut g = s.adapter.grads(i, OUT, grads);
    linear::backward_b(cx, v, &mut g, &[dx], &saved.u[OUT][..n * group.ranks()], &group, n);
    linear::backward_a(cx, v, &mut g, o, &group, n);
    if last {
        linear::backward_input(cx, &mut room.o_rows[..n * d.q_width()], Write::Set, &[dx], v, &group, n);
        put_back(&mut room.d_o[..s.tokens * d.q_width()], &room.o_rows, &s.rows, d.q_width());
        put_back(&mut room.dx[..s.tokens * d.hidden], &room.picked, &s.rows, d.hidden);
    } else {
        linear::backward_input(cx, &mut room.d_o[..n * d.q_width()], Write::Set, &[dx], v, &group, n);
    }
}

/// Gradient through attention into the residual stream. Below the first layer nothing is trained, so it stops there.
fn attend_backward(s: &Shape, room: &mut Room, i: usize, layer: &Layer, grads: &mut [f32]) {
    let (d, cx, n) = (&s.weights.dims, s.cx, s.tokens);
    let saved = &room.layers[i];
    let (wq, wk) = (n * d.q_width(), n * d.kv_width());
    let (dq, dk, dv) = (&mut room.dq[..wq], &mut room.dk[..wk], &mut room.dv[..wk]);
    let forward = (&saved.q[..wq], &saved.k[..wk], &saved.v[..wk]);
    let out = (&saved.o[..wq], &saved.l[..n * d.heads]);
    attention::backward(cx, (dq, dk, dv), &room.d_o[..wq], out, forward, s.layout, d.attention());
    engine::ops::rope::turn(cx, dq, &s.positions, &room.table, d.head_dim, Turn::Backward);
    engine::ops::rope::turn(cx, dk, &s.positions, &room.table, d.head_dim, Turn::Backward);
    let norm = &mut room.norm[..n * d.hidden];
    rmsnorm::again(cx, norm, &saved.x[..n * d.hidden], &layer.norm1, &saved.r1[..n], norm_dims(n, d.hidden));
    let mut members = Vec::new();
    let group = s.adapter.group(i, QKV, layer, &mut members);
    let v = &mut room.v[..n * group.ranks()];
    let mut g = s.adapter.grads(i, QKV, grads);
    linear::backward_b(cx, v, &mut g, &[dq, dk, dv], &saved.u[QKV][..n * group.ranks()], &group, n);
    linear::backward_a(cx, v, &mut g, norm, &group, n);
    if i > 0 {
        linear::backward_input(cx, norm, Write::Set, &[dq, dk, dv], v, &group, n);
        let dx = &mut room.dx[..n * d.hidden];
        rmsnorm::backward(cx, dx, None, norm, &saved.x[..n * d.hidden], &layer.norm1, &saved.r1[..n], norm_dims(n, d.hidden));
    }
}

/// Copies the listed rows of `from` one after another into `to`.
fn pick(to: &mut [f32], from: &[f32], rows: &[u32], width: usize) {
    for (line, &r) in to.chunks_exact_mut(width).zip(rows) {
        line.copy_from_slice(&from[r as usize * width..][..width]);
    }
}

/// The transpose of [`pick`]: zero but for the listed rows, to which the lines of `from` are added.
fn put_back(to: &mut [f32], from: &[f32], rows: &[u32], width: usize) {
    to.fill(0.0);
    for (line, &r) in from.chunks_exact(width).zip(rows) {
        for (o, v) in to[r as usize * width..][..width].iter_mut().zip(line) {
            *o += v;
        }
    }
}
