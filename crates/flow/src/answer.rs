//! Who answers: a model on a GPU where there is one that it runs on, else on the CPU's threads; as the base, and as a run made it.

use crate::ready::{hold, load_in};
use crate::{Error, Ready, Watch, pin};
use engine::cuda::Gpu;
use model::generate::Who;
use model::gpu::{self, With};
use model::{Adapter, Dims, Folder, Weights};
use record::recipe::{Device, Storage};
use record::{Recipe, RunFolder};
use std::path::Path;
use std::sync::Arc;

/// Answers side by side on a GPU, where they fit: a step reads all weights, for however many.
const GPU_BATCH: usize = 64;

/// A model that answers.
pub struct Answerer {
    /// Its files, and on the CPU its weights.
    ready: Ready,
    /// What a run made of it, on the CPU.
    tuned: Option<Tuned>,
    gpu: Option<OnGpu>,
}

/// A model on a GPU, and what a run made of it.
struct OnGpu {
    /// The base, with the run's adapter around it.
    base: gpu::Answerer,
    /// Of a fully trained run the model of its own.
    own: Option<gpu::Answerer>,
}

/// What a run made: an adapter to its base, or a model of its own.
struct Tuned {
    /// None trained of a fully trained model.
    adapter: Adapter,
    /// The weights of a fully trained model, on the CPU.
    own: Option<Weights>,
}

impl Answerer {
    /// Opens the model at `path`, with what `run` made of it; a recipe that is given says how its base is held and which day it is.
    /// `device` is where: a GPU that does not answer is told of where the choice is left open (threads 0: all cores).
    ///
    /// # Errors
    /// What is wrong with its files, a run that has not finished, a GPU that was asked for and does not answer.
    pub fn open(
        path: &Path,
        run: Option<(&RunFolder, &Recipe)>,
        device: Device,
        threads: usize,
        watch: &mut dyn Watch,
    ) -> Result<Answerer, Error> {
        let mut folder = Folder::open(path)?;
        if let Some((_, recipe)) = run {
            pin(&mut folder, recipe);
        }
        if let Some(gpu) = on_gpu(&folder, run, device, watch)? {
            return Ok(Answerer { ready: load_in(None, folder, threads, watch)?, tuned: None, gpu: Some(gpu) });
        }
        let trained = run.map(|(run, _)| trained_of(&folder, run)).transpose()?;
        let ready = load_in(Some(run.map_or(model::weights::Hold::F32, |(_, recipe)| hold(recipe))), folder, threads, watch)?;
        let tuned = trained.map(|adapter| match adapter.places.is_model() {
            false => Tuned { adapter, own: None },
            true => Tuned { own: Some(Weights::of_trained(&ready.cx, &adapter)), adapter: Adapter::none(&ready.folder.dims) },
        });
        Ok(Answerer { ready, tuned, gpu: None })
    }

    /// The model's files.
    pub fn folder(&self) -> &Folder {
        &self.ready.folder
    }

    /// The model before training.
    pub fn base(&self) -> Who<'_> {
        match &self.gpu {
            Some(gpu) => Who::Gpu(&gpu.base, With::Base),
            None => Who::Cpu(&self.ready.cx, &self.ready.weights, None),
        }
    }

    /// What the run made of it; the model itself where no run was given.
    pub fn tuned(&self) -> Who<'_> {
        match (&self.gpu, &self.tuned) {
            (Some(OnGpu { own: Some(own), .. }), _) => Who::Gpu(own, With::Base),
            (Some(OnGpu { base, .. }), _) => Who::Gpu(base, With::Adapter),
            (None, Some(t)) => Who::Cpu(&self.ready.cx, t.own.as_ref().unwrap_or(&self.ready.weights), Some(&t.adapter)),
            (None, None) => self.base(),
        }
    }

    /// Where it answers: `cpu`, or what the bits of a GPU depend on.
    pub fn place(&self) -> String {
        self.gpu.as_ref().map_or_else(|| "cpu".into(), |gpu| gpu.base.gpu().identity())
    }

    /// Answers side by side, where a recipe wants `batch` of them to bound the memory: a GPU bounds it by what is free.
    pub(crate) fn batch(&self, batch: usize) -> usize {
        if self.gpu.is_some() { batch.max(GPU_BATCH) } else { batch }
    }

    /// The model in the CPU's memory, if it answers there.
    pub(crate) fn into_ready(self) -> Option<Ready> {
        self.gpu.is_none().then_some(self.ready)
    }
}

/// What a run trained, as its files have it.
///
/// # Errors
/// A run that has not finished, or an adapter that does not fit the model.
pub(crate) fn trained_of(folder: &Folder, run: &RunFolder) -> Result<Adapter, Error> {
    if !run.adapter().is_dir() {
        return Err(Error::NotYet { path: run.path().into(), what: "adapter", why: "its training has not finished" });
    }
    Ok(Adapter::load(&folder.dims, &run.adapter())?)
}

type Run<'a> = (&'a RunFolder, &'a Recipe);

