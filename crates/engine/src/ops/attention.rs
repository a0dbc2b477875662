//! Causal attention over a tree of segments: each token sees its own segment up to itself, and all ancestors.
//!
//! Forward    p_ij = softmax_j(scale * q_i · k_j)        o_i = sum_j p_ij v_j        saved: l_i = ln sum_j e^(scale q_i·k_j)
//! Backward   d_i = do_i · o_i       ds_ij = scale * p_ij * (do_i · v_j - d_i)
//!            dq_i = sum_j ds_ij k_j       dk_j = sum_i ds_ij q_i       dv_j = sum_i p_ij do_i
//! Shapes     q, o, dq (rows, heads, head_dim)   k, v, dk, dv (rows, kv_heads, head_dim)   l (rows, heads)
//!            head h reads key head h / (heads / kv_heads); with a window w, position p sees p-w+1 ..= p
//! Writes     o, l, dq, dk, dv overwritten. Keys are shared by several segments: their gradients are summed in a
//!            fixed number of partial buffers and these in order, so threads change no bit.
//! Rounds     f32; the probabilities of a block of queries are held whole, not online.
//! Moves      compute-bound: 4 * head_dim flops a visible pair forward, 10 backward.

use crate::cpu::gemm::{Mat, Write};
use crate::cpu::lanes::per_level;
use crate::cpu::math::{LANES, dot, exp, fold};
use crate::cpu::panels::Panels;
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_each, for_rows};
use crate::layout::Layout;
use std::cell::RefCell;

mod decode;
pub mod gpu;
pub use decode::{Tail, decode};

/// Queries that one task does: what they see is packed once for all of them.
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
    /// Queries whose scores are held at a time: about a hundred rows with all heads of the group. Few queries compute
    /// little that is hidden from them; few rows would not fill the products.
    fn block(&self) -> usize {
        match self.group() {
            1 | 2 => 64,
            3 | 4 => 32,
            _ => 16,
        }
    }
}

/// A chunk of queries of one segment.
#[derive(Clone, Copy)]
struct Unit {
    segment: usize,
    from: usize,
    len: usize,
}

/// Some queries of a unit: their first row and position.
#[derive(Clone, Copy)]
struct Block {
    row: usize,
    position: usize,
    len: usize,
}

/// The keys that a unit sees: their rows in order of position, the same as runs of neighbours, and the first position.
struct Context {
    rows: Vec<u32>,
    runs: Vec<Run>,
    first: usize,
}

/// Keys `at..at + len` of a context, which are rows `row..row + len`.
#[derive(Clone, Copy)]
struct Run {
    at: usize,
    row: usize,
    len: usize,
}

/// Buffers of one thread.
struct Room {
    keys: Panels,
    values: Panels,
    turned: Panels,
    factors: Panels,
    queries: Vec<f32>,
    grads: Vec<f32>,
    scores: Vec<f32>,
    dscores: Vec<f32>,
    piece: Vec<f32>,
    sums: Vec<f32>,
}

thread_local! {
    static ROOM: RefCell<Option<Room>> = const { RefCell::new(None) };
}

fn with_room<R>(f: impl FnOnce(&mut Room) -> R) -> R {
    let mut room = ROOM.take().unwrap_or_else(|| Room {
        keys: Panels::empty(),
        values: Panels::empty(),
        turned: Panels::empty(),
        factors: Panels::empty(),
        queries: Vec::new(),
        grads: Vec::new(),
        scores: Vec::new(),
        dscores: Vec::new(),
        piece: Vec::new(),
        sums: Vec::new(),
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
    let mut runs: Vec<Run> = Vec::new();
    for (at, &row) in rows.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.row + run.len == row as usize => run.len += 1,
            _ => runs.push(Run { at, row: row as usize, len: 1 }),
        }
    }
    Context { rows, runs, first }
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
        let row0 = layout.segments()[unit.segment].start + unit.from;
        let position = layout.first_position(unit.segment) + unit.from;
        with_room(|room| {
            room.keys.pack_rows(cx.level(), k, d.kv_width(), kv * d.head_dim, d.head_dim, &c.rows);
            room.values.pack_columns(v, d.kv_width(), kv * d.head_dim, d.head_dim, c.rows.iter().map(|&r| r as usize));
            for from in (0..unit.len).step_by(d.block()) {
                let block = Block { row: row0 + from, position: position + from, len: d.block().min(unit.len - from) };
                block_forward(cx, room, (&o, &l), q, &c, block, kv, d);
            }
        });
    });
}

