//! Merging a run's adapter into its base, with the proof that the result answers alike.

use crate::{Error, Prepared, Ready, Watch, trained_of};
use export::{Precision, Proof};
use record::RunFolder;
use std::path::{Path, PathBuf};

/// Held-out prompts on which base with adapter and the merged model are compared.
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
    let adapter = trained_of(ready, run)?;
    let path = out.map_or_else(|| run.merged(), Path::to_path_buf);
    let chat = &ready.folder.chat;
    // Whole conversations, answers included: the compared positions are those that matter.
    let whole = prepared.held_out.iter().take(PROMPTS).map(|e| chat.learn(&e.messages, &Default::default()));
    let prompts: Vec<Vec<u32>> = whole.map(|r| Ok(r?.into_iter().flat_map(|r| r.ids).collect())).collect::<Result<_, Error>>()?;
    watch.begin("merging", 100);
    let mut tell = |done: usize, of: usize| watch.advance((100 * done / of.max(1)) as u64);
    let proof = export::merge(&ready.cx, &ready.folder, &ready.weights, &adapter, precision, &prompts, &path, &mut tell)?;
    watch.end();
    Ok(Merged { path, proof })
}
