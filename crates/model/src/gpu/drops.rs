//! Dropout on the GPU: which masks a micro-batch has, and where lies what they leave of an adapter's input.

use crate::batch::MicroBatch;
use crate::gpu::weights::Linear;
use crate::gpu::wide::Wide;
use crate::modules::QKV;
use crate::room::Limits;
use crate::{Dims, Error, Places};
use engine::cuda::{Arena, Buffer, Gpu, Rows, bf16};
use engine::ops::dropout::{self, Drop};
use std::cell::Cell;

/// What all groups share: empty without dropout.
pub(crate) struct Drops {
    share: f64,
    layers: usize,
    keys: Buffer<u64>,   // (tokens): what each row is
    picked: Buffer<u64>, // (targets): the same of the supervised rows
    bases: Buffer<u64>,  // of each group of each layer: its random bits
    left: Buffer<bf16>,  // (rows, widest input): an input as its mask leaves it, or the gradient that comes back to it
    drawn: Cell<bool>,   // whether the micro-batch has masks at all
}

/// The masks of one group, for the rows that it has.
struct Masks<'a> {
    keys: &'a Buffer<u64>,
    base: Buffer<u64>,
    drop: Drop,
}

/// Layer and group.
type At = (usize, usize);

impl Drops {
    /// Takes the buffers, of arbitrary contents.
    pub fn take(arena: &mut Arena, d: &Dims, places: &Places, limits: Limits) -> Drops {
        let any = usize::from(places.dropout() > 0.0);
        let widest = d.hidden.max(d.q_width()).max(d.intermediate);
        let why = "what each row is, and each group's random bits";
        Drops {
            share: places.dropout(),
            layers: d.layers,
            keys: arena.take("masks", why, any * limits.tokens),
            picked: arena.take("masks", why, any * limits.targets),
            bases: arena.take("masks", why, any * 4 * d.layers),
            left: arena.take("dropped", "what dropout leaves of an input", any * limits.tokens.max(limits.targets) * widest),
            drawn: Cell::new(false),
        }
    }

    /// Draws the masks of a micro-batch: none where it has no noise. The same numbers as on the CPU.
    ///
    /// # Errors
    /// When a copy fails.
    pub fn draw(&self, batch: &MicroBatch) -> Result<(), Error> {
        let noise = batch.noise.filter(|_| self.share > 0.0);
        self.drawn.set(noise.is_some());
        let Some(noise) = noise else { return Ok(()) };
        self.keys.write(&batch.keys)?;
        self.picked.write(&batch.targets.iter().map(|t| batch.keys[t.row as usize]).collect::<Vec<_>>())?;
        let drop = |layer, group| Drop { seed: noise.seed, stream: noise.stream(layer, group), p: self.share };
        let bases = (0..self.layers).flat_map(|layer| (0..4).map(move |group| drop(layer, group).base()));
        Ok(self.bases.write(&bases.collect::<Vec<_>>())?)
    }

    fn masks(&self, (layer, group): At) -> Option<Masks<'_>> {
        let i = 4 * layer + group;
        // Only supervised rows have the last layer's second half.
        let few = layer + 1 == self.layers && group != QKV;
        self.drawn.get().then(|| Masks {
            keys: if few { &self.picked } else { &self.keys },
            base: self.bases.part(i..i + 1),
            drop: Drop { seed: 0, stream: 0, p: self.share },
        })
    }

    /// What a group's adapter reads in place of `x`.
    pub fn left(&self, gpu: &Gpu, at: At, group: &Linear, x: Rows) -> Rows {
        let Some(m) = self.masks(at).filter(|_| group.pad > 0) else { return x };
        let left = self.left.rows(x.rows, 0, x.width, x.width);
        dropout::gpu::forward(gpu, left, x, m.keys, &m.base, m.drop);
        left
    }

    /// u = x·Aᵀ behind each row of `x`, x as its mask leaves it.
    pub fn inside(&self, gpu: &Gpu, at: At, group: &Linear, x: &Wide, n: usize) {
        if self.drawn.get() {
            group.inside_of(gpu, x, self.left(gpu, at, group, x.own(n)), n);
        } else {
            group.inside(gpu, x, n);
        }
    }

    /// dx = dy·W + mask ⊙ v·A, v behind each row of `dy`; and whether dy was made as [`Linear::backward`] asks.
    pub fn backward(&self, gpu: &Gpu, at: At, group: &Linear, dx: Rows, (dy, made): (&Wide, bool), n: usize) {
        let Some(m) = self.masks(at).filter(|_| group.pad > 0) else { return group.backward(gpu, dx, dy, n, made) };
        group.backward_base(gpu, dx, dy, n, made);
        let through = self.left.rows(dx.rows, 0, dx.width, dx.width);
        group.backward_inside(gpu, through, dy, n);
        dropout::gpu::backward(gpu, dx, through, m.keys, &m.base, m.drop);
    }
}
