//! DoRA on the GPU: how long the rows of W + s·B·A are, and what brings each to its magnitude.

use crate::gpu::weights::{Linear, Weights, padded};
use crate::gpu::wide::Wide;
use crate::modules::{DOWN, OUT, members, shape};
use crate::room::Limits;
use crate::{Dims, Error, Places};
use engine::cuda::product::{Mat, Write, product};
use engine::cuda::{Arena, Buffer, Gpu, Rows, bf16};
use engine::ops::dora::gpu::{self as dora, Parts};
use std::ops::Range;

/// A module with magnitudes.
struct Member {
    rows: Range<usize>,    // of its group's outputs
    columns: Range<usize>, // of the group's ranks
    magnitude: usize,      // where they begin in the flat vector
}

/// A group whose outputs are scaled.
struct Scaled {
    members: Vec<Member>,
    squares: Buffer<f32>, // (outputs): |W_j|²
    lengths: Buffer<f32>, // (outputs): |W_j + s (B·A)_j|
    factors: Buffer<f32>, // (outputs): magnitude over length; 1 where there is no magnitude
}

/// Everything that DoRA needs: empty without it.
pub(crate) struct Dora {
    groups: Vec<Option<Scaled>>,
    p: Buffer<f32>,        // W·Aᵀ of one group
    gram: Buffer<f32>,     // A·Aᵀ of one group
    scratch: Buffer<f32>,  // sums of a chunk of outputs
    chunk: usize,          // outputs that are made again at a time
    between: Buffer<bf16>, // (rows, hidden): outputs before they are scaled
    scaled: Wide,          // (rows, hidden): a gradient of the residual stream, scaled
}

impl Dora {
    /// Takes the buffers, of arbitrary contents.
    pub fn take(arena: &mut Arena, d: &Dims, places: &Places, limits: Limits) -> Dora {
        let any = usize::from(places.is_dora());
        let all = || (0..d.layers).flat_map(|l| (0..4).map(move |g| (l, g)));
        let outputs = |g: usize| members(g).map(|i| shape(d, i).0).sum::<usize>();
        let pad = |l: usize, g: usize| padded(places.ranks(l, g));
        let (p, gram) = all().fold((0, 0), |(p, gram), (l, g)| (p.max(outputs(g) * pad(l, g)), gram.max(pad(l, g).pow(2))));
        let beside = all().filter(|(_, g)| [OUT, DOWN].contains(g)).map(|(l, g)| pad(l, g)).max().unwrap_or(0);
        let rows = any * limits.tokens.max(limits.targets);
        let groups = all().map(|(l, g)| Scaled::take(arena, d, places, l, g)).collect();
        Dora {
            groups,
            p: arena.take("lengths", "what they are made of", any * p),
            gram: arena.take("lengths", "what they are made of", any * gram),
            scratch: arena.take("sums of rows", "of gradients of magnitudes", any * dora::scratch(d.hidden)),
            chunk: d.hidden,
            between: arena.take("unscaled", "outputs before DoRA's factors", rows * d.hidden),
            scaled: Wide::take(arena, "scaled", "a gradient times DoRA's factors", rows, d.hidden, beside),
        }
    }

    fn group(&self, (l, g): (usize, usize)) -> Option<&Scaled> {
        self.groups[4 * l + g].as_ref()
    }

    /// Whether it scales the outputs of a group.
    pub fn scales(&self, at: (usize, usize)) -> bool {
        self.group(at).is_some()
    }

    /// Measures W, which stays as it is.
    ///
    /// # Errors
    /// When a copy fails.
    pub fn begin(&self, gpu: &Gpu, weights: &Weights) -> Result<(), Error> {
        for (s, linear) in self.scaled_groups(weights) {
            // Outputs without magnitudes stay as they are.
            let ones = vec![1f32; linear.outputs];
            s.lengths.write(&ones)?;
            s.factors.write(&ones)?;
            linear.ready(gpu);
            dora::squares(gpu, &s.squares, linear.w(0..linear.outputs));
        }
        Ok(())
    }

