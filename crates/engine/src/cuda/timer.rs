//! Time on the device: between two points of its stream, or of everything that is asked of it, by name.

use super::{Error, Gpu, error};
use cudarc::driver::sys;
use std::sync::Arc;

/// A point in the device's stream; not to be kept longer than its device.
pub struct Mark {
    event: sys::CUevent,
    stream: sys::CUstream,
}

// SAFETY: events are not bound to a thread.
unsafe impl Send for Mark {}

impl Mark {
    /// Marks what was asked for so far.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn now(gpu: &Arc<Gpu>) -> Result<Mark, Error> {
        Mark::on(gpu)
    }

    pub(crate) fn on(gpu: &Gpu) -> Result<Mark, Error> {
        gpu.enter();
        let mut event = std::ptr::null_mut();
        // SAFETY: the context is current; the event is destroyed once, by `drop`.
        unsafe {
            error::check("cuEventCreate", sys::cuEventCreate(&mut event, 0))?;
            error::check("cuEventRecord", sys::cuEventRecord(event, gpu.stream()))?;
        }
        Ok(Mark { event, stream: gpu.stream() })
    }

    /// Waits until the device has come here.
    ///
    /// # Errors
    /// What failed before.
    pub(crate) fn reached(&self) -> Result<(), Error> {
        // SAFETY: the event was recorded when it was made.
        unsafe { error::check("cuEventSynchronize", sys::cuEventSynchronize(self.event)) }
    }

    /// Milliseconds of device time since `earlier`, once both points are reached.
    ///
    /// # Errors
    /// What failed in between.
    pub fn since(&self, earlier: &Mark) -> Result<f32, Error> {
        let mut ms = 0.0;
        // SAFETY: both events were recorded, and the stream is waited for.
        unsafe {
            error::check("cuStreamSynchronize", sys::cuStreamSynchronize(self.stream))?;
            error::check("cuEventElapsedTime", sys::cuEventElapsedTime_v2(&mut ms, earlier.event, self.event))?;
        }
        Ok(ms)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // SAFETY: created by `now`, destroyed once.
        unsafe { sys::cuEventDestroy_v2(self.event) };
    }
}

/// What was asked of the device while it was watched, and how long each took.
#[derive(Default)]
pub(crate) struct Watched(Vec<(String, Mark, Mark)>);

impl Gpu {
    /// From now on every launch and product is timed; what was watched before is forgotten.
    pub fn watch(&self) {
        if let Ok(mut watched) = self.watched.lock() {
            *watched = Some(Watched::default());
        }
    }

    /// Milliseconds and number of calls by name since [`Gpu::watch`], the longest first; then nothing is timed any more.
    ///
    /// # Errors
    /// What failed in between.
    pub fn seen(&self) -> Result<Vec<(String, f32, usize)>, Error> {
        let watched = self.watched.lock().ok().and_then(|mut w| w.take()).unwrap_or_default();
        let mut all: Vec<(String, f32, usize)> = Vec::new();
        for (name, from, to) in &watched.0 {
            let ms = to.since(from)?;
            match all.iter_mut().find(|(known, ..)| known == name) {
                Some((_, sum, count)) => (*sum, *count) = (*sum + ms, *count + 1),
                None => all.push((name.clone(), ms, 1)),
            }
        }
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(all)
    }

    /// Does `call`, and notes how long it takes on the device if that is watched.
    pub(crate) fn timed(self: &Gpu, name: impl Fn() -> String, call: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let watching = self.watched.lock().is_ok_and(|w| w.is_some());
        if !watching {
            return call();
        }
        let from = Mark::on(self)?;
        call()?;
        let to = Mark::on(self)?;
        if let Ok(mut watched) = self.watched.lock()
            && let Some(all) = watched.as_mut()
        {
            all.0.push((name(), from, to));
        }
        Ok(())
    }
}
