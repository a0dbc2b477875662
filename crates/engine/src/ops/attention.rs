//! Causal attention over a tree of segments: each token sees its own segment up to itself, and all ancestors.
//!
//! Forward    p_ij = softmax_j(scale * q_i · k_j)        o_i = sum_j p_ij v_j        saved: l_i = ln sum_j e^(scale q_i·k_j)
//! Backward   d_i = do_i · o_i       ds_ij = scale * p_ij * (do_i · v_j - d_i)
//!            dq_i = sum_j ds_ij k_j       dk_j = sum_i ds_ij q_i       dv_j = sum_i p_ij do_i
//! Shapes     q, o, dq (rows, heads, head_dim)   k, v, dk, dv (rows, kv_heads, head_dim)   l (rows, heads)
//!            head h reads key head h / (heads / kv_heads); with a window w, position p sees p-w+1 ..= p
//! Writes     o, l, dq, dk, dv overwritten. Keys are shared by several segments: their gradients are summed in a
//!            fixed number of partial buffers and these in order, so threads change no bit.
//! Rounds     f32; the probabilities of a query chunk are held whole, not online.
//! Moves      compute-bound: 4 * head_dim flops a visible pair forward, 10 backward.

use crate::cpu::gemm::{Mat, Panels, Write};
use crate::cpu::lanes::per_level;
use crate::cpu::math::{LANES, dot, exp, fold};
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_each, for_rows};
use crate::layout::Layout;
use std::cell::RefCell;

/// Queries that one task does at a time.
const CHUNK: usize = 128;
/// Partial buffers of dk and dv; fixed, so that the order of their sum is.
const PARTS: usize = 4;

/// Heads and their reach.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// A token sees itself and the `window - 1` before it; all of them without.
    pub window: Option<usize>,
    /// Multiplies the scores; 1/sqrt(head_dim) in every family so far.
    pub scale: f32,
}

impl Dims {
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
    fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }
    fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// A chunk of queries of one segment.
#[derive(Clone, Copy)]
struct Unit {
    segment: usize,
    from: usize,
    len: usize,
}

/// The keys that a unit sees: their rows, and the position of the first.
struct Context {
    rows: Vec<u32>,
    first: usize,
}

/// Buffers of one thread.
struct Room {
    keys: Panels,
    values: Panels,
    turned: Panels,
    scores: Vec<f32>,
    dscores: Vec<f32>,
    piece: Vec<f32>,
}

thread_local! {
    static ROOM: RefCell<Option<Room>> = const { RefCell::new(None) };
}

fn with_room<R>(f: impl FnOnce(&mut Room) -> R) -> R {
    let mut room = ROOM.take().unwrap_or_else(|| Room {
        keys: Panels::empty(),
        values: Panels::empty(),
        turned: Panels::empty(),
        scores: Vec::new(),
        dscores: Vec::new(),
        piece: Vec::new(),
    });
    let result = f(&mut room);
    ROOM.replace(Some(room));
    result
}

fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

fn units(layout: &Layout) -> Vec<Unit> {
    let mut all = Vec::new();
    for (segment, s) in layout.segments().iter().enumerate().filter(|(_, s)| !s.cached) {
        for from in (0..s.len).step_by(CHUNK) {
            all.push(Unit { segment, from, len: CHUNK.min(s.len - from) });
        }
    }
    all
}

fn context(layout: &Layout, unit: Unit, window: Option<usize>) -> Context {
    let segment = layout.segments()[unit.segment];
    let position = layout.first_position(unit.segment);
    let first = window.map_or(0, |w| (position + unit.from + 1).saturating_sub(w));
    let mut rows = layout.ancestor_rows(unit.segment, first);
    let own = first.saturating_sub(position);
    rows.extend((segment.start + own..segment.start + unit.from + unit.len).map(|r| r as u32));
    Context { rows, first }
}

/// The keys (as indices into the context) that the query at `position` sees.
fn visible(position: usize, first: usize, window: Option<usize>) -> std::ops::Range<usize> {
    let from = window.map_or(0, |w| (position + 1).saturating_sub(w)).max(first);
    from - first..position - first + 1
}

