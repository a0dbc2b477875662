//! The gradient of a tensor that is trained whole, on the GPU: in float32, or in bfloat16 where nothing is added up in it.

use crate::gpu::room::Room;
use crate::modules::{groups, inputs, members, shape};
use crate::room::Limits;
use crate::{Dims, Error, Places};
use engine::cuda::memory::ALIGN;
use engine::cuda::product::Mat;
use engine::cuda::{Arena, Buffer, bf16};
use engine::ops::adamw::gpu::Grads;

/// Numbers that are widened at a time on their way to the host.
const CHUNK: usize = 1 << 24;

const NAME: &str = "weights' gradient";
const NARROW: &str = "bfloat16: every step is one micro-batch; as far as it can, where activations were read for the last time";

/// It, by how it is held. A clone names the same memory.
#[derive(Clone)]
pub(crate) enum Gradient {
    /// Written once a step: a sum in float32 is rounded once, as it is to the operands of any product.
    Narrow(Buffer<bf16>),
    /// Added to part by part, which bfloat16 would round each time, and lose what is small beside what is there.
    Wide(Buffer<f32>),
}

impl Gradient {
    /// That of `len` weights of a matrix, to which each micro-batch adds once.
    pub fn of_matrix(arena: &mut Arena, limits: Limits, len: usize) -> Gradient {
        if limits.micro_batches > 1 {
            return Gradient::Wide(arena.take(NAME, "float32: micro-batches are added up in it", len));
        }
        Gradient::Narrow(arena.take(NAME, NARROW, len))
    }

    /// Weights that it is of.
    pub fn len(&self) -> usize {
        match self {
            Gradient::Narrow(g) => g.len(),
            Gradient::Wide(g) => g.len(),
        }
    }

    /// As the optimizer reads it.
    pub fn grads(&self) -> Grads<'_> {
        match self {
            Gradient::Narrow(g) => Grads::Narrow(g),
            Gradient::Wide(g) => Grads::Wide(g),
        }
    }

    /// As a product writes it.
    pub fn mat(&self, rows: usize, columns: usize) -> Mat {
        match self {
            Gradient::Narrow(g) => Mat::new(g, rows, columns),
            Gradient::Wide(g) => Mat::new(g, rows, columns),
        }
    }

    /// Sets it to 0.
    pub fn clear(&self) {
        match self {
            Gradient::Narrow(g) => g.fill_bytes(0),
            Gradient::Wide(g) => g.fill_bytes(0),
        }
    }

    /// Copies it to the host.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn read_into(&self, flat: &mut [f32]) -> Result<(), Error> {
        match self {
            Gradient::Narrow(g) => read(g, flat),
            Gradient::Wide(g) => Ok(g.read_into(flat)?),
        }
    }
}

/// Bytes of the gradients of a layer's matrices, where they may lie over the activations of the layer above: its backward pass
/// is over when they are written, and nothing else is until the optimizer has read them. 0 where they may not.
pub(crate) fn over_activations(d: &Dims, places: &Places, limits: Limits) -> usize {
    if !places.is_model() || limits.micro_batches > 1 {
        return 0;
    }
    let weights = |g: usize| members(g).map(|i| shape(d, i).0).sum::<usize>() * inputs(d, g);
    (0..groups(d)).map(|g| (weights(g) * size_of::<bf16>()).next_multiple_of(ALIGN)).sum()
}

/// Makes a place of activations, begun when `from` bytes were given, as large as the gradients that will lie over it.
pub(crate) fn widen(arena: &mut Arena, from: usize, bytes: usize) {
    let short = (from + bytes).saturating_sub(arena.given());
    arena.take::<u8>(NAME, NARROW, short);
}

/// Where those of layer `l` lie, if over activations.
pub(crate) fn place(room: &Room, l: usize) -> Option<Arena> {
    let above = (l + 1).checked_sub(room.limits.recompute)?;
    room.places.get(above).map(Arena::over)
}

/// Room for the gradient of a norm, a bias or the head, to which every part of a micro-batch adds.
pub(crate) fn of_parts(arena: &mut Arena, len: usize) -> Buffer<f32> {
    arena.take("gradient of head, norms, biases", "float32: parts of a micro-batch are added up in it", len)
}

/// Copies bfloat16 to the host as float32.
///
/// # Errors
/// What failed on the device.
pub(crate) fn read(from: &Buffer<bf16>, flat: &mut [f32]) -> Result<(), Error> {
    let mut narrow = vec![bf16::ZERO; CHUNK.min(flat.len())];
    for (i, part) in flat.chunks_mut(CHUNK).enumerate() {
        let narrow = &mut narrow[..part.len()];
        from.part(i * CHUNK..i * CHUNK + part.len()).read_into(narrow)?;
        part.iter_mut().zip(narrow).for_each(|(to, from)| *to = from.to_f32());
    }
    Ok(())
}
