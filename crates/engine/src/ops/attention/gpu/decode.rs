//! Attention of tokens that are being generated; kernels in attention_decode.cu.

use super::{Dims, size};
use crate::cuda::{Arena, Arg, Buffer, Gpu, Rows, args};
use crate::ops::answer::Cache;

const FILE: &str = "attention_decode";

/// Keys that a block does; parts of a sequence are added in their order.
pub const PART: usize = 256;

/// Heads of a key head that a block does at once.
const HEADS: usize = 8;

/// Who asks: one query a sequence.
pub struct Asks<'a> {
    /// Tokens of each sequence, the one that asks included; 0 for one that asks nothing.
    pub len: &'a Buffer<u32>,
    /// Cache row of each sequence's first token behind the common prefix.
    pub start: &'a Buffer<u32>,
    /// Tokens that all begin with, in the cache's first rows.
    pub prefix: usize,
}

/// Sums of the parts.
pub struct Parts {
    sums: Buffer<f32>,
    tops: Buffer<f32>,
    count: usize,
}

impl Parts {
    /// Takes what `rows` sequences of at most `longest` tokens need.
    pub fn take(arena: &mut Arena, d: Dims, rows: usize, longest: usize) -> Parts {
        let count = longest.div_ceil(PART);
        let mut take = |width: usize| arena.take("parts of attention", "sums of each part of a cache", rows * d.heads * count * width);
        Parts { sums: take(size(d).0), tops: take(2), count }
    }
}

/// What the kernels read; the same struct as in attention_decode.cu.
#[derive(Clone, Copy)]
#[repr(C)]
struct Decode {
    q: u64,
    o: u64,
    kv: [u64; 2],
    parts: [u64; 2],
    asks: [u64; 2],
    n: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    ld: u32,
    ldo: u32,
    rows: u32,
    prefix: u32,
    window: u32,
    count: u32,
    scale: f32,
    _end: u32,
}

impl Arg for Decode {}

/// `o` from `q`, a row a sequence with its heads side by side. No sequence is longer than `parts` were taken for, and the cache has
/// the rows that `asks` name: both lie on the device, so that one captured call serves every step.
pub fn decode(gpu: &Gpu, o: Rows, q: Rows, cache: &Cache, asks: &Asks, parts: &Parts, d: Dims) {
    let (n, (size, which), width) = (q.rows, size(d), d.heads * d.head_dim);
    assert!(o.rows == n && q.width == width && o.width == width && asks.len.len() >= n && asks.start.len() >= n, "{o:?} of {q:?}");
    assert!(parts.sums.len() >= n * d.heads * parts.count * size && asks.prefix <= cache.rows && n < 1 << 16);
    let a = Decode {
        q: q.at,
        o: o.at,
        kv: [cache.k.address(), cache.v.address()],
        parts: [parts.sums.address(), parts.tops.address()],
        asks: [asks.len.address(), asks.start.address()],
        n: n as u32,
        heads: d.heads as u32,
        kv_heads: d.kv_heads as u32,
        head_dim: d.head_dim as u32,
        ld: q.stride as u32,
        ldo: o.stride as u32,
        rows: cache.rows as u32,
        prefix: asks.prefix as u32,
        window: d.window.unwrap_or(0) as u32,
        count: parts.count as u32,
        scale: d.scale,
        _end: 0,
    };
    let tiles = d.kv_heads * (d.heads / d.kv_heads).div_ceil(HEADS);
    let name = ["attention_decode_32", "attention_decode_64", "attention_decode_96", "attention_decode_128"][which];
    gpu.launch(FILE, name, (tiles, n, parts.count), 128, 0, args![a]);
    let name = ["attention_merge_32", "attention_merge_64", "attention_merge_96", "attention_merge_128"][which];
    gpu.launch(FILE, name, (d.heads.div_ceil(4), n, 1), 128, 0, args![a]);
}
