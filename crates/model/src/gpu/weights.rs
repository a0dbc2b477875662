//! The frozen weights on the GPU, each with the adapter of its group around it.
//!
//! A group of layers that share an input is one matrix W (outputs, inputs). Its adapter lies in the same buffer: the scaled
//! B of every module as columns behind W's, the A of every module as rows below them,
//!
//! ```text
//!        inputs   pad
//!      ┌────────┬─────┐
//!      │   W    │ s·B │ outputs
//!      ├────────┼─────┤
//!      │   A    │  0  │ pad
//!      └────────┴─────┘
//! ```
//!
//! so with u = x·Aᵀ behind each row of x, x·Wᵀ + u·(s·B)ᵀ is one product; and with v = dy·(s·B) behind each row of dy,
//! dy·W + v·A is another. B's columns of a module are zero in the rows of the others.
//!
//! A quantised W is decoded to such a buffer, one for all, whenever it is multiplied. In 8-bit floats W is multiplied as it is,
//! by its input quantised row by row; then the adapter is a second product, in bfloat16.

use crate::gpu::wide::Wide;
use crate::modules::{self, GATE_UP, has_bias, inputs, members, norm_width, shape};
use crate::{Dims, Places};
use engine::cuda::product::{Mat, More, Write, product, product_more};
use engine::cuda::{Arena, Buffer, Gpu, Rows, bf16};
use engine::ops::fp8::{self, Quantised};
use engine::ops::route::gpu::STEP;
use engine::ops::rows::{self, Spread};
use engine::ops::unpack::{self, Nf4, Scales};
use engine::ops::{rmsnorm, swiglu};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How the matrices of the layers are held. Embedding and head are bfloat16, norms float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// bfloat16.
    Bf16,
    /// NF4, its scales quantised too.
    Nf4,
    /// int8 with a scale a row.
    Int8,
    /// 8-bit floats with a scale a row, multiplied as such.
    Fp8,
}

/// Rows of an 8-bit product are a multiple of this: those beyond are computed and not read.
pub(crate) const ROWS: usize = 16;

/// A matrix that 8-bit products cannot take, if there is one: (outputs, inputs).
pub(crate) fn no_eight(d: &Dims) -> Option<(usize, usize)> {
    let fits = |n: usize, most: usize| n.is_multiple_of(ROWS) && n <= most;
    let all = (0..modules::groups(d)).map(|g| (g, members(g).map(|i| shape(d, i).0).sum::<usize>(), inputs(d, g)));
    // Gradients of gate and up are quantised by halves, as the activation's way back makes them; those of experts are not.
    let most = |g: usize| if g == GATE_UP && d.experts.is_none() { 2 * fp8::WIDTH_MAX } else { fp8::WIDTH_MAX };
    all.filter(|&(g, outputs, inputs)| !fits(outputs, most(g)) || !fits(inputs, fp8::WIDTH_MAX)).map(|(_, o, i)| (o, i)).next()
}

/// Columns of a group's update: the sum of its ranks, up to the next multiple of what a vector load takes.
pub(crate) fn padded(ranks: usize) -> usize {
    ranks.next_multiple_of(8)
}

/// What all quantised matrices share: where they are decoded to, or where their operands are quantised to.
#[derive(Clone)]
pub(crate) struct Desk {
    pub whole: Buffer<bf16>, // the largest W and its adapter, where W is decoded
    pub q: Buffer<u8>,       // (rows, widest operand), in 8 bits
    pub scales: Buffer<f32>, // (rows)
    pub turned: Buffer<u8>,  // the transpose of the largest W, in 8 bits
    pub ones: Buffer<f32>,   // (widest input): scales of the transpose's rows
    holds: Arc<AtomicUsize>, // whose W and adapter lie in `whole`, counted from 1
}

/// W as it is held.
pub(crate) enum Held {
    /// In bfloat16 with the adapter around it.
    Around(Buffer<bf16>),
    /// Quantised: modules one below the other, decoded into a desk.
    Coded(Vec<(Range<usize>, Coded)>),
    /// In 8-bit floats (outputs, inputs) with a scale a row, and the adapter's A and B.
    Fp8 { w: Buffer<u8>, scales: Buffer<f32>, a: Buffer<bf16>, b: Buffer<bf16> },
}

