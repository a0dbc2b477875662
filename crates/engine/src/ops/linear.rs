//! Linear layers that share one input: each a weight, frozen or trained, with an optional LoRA update and bias.
//!
//! Forward    u = s * x·Aᵀ            y = x·Wᵀ + u·Bᵀ + bias  (Hu et al., "LoRA", 2021; s = alpha/r)
//! Backward   dB += dyᵀ·u             v = s * dy·B             dA += vᵀ·x        dx = sum of (dy·W + v·A)
//!            dW += dyᵀ·x             dbias += sum over rows of dy               (trained layers only)
//! Shapes     x, dx (rows, inputs)   W (outputs, inputs)   A (ranks, inputs), the updates' A under each other
//!            B (outputs, rank)   u, v (rows, ranks)   y, dy (rows, outputs)   bias (outputs)
//!            parts of one fused projection share A: their columns of u and v are the same
//! Writes     u, v overwritten; dA, dB, dW, dbias added to; y and dx set or added to, as the caller says.
//! Rounds     f32 products, k in fixed blocks (x and dy to bf16 where W is held so); the update is part of the same sum and of the same visit of a tile, so it costs no pass over y.
//! Moves      forward reads x once for u and once a member, W once; compute-bound.

pub mod gpu;

use crate::cpu::Cx;
use crate::cpu::for_rows;
use crate::cpu::gemm::{Mat, Rhs, Term, Weight, Write, product};
use crate::cpu::shared::Shared;
use crate::ops::bias;

/// A layer's own weight (outputs, inputs).
#[derive(Clone, Copy)]
pub enum Base<'a> {
    /// Packed once, never changed.
    Frozen(&'a Weight),
    /// Plain rows that the optimizer steps; packed at each call.
    Trained(&'a [f32]),
}

/// One linear layer of a group, or one part of a fused one.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// The weight.
    pub base: Base<'a>,
    /// Width of y.
    pub outputs: usize,
    /// (outputs), or empty.
    pub bias: &'a [f32],
    /// B (outputs, rank); empty when the layer has no adapter.
    pub b: &'a [f32],
    /// Rank of the adapter; 0 without one.
    pub rank: usize,
    /// Its first column of u and v.
    pub column: usize,
    /// alpha / rank, or alpha / sqrt(rank).
    pub scale: f32,
}

/// Layers with one input: q, k, v; or gate, up; or one alone.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    /// The layers.
    pub members: &'a [Member<'a>],
    /// A of all updates under each other (ranks, inputs).
    pub a: &'a [f32],
    /// Width of u and v.
    pub ranks: usize,
    /// Width of x.
    pub inputs: usize,
}

/// Gradients of a group; an empty slice for what is not trained.
#[derive(Default)]
pub struct Grads<'a> {
    /// As [`Group::a`].
    pub da: &'a mut [f32],
    /// As each member's B.
    pub db: Vec<&'a mut [f32]>,
    /// As each member's weight.
    pub dw: Vec<&'a mut [f32]>,
    /// As each member's bias.
    pub dbias: Vec<&'a mut [f32]>,
}

impl<'a> Member<'a> {
    fn forward(&self, inputs: usize) -> Rhs<'a> {
        match self.base {
            Base::Frozen(w) => Rhs::Weight(w),
            Base::Trained(w) => Rhs::Mat(Mat::new(w, self.outputs, inputs)),
        }
    }

    fn back(&self, inputs: usize) -> Rhs<'a> {
        match self.base {
            Base::Frozen(w) => Rhs::WeightT(w),
            Base::Trained(w) => Rhs::Mat(Mat::new(w, self.outputs, inputs).t()),
        }
    }
}

/// `u` from the adapter's input: `x`, or what dropout left of it.
pub fn forward_u(cx: &Cx, u: &mut [f32], x: &[f32], g: &Group, rows: usize) {
    assert!(u.len() == rows * g.ranks && g.a.len() == g.ranks * g.inputs);
    if g.ranks > 0 {
        let a = Rhs::Mat(Mat::new(g.a, g.ranks, g.inputs));
        product(cx, u, g.ranks, Write::Set, &[Term { a: Mat::new(x, rows, g.inputs), b: a }]);
        scale_columns(cx, u, g);
    }
}

/// Every member's `y` from `x` and `u`, the bias left to [`add_bias`].
pub fn forward(cx: &Cx, ys: &mut [&mut [f32]], write: Write, u: &[f32], x: &[f32], g: &Group, rows: usize) {
    assert!(ys.len() == g.members.len());
    for (y, m) in ys.iter_mut().zip(g.members) {
        let base = Term { a: Mat::new(x, rows, g.inputs), b: m.forward(g.inputs) };
        match update(u, m, g, rows) {
            Some(update) => product(cx, y, m.outputs, write, &[base, update]),
            None => product(cx, y, m.outputs, write, &[base]),
        }
    }
}

/// The summand u·Bᵀ of a member that has an adapter.
fn update<'a>(u: &'a [f32], m: &Member<'a>, g: &Group, rows: usize) -> Option<Term<'a>> {
    (m.rank > 0 && rows > 0)
        .then(|| Term { a: Mat::strided(&u[m.column..], rows, m.rank, g.ranks), b: Rhs::Mat(Mat::new(m.b, m.outputs, m.rank)) })
}

/// Adds each member's bias to its `y`.
pub fn add_bias(cx: &Cx, ys: &mut [&mut [f32]], g: &Group) {
    for (y, m) in ys.iter_mut().zip(g.members).filter(|(_, m)| !m.bias.is_empty()) {
        bias::forward(cx, y, m.bias);
    }
}

