//! Device memory: one allocation for a whole run, handed out in typed buffers.

use super::{Error, Gpu, error};
use cudarc::driver::sys;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

/// Every buffer begins at a multiple of this many bytes, so that vector loads and tensor maps may assume it.
pub const ALIGN: usize = 256;

/// What a buffer may hold: plain numbers, the same bits on host and device.
pub trait Element: Copy + 'static {
    /// All bits zero.
    const ZERO: Self;
}

macro_rules! elements {
    ($($t:ty = $zero:expr),*) => { $(impl Element for $t { const ZERO: $t = $zero; })* };
}
elements!(f32 = 0.0, f64 = 0.0, u8 = 0, u16 = 0, u32 = 0, i32 = 0, u64 = 0, half::bf16 = half::bf16::ZERO);

/// An allocation on a device.
pub struct Memory {
    gpu: Option<Arc<Gpu>>, // none where buffers are only counted
    at: sys::CUdeviceptr,
    bytes: usize,
}

impl Memory {
    /// Takes `bytes` from the device; their contents are arbitrary.
    ///
    /// # Errors
    /// When the device has less.
    pub fn new(gpu: &Arc<Gpu>, bytes: usize) -> Result<Arc<Memory>, Error> {
        gpu.enter();
        let mut at = 0;
        // SAFETY: the context is current and `at` is a valid place.
        let code = unsafe { sys::cuMemAlloc_v2(&mut at, bytes.max(ALIGN)) };
        if code == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Err(Error::Memory { asked: bytes, free: gpu.memory()?.0 });
        }
        error::check("cuMemAlloc", code)?;
        Ok(Arc::new(Memory { gpu: Some(gpu.clone()), at, bytes }))
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The device that it lies on.
    fn gpu(&self) -> &Arc<Gpu> {
        self.gpu.as_ref().expect("a buffer that was only counted is not used")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(gpu) = &self.gpu {
            gpu.enter();
            // SAFETY: allocated by `new`, freed once; what still runs on it is waited for by the driver.
            gpu.note(unsafe { error::check("cuMemFree", sys::cuMemFree_v2(self.at)) });
        }
    }
}

/// A buffer of an arena, by name; those of several layers together.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// What it is called.
    pub name: &'static str,
    /// Its size.
    pub bytes: usize,
    /// What it is for.
    pub why: &'static str,
}

/// Hands out an allocation from its start; nothing is given back.
pub struct Arena {
    memory: Arc<Memory>,
    given: usize, // up to here
    end: usize,
    named: Vec<Named>,
}

impl Arena {
    /// Takes `bytes` from the device.
    ///
    /// # Errors
    /// When the device has less.
    pub fn new(gpu: &Arc<Gpu>, bytes: usize) -> Result<Arena, Error> {
        Ok(Arena { memory: Memory::new(gpu, bytes)?, given: 0, end: bytes, named: Vec::new() })
    }

    /// An arena without memory or device: what is taken from it is counted, and cannot be used.
    pub fn counting() -> Arena {
        Arena { memory: Arc::new(Memory { gpu: None, at: 0, bytes: usize::MAX }), given: 0, end: usize::MAX, named: Vec::new() }
    }

    /// Hands out `place` once more: for what is written only after all that lies there was read for the last time.
    pub fn over(place: &Buffer<u8>) -> Arena {
        Arena { memory: place.memory.clone(), given: place.from, end: place.from + place.len, named: Vec::new() }
    }

    /// What was handed out since [`Arena::given`] was `from`, as bytes.
    pub fn since(&self, from: usize) -> Buffer<u8> {
        Buffer { memory: self.memory.clone(), from, len: self.given - from, _type: PhantomData }
    }

    /// The next `len` elements, called `name`.
    ///
    /// # Panics
    /// When the plan asked for less than is taken: a bug of the plan.
    pub fn take<T: Element>(&mut self, name: &'static str, why: &'static str, len: usize) -> Buffer<T> {
        let (from, bytes) = (self.given, (len * size_of::<T>()).next_multiple_of(ALIGN));
        assert!(bytes <= self.end - from, "the plan of {} bytes lacks room for {bytes} after {from}", self.end);
        self.given += bytes;
        match self.named.iter_mut().find(|n| n.name == name) {
            Some(known) => known.bytes += bytes,
            None => self.named.push(Named { name, bytes, why }),
        }
        Buffer { memory: self.memory.clone(), from, len, _type: PhantomData }
    }

    /// Bytes handed out.
    pub fn given(&self) -> usize {
        self.given
    }

    /// What was handed out, by name.
    pub fn named(&self) -> &[Named] {
        &self.named
    }
}

/// Some elements on a device. A clone names the same memory: calls on one stream happen one after another, so there is no
/// race to guard against, and ops say what they write.
pub struct Buffer<T> {
    memory: Arc<Memory>,
    from: usize,
    len: usize,
    _type: PhantomData<T>,
}

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Buffer { memory: self.memory.clone(), from: self.from, len: self.len, _type: PhantomData }
    }
}

impl<T: Element> Buffer<T> {
    /// An allocation of its own.
    ///
    /// # Errors
    /// When the device has less memory.
    pub fn new(gpu: &Arc<Gpu>, len: usize) -> Result<Buffer<T>, Error> {
        Ok(Buffer { memory: Memory::new(gpu, len * size_of::<T>())?, from: 0, len, _type: PhantomData })
    }

