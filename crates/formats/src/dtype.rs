//! The element and block types that model files contain.

use std::fmt;

/// How the elements of a tensor are stored. Blocked types hold a fixed number of elements in a fixed number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
    F8E4M3,
    F8E5M2,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// The types that GGUF files may use here, as listed in errors.
pub(crate) const GGUF_SUPPORTED: &str = "F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, I8, I16, I32, I64";

/// The types that safetensors files may use here, as listed in errors.
pub(crate) const SAFETENSORS_SUPPORTED: &str = "F64, F32, F16, BF16, F8_E4M3, F8_E5M2, I64, I32, I16, I8, U8, BOOL";

/// ggml's type numbers are below this.
const GGML_TYPES: u32 = 64;

impl Dtype {
    /// Elements in one block; 1 for types that are not blocked.
    pub fn block_elements(self) -> usize {
        match self {
            Dtype::Q4_0 | Dtype::Q4_1 | Dtype::Q5_0 | Dtype::Q5_1 | Dtype::Q8_0 => 32,
            Dtype::Q4K | Dtype::Q5K | Dtype::Q6K => 256,
            _ => 1,
        }
    }

    /// Bytes of one block; the size of an element for types that are not blocked.
    pub fn block_bytes(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::BF16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool | Dtype::F8E4M3 | Dtype::F8E5M2 => 1,
            Dtype::Q4_0 => 18,
            Dtype::Q4_1 => 20,
            Dtype::Q5_0 => 22,
            Dtype::Q5_1 => 24,
            Dtype::Q8_0 => 34,
            Dtype::Q4K => 144,
            Dtype::Q5K => 176,
            Dtype::Q6K => 210,
        }
    }

    /// The name that safetensors or GGUF uses.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F64 => "F64",
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::I64 => "I64",
            Dtype::I32 => "I32",
            Dtype::I16 => "I16",
            Dtype::I8 => "I8",
            Dtype::U8 => "U8",
            Dtype::Bool => "BOOL",
            Dtype::F8E4M3 => "F8_E4M3",
            Dtype::F8E5M2 => "F8_E5M2",
            Dtype::Q4_0 => "Q4_0",
            Dtype::Q4_1 => "Q4_1",
            Dtype::Q5_0 => "Q5_0",
            Dtype::Q5_1 => "Q5_1",
            Dtype::Q8_0 => "Q8_0",
            Dtype::Q4K => "Q4_K",
            Dtype::Q5K => "Q5_K",
            Dtype::Q6K => "Q6_K",
        }
    }

    /// Bytes of a tensor of this shape, or none if the count overflows or the last dimension is not whole blocks.
    pub fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        let per_block = self.block_elements();
        if per_block > 1 && shape.last().is_none_or(|d| d % per_block != 0) {
            return None;
        }
        (elements / per_block).checked_mul(self.block_bytes())
    }

    pub(crate) fn from_safetensors(name: &str) -> Option<Dtype> {
        Some(match name {
            "F64" => Dtype::F64,
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::BF16,
            "I64" => Dtype::I64,
            "I32" => Dtype::I32,
            "I16" => Dtype::I16,
            "I8" => Dtype::I8,
            "U8" => Dtype::U8,
            "BOOL" => Dtype::Bool,
            "F8_E4M3" => Dtype::F8E4M3,
            "F8_E5M2" => Dtype::F8E5M2,
            _ => return None,
        })
    }

    pub(crate) fn from_ggml(id: u32) -> Option<Dtype> {
        Some(match id {
            0 => Dtype::F32,
            1 => Dtype::F16,
            2 => Dtype::Q4_0,
            3 => Dtype::Q4_1,
            6 => Dtype::Q5_0,
            7 => Dtype::Q5_1,
            8 => Dtype::Q8_0,
            12 => Dtype::Q4K,
            13 => Dtype::Q5K,
            14 => Dtype::Q6K,
            24 => Dtype::I8,
            25 => Dtype::I16,
            26 => Dtype::I32,
            27 => Dtype::I64,
            28 => Dtype::F64,
            30 => Dtype::BF16,
            _ => return None,
        })
    }
}

impl Dtype {
    /// The number by which GGUF files name the type; none for types that ggml lacks.
    pub(crate) fn to_ggml(self) -> Option<u32> {
        (0..GGML_TYPES).find(|id| Dtype::from_ggml(*id) == Some(self))
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name that ggml gives to a type number, for errors about types that we do not read.
pub(crate) fn ggml_name(id: u32) -> String {
    let known = match id {
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        _ => return Dtype::from_ggml(id).map_or_else(|| format!("unknown type {id}"), |d| d.name().to_string()),
    };
    known.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for name in SAFETENSORS_SUPPORTED.split(", ") {
            assert_eq!(Dtype::from_safetensors(name).map(Dtype::name), Some(name));
        }
        let ggml: Vec<&str> = (0..GGML_TYPES).filter_map(Dtype::from_ggml).map(Dtype::name).collect();
        for name in GGUF_SUPPORTED.split(", ") {
            assert!(ggml.contains(&name), "{name}");
        }
        assert_eq!(ggml.len(), GGUF_SUPPORTED.split(", ").count());
        assert_eq!((Dtype::F16.to_ggml(), Dtype::Q8_0.to_ggml(), Dtype::U8.to_ggml()), (Some(1), Some(8), None));
        assert_eq!(ggml_name(16), "IQ2_XXS");
        assert_eq!(ggml_name(7777), "unknown type 7777");
    }

    #[test]
    fn sizes_are_checked() {
        assert_eq!(Dtype::Q4K.bytes_of(&[3, 512]), Some(3 * 2 * 144));
        assert_eq!(Dtype::Q4K.bytes_of(&[512, 3]), None);
        assert_eq!(Dtype::Q4_0.bytes_of(&[]), None);
        assert_eq!(Dtype::F32.bytes_of(&[]), Some(4));
        assert_eq!(Dtype::F32.bytes_of(&[usize::MAX, 2]), None);
        assert_eq!(Dtype::F64.bytes_of(&[usize::MAX / 4]), None);
        assert_eq!(Dtype::BF16.bytes_of(&[0, 5]), Some(0));
    }
}
