//! What is trained, on the GPU: parameters, moments and gradients as one flat vector each, laid out as on the CPU.

use crate::gpu::weights::{Held, Linear, Weights};
use crate::modules::{self, inputs, members, shape};
use crate::places::Slot;
use crate::{Dims, Places};
use engine::cuda::{Arena, Buffer, Error, Gpu, Rows};
use engine::ops::linear::gpu::{Gradient, Shares, TOGETHER, gradients};
use engine::ops::rows::{Entry, Spread};
use std::sync::Arc;

/// Flat vectors of float32, and where the parts of each group lie in them.
pub(crate) struct Trained {
    pub params: Buffer<f32>,
    pub m: Buffer<f32>,
    pub v: Buffer<f32>,
    pub grads: Buffer<f32>,
    pub shares: Shares,
    groups: Vec<Group>,
    per_layer: usize,
}

/// One group of a layer: its modules' places.
struct Group {
    slots: Vec<(Slot, std::ops::Range<usize>)>, // and the rows of W that they are
    ranks: usize,
    inputs: usize,
}

/// The gradients of a group.
pub(crate) struct Grads<'a> {
    group: &'a Group,
    grads: &'a Buffer<f32>,
    shares: &'a Shares,
}

impl Trained {
    /// Takes the vectors, of arbitrary contents; empty ones where all weights are trained, which [`crate::gpu::whole`] does.
    pub fn take(arena: &mut Arena, d: &Dims, places: &Places) -> Trained {
        let len = if places.is_model() { 0 } else { places.len() };
        Trained::with(arena, d, places, len, len)
    }

    /// The parameters alone: what answers need.
    pub fn take_to_answer(arena: &mut Arena, d: &Dims, places: &Places) -> Trained {
        Trained::with(arena, d, places, places.len(), 0)
    }

    /// `len` parameters, and moments and a gradient of `rest` values.
    fn with(arena: &mut Arena, d: &Dims, places: &Places, len: usize, rest: usize) -> Trained {
        let params = arena.take("trained", "float32", len);
        let mut vector = |name, why| arena.take(name, why, rest);
        let m = vector("moments", "float32, of the optimizer");
        let (v, grads) = (vector("moments", "float32, of the optimizer"), vector("gradient", "float32"));
        let group = |l: usize, g: usize| {
            let (mut first, mut slots) = (0, Vec::new());
            for i in members(g) {
                let rows = shape(d, i).0;
                slots.push((places.slot(l, i), first..first + rows));
                first += rows;
            }
            slots.retain(|(s, _)| s.rank > 0);
            Group { slots, ranks: places.ranks(l, g), inputs: inputs(d, g) }
        };
        let groups = (0..d.layers).flat_map(|l| (0..modules::groups(d)).map(move |g| (l, g))).map(|(l, g)| group(l, g)).collect();
        Trained { params, m, v, grads, shares: Shares::take(arena), groups, per_layer: modules::groups(d) }
    }

    /// The gradients of group `g` of layer `l`.
    pub fn group(&self, l: usize, g: usize) -> Grads<'_> {
        Grads { group: &self.groups[self.per_layer * l + g], grads: &self.grads, shares: &self.shares }
    }

    /// What brings the adapter, rounded and scaled, and what else is trained to where products read it: after each step, or
    /// group by group where the weights are decoded.
    ///
    /// # Errors
    /// Too little memory.
    pub fn spread(&self, gpu: &Arc<Gpu>, weights: &mut Weights, beside: Vec<Entry>) -> Result<Spread, Error> {
        let mut all = beside;
        for (group, linear) in self.groups.iter().zip(weights.groups()) {
            let entries = self.entries(group, linear);
            match &linear.held {
                Held::Coded(_) if !entries.is_empty() => linear.adapter = Some(Spread::new(gpu, &entries)?),
                _ => all.extend(entries),
            }
        }
        Spread::new(gpu, &all)
    }

    fn entries(&self, group: &Group, linear: &Linear) -> Vec<Entry> {
        let Some((first, _)) = group.slots.first() else { return Vec::new() };
        let x = self.params.part(first.a..first.a + group.ranks * group.inputs);
        let mut all = vec![Entry { out: linear.a(0..group.ranks), x, scale: 1.0 }];
        for (s, rows) in &group.slots {
            let x = self.params.part(s.b..s.b + rows.len() * s.rank);
            all.push(Entry { out: linear.b(rows.clone(), s.column..s.column + s.rank), x, scale: s.scale });
        }
        all
    }
}

impl Grads<'_> {
    /// dA += vᵀ·x, and dB += s·dyᵀ·u of every module, from rows of all outputs, all inputs and all ranks of the group.
    pub fn add(&self, gpu: &Gpu, (dy, u): (Rows, Rows), (v, x): (Rows, Rows)) {
        let Some((first, _)) = self.group.slots.first() else { return };
        let ranks = self.group.ranks;
        let da = self.grads.part(first.a..first.a + ranks * self.group.inputs);
        let parts: Vec<_> = self.group.slots.iter().map(|(s, rows)| self.grads.part(s.b..s.b + rows.len() * s.rank)).collect();
        let mut all = vec![Gradient { y: x, u: v, columns: 0..ranks, out: &da, turned: true, scale: 1.0 }];
        all.extend(self.group.slots.iter().zip(&parts).map(|((s, rows), out)| Gradient {
            y: dy.columns(rows.clone()),
            u,
            columns: s.column..s.column + s.rank,
            out,
            turned: false,
            scale: s.scale,
        }));
        all.chunks(TOGETHER).for_each(|some| gradients(gpu, self.shares, some));
    }
}
