//! The demo: the example that the binary carries, from its files to a measured and merged model.

use crate::{
    Answerer, Error, Measured, Merged, Prepared, Ready, Watch, combine, load_as_trained, load_to_teach, measure, pin, teach, write_pack,
};
use export::Precision;
use model::Folder;
use record::recipe::Device;
use record::{Recipe, RunFolder};
use std::path::{Path, PathBuf};
use std::time::Instant;
use train::{Abort, About, End, Start};

/// The files of `examples/northwind`.
const FILES: [(&str, &str); 6] = [
    ("tunesmith.toml", include_str!("../../../examples/northwind/tunesmith.toml")),
    ("train.jsonl", include_str!("../../../examples/northwind/train.jsonl")),
    ("heldout.jsonl", include_str!("../../../examples/northwind/heldout.jsonl")),
    ("system.txt", include_str!("../../../examples/northwind/system.txt")),
    ("answer.schema.json", include_str!("../../../examples/northwind/answer.schema.json")),
    ("GUIDE.md", include_str!("../../../examples/northwind/GUIDE.md")),
];

/// What the demo made.
pub struct Demo {
    /// How training ended.
    pub end: End,
    /// The comparison; none if training was stopped.
    pub measured: Option<Measured>,
    /// The merged model; none if training was stopped.
    pub merged: Option<Merged>,
    /// Seconds from the model's loading to the last file written.
    pub seconds: f64,
}

/// Writes the example's files into `folder`, those that are not there yet, and returns its recipe.
///
/// # Errors
/// What the disk says.
pub fn write_example(folder: &Path) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(folder).map_err(|source| Error::Read { path: folder.into(), source })?;
    for (name, text) in FILES {
        let path = folder.join(name);
        if !path.exists() {
            record::atomic::write(&path, text.as_bytes())?;
        }
    }
    Ok(folder.join(FILES[0].0))
}

/// Trains, measures and merges what was prepared of a settled recipe, with the opened model.
///
/// # Errors
/// Whatever a stage says; what earlier stages wrote stays.
pub fn demo(
    recipe: &Recipe,
    folder: Folder,
    run: &RunFolder,
    prepared: &Prepared,
    threads: usize,
    about: &About,
    abort: &Abort,
    today: &str,
    watch: &mut dyn Watch,
) -> Result<Demo, Error> {
    let began = Instant::now();
    let model = folder.path.clone();
    let ready = load_to_teach(recipe, folder, threads, watch)?;
    write_pack(prepared, recipe, &ready.folder, run)?;
    watch.prepared(prepared);
    let end = teach(&ready, recipe, run, about, Start::Fresh, abort, watch)?;
    let (mut measured, mut merged) = (None, None);
    if end.finished {
        drop(ready);
        let on = if recipe.train.device == Device::Cpu { Device::Cpu } else { Device::Auto };
        let answerer = Answerer::open(&model, Some((run, recipe)), on, threads, watch)?;
        measured = Some(measure(&answerer, recipe, run, prepared, today, watch)?);
        let ready = match answerer.into_ready() {
            Some(ready) => ready,
            None => merge_ready(recipe, &model, threads, watch)?,
        };
        merged = Some(combine(&ready, run, prepared, Precision::F32, None, watch)?);
    }
    Ok(Demo { end, measured, merged, seconds: began.elapsed().as_secs_f64() })
}

/// The model on the CPU, where merging is proved whoever has answered.
fn merge_ready(recipe: &Recipe, model: &Path, threads: usize, watch: &mut dyn Watch) -> Result<Ready, Error> {
    let mut ready = load_as_trained(recipe, model, threads, watch)?;
    pin(&mut ready.folder, recipe);
    Ok(ready)
}
