//! Linear layers that share one input, each a frozen weight with an optional LoRA update.
//!
//! Forward    u = s * x·Aᵀ            y = x·Wᵀ + u·Bᵀ         (Hu et al., "LoRA", 2021; s = alpha/r)
//! Backward   dB += dyᵀ·u             v = s * dy·B             dA += vᵀ·x        dx = sum of (dy·W + v·A)
//! Shapes     x, dx (rows, inputs)   W (outputs, inputs)   A (ranks, inputs), the members' A under each other
//!            B (outputs, rank)   u, v (rows, ranks)   y, dy (rows, outputs)
//! Writes     u, v overwritten; dA, dB added to; y and dx set or added to, as the caller says.
//! Rounds     f32 products, k in fixed blocks (x and dy to bf16 where W is held so); the update is part of the same sum, so it costs no pass over y.
//! Moves      forward reads x once for u and once a member, W once; compute-bound.

use crate::cpu::Cx;
use crate::cpu::for_rows;
use crate::cpu::gemm::{Mat, Rhs, Term, Weight, Write, product};
use crate::cpu::shared::Shared;

/// One linear layer of a group.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// The frozen weight.
    pub weight: &'a Weight,
    /// B (outputs, rank); empty when the layer has no adapter.
    pub b: &'a [f32],
    /// Rank of the adapter; 0 without one.
    pub rank: usize,
    /// alpha / rank, or alpha / sqrt(rank).
    pub scale: f32,
}

/// Layers with one input: q, k, v; or gate, up; or one alone.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    /// The layers.
    pub members: &'a [Member<'a>],
    /// Their A under each other (ranks, inputs).
    pub a: &'a [f32],
    /// Width of x.
    pub inputs: usize,
}

impl Group<'_> {
    /// Sum of the members' ranks: the width of u and v.
    pub fn ranks(&self) -> usize {
        self.members.iter().map(|m| m.rank).sum()
    }
}

/// Gradients of a group's adapter.
pub struct Grads<'a> {
    /// As [`Group::a`].
    pub da: &'a mut [f32],
    /// As each member's B.
    pub db: Vec<&'a mut [f32]>,
}

/// `u` and every member's `y` from `x`.
pub fn forward(cx: &Cx, ys: &mut [&mut [f32]], write: Write, u: &mut [f32], x: &[f32], g: &Group, rows: usize) {
    let ranks = g.ranks();
    assert!(ys.len() == g.members.len() && u.len() == rows * ranks && g.a.len() == ranks * g.inputs);
    let x = Mat::new(x, rows, g.inputs);
    if ranks > 0 {
        product(cx, u, ranks, Write::Set, &[Term { a: x, b: Rhs::Mat(Mat::new(g.a, ranks, g.inputs)) }]);
        scale_columns(cx, u, g);
    }
    let mut column = 0;
    for (y, m) in ys.iter_mut().zip(g.members) {
        let outputs = m.weight.shape().0;
        let base = Term { a: x, b: Rhs::Weight(m.weight) };
        if m.rank == 0 {
            product(cx, y, outputs, write, &[base]);
            continue;
        }
        let update = Term { a: Mat::strided(&u[column..], rows, m.rank, ranks), b: Rhs::Mat(Mat::new(m.b, outputs, m.rank)) };
        product(cx, y, outputs, write, &[base, update]);
        column += m.rank;
    }
}

/// Gradients of the members' B, and `v` for [`backward_a`] and [`backward_input`].
pub fn backward_b(cx: &Cx, v: &mut [f32], grads: &mut Grads, dys: &[&[f32]], u: &[f32], g: &Group, rows: usize) {
    let ranks = g.ranks();
    assert!(dys.len() == g.members.len() && grads.db.len() == dys.len() && v.len() == rows * ranks && u.len() == v.len());
    let mut column = 0;
    let mut turned = Vec::new(); // (rank, outputs): small, so made here
    for ((dy, m), db) in dys.iter().zip(g.members).zip(&mut grads.db).filter(|((_, m), _)| m.rank > 0) {
        let outputs = m.weight.shape().0;
        let dy = Mat::new(dy, rows, outputs);
        let u = Mat::strided(&u[column..], rows, m.rank, ranks);
        // dBᵀ = uᵀ·dy reads dy where it lies; dB = dyᵀ·u would have to turn all of it.
        turned.resize(m.rank * outputs, 0.0);
        product(cx, &mut turned, outputs, Write::Set, &[Term { a: u.t(), b: Rhs::Mat(dy.t()) }]);
        for (o, line) in db.chunks_exact_mut(m.rank).enumerate() {
            for (i, v) in line.iter_mut().enumerate() {
                *v += turned[i * outputs + o];
            }
        }
        let b = Mat::new(m.b, outputs, m.rank);
        product(cx, &mut v[column..], ranks, Write::Set, &[Term { a: dy, b: Rhs::Mat(b.t()) }]);
        column += m.rank;
    }
    if ranks > 0 {
        scale_columns(cx, v, g);
    }
}

/// Gradient of the group's A from `v` and the input.
pub fn backward_a(cx: &Cx, v: &[f32], grads: &mut Grads, x: &[f32], g: &Group, rows: usize) {
    let ranks = g.ranks();
    if ranks > 0 {
        let (v, x) = (Mat::new(v, rows, ranks), Mat::new(x, rows, g.inputs));
        product(cx, grads.da, g.inputs, Write::Add, &[Term { a: v.t(), b: Rhs::Mat(x.t()) }]);
    }
}

/// `dx` from every member's `dy` and from `v`, as one product.
pub fn backward_input(cx: &Cx, dx: &mut [f32], write: Write, dys: &[&[f32]], v: &[f32], g: &Group, rows: usize) {
    let ranks = g.ranks();
    let mut terms: Vec<Term> = Vec::with_capacity(g.members.len() + 1);
    for (dy, m) in dys.iter().zip(g.members) {
        terms.push(Term { a: Mat::new(dy, rows, m.weight.shape().0), b: Rhs::WeightT(m.weight) });
    }
    if ranks > 0 {
        terms.push(Term { a: Mat::new(v, rows, ranks), b: Rhs::Mat(Mat::new(g.a, ranks, g.inputs).t()) });
    }
    product(cx, dx, g.inputs, write, &terms);
}

/// Multiplies each member's columns of u or v by its scale.
fn scale_columns(cx: &Cx, u: &mut [f32], g: &Group) {
    let ranks = g.ranks();
    let scales: Vec<f32> = g.members.iter().flat_map(|m| std::iter::repeat_n(m.scale, m.rank)).collect();
    let rows = u.len() / ranks;
    let u = Shared::new(u);
    for_rows(cx, rows, 256, |row, count| {
        // SAFETY: each task has its own rows.
        let part = unsafe { u.part(row * ranks, count * ranks) };
        for line in part.chunks_exact_mut(ranks) {
            for (v, s) in line.iter_mut().zip(&scales) {
                *v *= s;
            }
        }
    });
}

#[cfg(test)]
mod tests;