/// `o` and `l` from `q`, `k`, `v`.
#[allow(clippy::too_many_arguments)]
pub fn forward(cx: &Cx, o: &mut [f32], l: &mut [f32], q: &[f32], k: &[f32], v: &[f32], layout: &Layout, d: Dims) {
    check(d, layout, &[q.len(), o.len()], &[k.len(), v.len()]);
    assert_eq!(l.len(), layout.tokens() * d.heads);
    let units = units(layout);
    let (o, l) = (Shared::new(o), Shared::new(l));
    for_each(cx, units.len() * d.kv_heads, |i| {
        // Later chunks see more: begin with them, so that no long task comes last.
        let (unit, kv) = (units[units.len() - 1 - i / d.kv_heads], i % d.kv_heads);
        let c = context(layout, unit, d.window);
        let n = c.rows.len();
        let row0 = layout.segments()[unit.segment].start + unit.from;
        let position = layout.first_position(unit.segment) + unit.from;
        with_room(|room| {
            room.keys.pack_rows(k, d.kv_width(), kv * d.head_dim, d.head_dim, &c.rows);
            room.values.pack_columns(v, d.kv_width(), kv * d.head_dim, d.head_dim, &c.rows);
            let scores = sized(&mut room.scores, unit.len * n);
            let piece = sized(&mut room.piece, unit.len * d.head_dim);
            for head in kv * d.group()..(kv + 1) * d.group() {
                let queries = Mat::strided(&q[row0 * d.q_width() + head * d.head_dim..], unit.len, d.head_dim, d.q_width());
                room.keys.multiply(cx.level(), scores, n, Write::Set, queries);
                for (i, line) in scores.chunks_exact_mut(n).enumerate() {
                    let sees = visible(position + i, c.first, d.window);
                    let log_sum = softmax(cx.level(), line, sees.start, sees.end, d.scale);
                    // SAFETY: this row and head belong to this task alone.
                    unsafe { l.part((row0 + i) * d.heads + head, 1)[0] = log_sum };
                }
                room.values.multiply(cx.level(), piece, d.head_dim, Write::Set, Mat::new(scores, unit.len, n));
                scatter(&o, piece, row0, d.q_width(), head * d.head_dim, d.head_dim);
            }
        });
    });
}

/// A sequence that is being generated: its own keys lie in rows `start..start + len` of the cache, after a common prefix.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// First row.
    pub start: usize,
    /// Tokens so far, the one that asks included.
    pub len: usize,
}

/// Sequences that one task of [`decode`] does, so that the prefix is packed once for all of them.
const TAILS: usize = 16;

/// One query a sequence over a cache: `o` (tails, heads, head_dim) from `q` of the same shape; every sequence
/// sees cache rows `0..prefix` and its own. Rows of `k` and `v` are (cache rows, kv_heads, head_dim).
#[allow(clippy::too_many_arguments)]
pub fn decode(cx: &Cx, o: &mut [f32], q: &[f32], k: &[f32], v: &[f32], prefix: usize, tails: &[Tail], d: Dims) {
    assert!(q.len() == tails.len() * d.q_width() && o.len() == q.len() && k.len() == v.len());
    let o = Shared::new(o);
    let blocks = tails.len().div_ceil(TAILS);
    for_each(cx, blocks * d.kv_heads, |i| {
        let (block, kv) = (i / d.kv_heads, i % d.kv_heads);
        let from = block * TAILS;
        let tails = &tails[from..tails.len().min(from + TAILS)];
        with_room(|room| decode_block(cx, room, &o, q, (k, v), prefix, tails, from, kv, d));
    });
}

