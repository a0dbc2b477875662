//! The frozen weights of a decoder, loaded once, in the form the products read.

use crate::{Dims, Error};
use engine::{Cx, Weight};

/// One decoder block. Names are those of the Hugging Face layout.
pub struct Layer {
    /// input_layernorm (hidden)
    pub norm1: Vec<f32>,
    /// q_proj (heads * head_dim, hidden)
    pub q: Weight,
    /// k_proj (kv_heads * head_dim, hidden)
    pub k: Weight,
    /// v_proj (kv_heads * head_dim, hidden)
    pub v: Weight,
    /// o_proj (hidden, heads * head_dim)
    pub o: Weight,
    /// post_attention_layernorm (hidden)
    pub norm2: Vec<f32>,
    /// gate_proj (intermediate, hidden)
    pub gate: Weight,
    /// up_proj (intermediate, hidden)
    pub up: Weight,
    /// down_proj (hidden, intermediate)
    pub down: Weight,
}

/// All frozen weights.
pub struct Weights {
    /// Sizes.
    pub dims: Dims,
    /// embed_tokens (vocab, hidden); also the head when tied.
    pub embed: Weight,
    /// lm_head (vocab, hidden), when it is its own.
    pub head: Option<Weight>,
    /// norm (hidden)
    pub norm: Vec<f32>,
    /// Blocks in order.
    pub layers: Vec<Layer>,
}

/// The linear layers of a block in our order: (name, its module path inside the block).
pub const LINEARS: [(&str, &str); 7] = [
    ("q_proj", "self_attn.q_proj"),
    ("k_proj", "self_attn.k_proj"),
    ("v_proj", "self_attn.v_proj"),
    ("o_proj", "self_attn.o_proj"),
    ("gate_proj", "mlp.gate_proj"),
    ("up_proj", "mlp.up_proj"),
    ("down_proj", "mlp.down_proj"),
];

/// (outputs, inputs) of linear layer number `i` of [`LINEARS`].
pub fn linear_shape(d: &Dims, i: usize) -> (usize, usize) {
    match i {
        0 => (d.q_width(), d.hidden),
        1 | 2 => (d.kv_width(), d.hidden),
        3 => (d.hidden, d.q_width()),
        4 | 5 => (d.intermediate, d.hidden),
        _ => (d.hidden, d.intermediate),
    }
}

/// The module path of linear `i` in block `layer`: `model.layers.3.mlp.up_proj`.
pub fn module(layer: usize, i: usize) -> String {
    format!("model.layers.{layer}.{}", LINEARS[i].1)
}

impl Weights {
    /// Reads and packs every weight; `progress(done, of)` counts tensors.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or is damaged.
    pub fn load(cx: &Cx, files: &formats::Weights, dims: &Dims, progress: &mut dyn FnMut(usize, usize)) -> Result<Weights, Error> {
        Weights::load_with(Weight::pack, cx, files, dims, progress)
    }

    /// As [`Weights::load`], with every matrix rounded to bfloat16; the norms stay as they are.
    ///
    /// # Errors
    /// As [`Weights::load`].
    pub fn load_rounded(cx: &Cx, files: &formats::Weights, dims: &Dims, progress: &mut dyn FnMut(usize, usize)) -> Result<Weights, Error> {
        Weights::load_with(Weight::pack_rounded, cx, files, dims, progress)
    }

    fn load_with(
        pack: fn(&Cx, &[f32], usize, usize) -> Weight,
        cx: &Cx,
        files: &formats::Weights,
        dims: &Dims,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Weights, Error> {
        let total = dims.layers * 9 + 3;
        let mut done = 0;
        let mut scratch = Vec::new();
        let vector = |name: &str, n: usize| -> Result<Vec<f32>, Error> {
            let mut out = vec![0f32; n];
            files.load_f32(name, &[n], &mut out)?;
            Ok(out)
        };
        let mut matrix = |name: &str, (outputs, inputs): (usize, usize)| -> Result<Weight, Error> {
            scratch.resize(outputs * inputs, 0.0);
            files.load_f32(name, &[outputs, inputs], &mut scratch)?;
            done += 1;
            progress(done, total);
            Ok(pack(cx, &scratch, outputs, inputs))
        };
        let embed = matrix("model.embed_tokens.weight", (dims.vocab, dims.hidden))?;
        let head = if dims.tied { None } else { Some(matrix("lm_head.weight", (dims.vocab, dims.hidden))?) };
        let mut layers = Vec::with_capacity(dims.layers);
        for l in 0..dims.layers {
            let mut linear = |i: usize| matrix(&format!("{}.weight", module(l, i)), linear_shape(dims, i));
            let [q, k, v, o] = [linear(0)?, linear(1)?, linear(2)?, linear(3)?];
            let [gate, up, down] = [linear(4)?, linear(5)?, linear(6)?];
            let norm1 = vector(&format!("model.layers.{l}.input_layernorm.weight"), dims.hidden)?;
            let norm2 = vector(&format!("model.layers.{l}.post_attention_layernorm.weight"), dims.hidden)?;
            layers.push(Layer { norm1, q, k, v, o, norm2, gate, up, down });
        }
        let norm = vector("model.norm.weight", dims.hidden)?;
        progress(total, total);
        Ok(Weights { dims: dims.clone(), embed, head, norm, layers })
    }

    /// The head's weight.
    pub fn head(&self) -> &Weight {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let layer = |l: &Layer| [&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down].iter().map(|w| w.bytes()).sum::<usize>();
        self.embed.bytes() + self.head.as_ref().map_or(0, Weight::bytes) + self.layers.iter().map(layer).sum::<usize>()
    }
}
