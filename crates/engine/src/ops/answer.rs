//! What generation on the GPU does beside the model's ops: keys and values kept in a cache, the most likely token, the next step.
//!
//! Forward    keep: cache row index_i = k_i, v_i     fetch: k_i, v_i = cache row i     best = argmax of the logits, of equals the first
//!            next: len, angles and rows of every sequence that asks (len > 0) grow by 1
//! Backward   none: nothing is trained while answers are made.
//! Shapes     k and v side by side (rows, 2 * kv_heads * head_dim) with a stride; cache k, v (kv_heads, rows, pitch), where pitch is
//!            the size of head that attention is compiled for; logits (rows, vocab) f32; index, best, len, angles, rows one a row
//! Writes     keep fills what lies behind a head with zeros, and leaves out rows that the cache has not; fetch overwrites; next adds.
//! Rounds     nothing. Every element by itself: same call, same bits.
//! Moves      reads and writes each number once. GPU only: on the CPU these are slices (model/src/generate.rs).

use crate::cuda::tiles::compiled_head;
use crate::cuda::{Arena, Buffer, Gpu, Rows, args};
use crate::ops::attention;
use half::bf16;

const FILE: &str = "answer";

/// Keys and values of one layer.
pub struct Cache {
    pub(crate) k: Buffer<bf16>,
    pub(crate) v: Buffer<bf16>,
    /// Rows of each key head.
    pub(crate) rows: usize,
    heads: usize,
    head_dim: usize,
}

impl Cache {
    /// Takes room for `rows` tokens, of arbitrary contents.
    pub fn take(arena: &mut Arena, d: attention::Dims, rows: usize) -> Cache {
        let mut take = || arena.take("cache", "keys and values, bfloat16", d.kv_heads * rows * pitch(d.head_dim));
        Cache { k: take(), v: take(), rows, heads: d.kv_heads, head_dim: d.head_dim }
    }

    /// Blocks of 256 threads, one for each eight values of `rows` rows.
    fn grid(&self, rows: usize) -> (usize, usize, usize) {
        let tasks = rows * 2 * self.heads * (pitch(self.head_dim) / 8);
        assert!(tasks < 1 << 32, "{rows} rows are too many for one call");
        (tasks.div_ceil(256), 1, 1)
    }

    fn suits(&self, kv: Rows) {
        assert!(kv.width == 2 * self.heads * self.head_dim, "{kv:?} for {} heads of {}", self.heads, self.head_dim);
    }
}

/// Values from one cached head to the next: the size that attention is compiled for.
fn pitch(head_dim: usize) -> usize {
    compiled_head(head_dim).expect("models with wider heads are refused when they are opened")
}

/// Row i of `kv`, k and v side by side, to row `index[i]` of the cache.
pub fn keep(gpu: &Gpu, cache: &Cache, kv: Rows, index: &Buffer<u32>) {
    cache.suits(kv);
    assert!(index.len() >= kv.rows);
    let (k, v, pitch) = (cache.k.address(), cache.v.address(), pitch(cache.head_dim) as u32);
    let sizes = [kv.rows as u32, cache.heads as u32, cache.head_dim as u32, kv.stride as u32, cache.rows as u32];
    let args = args![k, v, kv.at, index.address(), sizes[0], sizes[1], sizes[2], pitch, sizes[3], sizes[4]];
    gpu.launch(FILE, "answer_keep", cache.grid(kv.rows), 256, 0, args);
}

/// The cache's first rows, as many as `kv` has.
pub fn fetch(gpu: &Gpu, kv: Rows, cache: &Cache) {
    cache.suits(kv);
    assert!(kv.rows <= cache.rows);
    let (k, v, pitch) = (cache.k.address(), cache.v.address(), pitch(cache.head_dim) as u32);
    let sizes = [kv.rows as u32, cache.heads as u32, cache.head_dim as u32, kv.stride as u32, cache.rows as u32];
    let args = args![kv.at, k, v, sizes[0], sizes[1], sizes[2], pitch, sizes[3], sizes[4]];
    gpu.launch(FILE, "answer_fetch", cache.grid(kv.rows), 256, 0, args);
}

/// The token with the greatest logit of each row, of equals the first.
pub fn best(gpu: &Gpu, best: &Buffer<u32>, logits: &Buffer<f32>, rows: usize) {
    let width = logits.len() / rows.max(1);
    assert!(best.len() >= rows && width * rows == logits.len() && width < 1 << 32, "{} logits in {rows} rows", logits.len());
    gpu.launch(FILE, "answer_best", (rows, 1, 1), 1024, 0, args![best.address(), logits.address(), width as u32]);
}

/// Every sequence that asks is one token longer: its length, the row of its angles, and the cache row of its next token.
pub fn next(gpu: &Gpu, len: &Buffer<u32>, angles: &Buffer<u32>, rows: &Buffer<u32>) {
    assert!(angles.len() == len.len() && rows.len() == len.len());
    let (n, args) = (len.len(), args![len.address(), angles.address(), rows.address(), len.len() as u32]);
    gpu.launch(FILE, "answer_next", (n.div_ceil(256), 1, 1), 256, 0, args);
}

#[cfg(test)]
mod tests;
