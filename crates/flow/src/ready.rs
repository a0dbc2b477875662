//! A model in memory, with its threads: what training, measuring and talking begin with.

use crate::{Error, Watch};
use engine::Cx;
use model::{Adapter, Folder, Weights};
use record::RunFolder;
use std::path::Path;

/// A loaded model.
pub struct Ready {
    /// The threads.
    pub cx: Cx,
    /// Its files.
    pub folder: Folder,
    /// Its weights.
    pub weights: Weights,
}

/// Opens and loads the model at `path` (threads 0: all cores).
///
/// # Errors
/// What is wrong with its files.
pub fn load(path: &Path, threads: usize, watch: &mut dyn Watch) -> Result<Ready, Error> {
    let cx = Cx::new(threads).map_err(Error::Threads)?;
    let folder = Folder::open(path)?;
    watch.begin("loading the model", 100);
    let weights = Weights::load(&cx, &folder.files, &folder.dims, &mut |done, of| watch.advance((100 * done / of.max(1)) as u64))?;
    watch.end();
    Ok(Ready { cx, folder, weights })
}

/// The trained adapter of a run.
///
/// # Errors
/// A run that has not finished, or an adapter that does not fit the model.
pub fn adapter_of(ready: &Ready, run: &RunFolder) -> Result<Adapter, Error> {
    if !run.adapter().is_dir() {
        return Err(Error::NotYet { path: run.path().into(), what: "adapter", why: "its training has not finished" });
    }
    Ok(Adapter::load(&ready.folder.dims, &run.adapter())?)
}
