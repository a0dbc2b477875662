//! A step captured once and launched as a whole: hundreds of launches become one.

use super::{Error, Gpu, error};
use cudarc::driver::sys;
use std::sync::Arc;

/// A captured list of launches; they read and write the same buffers each time.
pub struct Graph {
    gpu: Arc<Gpu>,
    graph: sys::CUgraph,
    run: sys::CUgraphExec,
}

impl Graph {
    /// Records what `calls` asks of `gpu`, without running it. Nothing in it may wait or copy to the host.
    ///
    /// # Errors
    /// When something in it cannot be captured.
    pub fn capture(gpu: &Arc<Gpu>, calls: impl FnOnce()) -> Result<Graph, Error> {
        gpu.wait()?;
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let (mut graph, mut run) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the stream is idle and its own; the graph and its executable form are destroyed once, by `drop`.
        unsafe {
            error::check("cuStreamBeginCapture", sys::cuStreamBeginCapture_v2(gpu.stream(), mode))?;
            calls();
            error::check("cuStreamEndCapture", sys::cuStreamEndCapture(gpu.stream(), &mut graph))?;
            error::check("cuGraphInstantiate", sys::cuGraphInstantiateWithFlags(&mut run, graph, 0))?;
        }
        let captured = Graph { gpu: gpu.clone(), graph, run };
        gpu.wait()?;
        Ok(captured)
    }

    /// Runs it once.
    pub fn launch(&self) {
        self.gpu.enter();
        // SAFETY: the graph was instantiated by `capture`.
        self.gpu.note(unsafe { error::check("cuGraphLaunch", sys::cuGraphLaunch(self.run, self.gpu.stream())) });
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `capture`, destroyed once; a running launch is finished by the driver first.
        unsafe {
            sys::cuGraphExecDestroy(self.run);
            sys::cuGraphDestroy(self.graph);
        }
    }
}
