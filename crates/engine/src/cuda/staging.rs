//! Copies to the device that nobody waits for: what is copied lies in memory that the device reads by itself.

use super::{Buffer, Element, Error, Gpu, error, timer::Mark};
use cudarc::driver::sys;
use std::ffi::c_void;
use std::sync::Arc;

/// Two halves of page-locked memory: one is filled while the other is still on its way.
pub struct Staging {
    gpu: Arc<Gpu>,
    at: *mut u8,
    half: usize,
    sent: [Option<Mark>; 2],
    next: usize,
}

// SAFETY: the memory belongs to this struct alone, and the driver allows any thread to use and free it.
unsafe impl Send for Staging {}

impl Staging {
    /// For copies of at most `bytes` each.
    ///
    /// # Errors
    /// When the machine has not the memory.
    pub fn new(gpu: &Arc<Gpu>, bytes: usize) -> Result<Staging, Error> {
        gpu.enter();
        let (half, mut at) = (bytes.next_multiple_of(256).max(256), std::ptr::null_mut::<c_void>());
        // SAFETY: the context is current and the place is valid; freed once, by `drop`.
        unsafe { error::check("cuMemHostAlloc", sys::cuMemHostAlloc(&mut at, 2 * half, 0))? };
        Ok(Staging { gpu: gpu.clone(), at: at.cast(), half, sent: [None, None], next: 0 })
    }

    /// Copies `values` to the beginning of `to`, in the order of the stream; the values may change once this returns.
    ///
    /// # Errors
    /// When the device refuses, or what failed before the half was free again.
    pub fn write<T: Element>(&mut self, to: &Buffer<T>, values: &[T]) -> Result<(), Error> {
        let bytes = size_of_val(values);
        assert!(values.len() <= to.len() && bytes <= self.half, "{} elements", values.len());
        self.gpu.enter();
        let which = self.next;
        self.next = 1 - which;
        if let Some(mark) = self.sent[which].take() {
            mark.reached()?;
        }
        // SAFETY: this half holds as many bytes, and the device has read what lay there before.
        unsafe {
            let half = self.at.add(which * self.half);
            std::ptr::copy_nonoverlapping(values.as_ptr().cast(), half, bytes);
            error::check("cuMemcpyHtoD", sys::cuMemcpyHtoDAsync_v2(to.address(), half.cast(), bytes, self.gpu.stream()))?;
        }
        // Without a mark nobody would know when the half is free.
        self.sent[which] = Some(Mark::now(&self.gpu).or_else(|e| self.gpu.wait().and(Err(e)))?);
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What still reads it is waited for; a failure is told by whoever waits next.
        let waited = self.gpu.wait();
        self.gpu.note(waited);
        self.sent = [None, None];
        // SAFETY: allocated once, and nothing reads it any more.
        unsafe { sys::cuMemFreeHost(self.at.cast()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::tests::gpu;

    #[test]
    fn gpu_copies_arrive_in_order() {
        let Some(gpu) = gpu() else { return };
        let mut staging = Staging::new(&gpu, 4 << 10).unwrap();
        let to: Vec<Buffer<u32>> = (0..7).map(|_| Buffer::new(&gpu, 1000).unwrap()).collect();
        for (i, to) in to.iter().enumerate() {
            staging.write(to, &vec![i as u32; 1000]).unwrap();
        }
        for (i, to) in to.iter().enumerate() {
            assert_eq!(to.read().unwrap(), vec![i as u32; 1000]);
        }
    }
}