#[allow(clippy::too_many_arguments)]
fn decode_block(
    cx: &Cx,
    room: &mut Room,
    o: &Shared,
    q: &[f32],
    (k, v): (&[f32], &[f32]),
    prefix: usize,
    tails: &[Tail],
    from: usize,
    kv: usize,
    d: Dims,
) {
    let (level, hd, kv_width, group) = (cx.level(), d.head_dim, d.kv_width(), d.group());
    let longest = tails.iter().map(|t| t.len).max().unwrap_or(0);
    let n = prefix + longest;
    let rows: Vec<u32> = (0..prefix as u32).collect();
    // The heads of a group lie side by side in q, so (tails, group) are rows of one matrix only per tail; copy them together.
    let queries = sized(&mut room.piece, tails.len() * group * hd);
    for (i, line) in queries.chunks_exact_mut(group * hd).enumerate() {
        line.copy_from_slice(&q[(from + i) * d.q_width() + kv * group * hd..][..group * hd]);
    }
    let scores = sized(&mut room.scores, tails.len() * group * n);
    if prefix > 0 {
        room.keys.pack_rows(k, kv_width, kv * hd, hd, &rows);
        room.keys.multiply(level, scores, n, Write::Set, Mat::new(queries, tails.len() * group, hd));
    }
    for (j, line) in scores.chunks_exact_mut(n).enumerate() {
        let tail = tails[j / group];
        own_scores(level, &mut line[prefix..prefix + tail.len], &queries[j * hd..][..hd], k, tail.start, kv_width, kv * hd);
        let end = prefix + tail.len;
        let sees = d.window.map_or(0, |w| end.saturating_sub(w));
        softmax(level, line, sees, end, d.scale);
    }
    let out = sized(&mut room.dscores, tails.len() * group * hd);
    out.fill(0.0);
    if prefix > 0 {
        room.values.pack_columns(v, kv_width, kv * hd, hd, &rows);
        room.values.multiply(level, out, hd, Write::Set, Mat::strided(scores, tails.len() * group, prefix, n));
    }
    for (j, line) in out.chunks_exact_mut(hd).enumerate() {
        let tail = tails[j / group];
        own_values(level, line, &scores[j * n + prefix..][..tail.len], v, tail.start, kv_width, kv * hd);
    }
    for (i, line) in out.chunks_exact(group * hd).enumerate() {
        // SAFETY: each (sequence, key head) belongs to one task.
        unsafe { o.part((from + i) * d.q_width() + kv * group * hd, group * hd).copy_from_slice(line) };
    }
}

per_level! {
    fn own_scores(out: &mut [f32], q: &[f32], k: &[f32], start: usize, step: usize, col: usize) {
        for (i, o) in out.iter_mut().enumerate() {
            *o = dot(q, &k[(start + i) * step + col..][..q.len()]);
        }
    }
}

per_level! {
    fn own_values(out: &mut [f32], p: &[f32], v: &[f32], start: usize, step: usize, col: usize) {
        for (i, p) in p.iter().enumerate() {
            let line = &v[(start + i) * step + col..][..out.len()];
            for (o, v) in out.iter_mut().zip(line) {
                *o += p * v;
            }
        }
    }
}

/// Gradients of q, k and v from `d_o`; `l` and `o` as the forward pass left them.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    cx: &Cx,
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    d_o: &[f32],
    (o, l): (&[f32], &[f32]),
    (q, k, v): (&[f32], &[f32], &[f32]),
    layout: &Layout,
    d: Dims,
) {
    check(d, layout, &[q.len(), o.len(), d_o.len(), dq.len()], &[k.len(), v.len(), dk.len(), dv.len()]);
    let tokens = layout.tokens();
    let parts = partition(layout, d);
    let size = tokens * d.head_dim; // of one key head in one part
    let dq = Shared::new(dq);
    cx.with_scratch(2 * PARTS * d.kv_heads * size, |partial| {
        let shared = Shared::new(partial);
        for_each(cx, PARTS * d.kv_heads, |i| {
            let (part, kv) = (i / d.kv_heads, i % d.kv_heads);
            // SAFETY: each (part, key head) has its own two buffers.
            let (dk, dv) = unsafe { (shared.part(2 * i * size, size), shared.part((2 * i + 1) * size, size)) };
            dk.fill(0.0);
            dv.fill(0.0);
            for &unit in &parts[part] {
                unit_backward(cx, &dq, dk, dv, d_o, (o, l), (q, k, v), layout, d, unit, kv);
            }
        });
        gather(cx, dk, partial, 0, tokens, d);
        gather(cx, dv, partial, 1, tokens, d);
    });
}

