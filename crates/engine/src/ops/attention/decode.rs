//! Attention of tokens that are being generated: one query a sequence, over a cache with a common prefix.

use super::{Dims, Room, divide_rows, exponentials, sized, with_room};
use crate::cpu::gemm::{Mat, Write};
use crate::cpu::lanes::per_level;
use crate::cpu::math::dot;
use crate::cpu::shared::Shared;
use crate::cpu::{Cx, for_each};

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
    // The heads of a group lie side by side in q, so (tails, group) are rows of one matrix only per tail; copy them together.
    let queries = sized(&mut room.piece, tails.len() * group * hd);
    for (i, line) in queries.chunks_exact_mut(group * hd).enumerate() {
        line.copy_from_slice(&q[(from + i) * d.q_width() + kv * group * hd..][..group * hd]);
    }
    let (scores, sums) = (sized(&mut room.scores, tails.len() * group * n), sized(&mut room.sums, tails.len() * group));
    if prefix > 0 {
        let rows: Vec<u32> = (0..prefix as u32).collect();
        room.keys.pack_rows(level, k, kv_width, kv * hd, hd, &rows);
        room.keys.multiply(level, scores, n, Write::Set, Mat::new(queries, tails.len() * group, hd), prefix);
    }
    for (j, line) in scores.chunks_exact_mut(n).enumerate() {
        let tail = tails[j / group];
        own_scores(level, &mut line[prefix..prefix + tail.len], &queries[j * hd..][..hd], k, tail.start, kv_width, kv * hd);
        let end = prefix + tail.len;
        let sees = d.window.map_or(0, |w| end.saturating_sub(w));
        sums[j] = exponentials(level, line, sees, end, d.scale).1;
    }
    let out = sized(&mut room.dscores, tails.len() * group * hd);
    out.fill(0.0);
    if prefix > 0 {
        room.values.pack_columns(v, kv_width, kv * hd, hd, 0..prefix);
        room.values.multiply(level, out, hd, Write::Set, Mat::strided(scores, tails.len() * group, prefix, n), hd);
    }
    for (j, line) in out.chunks_exact_mut(hd).enumerate() {
        let tail = tails[j / group];
        own_values(level, line, &scores[j * n + prefix..][..tail.len], v, tail.start, kv_width, kv * hd);
    }
    divide_rows(level, out, sums);
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