/// The model on a GPU, if it is to be there and can.
fn on_gpu(folder: &Folder, run: Option<Run>, device: Device, watch: &mut dyn Watch) -> Result<Option<OnGpu>, Error> {
    // A machine without a driver or a device has no GPU to speak of.
    let none = || matches!(Gpu::count(), Ok(0) | Err(engine::cuda::Error::NoLibrary { .. }));
    if device == Device::Cpu || (device == Device::Auto && none()) {
        return Ok(None);
    }
    match open_on_gpu(folder, run, watch) {
        Ok(opened) => Ok(Some(opened)),
        Err(Error::Model(why @ (model::Error::Gpu(_) | model::Error::Unsupported { .. }))) if device == Device::Auto => {
            watch.note(&format!("answers are made on the CPU, not on a GPU: {why}"));
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

fn open_on_gpu(folder: &Folder, run: Option<Run>, watch: &mut dyn Watch) -> Result<OnGpu, Error> {
    let gpu = Gpu::open(0).map_err(model::Error::from)?;
    // A fully trained run has weights of its own; they are read straight to the device.
    let own = run.map(|(run, _)| run.adapter()).filter(|own| own.join("model.safetensors").is_file());
    let adapter = match run {
        Some((run, _)) if own.is_none() => trained_of(folder, run)?,
        _ => Adapter::none(&folder.dims),
    };
    gpu::refuse_to_answer(&folder.dims, &adapter.places)?;
    let hold = held(run.map_or(Storage::Full, |(_, recipe)| recipe.model.storage))?;
    let (hold, source) = gpu::hold_to_answer(&gpu, &folder.dims, &adapter.places, hold, &folder.files)?;
    let base = load_on_gpu(&gpu, &folder.dims, hold, &source, &adapter, watch)?;
    let own = match own.map(|path| model::folder::weights(&path)).transpose()? {
        Some(files) => Some(load_on_gpu(&gpu, &folder.dims, gpu::Hold::Bf16, &gpu::Source::Files(&files), &adapter, watch)?),
        None => None,
    };
    Ok(OnGpu { base, own })
}

fn load_on_gpu(
    gpu: &Arc<Gpu>,
    dims: &Dims,
    hold: gpu::Hold,
    source: &gpu::Source,
    adapter: &Adapter,
    watch: &mut dyn Watch,
) -> Result<gpu::Answerer, model::Error> {
    watch.begin("loading the model", 100);
    let mut tell = |done: usize, of: usize| watch.advance((100 * done / of.max(1)) as u64);
    let opened = gpu::Answerer::open(gpu, dims, &adapter.places, hold, source, &adapter.params, &mut tell);
    watch.end();
    opened
}

/// How a base is held to answer that was trained beside as a recipe says.
fn held(storage: Storage) -> Result<gpu::Hold, model::Error> {
    match storage {
        // What is only multiplied in 8-bit floats is not coded: the adapter means the same beside more exact products.
        Storage::Full | Storage::Fp8 => Ok(gpu::Hold::Bf16),
        Storage::Nf4 => Ok(gpu::Hold::Nf4),
        Storage::Int8 => Ok(gpu::Hold::Int8),
        Storage::Stored => {
            let what = "answering with weights as they are stored on a GPU".to_string();
            let (found, supported) = ("model.storage = \"stored\"".to_string(), "full, nf4, int8".to_string());
            Err(model::Error::Unsupported { what, found, supported })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::generate::{Options, generate};

    /// Keeps what is noted.
    #[derive(Default)]
    struct Notes(Vec<String>);

    impl Watch for Notes {
        fn begin(&mut self, _: &str, _: u64) {}
        fn advance(&mut self, _: u64) {}
        fn end(&mut self) {}
        fn note(&mut self, text: &str) {
            self.0.push(text.into());
        }
        fn prepared(&mut self, _: &crate::Prepared) {}
        fn event(&mut self, _: &record::Event) {}
    }

    #[test]
    fn a_model_answers_where_it_can_and_a_gpu_that_was_asked_for_must_be_there() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-chat");
        let mut notes = Notes::default();
        let opened = |device, notes: &mut Notes| Answerer::open(&path, None, device, 1, notes);
        let cpu = opened(Device::Cpu, &mut notes).expect("opens");
        let o = Options { max_new: 3, stop: Vec::new(), batch: 1 };
        let answers = generate(cpu.tuned(), &[vec![1, 2, 3]], &o, &mut |_| true).expect("answers");
        assert!(answers[0].ids.len() == 3 && cpu.base().context() > 3 && cpu.batch(5) == 5);
        if Gpu::count().is_ok_and(|n| n > 0) {
            return;
        }
        assert!(opened(Device::Auto, &mut notes).is_ok_and(|a| a.gpu.is_none()));
        assert!(notes.0.is_empty(), "a machine without a GPU has nothing to say of it: {:?}", notes.0);
        assert!(matches!(opened(Device::Cuda, &mut notes), Err(Error::Model(model::Error::Gpu(_)))));
    }
}