/// A quantised matrix.
pub(crate) enum Coded {
    Nf4(Nf4),
    Int8(Buffer<u8>, Buffer<f32>),
}

/// The linear layers of a group, joined, with their adapter.
pub(crate) struct Linear {
    pub outputs: usize,
    pub inputs: usize,
    /// Ranks of all modules together, padded.
    pub pad: usize,
    pub held: Held,
    pub bias: Option<Buffer<bf16>>,
    /// Brings the adapter to the desk.
    pub adapter: Option<Spread>,
    pub desk: Desk,
    /// Its number among all, from 1.
    number: usize,
}

/// One layer.
pub(crate) struct Layer {
    /// In the order of [`modules::QKV`] to [`modules::DOWN`], and on with those of further experts.
    pub groups: Vec<Linear>,
    /// In the order of [`modules::norm`].
    pub norms: Vec<Buffer<f32>>,
    /// The router (experts, hidden); empty without experts.
    pub router: Buffer<f32>,
}

/// All frozen weights.
pub(crate) struct Weights {
    pub layers: Vec<Layer>,
    pub embed: Buffer<bf16>,
    pub head: Buffer<bf16>,
    pub norm: Buffer<f32>,
}

impl Linear {
    fn take(arena: &mut Arena, d: &Dims, places: &Places, hold: Hold, desk: &Desk, l: usize, g: usize) -> Linear {
        let outputs: usize = members(g).map(|i| shape(d, i).0).sum();
        let (inputs, pad) = (inputs(d, g), padded(places.ranks(l, g)));
        let held = match hold {
            Hold::Bf16 => Held::Around(arena.take("weights", "bfloat16, with the adapter around each", (outputs + pad) * (inputs + pad))),
            Hold::Fp8 => Held::Fp8 {
                w: arena.take("weights", "8-bit floats, with a scale a row", outputs * inputs),
                scales: arena.take("weights", "8-bit floats, with a scale a row", outputs),
                a: arena.take("adapter", "rounded for products", pad * inputs),
                b: arena.take("adapter", "rounded for products", outputs * pad),
            },
            Hold::Nf4 | Hold::Int8 => {
                let mut first = 0;
                let mut module = |rows: usize| {
                    let range = first..first + rows;
                    first += rows;
                    (range, Coded::take(arena, hold, rows, inputs))
                };
                // As they lie on disk: a fused projection is one matrix.
                Held::Coded(modules::on_disk(d, l, g).iter().map(|m| module(m.linears.clone().map(|i| shape(d, i).0).sum())).collect())
            }
        };
        let bias = has_bias(d, members(g).start).then(|| arena.take("biases", "bfloat16", outputs));
        Linear { outputs, inputs, pad, held, bias, adapter: None, desk: desk.clone(), number: modules::groups(d) * l + g + 1 }
    }

    /// The buffer of W with its adapter around it, and from row to row of it.
    fn whole(&self) -> (&Buffer<bf16>, usize) {
        match &self.held {
            Held::Around(whole) => (whole, self.inputs + self.pad),
            _ => (&self.desk.whole, self.inputs + self.pad),
        }
    }

    fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Rows {
        let (whole, stride) = self.whole();
        whole.part(rows.start * stride..rows.end * stride).rows(rows.len(), columns.start, columns.len(), stride)
    }

    /// Rows of W, where it is bfloat16 or decoded.
    pub fn w(&self, rows: Range<usize>) -> Rows {
        self.part(rows, 0..self.inputs)
    }

    /// Everything around W.
    pub fn around(&self) -> [Rows; 2] {
        let all = self.outputs + self.pad;
        [self.part(0..all, self.inputs..self.inputs + self.pad), self.part(self.outputs..all, 0..self.inputs)]
    }

    /// Where the A of the update's columns `ranks` lies: a row of `inputs` for each.
    pub fn a(&self, ranks: Range<usize>) -> Rows {
        match &self.held {
            Held::Fp8 { a, .. } => {
                a.part(ranks.start * self.inputs..ranks.end * self.inputs).rows(ranks.len(), 0, self.inputs, self.inputs)
            }
            _ => self.part(self.outputs + ranks.start..self.outputs + ranks.end, 0..self.inputs),
        }
    }

