//! All buffers of training on the GPU: counted before they exist, taken from one allocation.

use crate::gpu::weights::padded;
use crate::gpu::wide::Wide;
use crate::gpu::{experts, gradient};
use crate::modules::{DOWN, GATE_UP, OUT, QKV};
use crate::room::Limits;
use crate::{Dims, Places};
use engine::cuda::bf16;
use engine::cuda::{Arena, Buffer};

/// Rows of logits that exist at a time: an eighth of what is supervised, so that they never outgrow the activations.
fn logit_rows(targets: usize) -> usize {
    (targets / 8).next_multiple_of(128).clamp(128, 1024).min(targets)
}

/// What one layer keeps for its backward pass, beside its input.
pub(crate) struct Saved {
    pub r1: Buffer<f32>,      // (tokens)
    pub qkv: Buffer<bf16>,    // (tokens, all heads): q, k, v side by side, turned
    pub raw: Buffer<bf16>,    // (tokens, heads of q and k) as they were before they were normed, if they are
    pub rqk: Buffer<f32>,     // (tokens, heads of q and k), if they are normed
    pub o: Wide,              // (tokens, heads * head_dim)
    pub l: Buffer<f32>,       // (heads, tokens)
    pub mid: Buffer<bf16>,    // (rows, hidden): the residual stream after attention
    pub r2: Buffer<f32>,      // (rows)
    pub gate_up: Wide,        // (rows, 2 * intermediate), or (listed rows, ..) of experts; in the backward pass its gradient
    pub u: [Buffer<bf16>; 4], // (rows, pad) of each group, or (listed rows, pad); that of OUT lies behind o, or o_rows
}

/// All buffers of training.
pub(crate) struct Room {
    pub xs: Vec<Buffer<bf16>>, // of each layer (tokens, hidden): the residual stream as it comes in
    pub saved: Vec<Saved>,
    pub places: Vec<Buffer<u8>>, // input and saved of each layer that is not computed again, if gradients will lie over them
    pub norm: Wide,              // (tokens, hidden): a layer's normed input
    pub act: Wide,               // (rows, or listed rows, intermediate): silu(gate)*up; in the backward pass its gradient first
    pub dx: Wide,                // (tokens, hidden): gradient of the residual stream
    pub dnorm: Buffer<bf16>,     // (tokens, hidden): gradient of a normed input
    pub d_o: Wide,               // (tokens, heads * head_dim): rows as far apart as those of o
    pub dqkv: Wide,              // (tokens, all heads)
    pub delta: Buffer<f32>,      // (heads, tokens)
    pub picked: Wide,            // (targets, hidden): supervised rows, and their gradient
    pub o_rows: Wide,            // (targets, heads * head_dim)
    pub r: Buffer<f32>,          // (targets)
    pub logits: Buffer<bf16>,    // (logit_rows, vocab)
    pub logit_rows: usize,
    pub losses: Buffer<f32>, // (targets)
    pub experts: Option<experts::Room>,
    pub limits: Limits,
}

