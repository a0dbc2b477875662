//! Quantised numbers as they lie, for a device that decodes them itself.

use super::nf4::Scales;
use super::{Int8, Nf4};

/// A quantised matrix as it lies.
#[derive(Clone, Copy, Debug)]
pub enum Raw<'a> {
    /// Two elements a byte, the first in the upper half, in blocks that share a scale.
    Nf4 {
        /// The elements of the flat matrix.
        packed: &'a [u8],
        /// A scale for each block.
        scales: RawScales<'a>,
        /// Elements of a block.
        block: usize,
    },
    /// A byte an element, in two's complement.
    Int8 {
        /// The elements.
        codes: &'a [u8],
        /// The largest magnitude of each row.
        scales: &'a [f32],
    },
}

/// The scales of NF4's blocks.
#[derive(Clone, Copy, Debug)]
pub enum RawScales<'a> {
    /// As numbers.
    Single(&'a [f32]),
    /// scale = map[code] * absmax + offset, one absmax for `nested` blocks.
    Double {
        /// One a block.
        codes: &'a [u8],
        /// One for `nested` blocks.
        absmax: &'a [f32],
        /// What the codes mean.
        map: &'a [f32; 256],
        /// Added to each.
        offset: f32,
        /// Blocks that share an absmax.
        nested: usize,
    },
}

impl Nf4 {
    /// Its numbers.
    pub fn raw(&self) -> Raw<'_> {
        let scales = match &self.scales {
            Scales::Single(absmax) => RawScales::Single(absmax),
            Scales::Double { codes, absmax, map } => {
                RawScales::Double { codes, absmax, map, offset: self.state.offset, nested: self.state.nested_block }
            }
        };
        Raw::Nf4 { packed: &self.packed, scales, block: self.state.block }
    }
}

impl Int8 {
    /// Its numbers.
    pub fn raw(&self) -> Raw<'_> {
        Raw::Int8 { codes: &self.codes, scales: &self.scales }
    }
}
