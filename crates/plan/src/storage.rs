//! In what a frozen matrix is held, and how many bytes that takes: exactly, scales and padding included.

use formats::Dtype;

/// How the elements of a frozen matrix are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Two bytes an element.
    Bf16,
    /// Half a byte, one byte of scale a 64 elements, and four bytes a 256 scales: bitsandbytes' NF4, doubly quantised.
    Nf4,
    /// One byte, and four bytes of scale a row.
    Int8,
    /// Blocks of a GGUF file, as they lie on disk.
    Blocks(Dtype),
}

/// Elements under one scale of NF4.
const NF4_BLOCK: u64 = 64;
/// Scales of NF4 under one scale of their own.
const NF4_NESTED: u64 = 256;

impl Storage {
    /// Bytes of an (outputs, inputs) matrix.
    pub fn bytes(self, outputs: u64, inputs: u64) -> u64 {
        let elements = outputs * inputs;
        match self {
            Storage::Bf16 => 2 * elements,
            Storage::Nf4 => {
                let scales = elements.div_ceil(NF4_BLOCK);
                // The last four bytes are the mean that double quantisation takes off.
                elements.div_ceil(2) + scales + 4 * scales.div_ceil(NF4_NESTED) + 4
            }
            Storage::Int8 => elements + 4 * outputs,
            Storage::Blocks(d) => outputs * inputs.div_ceil(d.block_elements() as u64) * d.block_bytes() as u64,
        }
    }

    /// Whether a product needs the matrix written out in bf16 first.
    pub fn is_packed(self) -> bool {
        self != Storage::Bf16
    }

    /// Its name in words.
    pub fn title(self) -> &'static str {
        match self {
            Storage::Bf16 => "bf16",
            Storage::Nf4 => "NF4, doubly quantised",
            Storage::Int8 => "int8 with a scale a row",
            Storage::Blocks(d) => d.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_formats() {
        // 4096 x 4096 in NF4: 8,388,608 of nibbles, 262,144 scales, 1,024 scales of scales.
        assert_eq!(Storage::Nf4.bytes(4096, 4096), 8_388_608 + 262_144 + 4 * 1024 + 4);
        // One block and a part of one.
        assert_eq!(Storage::Nf4.bytes(13, 5), 33 + 2 + 4 + 4);
        assert_eq!(Storage::Int8.bytes(3, 100), 312);
        assert_eq!(Storage::Blocks(Dtype::Q4K).bytes(2, 512), 2 * 2 * 144);
        assert_eq!(Storage::Blocks(Dtype::Q8_0).bytes(2, 64), 2 * 2 * 34);
        assert_eq!(Storage::Bf16.bytes(7, 9), 126);
    }
}