/// Forward of some queries of a unit, all heads of a group as rows of one product: keys that none of them sees are not touched.
#[allow(clippy::too_many_arguments)]
fn block_forward(cx: &Cx, room: &mut Room, (o, l): (&Shared, &Shared), q: &[f32], c: &Context, b: Block, kv: usize, d: Dims) {
    let (hd, group, rows) = (d.head_dim, d.group(), b.len * d.group());
    let n = visible(b.position + b.len - 1, c.first, d.window).end;
    let (across, ld) = line(n);
    let queries = gather_heads(&mut room.queries, q, b, kv, d);
    let (scores, sums) = (sized(&mut room.scores, rows * ld), sized(&mut room.sums, rows));
    room.keys.multiply(cx.level(), scores, ld, Write::Set, Mat::new(queries, rows, hd), across);
    for (i, lines) in scores.chunks_exact_mut(group * ld).enumerate() {
        let sees = visible(b.position + i, c.first, d.window);
        // SAFETY: this row and these heads belong to this task alone.
        let l = unsafe { l.part((b.row + i) * d.heads + kv * group, group) };
        for ((line, l), sum) in lines.chunks_exact_mut(ld).zip(l).zip(&mut sums[i * group..]) {
            (*l, *sum) = exponentials(cx.level(), line, sees.start, sees.end, d.scale);
        }
    }
    let piece = sized(&mut room.piece, rows * hd);
    room.values.multiply(cx.level(), piece, hd, Write::Set, Mat::strided(scores, rows, n, ld), hd);
    divide_rows(cx.level(), piece, sums);
    scatter_heads(o, piece, b, kv, d);
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
                unit_backward(cx, &dq, (&mut *dk, &mut *dv), d_o, (o, l), (q, k, v), layout, d, unit, kv);
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
    (dk, dv): (&mut [f32], &mut [f32]),
    d_o: &[f32],
    saved: (&[f32], &[f32]),
    (q, k, v): (&[f32], &[f32], &[f32]),
    layout: &Layout,
    d: Dims,
    unit: Unit,
    kv: usize,
) {
    let (hd, kv_width) = (d.head_dim, d.kv_width());
    let c = context(layout, unit, d.window);
    let row0 = layout.segments()[unit.segment].start + unit.from;
    let position = layout.first_position(unit.segment) + unit.from;
    with_room(|room| {
        room.keys.pack_rows(cx.level(), k, kv_width, kv * hd, hd, &c.rows);
        room.values.pack_rows(cx.level(), v, kv_width, kv * hd, hd, &c.rows);
        room.turned.pack_columns(k, kv_width, kv * hd, hd, c.rows.iter().map(|&r| r as usize));
        for from in (0..unit.len).step_by(d.block()) {
            let block = Block { row: row0 + from, position: position + from, len: d.block().min(unit.len - from) };
            block_backward(cx, room, dq, (&mut *dk, &mut *dv), d_o, saved, q, &c, block, kv, d);
        }
    });
}