    fn scaled_groups<'a>(&'a self, weights: &'a Weights) -> impl Iterator<Item = (&'a Scaled, &'a Linear)> {
        let linears = weights.layers.iter().flat_map(|l| &l.groups);
        self.groups.iter().zip(linears).filter_map(|(s, linear)| s.as_ref().map(|s| (s, linear)))
    }

    /// The lengths as the adapter is now, which lies around W already, and the factors for `params`' magnitudes.
    pub fn measure(&self, gpu: &Gpu, weights: &Weights, params: &Buffer<f32>) {
        for (s, linear) in self.scaled_groups(weights) {
            linear.ready(gpu);
            let pad = linear.pad;
            let (w, a) = (linear.w(0..linear.outputs), Mat::from(linear.a(0..pad)));
            product(gpu, Mat::new(&self.p, linear.outputs, pad), Write::Set, w.into(), a.t());
            product(gpu, Mat::new(&self.gram, pad, pad), Write::Set, a, a.t());
            for Member { rows, columns, magnitude } in &s.members {
                let parts = Parts {
                    squares: &s.squares.part(rows.clone()),
                    p: &self.p.part(rows.start * pad + columns.start..linear.outputs * pad),
                    stride: pad,
                    gram: &self.gram.part(columns.start * (pad + 1)..pad * pad),
                    b: linear.b(rows.clone(), columns.clone()),
                };
                let m = params.part(*magnitude..magnitude + rows.len());
                dora::factors(gpu, &s.lengths.part(rows.clone()), &s.factors.part(rows.clone()), &m, parts);
            }
        }
    }

    /// y = c·(x·Wᵀ + u·(s·B)ᵀ) + bias, u behind each row of `x`; plus what `plus` holds. Without magnitudes c is 1, and whether x was
    /// made as [`Linear::forward`] asks counts.
    pub fn forward(
        &self,
        gpu: &Gpu,
        at: (usize, usize),
        group: &Linear,
        (y, plus): (Rows, Option<Rows>),
        (x, made): (&Wide, bool),
        n: usize,
    ) {
        let Some(s) = self.group(at) else {
            return group.forward(gpu, y, plus.map_or(Write::Set, |plus| Write::Plus(plus.into())), x, n, made);
        };
        let y0 = if plus.is_some() { self.between.rows(n, 0, y.width, y.width) } else { y };
        group.some(gpu, y0, 0..group.outputs, x, n);
        dora::forward(gpu, y, y0, &s.factors, plus, group.bias.as_ref());
    }

    /// The gradient of a group's outputs before they were scaled, from `dy`, and those of the magnitudes, added to `grads`. `x` is the
    /// group's input with u behind each row. The gradient of the residual stream goes on as it is: another takes its place here.
    pub fn backward<'a>(
        &'a self,
        gpu: &Gpu,
        at: (usize, usize),
        group: &Linear,
        dy: &'a Wide,
        x: &Wide,
        n: usize,
        grads: &Buffer<f32>,
    ) -> &'a Wide {
        let Some(s) = self.group(at) else { return dy };
        group.ready(gpu);
        for Member { rows, magnitude, .. } in &s.members {
            for from in rows.clone().step_by(self.chunk) {
                let some = from..rows.end.min(from + self.chunk);
                let y0 = self.between.rows(n, 0, some.len(), some.len());
                group.some(gpu, y0, some.clone(), x, n);
                let at = magnitude + from - rows.start;
                let dm = grads.part(at..at + some.len());
                dora::magnitudes(gpu, &dm, dy.own(n).columns(some.clone()), y0, &s.lengths.part(some), &self.scratch);
            }
        }
        let to = if [OUT, DOWN].contains(&at.1) { &self.scaled } else { dy };
        dora::forward(gpu, to.own(n), dy.own(n), &s.factors, None, None);
        to
    }
}

impl Scaled {
    fn take(arena: &mut Arena, d: &Dims, places: &Places, l: usize, g: usize) -> Option<Scaled> {
        let (mut first, mut all) = (0, Vec::new());
        for i in members(g) {
            let (slot, outputs) = (places.slot(l, i), shape(d, i).0);
            let rows = first..first + outputs;
            first += outputs;
            all.extend(slot.magnitude.map(|magnitude| Member { rows, columns: slot.column..slot.column + slot.rank, magnitude }));
        }
        let mut outputs = || arena.take("lengths", "of the rows of weights, and their factors", first);
        (!all.is_empty()).then(|| Scaled { members: all, squares: outputs(), lengths: outputs(), factors: outputs() })
    }
}