    /// Where the update's columns `ranks` of B's rows `rows` lie.
    pub fn b(&self, rows: Range<usize>, ranks: Range<usize>) -> Rows {
        match &self.held {
            Held::Fp8 { b, .. } => b.part(rows.start * self.pad..rows.end * self.pad).rows(rows.len(), ranks.start, ranks.len(), self.pad),
            _ => self.part(rows, self.inputs + ranks.start..self.inputs + ranks.end),
        }
    }

    /// Decodes W, where it is quantised and not on the desk yet, for the products that follow.
    pub fn ready(&self, gpu: &Gpu) {
        let Held::Coded(modules) = &self.held else { return };
        if self.desk.holds.swap(self.number, Ordering::Relaxed) == self.number {
            return;
        }
        for (range, coded) in modules {
            let to = self.part(range.clone(), 0..self.inputs);
            match coded {
                Coded::Nf4(w) => unpack::nf4(gpu, to, w),
                Coded::Int8(codes, scales) => unpack::int8(gpu, to, codes, scales),
            }
        }
        if let Some(adapter) = &self.adapter {
            self.around().into_iter().for_each(|around| rows::zero(gpu, around));
            adapter.run(gpu);
        }
    }

    /// u = x·Aᵀ behind each row of `x`.
    pub fn inside(&self, gpu: &Gpu, x: &Wide, n: usize) {
        self.inside_of(gpu, x, x.own(n), n);
    }

    /// The same with another x in place of the rows' own.
    pub fn inside_of(&self, gpu: &Gpu, rows: &Wide, x: Rows, n: usize) {
        self.ready(gpu);
        if self.pad > 0 {
            product(gpu, rows.inside(n, self.pad).into(), Write::Set, x.into(), Mat::from(self.a(0..self.pad)).t());
        }
    }

    /// The norm that makes this group's input, on the desk too where that is quantised.
    pub fn normed(&self, gpu: &Gpu, to: Rows, r: &Buffer<f32>, x: Rows, norm: &Buffer<f32>, eps: f32) {
        match self.held {
            Held::Fp8 { .. } => fp8::rmsnorm(gpu, self.desk.quantised(), to, r, x, norm, eps),
            _ => rmsnorm::gpu::forward(gpu, to, r, x, norm, eps),
        }
    }

    /// The activation that makes this group's input, likewise.
    pub fn activated(&self, gpu: &Gpu, to: Rows, gate_up: Rows) {
        match self.held {
            Held::Fp8 { .. } => fp8::swiglu(gpu, self.desk.quantised(), to, gate_up),
            _ => swiglu::gpu::forward(gpu, to, gate_up),
        }
    }

    /// The way back through the activation, which makes the gradient of this group's output, likewise.
    pub fn activated_backward(&self, gpu: &Gpu, gate_up: Rows, dh: Rows) {
        match &self.held {
            Held::Fp8 { scales, .. } => fp8::swiglu_backward(gpu, self.desk.quantised(), gate_up, dh, scales),
            _ => swiglu::gpu::backward(gpu, gate_up, dh),
        }
    }

    /// y = x·Wᵀ + u·(s·B)ᵀ + bias, u behind each row of `x`; `made` where x was made by [`Linear::normed`] or
    /// [`Linear::activated`].
    pub fn forward(&self, gpu: &Gpu, y: Rows, write: Write, x: &Wide, n: usize, made: bool) {
        let more = More { bias: self.bias.as_ref().map(Buffer::address), ..More::default() };
        let Held::Fp8 { w, scales, .. } = &self.held else {
            let w = Mat::from(self.part(0..self.outputs, 0..self.inputs + self.pad));
            return product_more(gpu, y.into(), write, x.both(n, self.pad).into(), w.t(), more);
        };
        let (mut write, b) = (write, Mat::from(self.b(0..self.outputs, 0..self.pad)));
        if self.pad > 0 {
            // The update first: the 8-bit product, which is bound by arithmetic, then reads it for nothing.
            product(gpu, y.into(), write, x.inside(n, self.pad).into(), b.t());
            write = Write::Add;
        }
        let all = n.next_multiple_of(ROWS);
        let q = self.quantised(gpu, x.own(n), None, made);
        let more = More { scales: Some((self.desk.scales.address(), scales.address())), ..more };
        let write = match write {
            Write::Plus(c) => Write::Plus(c.with_rows(all)),
            other => other,
        };
        product_more(gpu, Mat::from(y).with_rows(all), write, q, Mat::new(w, self.outputs, self.inputs).t(), more);
    }

