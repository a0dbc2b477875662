//! Tensor maps: how the bulk tensor copy engine, which Hopper brought, finds its way in device memory.

use super::{Arg, Buffer, Error, Gpu, Rows, error};
use cudarc::driver::sys;

/// What a kernel is passed by value: the driver's description of an array and of the box of it that one copy moves. Beyond the
/// array's ends zeros are read and nothing is written.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Map([u64; 16]);

impl Arg for Map {}

/// Columns of a box of heads: 128 bytes, the width of the swizzle.
const COLUMNS: u32 = 64;

/// An array as the driver is told of it: of its dimensions the nearest first.
struct Array<const N: usize> {
    at: u64,
    kind: sys::CUtensorMapDataType,
    sizes: [u64; N],
    /// Bytes from one to the next of each dimension but the first; one more, which is not read.
    strides: [u64; N],
    part: [u32; N],
    swizzle: sys::CUtensorMapSwizzle,
    promotion: sys::CUtensorMapL2promotion,
}

impl Map {
    /// Rows that hold heads of `head_dim` columns side by side, moved in boxes of `rows` rows and 64 columns of one head; these lie
    /// in shared memory with the 128-byte swizzle.
    ///
    /// # Errors
    /// What the driver refuses.
    ///
    /// # Panics
    /// When a head does not begin at a multiple of sixteen bytes.
    pub(crate) fn heads(gpu: &Gpu, of: Rows, head_dim: usize, rows: u32) -> Result<Map, Error> {
        let even = of.at.is_multiple_of(16) && of.stride.is_multiple_of(8) && head_dim.is_multiple_of(8);
        assert!(even && of.width.is_multiple_of(head_dim) && of.rows > 0 && rows <= 256, "heads of {head_dim} in {of:?}");
        Array {
            at: of.at,
            kind: sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            sizes: [head_dim, of.width / head_dim, of.rows].map(|n| n as u64),
            strides: [2 * head_dim, 2 * of.stride, 0].map(|n| n as u64),
            part: [COLUMNS, 1, rows],
            swizzle: sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            promotion: sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        }
        .encode(gpu)
    }

    /// The first `len` numbers of a list, moved `part` at a time.
    ///
    /// # Errors
    /// What the driver refuses.
    ///
    /// # Panics
    /// When the list is shorter, or does not begin at a multiple of sixteen bytes.
    pub(crate) fn list(gpu: &Gpu, of: &Buffer<u32>, len: usize, part: u32) -> Result<Map, Error> {
        assert!(0 < len && len <= of.len() && of.address().is_multiple_of(16) && part <= 256, "{len} of a list of {}", of.len());
        Array {
            at: of.address(),
            kind: sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT32,
            sizes: [len as u64],
            strides: [0],
            part: [part],
            swizzle: sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
            promotion: sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_NONE,
        }
        .encode(gpu)
    }
}

impl<const N: usize> Array<N> {
    fn encode(&self, gpu: &Gpu) -> Result<Map, Error> {
        gpu.enter();
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        // SAFETY: the driver is loaded; every list has N entries and outlives the call, and `map` is as aligned as its type says.
        let code = unsafe {
            sys::cuTensorMapEncodeTiled(
                &mut map,
                self.kind,
                N as u32,
                self.at as *mut std::ffi::c_void,
                self.sizes.as_ptr(),
                self.strides.as_ptr(),
                self.part.as_ptr(),
                [1; N].as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                self.swizzle,
                self.promotion,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        error::check("cuTensorMapEncodeTiled", code)?;
        Ok(Map(map.opaque))
    }
}
