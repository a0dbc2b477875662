//! safetensors: reads and writes the tensor files of Hugging Face.

mod read;
mod write;

pub use read::File;
pub use write::Writer;

pub use crate::draft::Entry;
pub use crate::tensor::encode_f32;