/// Backward of one unit and key head: rows of dq written, rows of dk and dv (tokens, head_dim) added to.
#[allow(clippy::too_many_arguments)]
fn unit_backward(
    cx: &Cx,
    dq: &Shared,
    dk: &mut [f32],
    dv: &mut [f32],
    d_o: &[f32],
    (o, l): (&[f32], &[f32]),
    (q, k, v): (&[f32], &[f32], &[f32]),
    layout: &Layout,
    d: Dims,
    unit: Unit,
    kv: usize,
) {
    let (level, hd, kv_width, width) = (cx.level(), d.head_dim, d.kv_width(), d.q_width());
    let c = context(layout, unit, d.window);
    let n = c.rows.len();
    let row0 = layout.segments()[unit.segment].start + unit.from;
    let position = layout.first_position(unit.segment) + unit.from;
    let query_rows: Vec<u32> = (row0..row0 + unit.len).map(|r| r as u32).collect();
    with_room(|room| {
        room.keys.pack_rows(k, kv_width, kv * hd, hd, &c.rows);
        room.values.pack_rows(v, kv_width, kv * hd, hd, &c.rows);
        let p = sized(&mut room.scores, unit.len * n);
        let ds = sized(&mut room.dscores, unit.len * n);
        let piece = sized(&mut room.piece, unit.len.max(n) * hd);
        for head in kv * d.group()..(kv + 1) * d.group() {
            let at = row0 * width + head * hd;
            room.keys.multiply(level, p, n, Write::Set, Mat::strided(&q[at..], unit.len, hd, width));
            room.values.multiply(level, ds, n, Write::Set, Mat::strided(&d_o[at..], unit.len, hd, width));
            for (i, (p, ds)) in p.chunks_exact_mut(n).zip(ds.chunks_exact_mut(n)).enumerate() {
                let (row, sees) = (row0 + i, visible(position + i, c.first, d.window));
                let at = row * width + head * hd;
                let drop = dot(&d_o[at..at + hd], &o[at..at + hd]);
                softmax_backward(level, p, ds, sees.start, sees.end, d.scale, l[row * d.heads + head], drop);
            }
            let dst = Mat::new(ds, unit.len, n);
            // dq = ds k
            room.turned.pack_columns(k, kv_width, kv * hd, hd, &c.rows);
            room.turned.multiply(level, piece, hd, Write::Set, dst);
            scatter(dq, &piece[..unit.len * hd], row0, width, head * hd, hd);
            // dk += dsᵀ q, dv += pᵀ do
            room.turned.pack_columns(q, width, head * hd, hd, &query_rows);
            room.turned.multiply(level, piece, hd, Write::Set, dst.t());
            add_rows(dk, piece, &c.rows, hd);
            room.turned.pack_columns(d_o, width, head * hd, hd, &query_rows);
            room.turned.multiply(level, piece, hd, Write::Set, Mat::new(p, unit.len, n).t());
            add_rows(dv, piece, &c.rows, hd);
        }
    });
}

fn check(d: Dims, layout: &Layout, q: &[usize], kv: &[usize]) {
    let n = layout.tokens();
    assert!(d.heads.is_multiple_of(d.kv_heads) && d.window != Some(0), "{d:?}");
    assert!(q.iter().all(|&l| l == n * d.q_width()) && kv.iter().all(|&l| l == n * d.kv_width()), "attention of {n} rows, {d:?}");
}

