//! All buffers of a job of answers: counted before they exist, taken from one allocation.

use crate::Dims;
use crate::gpu::batch::STEP;
use crate::gpu::weights::Weights;
use crate::gpu::wide::Wide;
use crate::modules::{DOWN, GATE_UP, OUT, QKV};
use engine::cuda::{Arena, Buffer, bf16};
use engine::ops::answer::Cache;
use engine::ops::attention::gpu::decode::Parts;

/// What a job asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Sequences side by side.
    pub slots: usize,
    /// Rows that a pass over prompts may have of its own, the cached ones before them not counted; at least `slots`.
    pub rows: usize,
    /// Tokens that all prompts begin with.
    pub prefix: usize,
    /// Rows of the cache.
    pub cached: usize,
    /// Positions of the longest sequence.
    pub longest: usize,
}

/// One list of words for each sequence; those of the host's hand are copied as one.
pub(crate) struct State {
    pub ids: Buffer<u32>,    // (slots): the newest token of each
    pub len: Buffer<u32>,    // (slots): its position + 1; 0 where none asks
    pub angles: Buffer<u32>, // (slots): its row of the rotary table
    pub rows: Buffer<u32>,   // (slots): its row of the cache
    pub start: Buffer<u32>,  // (slots): the cache row of its sequence's first own token
    all: Buffer<u32>,
}

impl State {
    fn take(arena: &mut Arena, slots: usize) -> State {
        let pitch = slots.next_multiple_of(STEP);
        let all: Buffer<u32> = arena.take("tokens", "and where each sequence stands", 5 * pitch);
        let list = |i: usize| all.part(i * pitch..i * pitch + slots);
        State { ids: list(0), len: list(1), angles: list(2), rows: list(3), start: list(4), all: all.clone() }
    }

    /// Copies length, angle, row and start of every sequence there, as one.
    pub fn write(&self, lists: [&[u32]; 4]) -> Result<(), engine::cuda::Error> {
        let slots = self.ids.len();
        let pitch = slots.next_multiple_of(STEP);
        let mut words = vec![0u32; 4 * pitch];
        for (to, list) in words.chunks_mut(pitch).zip(lists) {
            to[..slots].copy_from_slice(list);
        }
        self.all.part(pitch..5 * pitch).write(&words)
    }

    /// No token, no sequence.
    pub fn clear(&self) {
        self.all.fill_bytes(0);
    }
}

/// All buffers of a job.
pub(crate) struct Room {
    pub x: Buffer<bf16>,       // (rows, hidden): the residual stream
    pub norm: Wide,            // (rows, hidden): a layer's normed input
    pub r: Buffer<f32>,        // (rows): factors of norms, never read
    pub qkv: Buffer<bf16>,     // (prefix + rows, all heads): q, k, v side by side, turned
    pub rqk: Buffer<f32>,      // (rows, heads): factors of the norms of heads, never read
    pub o: Wide,               // (prefix + rows, heads * head_dim)
    pub l: Buffer<f32>,        // (heads, prefix + rows): sums of attention, never read
    pub gate_up: Buffer<bf16>, // (rows, 2 * intermediate)
    pub act: Wide,             // (rows, intermediate)
    pub picked: Buffer<bf16>,  // (slots, hidden): the last row of each prompt
    pub o_rows: Wide,          // (slots, heads * head_dim)
    pub logits: Buffer<f32>,   // (slots, vocab)
    pub list: Buffer<u32>,     // tokens, angles and rows of a pass over prompts, and who sees whom
    pub state: State,
    pub cache: Vec<Cache>, // of each layer
    pub parts: Parts,
    pub sizes: Sizes,
}

impl Room {
    /// Takes everything; `words` are those of the largest list of prompts.
    pub fn take(arena: &mut Arena, d: &Dims, weights: &Weights, sizes: Sizes, words: usize) -> Room {
        let Sizes { slots, rows, prefix, cached, longest } = sizes;
        let pad = |g: usize| weights.layers.iter().map(|l| l.groups[g].pad).max().unwrap_or(0);
        let (all, heads) = (prefix + rows, d.attention());
        let pads = [pad(QKV).max(pad(GATE_UP)), pad(OUT), pad(DOWN)];
        Room {
            x: arena.take("residual", "of a pass", rows * d.hidden),
            norm: Wide::take(arena, "normed", "a layer's normed input", rows, d.hidden, pads[0]),
            r: arena.take("norm factors", "one a row", rows),
            qkv: arena.take("queries, keys, values", "of a pass", all * (d.q_width() + 2 * d.kv_width())),
            rqk: arena.take("norm factors", "one a row", if d.qk_norm { rows * d.heads } else { 0 }),
            o: Wide::take(arena, "attention output", "of a pass", all, d.q_width(), pads[1]),
            l: arena.take("attention sums", "logarithm of each query's sum", all * d.heads),
            gate_up: arena.take("gate and up", "of a pass", rows * 2 * d.intermediate),
            act: Wide::take(arena, "silu(gate)*up", "the feed-forward block's inside", rows, d.intermediate, pads[2]),
            picked: arena.take("last rows", "of each prompt", slots * d.hidden),
            o_rows: Wide::take(arena, "last rows", "of each prompt", slots, d.q_width(), pads[1]),
            logits: arena.take("logits", "float32", slots * d.vocab),
            list: arena.take("prompts", "tokens, and who sees whom", words),
            state: State::take(arena, slots),
            cache: (0..d.layers).map(|_| Cache::take(arena, heads, cached)).collect(),
            parts: Parts::take(arena, heads, slots, longest),
            sizes,
        }
    }
}
