//! A run's adapter joined with its base, as a folder or as one file, with the proof that the result answers alike.

use crate::answer::trained_of;
use crate::{Error, Prepared, Ready, Watch};
use export::{Exported, Precision, Proof, Store, Tuned};
use record::RunFolder;
use std::path::{Path, PathBuf};

/// Held-out prompts on which base with adapter and the result are compared.
const PROMPTS: usize = 8;

/// A merged model that passed.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Its folder.
    pub path: PathBuf,
    /// How far its logits are from base and adapter.
    pub proof: Proof,
}

/// Writes the merged model of `run` to `out` (or into the run folder).
///
/// # Errors
/// No adapter yet, a full disk, or a result that answers otherwise.
pub fn combine(
    ready: &Ready,
    run: &RunFolder,
    prepared: &Prepared,
    precision: Precision,
    out: Option<&Path>,
    watch: &mut dyn Watch,
) -> Result<Merged, Error> {
    let path = out.map_or_else(|| run.merged(), Path::to_path_buf);
    let proof =
        proven(ready, run, prepared, "merging", watch, &mut |tuned, prompts, tell| export::merge(tuned, precision, prompts, &path, tell))?;
    Ok(Merged { path, proof })
}

/// Writes the merged model of `run` to the GGUF file `out`, and a Modelfile beside it.
///
/// # Errors
/// As [`combine`], and a tokenizer that GGUF cannot say.
pub fn combine_gguf(
    ready: &Ready,
    run: &RunFolder,
    prepared: &Prepared,
    store: Store,
    out: &Path,
    watch: &mut dyn Watch,
) -> Result<Exported, Error> {
    proven(ready, run, prepared, "writing", watch, &mut |tuned, prompts, tell| export::gguf(tuned, store, &run.name(), prompts, out, tell))
}

type Write<'a, T> = dyn FnMut(&Tuned, &[Vec<u32>], &mut dyn FnMut(usize, usize)) -> Result<T, export::Error> + 'a;

/// Has `write` write the run's model and compare it on held-out prompts.
fn proven<T>(
    ready: &Ready,
    run: &RunFolder,
    prepared: &Prepared,
    what: &str,
    watch: &mut dyn Watch,
    write: &mut Write<'_, T>,
) -> Result<T, Error> {
    let adapter = trained_of(&ready.folder, run)?;
    let chat = &ready.folder.chat;
    // Whole conversations, answers included: the compared positions are those that matter.
    let whole = prepared.held_out.iter().take(PROMPTS).map(|e| chat.learn(&e.messages, &Default::default()));
    let prompts: Vec<Vec<u32>> = whole.map(|r| Ok(r?.into_iter().flat_map(|r| r.ids).collect())).collect::<Result<_, Error>>()?;
    watch.begin(what, 100);
    let mut tell = |done: usize, of: usize| watch.advance((100 * done / of.max(1)) as u64);
    let tuned = Tuned { cx: &ready.cx, base: &ready.folder, weights: &ready.weights, hold: ready.hold, adapter: &adapter };
    let done = write(&tuned, &prompts, &mut tell)?;
    watch.end();
    Ok(done)
}