/// Backward of some queries of a unit, all heads of a group as rows of the same products.
#[allow(clippy::too_many_arguments)]
fn block_backward(
    cx: &Cx,
    room: &mut Room,
    dq: &Shared,
    (dk, dv): (&mut [f32], &mut [f32]),
    d_o: &[f32],
    (o, l): (&[f32], &[f32]),
    q: &[f32],
    c: &Context,
    b: Block,
    kv: usize,
    d: Dims,
) {
    let (level, hd, group, rows) = (cx.level(), d.head_dim, d.group(), b.len * d.group());
    let n = visible(b.position + b.len - 1, c.first, d.window).end;
    let (across, ld) = line(n);
    let queries = gather_heads(&mut room.queries, q, b, kv, d);
    let grads = gather_heads(&mut room.grads, d_o, b, kv, d);
    let p = sized(&mut room.scores, rows * ld);
    let ds = sized(&mut room.dscores, rows * ld);
    room.keys.multiply(level, p, ld, Write::Set, Mat::new(queries, rows, hd), across);
    room.values.multiply(level, ds, ld, Write::Set, Mat::new(grads, rows, hd), across);
    for (j, (p, ds)) in p.chunks_exact_mut(ld).zip(ds.chunks_exact_mut(ld)).enumerate() {
        let (i, head) = (j / group, kv * group + j % group);
        let sees = visible(b.position + i, c.first, d.window);
        let drop = dot(&grads[j * hd..][..hd], &o[(b.row + i) * d.q_width() + head * hd..][..hd]);
        softmax_backward(level, p, ds, sees.start, sees.end, d.scale, l[(b.row + i) * d.heads + head], drop);
    }
    // dq = ds k
    let piece = sized(&mut room.piece, rows * hd);
    room.turned.multiply(level, piece, hd, Write::Set, Mat::strided(ds, rows, n, ld), hd);
    scatter_heads(dq, piece, b, kv, d);
    // dk += dsᵀ q, dv += pᵀ do, where the keys lie
    for (out, left, right) in [(dk, &*ds, &*queries), (dv, &*p, &*grads)] {
        room.factors.pack_columns(right, hd, 0, hd, 0..rows);
        for run in c.runs.iter().filter(|r| r.at < n) {
            let left = Mat::strided(&left[run.at..], rows, run.len.min(n - run.at), ld).t();
            room.factors.multiply(level, &mut out[run.row * hd..], hd, Write::Add, left, hd);
        }
    }
}

/// Scores computed for `n` keys, in whole vectors, and how far apart lines of them lie: never a multiple of 256 floats,
/// which would make the lines of a product compete for the same places of the cache.
fn line(n: usize) -> (usize, usize) {
    let across = n.next_multiple_of(LANES);
    (across, across + if across.is_multiple_of(256) { LANES } else { 0 })
}

/// The heads of one group from rows (tokens, heads, head_dim), as (queries, heads of the group) rows of a matrix.
fn gather_heads<'a>(to: &'a mut Vec<f32>, from: &[f32], b: Block, kv: usize, d: Dims) -> &'a mut [f32] {
    let width = d.group() * d.head_dim;
    let to = sized(to, b.len * width);
    for (i, line) in to.chunks_exact_mut(width).enumerate() {
        line.copy_from_slice(&from[(b.row + i) * d.q_width() + kv * width..][..width]);
    }
    to
}

/// The way back from [`gather_heads`].
fn scatter_heads(to: &Shared, from: &[f32], b: Block, kv: usize, d: Dims) {
    let width = d.group() * d.head_dim;
    for (i, line) in from.chunks_exact(width).enumerate() {
        // SAFETY: each (row, key head) is written by one task.
        unsafe { to.part((b.row + i) * d.q_width() + kv * width, width).copy_from_slice(line) };
    }
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
    /// `line[from..to]` becomes e to its distance from its maximum, the rest zero; returns the logarithm of the sum of e to
    /// the scores, and the sum of what is there. It is not divided by it: the output has fewer elements than the scores.
    fn exponentials(line: &mut [f32], from: usize, to: usize, scale: f32) -> (f32, f32) {
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
        (sum.ln() + top * scale, sum)
    }
}

per_level! {
    /// Divides each row of `x` by its number.
    fn divide_rows(x: &mut [f32], by: &[f32]) {
        for (line, by) in x.chunks_exact_mut(x.len() / by.len()).zip(by) {
            let factor = 1.0 / by;
            line.iter_mut().for_each(|v| *v *= factor);
        }
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