    /// y = x·Wᵀ + bias, as if there were no adapter; not of 8-bit floats.
    pub fn plain(&self, gpu: &Gpu, y: Rows, write: Write, x: &Wide, n: usize) {
        let more = More { bias: self.bias.as_ref().map(Buffer::address), ..More::default() };
        let w = Mat::from(self.part(0..self.outputs, 0..self.inputs));
        product_more(gpu, y.into(), write, x.own(n).into(), w.t(), more);
    }

    /// Some of the outputs without their bias, where W is bfloat16 or decoded.
    pub fn some(&self, gpu: &Gpu, y: Rows, outputs: Range<usize>, x: &Wide, n: usize) {
        let w = Mat::from(self.part(outputs, 0..self.inputs + self.pad));
        product(gpu, y.into(), Write::Set, x.both(n, self.pad).into(), w.t());
    }

    /// v = dy·(s·B) behind each row of `dy`.
    pub fn inside_back(&self, gpu: &Gpu, dy: &Wide, n: usize) {
        self.ready(gpu);
        if self.pad > 0 {
            let b = self.b(0..self.outputs, 0..self.pad);
            product(gpu, dy.inside(n, self.pad).into(), Write::Set, dy.own(n).into(), b.into());
        }
    }

    /// dx = dy·W + v·A, v behind each row of `dy`; `made` where dy was made by [`Linear::activated_backward`].
    pub fn backward(&self, gpu: &Gpu, dx: Rows, dy: &Wide, n: usize, made: bool) {
        self.back(gpu, dx, dy, (n, self.pad), made);
    }

    /// dx = dy·W alone.
    pub fn backward_base(&self, gpu: &Gpu, dx: Rows, dy: &Wide, n: usize, made: bool) {
        self.back(gpu, dx, dy, (n, 0), made);
    }

    /// dx = v·A alone.
    pub fn backward_inside(&self, gpu: &Gpu, dx: Rows, dy: &Wide, n: usize) {
        product(gpu, dx.into(), Write::Set, dy.inside(n, self.pad).into(), self.a(0..self.pad).into());
    }

    /// dx through W and the first `pad` columns behind the `n` rows of `dy`.
    fn back(&self, gpu: &Gpu, dx: Rows, dy: &Wide, (n, pad): (usize, usize), made: bool) {
        let Held::Fp8 { w, scales, .. } = &self.held else {
            let w = self.part(0..self.outputs + pad, 0..self.inputs);
            return product(gpu, dx.into(), Write::Set, dy.both(n, pad).into(), w.into());
        };
        // The scales of W's rows are in the sum: they are multiplied into dy before it is quantised.
        let q = self.quantised(gpu, dy.own(n), Some(scales), made);
        fp8::transpose(gpu, &self.desk.turned, w, (self.outputs, self.inputs));
        let w = Mat::new(&self.desk.turned, self.inputs, self.outputs);
        let more = More { scales: Some((self.desk.scales.address(), self.desk.ones(self.inputs))), ..More::default() };
        let mut write = Write::Set;
        if pad > 0 {
            product(gpu, dx.into(), write, dy.inside(n, pad).into(), self.a(0..pad).into());
            write = Write::Add;
        }
        product_more(gpu, Mat::from(dx).with_rows(q.rows), write, q, w.t(), more);
    }

    /// Rows in 8-bit floats on the desk, where they may lie already, and some more behind them.
    fn quantised(&self, gpu: &Gpu, x: Rows, by: Option<&Buffer<f32>>, made: bool) -> Mat {
        if !made {
            fp8::quantise(gpu, self.desk.quantised(), x, by);
        }
        Mat::new(&self.desk.q, x.rows.next_multiple_of(ROWS), x.width)
    }
}

