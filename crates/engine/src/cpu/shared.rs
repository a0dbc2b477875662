//! One output buffer written by several threads, each in its own part.

use std::marker::PhantomData;

/// A mutable buffer whose disjoint parts are handed to different threads.
pub(crate) struct Shared<'a, T = f32> {
    start: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: the buffer is only reached through `part`, whose caller promises disjoint ranges.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above; no two threads hold the same range.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(buffer: &'a mut [T]) -> Shared<'a, T> {
        Shared { start: buffer.as_mut_ptr(), len: buffer.len(), life: PhantomData }
    }

    /// The part `[from, from + len)`.
    ///
    /// # Safety
    /// No other part that overlaps this one may be alive.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, from: usize, len: usize) -> &mut [T] {
        assert!(from <= self.len && len <= self.len - from, "part {from}+{len} of {}", self.len);
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }

    /// A pointer to element `at`, for strided tiles.
    ///
    /// # Safety
    /// The caller stays inside the buffer and inside elements that no other thread touches.
    pub(crate) unsafe fn at(&self, at: usize) -> *mut T {
        debug_assert!(at <= self.len);
        // SAFETY: the caller promises that `at` is in bounds.
        unsafe { self.start.add(at) }
    }
}
