//! The buffers of training, named and counted before they exist.

use crate::Dims;
use crate::adapter::Places;
use crate::llama::{LOGIT_ROWS, Limits};

/// A buffer of a room, by name; those of several layers together.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// What it is called.
    pub name: &'static str,
    /// Its size.
    pub bytes: usize,
    /// What it is for.
    pub why: &'static str,
}

/// Every buffer that a room for `limits` consists of.
pub fn buffers(d: &Dims, places: &Places, limits: Limits) -> Vec<Buffer> {
    let (t, targets) = (limits.tokens, limits.targets);
    let (h, q, kv, i) = (d.hidden, d.q_width(), d.kv_width(), d.intermediate);
    // The last layer's feed-forward block runs for supervised rows only.
    let rows = t * (d.layers - 1) + targets;
    let most = t.max(targets);
    let ranks = (0..d.layers).flat_map(|l| (0..4).map(move |g| (l, g))).map(|(l, g)| places.ranks(l, g)).max().unwrap_or(0);
    let u = |l: usize| {
        let n = if l + 1 == d.layers { targets } else { t };
        (0..4).map(|g| if g == 0 { t } else { n } * places.ranks(l, g)).sum::<usize>()
    };
    let all = [
        ("layer inputs", d.layers * t * h, "the residual stream as it comes in"),
        ("reciprocal norms", d.layers * t + rows + targets, "of every row, for the backward pass"),
        ("q, k, v", d.layers * t * (q + 2 * kv), "turned by position; attention's backward reads them"),
        ("attention results", d.layers * t * (q + d.heads), "with the logarithm of each sum"),
        ("residual streams after attention", rows * h, "the second norm is made again from it"),
        ("gate and up", 2 * rows * i, "SwiGLU's backward reads them"),
        ("adapter intermediates", (0..d.layers).map(u).sum(), "the gradient of B reads them"),
        ("rotary table", d.head_dim * limits.positions, "sine and cosine of every position"),
        ("normed input", most * h, "made again where it is read"),
        ("silu(gate) * up", most * i, "and its gradient"),
        ("adapter intermediates, backward", most * ranks, "of the group in work"),
        ("attention gradients", t * (2 * q + 2 * kv), "of its result, q, k and v"),
        ("residual gradient", t * h, "goes through all layers"),
        ("supervised rows", targets * (h + q), "of the last layer, and their gradient"),
        ("logits", LOGIT_ROWS.min(targets) * d.vocab, "in pieces of rows; the gradient in the same place"),
    ];
    all.into_iter().map(|(name, floats, why)| Buffer { name, bytes: floats * size_of::<f32>(), why }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{AdapterConfig, Targets};
    use crate::llama::Room;
    use crate::{Adapter, Weights};
    use engine::{Cx, Weight};
    use formats::Rope;

    #[test]
    fn what_is_counted_is_what_a_room_holds() {
        let d = Dims {
            vocab: 40,
            hidden: 24,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 6,
            intermediate: 20,
            rms_eps: 1e-5,
            context: 64,
            window: None,
            tied: true,
            rope_theta: 1e4,
            rope: Rope::Plain,
        };
        let cx = Cx::new(1).unwrap();
        let embed = Weight::pack(&cx, &vec![0.0; 40 * 24], 40, 24);
        let weights = Weights { dims: d.clone(), embed, head: None, norm: Vec::new(), layers: Vec::new() };
        let adapter = Adapter::new(&d, AdapterConfig::new(3, 6.0, Targets::AllLinear), 1).unwrap();
        for (tokens, targets, positions) in [(11, 5, 9), (3, 7, 3), (600, 300, 64)] {
            let limits = Limits { tokens, targets, positions };
            let held = Room::new(&weights, &adapter, limits).bytes() + 4 * 6 * positions;
            assert_eq!(buffers(&d, &adapter.places, limits).iter().map(|b| b.bytes).sum::<usize>(), held, "{limits:?}");
        }
    }
}