impl Coded {
    fn take(arena: &mut Arena, hold: Hold, rows: usize, inputs: usize) -> Coded {
        let n = rows * inputs;
        if hold == Hold::Int8 {
            let scales = arena.take("weights", "int8, with a scale a row", rows);
            return Coded::Int8(arena.take("weights", "int8, with a scale a row", n), scales);
        }
        let why = "NF4, its scales quantised too";
        let blocks = n.div_ceil(BLOCK);
        Coded::Nf4(Nf4 {
            packed: arena.take("weights", why, n.div_ceil(2)),
            scales: Scales::Double {
                codes: arena.take("weights", why, blocks),
                absmax: arena.take("weights", why, blocks.div_ceil(NESTED)),
                map: arena.take("weights", why, 256),
                offset: 0.0,
                nested: NESTED,
            },
            block: BLOCK,
        })
    }
}

/// Elements of NF4 that share a scale, and scales that share one: bitsandbytes' own.
pub(crate) const BLOCK: usize = 64;
pub(crate) const NESTED: usize = 256;

impl Desk {
    /// Takes what `hold` needs for micro-batches of `most` rows.
    fn take(arena: &mut Arena, d: &Dims, places: &Places, hold: Hold, most: usize) -> Desk {
        let most = if d.experts.is_some() { most.next_multiple_of(STEP) } else { most };
        let sizes = (0..d.layers).flat_map(|l| (0..modules::groups(d)).map(move |g| (l, g))).map(|(l, g)| {
            let outputs: usize = members(g).map(|i| shape(d, i).0).sum();
            (outputs, inputs(d, g), padded(places.ranks(l, g)))
        });
        let most_of = |f: fn((usize, usize, usize)) -> usize| sizes.clone().map(f).max().unwrap_or(0);
        let (coded, eight) = (usize::from(matches!(hold, Hold::Nf4 | Hold::Int8)), usize::from(hold == Hold::Fp8));
        let rows = eight * most.next_multiple_of(ROWS);
        Desk {
            whole: arena.take("decoded weight", "one for all, with its adapter around it", coded * most_of(|(o, i, p)| (o + p) * (i + p))),
            q: arena.take("8-bit operand", "one for all", rows * most_of(|(o, i, _)| o.max(i))),
            scales: arena.take("8-bit operand", "one for all", rows),
            turned: arena.take("turned weight", "one for all, for the way back", eight * most_of(|(o, i, _)| o * i)),
            ones: arena.take("8-bit operand", "one for all", eight * most_of(|(_, i, _)| i)),
            holds: Arc::default(),
        }
    }

    fn quantised(&self) -> Quantised<'_> {
        Quantised { q: &self.q, scales: &self.scales }
    }

    fn ones(&self, n: usize) -> u64 {
        self.ones.part(0..n).address()
    }
}

impl Weights {
    /// Takes the buffers, of arbitrary contents, for micro-batches of `most` rows.
    pub fn take(arena: &mut Arena, d: &Dims, places: &Places, hold: Hold, most: usize) -> Weights {
        let mut table = || arena.take("embedding and head", "bfloat16", d.vocab * d.hidden);
        let embed = table();
        // Where one of two tied tables is trained beside an adapter, the other stays as it was.
        let apart = !places.is_model() && (places.embed().is_some() || places.head().is_some());
        let head = if d.tied && !apart { embed.clone() } else { table() };
        let last = arena.take("norms", "float32", d.hidden);
        let desk = Desk::take(arena, d, places, hold, most);
        let mut layers = Vec::with_capacity(d.layers);
        for l in 0..d.layers {
            let norms = (0..modules::norms(d)).map(|which| arena.take("norms", "float32", norm_width(d, which))).collect();
            let groups = (0..modules::groups(d)).map(|g| Linear::take(arena, d, places, hold, &desk, l, g)).collect();
            let router = arena.take("router", "float32", d.experts.as_ref().map_or(0, |e| e.count * d.hidden));
            layers.push(Layer { groups, norms, router });
        }
        Weights { layers, embed, head, norm: last }
    }

    /// What is decoded no longer has the adapter as it is.
    pub fn forget(&self) {
        if let Some(layer) = self.layers.first() {
            layer.groups[0].desk.holds.store(0, Ordering::Relaxed);
        }
    }

    /// All groups of all layers.
    pub fn groups(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.layers.iter_mut().flat_map(|l| &mut l.groups)
    }
}