impl Room {
    /// Takes everything that micro-batches within `limits` need.
    pub fn take(arena: &mut Arena, d: &Dims, places: &Places, limits: Limits) -> Room {
        let (t, targets) = (limits.tokens, limits.targets);
        let rows = t.max(targets);
        let pad = |g: usize| (0..d.layers).map(|l| padded(places.ranks(l, g))).max().unwrap_or(0);
        let again = limits.recompute;
        let x = |arena: &mut Arena| arena.take("residual", "each layer's input", t * d.hidden);
        let mut xs: Vec<_> = (0..again).map(|_| x(arena)).collect();
        let few = experts::few_rows(d, limits);
        let rows_of = |l: usize| if few && l + 1 == d.layers { targets } else { t };
        let (mut saved, mut places_of) = (Vec::new(), Vec::new());
        if again > 0 {
            saved.push(save(arena, d, t, rows, &pad));
        }
        let beneath = gradient::over_activations(d, places, limits);
        for l in again..d.layers {
            let from = arena.given();
            xs.push(x(arena));
            saved.push(save(arena, d, t, rows_of(l), &pad));
            if beneath > 0 {
                gradient::widen(arena, from, if l == 0 { 0 } else { beneath });
                places_of.push(arena.since(from));
            }
        }
        let all = d.q_width() + 2 * d.kv_width();
        Room {
            xs,
            saved,
            places: places_of,
            norm: Wide::take(arena, "normed", "a layer's normed input", rows, d.hidden, pad(QKV).max(pad(GATE_UP))),
            act: Wide::take(
                arena,
                "silu(gate)*up",
                "the feed-forward block's inside, and its gradient",
                experts::inside_rows(d, rows),
                d.intermediate,
                pad(DOWN),
            ),
            dx: Wide::take(arena, "dx", "gradient of the residual stream", t, d.hidden, pad(OUT).max(pad(DOWN))),
            dnorm: arena.take("dnorm", "gradient of a normed input", rows * d.hidden),
            d_o: Wide::take(arena, "do", "gradient of the attention output", t, d.q_width(), pad(OUT)),
            dqkv: Wide::take(arena, "dqkv", "gradient of queries, keys and values", t, all, pad(QKV)),
            delta: arena.take("delta", "do · o", t * d.heads),
            picked: Wide::take(
                arena,
                "supervised rows",
                "what the head reads, and its gradient",
                targets,
                d.hidden,
                pad(OUT).max(pad(DOWN)),
            ),
            o_rows: Wide::take(
                arena,
                "supervised attention",
                "attention output of the last layer's supervised rows",
                targets,
                d.q_width(),
                pad(OUT),
            ),
            r: arena.take("last norm", "one factor a supervised row", targets),
            logits: arena.take("logits", "of a chunk of supervised rows", logit_rows(targets) * d.vocab),
            logit_rows: logit_rows(targets),
            losses: arena.take("losses", "one a supervised row", targets),
            experts: experts::Room::take(arena, d, limits, &rows_of, [pad(GATE_UP), pad(DOWN)]),
            limits,
        }
    }

    /// Where layer `i` keeps what it saves: those that are computed again share one place.
    pub fn place(&self, i: usize) -> usize {
        match self.limits.recompute {
            0 => i,
            n => (i + 1).saturating_sub(n),
        }
    }
}

/// What a layer saves.
fn save(arena: &mut Arena, d: &Dims, t: usize, rows: usize, pad: &dyn Fn(usize) -> usize) -> Saved {
    let turned = d.heads + d.kv_heads;
    let normed = if d.qk_norm { t } else { 0 };
    let inside = experts::inside_rows(d, rows);
    let mut u = |rows: usize, g: usize| arena.take("adapter inside", "x·A of each group", rows * if g == OUT { 0 } else { pad(g) });
    let u = [u(t, QKV), u(0, OUT), u(inside, GATE_UP), u(inside, DOWN)];
    Saved {
        r1: arena.take("norm factors", "one a row", t),
        qkv: arena.take("queries, keys, values", "for attention's backward", t * (turned + d.kv_heads) * d.head_dim),
        raw: arena.take("raw heads", "before they were normed", normed * turned * d.head_dim),
        rqk: arena.take("norm factors", "one a row", normed * turned),
        o: Wide::take(arena, "attention output", "for attention's backward and the adapter of o", t, d.q_width(), pad(OUT)),
        l: arena.take("attention sums", "logarithm of each query's sum", t * d.heads),
        mid: arena.take("residual after attention", "the second norm is made again from it", rows * d.hidden),
        r2: arena.take("norm factors", "one a row", rows),
        gate_up: Wide::take(arena, "gate and up", "for the activation's backward", inside, 2 * d.intermediate, pad(GATE_UP)),
        u,
    }
}