    /// An allocation of its own that holds `values`.
    ///
    /// # Errors
    /// When the device has less memory, or the copy fails.
    pub fn of(gpu: &Arc<Gpu>, values: &[T]) -> Result<Buffer<T>, Error> {
        let buffer = Buffer::new(gpu, values.len())?;
        buffer.write(values)?;
        Ok(buffer)
    }

    /// Number of elements.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> usize {
        self.len
    }

    /// Elements `range`.
    pub fn part(&self, range: Range<usize>) -> Buffer<T> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of a buffer of {}", self.len);
        Buffer { memory: self.memory.clone(), from: self.from + range.start * size_of::<T>(), len: range.len(), _type: PhantomData }
    }

    /// The same bytes as `len` elements of another type.
    pub fn view<U: Element>(&self, len: usize) -> Buffer<U> {
        assert!(len * size_of::<U>() <= self.len * size_of::<T>(), "{len} elements do not fit");
        Buffer { memory: self.memory.clone(), from: self.from, len, _type: PhantomData }
    }

    /// Where it lies on the device.
    pub fn address(&self) -> u64 {
        self.memory.at + self.from as u64
    }

    /// Copies `values` here; the host's memory may change once this returns.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn write(&self, values: &[T]) -> Result<(), Error> {
        assert!(values.len() <= self.len, "{} elements into a buffer of {}", values.len(), self.len);
        let gpu = self.memory.gpu();
        gpu.enter();
        let bytes = size_of_val(values);
        // SAFETY: both ends hold that many bytes; pageable host memory is staged before the call returns.
        unsafe { error::check("cuMemcpyHtoD", sys::cuMemcpyHtoDAsync_v2(self.address(), values.as_ptr().cast(), bytes, gpu.stream())) }
    }

    /// Copies everything to the host, after all that was asked before is done.
    ///
    /// # Errors
    /// What failed since the last wait.
    pub fn read(&self) -> Result<Vec<T>, Error> {
        let mut values = vec![T::ZERO; self.len];
        self.read_into(&mut values)?;
        Ok(values)
    }

    /// As [`Buffer::read`], into memory that is there.
    ///
    /// # Errors
    /// What failed since the last wait.
    pub fn read_into(&self, values: &mut [T]) -> Result<(), Error> {
        assert!(values.len() <= self.len);
        let gpu = self.memory.gpu();
        gpu.enter();
        let (bytes, to) = (size_of_val(values), values.as_mut_ptr().cast());
        // SAFETY: both ends hold that many bytes, and `wait` below ends the copy before the slice is used.
        gpu.note(unsafe { error::check("cuMemcpyDtoH", sys::cuMemcpyDtoHAsync_v2(to, self.address(), bytes, gpu.stream())) });
        gpu.wait()
    }

    /// As [`Buffer::read`] in the middle of a pass, for what the host must know: zeros on a failure, which the next wait tells.
    pub fn peek(&self) -> Vec<T> {
        self.read().unwrap_or_else(|e| {
            self.memory.gpu().note(Err(e));
            vec![T::ZERO; self.len]
        })
    }

    /// As [`Buffer::write`] in the middle of a pass: a failure is told by the next wait.
    pub fn poke(&self, values: &[T]) {
        self.memory.gpu().note(self.write(values));
    }

    /// Sets every byte to `byte`: 0 for zeros, 255 for numbers that are none.
    pub fn fill_bytes(&self, byte: u8) {
        if self.len == 0 {
            return;
        }
        let gpu = self.memory.gpu();
        gpu.enter();
        // SAFETY: the range belongs to this buffer.
        gpu.note(unsafe {
            error::check("cuMemsetD8", sys::cuMemsetD8Async(self.address(), byte, self.len * size_of::<T>(), gpu.stream()))
        });
    }

    /// Copies all of `from` here.
    pub fn copy_from(&self, from: &Buffer<T>) {
        assert_eq!(from.len, self.len);
        let gpu = self.memory.gpu();
        gpu.enter();
        // SAFETY: both ends hold that many bytes.
        gpu.note(unsafe {
            error::check("cuMemcpyDtoD", sys::cuMemcpyDtoDAsync_v2(self.address(), from.address(), self.len * size_of::<T>(), gpu.stream()))
        });
    }
}

/// Rows of bf16 in a buffer: `width` values each, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Where the first lies.
    pub(crate) at: u64,
    /// How many.
    pub rows: usize,
    /// Values of each.
    pub width: usize,
    /// From one to the next.
    pub stride: usize,
}

impl Buffer<half::bf16> {
    /// `rows` rows of columns `from..from + width`, `stride` apart.
    pub fn rows(&self, rows: usize, from: usize, width: usize, stride: usize) -> Rows {
        let needed = if rows == 0 { 0 } else { (rows - 1) * stride + from + width };
        assert!(from + width <= stride && needed <= self.len, "{rows} rows of {width} after {from}, {stride} apart, of {}", self.len);
        Rows { at: self.address() + (from * size_of::<half::bf16>()) as u64, rows, width, stride }
    }
}

impl Rows {
    /// Columns `range` of them.
    pub fn columns(self, range: Range<usize>) -> Rows {
        assert!(range.end <= self.width, "{range:?} of rows of {}", self.width);
        Rows { at: self.at + (range.start * size_of::<half::bf16>()) as u64, width: range.len(), ..self }
    }
}
