//! Calls that are made again and again, recorded once: a graph that the device runs without being told each of them.

use super::{Error, Gpu, error};
use cudarc::driver::sys;
use std::sync::Arc;

/// Recorded calls. What they read and write must outlive it.
pub struct Graph {
    gpu: Arc<Gpu>,
    exec: sys::CUgraphExec,
}

// SAFETY: the handle is not bound to a thread.
unsafe impl Send for Graph {}

impl Graph {
    /// Records what `calls` asks of the device, which then does not happen. Every kernel and product in it must have been called
    /// before: what is loaded or worked out at a first call cannot be while calls are recorded. No copy from or to the host, no
    /// allocation, no [`Gpu::watch`].
    ///
    /// # Errors
    /// What failed before or meanwhile.
    pub fn record(gpu: &Arc<Gpu>, calls: impl FnOnce()) -> Result<Graph, Error> {
        gpu.wait()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let mut graph = std::ptr::null_mut();
        // SAFETY: the context is current after `wait`, the stream lives as long as `gpu`, and the place is valid.
        unsafe { error::check("cuStreamBeginCapture", sys::cuStreamBeginCapture_v2(gpu.stream(), mode))? };
        calls();
        // SAFETY: as above; capturing began.
        let ended = unsafe { error::check("cuStreamEndCapture", sys::cuStreamEndCapture(gpu.stream(), &mut graph)) };
        // What a call noted says more than that the whole is not valid.
        if let Err(e) = gpu.wait().and(ended) {
            // SAFETY: made above if at all, and destroyed here alone.
            unsafe { (!graph.is_null()).then(|| sys::cuGraphDestroy(graph)) };
            return Err(e);
        }
        let mut exec = std::ptr::null_mut();
        // SAFETY: the graph was made above and is destroyed once; what is instantiated does not need it any more.
        let made = unsafe {
            let made = error::check("cuGraphInstantiate", sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0));
            sys::cuGraphDestroy(graph);
            made
        };
        made.map(|()| Graph { gpu: gpu.clone(), exec })
    }

    /// Makes all calls once more, after everything that was asked before.
    pub fn launch(&self) {
        self.gpu.enter();
        // SAFETY: instantiated by `record`; its buffers are the caller's to keep.
        self.gpu.note(unsafe { error::check("cuGraphLaunch", sys::cuGraphLaunch(self.exec, self.gpu.stream())) });
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.gpu.enter();
        // SAFETY: instantiated once, destroyed once, when no launch runs any more.
        self.gpu.note(unsafe {
            sys::cuStreamSynchronize(self.gpu.stream());
            error::check("cuGraphExecDestroy", sys::cuGraphExecDestroy(self.exec))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Graph;
    use crate::cuda::tests::gpu;
    use crate::cuda::{Buffer, product};
    use crate::ops::answer::next;
    use half::bf16;

    #[test]
    fn gpu_what_is_recorded_happens_at_every_launch_and_only_then() {
        let Some(gpu) = gpu() else { return };
        let of = |v: &[u32]| Buffer::of(&gpu, v).unwrap();
        let (len, angles, rows) = (of(&[1, 0]), of(&[10, 20]), of(&[100, 200]));
        let [a, b, c] = [2.0, 3.0, 1.0].map(|v| Buffer::of(&gpu, &vec![bf16::from_f32(v); 64 * 64]).unwrap());
        let calls = || {
            next(&gpu, &len, &angles, &rows);
            let [a, b, c] = [&a, &b, &c].map(|m| product::Mat::new(m, 64, 64));
            product::product(&gpu, c, product::Write::Add, a, b.t());
        };
        calls();
        let graph = Graph::record(&gpu, || (0..2).for_each(|_| calls())).unwrap();
        assert_eq!(len.read().unwrap(), [2, 0], "recording does nothing");
        (0..3).for_each(|_| graph.launch());
        assert_eq!([&len, &angles, &rows].map(|b| b.read().unwrap()), [vec![8, 0], vec![17, 20], vec![107, 200]]);
        // 1, then seven times 2·3·64, as bfloat16 holds the sum each time.
        let want = (0..7).fold(bf16::ONE, |sum, _| bf16::from_f32(sum.to_f32() + 384.0));
        assert!(c.read().unwrap().iter().all(|v| *v == want), "{:?} for {want}", c.read().unwrap()[0]);
        calls();
        assert_eq!(len.read().unwrap(), [9, 0], "a record leaves the stream as it was");
    }
}