/// Units cut into [`PARTS`] lists of about equal work; depends on the layout alone.
fn partition(layout: &Layout, d: Dims) -> Vec<Vec<Unit>> {
    let mut all: Vec<(usize, Unit)> = units(layout)
        .into_iter()
        .map(|u| {
            let reach = layout.first_position(u.segment) + u.from + u.len;
            (u.len * d.window.map_or(reach, |w| reach.min(w + u.len)), u)
        })
        .collect();
    all.sort_by_key(|(cost, u)| (std::cmp::Reverse(*cost), u.segment, u.from));
    let mut parts = vec![Vec::new(); PARTS];
    let mut load = [0usize; PARTS];
    for (cost, unit) in all {
        let least = (0..PARTS).min_by_key(|&i| load[i]).unwrap_or(0);
        load[least] += cost;
        parts[least].push(unit);
    }
    parts
}

/// Writes `piece` (rows, head_dim) into the columns from `column` of rows `row0..` of `out`.
fn scatter(out: &Shared, piece: &[f32], row0: usize, width: usize, column: usize, hd: usize) {
    for (i, line) in piece.chunks_exact(hd).enumerate() {
        // SAFETY: each (row, head) is written by one task.
        unsafe { out.part((row0 + i) * width + column, hd).copy_from_slice(line) };
    }
}

/// Adds line i of `piece` to row `rows[i]` of `out` (tokens, head_dim).
fn add_rows(out: &mut [f32], piece: &[f32], rows: &[u32], hd: usize) {
    for (line, &r) in piece.chunks_exact(hd).zip(rows) {
        for (o, v) in out[r as usize * hd..][..hd].iter_mut().zip(line) {
            *o += v;
        }
    }
}

/// Sums the partial buffers of dk (`which` 0) or dv (1) in order.
fn gather(cx: &Cx, out: &mut [f32], partial: &[f32], which: usize, tokens: usize, d: Dims) {
    let (hd, width, size) = (d.head_dim, d.kv_width(), tokens * d.head_dim);
    let out = Shared::new(out);
    for_rows(cx, tokens, 64, |row, rows| {
        // SAFETY: each task has its own rows.
        let out = unsafe { out.part(row * width, rows * width) };
        for (r, line) in out.chunks_exact_mut(width).enumerate() {
            for (kv, head) in line.chunks_exact_mut(hd).enumerate() {
                head.fill(0.0);
                for part in 0..PARTS {
                    let at = (2 * (part * d.kv_heads + kv) + which) * size + (row + r) * hd;
                    for (o, v) in head.iter_mut().zip(&partial[at..at + hd]) {
                        *o += v;
                    }
                }
            }
        }
    });
}

per_level! {
    /// Probabilities of `line[from..to]` in place, zero elsewhere; returns the logarithm of the sum.
    pub(crate) fn softmax(line: &mut [f32], from: usize, to: usize, scale: f32) -> f32 {
        line[..from].fill(0.0);
        line[to..].fill(0.0);
        let seen = &mut line[from..to];
        let top = crate::cpu::math::max(seen);
        let mut lanes = [0f32; LANES];
        let (whole, rest) = seen.as_chunks_mut::<LANES>();
        for c in whole {
            for (lane, v) in lanes.iter_mut().zip(c) {
                *v = exp((*v - top) * scale);
                *lane += *v;
            }
        }
        for (lane, v) in lanes.iter_mut().zip(rest) {
            *v = exp((*v - top) * scale);
            *lane += *v;
        }
        let sum = fold(lanes);
        let by = 1.0 / sum;
        for v in seen {
            *v *= by;
        }
        sum.ln() + top * scale
    }
}

per_level! {
    /// `p` becomes the probabilities, `ds` (do · v) becomes the gradient of the raw scores; both zero outside `from..to`.
    fn softmax_backward(p: &mut [f32], ds: &mut [f32], from: usize, to: usize, scale: f32, log_sum: f32, drop: f32) {
        for line in [&mut *p, &mut *ds] {
            line[..from].fill(0.0);
            line[to..].fill(0.0);
        }
        for (p, ds) in p[from..to].iter_mut().zip(&mut ds[from..to]) {
            *p = exp(*p * scale - log_sum);
            *ds = scale * (*p * (*ds - drop));
        }
    }
}

#[cfg(test)]
mod tests;
