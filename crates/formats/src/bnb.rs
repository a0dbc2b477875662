//! bitsandbytes' quantised weights: NF4 and int8, as tensors of a safetensors file.
//!
//! A quantised weight `<p>.weight` has companions. NF4: `<p>.weight.absmax`, `.quant_map`, with double quantisation
//! `.nested_absmax` and `.nested_quant_map`, and a text `.quant_state.bitsandbytes__nf4`. int8: `<p>.SCB` and
//! `<p>.weight_format`. What is read is kept so that it can be written back byte for byte.

mod int8;
mod nf4;
mod raw;
mod read;
mod state;
mod write;

use crate::{Dtype, Error};

pub use int8::Int8;
pub use nf4::Nf4;
pub use raw::{Raw, RawScales};
pub(crate) use read::Companions;
pub use write::{write_folder, write_tensors};

/// Elements of a block of NF4 that we make; what we read may have others.
const BLOCK: usize = 64;
/// Scales of a block of doubly quantised scales that we make.
const NESTED_BLOCK: usize = 256;

/// A way to quantise a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Four bits an element, a scale for each block of 64; doubly: the scales in eight bits.
    Nf4 { double: bool },
    /// Eight bits an element, a scale for each row.
    Int8,
}

impl Scheme {
    /// Bytes that a weight (rows, width) which we quantise holds: what [`crate::Coded::bytes`] says of it.
    pub fn bytes(self, rows: usize, width: usize) -> usize {
        let elements = rows * width;
        let scales = elements.div_ceil(BLOCK);
        match self {
            Scheme::Int8 => elements + rows * 4,
            Scheme::Nf4 { double: false } => elements.div_ceil(2) + scales * 4,
            Scheme::Nf4 { double: true } => elements.div_ceil(2) + scales + scales.div_ceil(NESTED_BLOCK) * 4 + 256 * 4,
        }
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Nf4 { double: false } => "NF4",
            Scheme::Nf4 { double: true } => "NF4 with double quantisation",
            Scheme::Int8 => "int8",
        }
    }
}

/// Gives rows of a matrix that is to be quantised: `fill(row, out)` writes whole rows from `row` on.
pub type Fill<'a> = &'a mut dyn FnMut(usize, &mut [f32]) -> Result<(), Error>;

/// One tensor of a quantised weight, as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<'a> {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: std::borrow::Cow<'a, [u8]>,
}

impl<'a> Part<'a> {
    fn bytes(name: String, dtype: Dtype, shape: Vec<usize>, bytes: &'a [u8]) -> Part<'a> {
        Part { name, dtype, shape, bytes: bytes.into() }
    }

    fn floats(name: String, values: &[f32]) -> Part<'a> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Part { name, dtype: Dtype::F32, shape: vec![values.len()], bytes: bytes.into() }
    }
}
