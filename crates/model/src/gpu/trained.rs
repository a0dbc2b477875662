//! What is trained, on the GPU: parameters, moments and gradients as one flat vector each, laid out as on the CPU.

use crate::gpu::weights::{Held, Linear, Weights};
use crate::modules::{groups, inputs, members, shape};
use crate::places::Slot;
use crate::{Dims, Places};
use engine::cuda::product::{Mat, More, Write, product, product_more};
use engine::cuda::{Arena, Buffer, Error, Gpu, Rows};
use engine::ops::rows::{Entry, Spread};
use std::sync::Arc;

/// Flat vectors of float32, and where the parts of each group lie in them.
pub(crate) struct Trained {
    pub params: Buffer<f32>,
    pub m: Buffer<f32>,
    pub v: Buffer<f32>,
    pub grads: Buffer<f32>,
    groups: Vec<Group>,
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
}

impl Trained {
    /// Takes the vectors, of arbitrary contents.
    pub fn take(arena: &mut Arena, d: &Dims, places: &Places) -> Trained {
        let mut vector = |name, why| arena.take(name, why, places.len());
        let (params, m) = (vector("trained", "float32"), vector("moments", "float32, of the optimizer"));
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
        let groups = (0..d.layers).flat_map(|l| (0..groups(d)).map(move |g| (l, g))).map(|(l, g)| group(l, g)).collect();
        Trained { params, m, v, grads, groups }
    }

    /// The gradients of group `g` of layer `l`.
    pub fn group(&self, l: usize, g: usize) -> Grads<'_> {
        Grads { group: &self.groups[4 * l + g], grads: &self.grads }
    }

    /// What brings the adapter, rounded and scaled, to where products read it: after each step, or group by group where the
    /// weights are decoded.
    ///
    /// # Errors
    /// Too little memory.
    pub fn spread(&self, gpu: &Arc<Gpu>, weights: &mut Weights) -> Result<Spread, Error> {
        let mut all = Vec::new();
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
    /// dA += vᵀ·x.
    pub fn a(&self, gpu: &Gpu, v: Rows, x: Rows) {
        let Some((first, _)) = self.group.slots.first() else { return };
        let da = self.grads.part(first.a..first.a + self.group.ranks * self.group.inputs);
        let v = Mat::from(v.columns(0..self.group.ranks));
        product(gpu, Mat::new(&da, self.group.ranks, self.group.inputs), Write::Add, v.t(), x.into());
    }

    /// dB += s·dyᵀ·u of every module.
    pub fn b(&self, gpu: &Gpu, dy: Rows, u: Rows) {
        for (s, rows) in &self.group.slots {
            let db = self.grads.part(s.b..s.b + rows.len() * s.rank);
            let (dy, u) = (Mat::from(dy.columns(rows.clone())), Mat::from(u.columns(s.column..s.column + s.rank)));
            let more = More { alpha: Some(s.scale), ..More::default() };
            product_more(gpu, Mat::new(&db, rows.len(), s.rank), Write::Add, dy.t(), u, more);
        }
    }
}
