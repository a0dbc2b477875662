//! One group of linear layers with all that an adapter may do to it: update, dropout, magnitudes, bias; and back.

use crate::modules::{inputs, members, shape};
use crate::places::Slot;
use crate::room::Spare;
use crate::{Adapter, Weights};
use engine::cpu::gemm::{Rhs, Term, Write, product};
use engine::ops::dora;
use engine::ops::dropout::{self, Drop};
use engine::ops::linear::{self, Base, Group, Member};
use engine::{Block, Cx};

/// A group of one layer, as the engine wants it, with what only this model knows about it.
pub(crate) struct Applied<'a> {
    cx: &'a Cx,
    adapter: &'a Adapter,
    members: Vec<Member<'a>>,
    slots: Vec<Slot>,
    layer: usize,
    group: usize,
    a: &'a [f32],
    ranks: usize,
    inputs: usize,
    noise: Option<Dropping<'a>>,
}

/// What dropout needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Dropping<'a> {
    /// The share that is dropped.
    pub share: f64,
    /// The run's seed and the step.
    pub noise: crate::batch::Noise,
    /// One key a row.
    pub keys: &'a [u64],
}

impl<'a> Applied<'a> {
    pub(crate) fn new(
        cx: &'a Cx,
        weights: &'a Weights,
        adapter: &'a Adapter,
        layer: usize,
        group: usize,
        noise: Option<Dropping<'a>>,
    ) -> Applied<'a> {
        let d = &weights.dims;
        let slots: Vec<Slot> = members(group).map(|i| adapter.places.slot(layer, i)).collect();
        let member = |i: usize, s: &Slot| {
            let (outputs, inputs) = shape(d, i);
            let l = &weights.layers[layer];
            let base = match s.weight {
                Some(at) => Base::Trained(adapter.part(at, outputs * inputs)),
                None => Base::Frozen(l.linears[i].as_ref().expect("a weight that is not trained was loaded")),
            };
            let bias = match s.bias {
                Some(at) => adapter.part(at, outputs),
                None => l.biases.get(i).map_or(&[][..], Vec::as_slice),
            };
            Member { base, outputs, bias, b: adapter.part(s.b, s.rank * outputs), rank: s.rank, column: s.column, scale: s.scale }
        };
        Applied {
            cx,
            adapter,
            members: members(group).zip(&slots).map(|(i, s)| member(i, s)).collect(),
            slots,
            layer,
            group,
            a: adapter.a(layer, group),
            ranks: adapter.places.ranks(layer, group),
            inputs: inputs(d, group),
            noise: noise.filter(|n| n.share > 0.0),
        }
    }

    fn whole(&self) -> Group<'_> {
        Group { members: &self.members, a: self.a, ranks: self.ranks, inputs: self.inputs }
    }

    /// Width of u and v.
    pub(crate) fn ranks(&self) -> usize {
        self.ranks
    }

    fn drop(&self, n: &Dropping) -> Drop {
        Drop { seed: n.noise.seed, stream: n.noise.stream(self.layer, self.group), p: n.share }
    }

    /// Every member's `y` from `x`; `u` is kept for the backward pass.
    pub(crate) fn forward(&self, ys: &mut [&mut [f32]], write: Write, u: &mut [f32], x: &[f32], rows: usize, spare: &mut Spare<Block>) {
        let g = self.whole();
        self.inside(u, x, rows, spare);
        if self.slots.iter().all(|s| s.magnitude.is_none()) {
            linear::forward(self.cx, ys, write, u, x, &g, rows);
        } else {
            for (i, y) in ys.iter_mut().enumerate() {
                self.scaled(i, y, write, u, x, rows, spare);
            }
        }
        linear::add_bias(self.cx, ys, &g);
    }

    /// `u` alone.
    pub(crate) fn inside(&self, u: &mut [f32], x: &[f32], rows: usize, spare: &mut Spare<Block>) {
        let g = self.whole();
        match &self.noise {
            Some(n) if self.ranks > 0 => {
                let dropped = &mut spare.dropped[..x.len()];
                dropout::forward(self.cx, dropped, x, n.keys, self.drop(n));
                linear::forward_u(self.cx, u, dropped, &g, rows);
            }
            _ => linear::forward_u(self.cx, u, x, &g, rows),
        }
    }

    /// A member alone: with DoRA its output is scaled before it is added.
    fn scaled(&self, i: usize, y: &mut [f32], write: Write, u: &[f32], x: &[f32], rows: usize, spare: &mut Spare<Block>) {
        let (m, s) = (&self.members[i..=i], &self.slots[i]);
        let g = Group { members: m, ..self.whole() };
        let outputs = m[0].outputs;
        if s.magnitude.is_none() {
            return linear::forward(self.cx, &mut [y], write, u, x, &g, rows);
        }
        let factors = &spare.factors[s.magnified..s.magnified + outputs];
        let scaled = if write == Write::Set { &mut *y } else { &mut spare.y[..rows * outputs] };
        linear::forward(self.cx, &mut [&mut *scaled], Write::Set, u, x, &g, rows);
        dora::forward(self.cx, scaled, factors);
        if write == Write::Add {
            y.iter_mut().zip(&spare.y[..rows * outputs]).for_each(|(y, v)| *y += v);
        }
    }

    /// First half of the backward pass: gradients of magnitudes and B, and `v`. With DoRA, `dys` become the gradients
    /// of the unscaled outputs; `x` is needed for them alone.
    pub(crate) fn backward_b(
        &self,
        v: &mut [f32],
        grads: &mut [f32],
        dys: &mut [&mut [f32]],
        u: &[f32],
        x: &[f32],
        rows: usize,
        spare: &mut Spare<Block>,
    ) {
        for (i, dy) in dys.iter_mut().enumerate() {
            self.unscale(i, dy, grads, u, x, rows, spare);
        }
        let dys: Vec<&[f32]> = dys.iter().map(|d| &**d).collect();
        let mut g = self.adapter.places.grads(self.layer, self.group, grads);
        linear::backward_b(self.cx, v, &mut g, &dys, u, &self.whole(), rows);
    }

    fn unscale(&self, i: usize, dy: &mut [f32], grads: &mut [f32], u: &[f32], x: &[f32], rows: usize, spare: &mut Spare<Block>) {
        let s = &self.slots[i];
        let Some(at) = s.magnitude else { return };
        let outputs = self.members[i].outputs;
        let plain = &mut spare.y[..rows * outputs];
        let g = Group { members: &self.members[i..=i], ..self.whole() };
        linear::forward(self.cx, &mut [&mut *plain], Write::Set, u, x, &g, rows);
        let part = s.magnified..s.magnified + outputs;
        dora::backward(self.cx, dy, &mut grads[at..at + outputs], plain, &spare.factors[part.clone()], &spare.lengths[part]);
    }

    /// Whether [`Applied::backward_b`] reads the input.
    pub(crate) fn wants_input(&self) -> bool {
        self.slots.iter().any(|s| s.magnitude.is_some())
    }

    /// The gradient of the residual stream as this group's own, which [`Applied::backward_b`] may change: a copy if it does.
    pub(crate) fn own_dy<'b>(&self, dx: &'b mut [f32], copy: &'b mut [f32]) -> &'b mut [f32] {
        if !self.wants_input() {
            return dx;
        }
        let copy = &mut copy[..dx.len()];
        copy.copy_from_slice(dx);
        copy
    }

    /// Second half: gradients of A, and of trained weights and biases, from the layer's input.
    pub(crate) fn backward_a(&self, v: &[f32], grads: &mut [f32], dys: &[&[f32]], x: &[f32], rows: usize, spare: &mut Spare<Block>) {
        let mut g = self.adapter.places.grads(self.layer, self.group, grads);
        match &self.noise {
            Some(n) if self.ranks > 0 => {
                let dropped = &mut spare.dropped[..x.len()];
                dropout::forward(self.cx, dropped, x, n.keys, self.drop(n));
                linear::backward_a(self.cx, v, &mut g, dropped, &self.whole(), rows);
            }
            _ => linear::backward_a(self.cx, v, &mut g, x, &self.whole(), rows),
        }
        linear::backward_weights(self.cx, &mut g, dys, x, &self.whole(), rows);
    }

    /// Gradient of the input.
    pub(crate) fn backward_input(&self, dx: &mut [f32], dys: &[&[f32]], v: &[f32], rows: usize, spare: &mut Spare<Block>) {
        match &self.noise {
            Some(n) if self.ranks > 0 => {
                linear::backward_input(self.cx, dx, Write::Set, dys, None, &self.whole(), rows);
                let through = &mut spare.dropped[..dx.len()];
                linear::backward_dropped(self.cx, through, v, &self.whole(), rows);
                dropout::backward(self.cx, dx, through, n.keys, self.drop(n));
            }
            _ => linear::backward_input(self.cx, dx, Write::Set, dys, Some(v), &self.whole(), rows),
        }
    }

    /// DoRA: the length of every row of W + s·BA and the factor that brings it to its magnitude, for this pass.
    pub(crate) fn measure(&self, spare: &mut Spare<Block>) {
        for (m, s) in self.members.iter().zip(&self.slots).filter(|(_, s)| s.magnitude.is_some()) {
            let (outputs, at) = (m.outputs, s.magnitude.unwrap_or(0));
            let a = engine::Mat::new(self.adapter.part(s.a, s.rank * self.inputs), s.rank, self.inputs);
            let p = &mut spare.p[..s.rank * outputs];
            let Base::Frozen(w) = m.base else { continue };
            product(self.cx, p, outputs, Write::Set, &[Term { a, b: Rhs::Weight(w) }]);
            let mut gram = vec![0f32; s.rank * s.rank];
            product(self.cx, &mut gram, s.rank, Write::Set, &[Term { a, b: Rhs::Mat(a) }]);
            let part = s.magnified..s.magnified + outputs;
            let parts = dora::Parts { squares: &spare.squares[part.clone()], p, gram: &gram, b: m.b, scale: m.scale };
            let (lengths, factors) = (&mut spare.lengths[part.clone()], &mut spare.factors[part]);
            dora::factors(self.cx, lengths, factors, self.adapter.part(at, outputs), parts);
        }
    }

    /// DoRA: the squared length of every row of W.
    pub(crate) fn squares(&self, spare: &mut Spare<Block>) {
        let mut row = vec![0f32; self.inputs];
        for (m, s) in self.members.iter().zip(&self.slots).filter(|(_, s)| s.magnitude.is_some()) {
            let Base::Frozen(w) = m.base else { continue };
            for (j, square) in spare.squares[s.magnified..s.magnified + m.outputs].chunks_mut(1).enumerate() {
                w.row(j, &mut row);
                dora::squares(self.cx, square, &row);
            }
        }
    }
}