/// Gradients of the members' B, and `v` for [`backward_a`] and [`backward_input`].
pub fn backward_b(cx: &Cx, v: &mut [f32], grads: &mut Grads, dys: &[&[f32]], u: &[f32], g: &Group, rows: usize) {
    assert!(dys.len() == g.members.len() && v.len() == rows * g.ranks && u.len() == v.len());
    if g.ranks == 0 || rows == 0 {
        return;
    }
    let mut turned = Vec::new(); // (rank, outputs): small, so made here
    for ((dy, m), db) in dys.iter().zip(g.members).zip(&mut grads.db).filter(|((_, m), _)| m.rank > 0) {
        let u = Mat::strided(&u[m.column..], rows, m.rank, g.ranks);
        // dBᵀ = uᵀ·dy reads dy where it lies; dB = dyᵀ·u would have to turn all of it.
        turned.resize(m.rank * m.outputs, 0.0);
        let dy = Mat::new(dy, rows, m.outputs);
        product(cx, &mut turned, m.outputs, Write::Set, &[Term { a: u.t(), b: Rhs::Mat(dy.t()) }]);
        for (o, line) in db.chunks_exact_mut(m.rank).enumerate() {
            for (i, v) in line.iter_mut().enumerate() {
                *v += turned[i * m.outputs + o];
            }
        }
    }
    // Parts of one fused projection add up in the same columns of v.
    for (i, first) in g.members.iter().enumerate().filter(|(_, m)| m.rank > 0) {
        let same = |m: &Member| m.rank > 0 && m.column == first.column;
        if g.members[..i].iter().any(same) {
            continue;
        }
        let mut terms = Vec::with_capacity(g.members.len());
        for (dy, m) in dys.iter().zip(g.members).filter(|(_, m)| same(m)) {
            let t = Term { a: Mat::new(dy, rows, m.outputs), b: Rhs::Mat(Mat::new(m.b, m.outputs, m.rank).t()) };
            terms.push(t);
        }
        product(cx, &mut v[first.column..], g.ranks, Write::Set, &terms);
    }
    scale_columns(cx, v, g);
}

/// Gradient of the group's A from `v` and the adapter's input.
pub fn backward_a(cx: &Cx, v: &[f32], grads: &mut Grads, x: &[f32], g: &Group, rows: usize) {
    if g.ranks > 0 && rows > 0 {
        let (v, x) = (Mat::new(v, rows, g.ranks), Mat::new(x, rows, g.inputs));
        product(cx, grads.da, g.inputs, Write::Add, &[Term { a: v.t(), b: Rhs::Mat(x.t()) }]);
    }
}

/// Gradients of trained weights and biases.
pub fn backward_weights(cx: &Cx, grads: &mut Grads, dys: &[&[f32]], x: &[f32], g: &Group, rows: usize) {
    for ((dy, m), dw) in dys.iter().zip(g.members).zip(&mut grads.dw).filter(|(_, dw)| !dw.is_empty()) {
        let (dy, x) = (Mat::new(dy, rows, m.outputs), Mat::new(x, rows, g.inputs));
        product(cx, dw, g.inputs, Write::Add, &[Term { a: dy.t(), b: Rhs::Mat(x.t()) }]);
    }
    for (dy, dbias) in dys.iter().zip(&mut grads.dbias).filter(|(_, db)| !db.is_empty()) {
        bias::backward(cx, dbias, dy);
    }
}

/// `dx` from every member's `dy` and, unless the adapter's input is another, from `v`: one product.
pub fn backward_input(cx: &Cx, dx: &mut [f32], write: Write, dys: &[&[f32]], v: Option<&[f32]>, g: &Group, rows: usize) {
    let mut terms: Vec<Term> = Vec::with_capacity(g.members.len() + 1);
    for (dy, m) in dys.iter().zip(g.members) {
        terms.push(Term { a: Mat::new(dy, rows, m.outputs), b: m.back(g.inputs) });
    }
    terms.extend(v.filter(|_| g.ranks > 0).map(|v| through_a(v, g, rows)));
    product(cx, dx, g.inputs, write, &terms);
}

/// Gradient of the adapter's own input, where dropout made it another than x: `v·A`.
pub fn backward_dropped(cx: &Cx, dx: &mut [f32], v: &[f32], g: &Group, rows: usize) {
    product(cx, dx, g.inputs, Write::Set, &[through_a(v, g, rows)]);
}

fn through_a<'a>(v: &'a [f32], g: &Group<'a>, rows: usize) -> Term<'a> {
    Term { a: Mat::new(v, rows, g.ranks), b: Rhs::Mat(Mat::new(g.a, g.ranks, g.inputs).t()) }
}

/// Multiplies each column of u or v by its update's scale.
fn scale_columns(cx: &Cx, u: &mut [f32], g: &Group) {
    let mut scales = vec![0f32; g.ranks];
    for m in g.members.iter().filter(|m| m.rank > 0) {
        scales[m.column..m.column + m.rank].fill(m.scale);
    }
    let rows = u.len() / g.ranks;
    let u = Shared::new(u);
    for_rows(cx, rows, 256, |row, count| {
        // SAFETY: each task has its own rows.
        let part = unsafe { u.part(row * g.ranks, count * g.ranks) };
        for line in part.chunks_exact_mut(g.ranks) {
            for (v, s) in line.iter_mut().zip(&scales) {
                *v *= s;
            }
        }
    });
}

#[cfg(test)]
mod tests;
