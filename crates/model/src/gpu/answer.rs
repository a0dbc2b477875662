//! Answers on an NVIDIA GPU: prompts by training's ops, then steps over a cache, recorded once and replayed.
//!
//! Keys, values and activations are bfloat16, logits float32; the greatest logit is found on the device, so the host reads one
//! token a sequence and step. What an answer is, is said in `generate.rs` for CPU and GPU alike.
//!
//! What an answer's bits depend on: its prompt, the weights, device and library, and which algorithm the library takes for the
//! shapes of its products. A step is always computed for as many sequences as the job's batches have places, whoever still asks,
//! and attention over the cache is cut by positions alone; so once its prompt is in the cache, a sequence's answer does not depend on
//! what else is in the batch. Prompts are computed packed one behind the other: with others beside it the same prompt's keys
//! may come from another algorithm, and differ as bfloat16 rounds. The same call gives the same bits.

mod device;
mod fit;
mod list;
mod pass;
mod room;

use crate::generate::{Answer, Job, Options, Progress};
use crate::gpu::trained::Trained;
use crate::gpu::weights::Weights;
use crate::gpu::{Hold, Source};
use crate::{Dims, Error, Places};
use device::Device;
use engine::cuda::{Arena, Error as Failure, Gpu, Named};
use engine::ops::attention;
use engine::ops::rows::Spread;
use formats::bnb::Scheme;
use std::sync::Arc;

/// Whether the adapter takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// The base as it is.
    Base,
    /// The base with the adapter around its weights.
    Adapter,
}

/// How the steps are given to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// Recorded once and replayed.
    Recorded,
    /// Call by call: for [`Gpu::watch`], which cannot look into a record.
    Called,
}

/// A model on a GPU that answers.
pub struct Answerer {
    gpu: Arc<Gpu>,
    d: Dims,
    parts: Parts,
    spread: Spread,
    steps: Steps,
}

/// Everything that stays between jobs.
struct Parts {
    weights: Weights,
    trained: Trained,
}

impl Parts {
    fn take(arena: &mut Arena, d: &Dims, places: &Places, hold: Hold) -> Parts {
        Parts { weights: Weights::take(arena, d, places, hold, 0), trained: Trained::take_to_answer(arena, d, places) }
    }
}

/// Refuses what does not answer on a GPU.
///
/// # Errors
/// What it is, and what answers.
pub fn refuse_to_answer(d: &Dims, places: &Places) -> Result<(), Error> {
    let refused = |what: &str, found: String, supported: &str| {
        Err(Error::Unsupported { what: format!("{what} on a GPU"), found, supported: supported.into() })
    };
    if let Some(e) = &d.experts {
        return refused("answering with experts", format!("{} of them", e.count), "models with one feed-forward block");
    }
    if places.is_model() || places.embed().is_some() || places.head().is_some() {
        return refused("answering with whole trained matrices", "full fine-tuning or modules_to_save".into(), "LoRA adapters");
    }
    if places.is_dora() {
        return refused("answering with DoRA", "magnitudes".into(), "LoRA without magnitudes");
    }
    if d.head_dim > attention::gpu::HEAD_MAX || d.hidden > engine::ops::rmsnorm::gpu::WIDTH_MAX {
        let found = format!("heads of {} and {} hidden", d.head_dim, d.hidden);
        return refused("answering by a model of this width", found, "heads of up to 128, and up to 16,384 hidden");
    }
    Ok(())
}

/// What stays on the device while a model answers, by name; what a job takes beside it follows what is free.
pub fn buffers_to_answer(d: &Dims, places: &Places, hold: Hold) -> Vec<Named> {
    let mut arena = Arena::counting();
    Parts::take(&mut arena, d, places, hold);
    arena.named().to_vec()
}

/// How a base that is trained beside as `hold` says is held to answer. Decoding a quantised matrix for every step takes longer than
/// reading it in bfloat16, so where there is room it is decoded once: to the same bits, so the choice changes no answer.
///
/// # Errors
/// When the device does not answer.
pub fn hold_to_answer<'a>(
    gpu: &Gpu,
    d: &Dims,
    places: &Places,
    hold: Hold,
    files: &'a formats::Weights,
) -> Result<(Hold, Source<'a>), Error> {
    let scheme = match hold {
        Hold::Nf4 => Scheme::Nf4 { double: true },
        Hold::Int8 => Scheme::Int8,
        Hold::Bf16 | Hold::Fp8 => return Ok((hold, Source::Files(files))),
    };
    let decoded: usize = buffers_to_answer(d, places, Hold::Bf16).iter().map(|b| b.bytes).sum();
    let (free, _) = gpu.memory()?;
    if decoded + ROOMY <= free { Ok((Hold::Bf16, Source::Decoded(files, scheme))) } else { Ok((hold, Source::Files(files))) }
}

/// Bytes that must be left for caches beside a base that is decoded once.
const ROOMY: usize = 8 << 30;

impl Answerer {
    /// Takes the memory and fills the weights; the adapter is laid out in `places`, its values are `params`.
    ///
    /// # Errors
    /// A model that does not run there, too little memory, a damaged file.
    pub fn open(
        gpu: &Arc<Gpu>,
        d: &Dims,
        places: &Places,
        hold: Hold,
        source: &Source,
        params: &[f32],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Answerer, Error> {
        refuse_to_answer(d, places)?;
        if hold == Hold::Fp8 {
            let what = "answering with weights in 8-bit floats on a GPU".into();
            return Err(Error::Unsupported { what, found: "fp8".into(), supported: "bf16, nf4, int8".into() });
        }
        let bytes = buffers_to_answer(d, places, hold).iter().map(|b| b.bytes).sum();
        let mut arena = Arena::new(gpu, bytes)?;
        let mut parts = Parts::take(&mut arena, d, places, hold);
        parts.weights.fill(gpu, source, d, progress)?;
        // A model that leaves no room for its answers would fail at the first of them.
        let (free, _) = gpu.memory()?;
        if free < fit::LEFT {
            return Err(Failure::Memory { asked: bytes + fit::LEFT, free: bytes + free }.into());
        }
        let spread = parts.trained.spread(gpu, &mut parts.weights, Vec::new())?;
        let answerer = Answerer { gpu: gpu.clone(), d: d.clone(), parts, spread, steps: Steps::Recorded };
        answerer.set(params)?;
        Ok(answerer)
    }

    /// The device.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Its sizes.
    pub fn dims(&self) -> &Dims {
        &self.d
    }

    /// Gives the adapter other values.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn set(&self, params: &[f32]) -> Result<(), Error> {
        self.parts.trained.params.write(params)?;
        self.parts.weights.forget();
        self.spread.run(&self.gpu);
        Ok(self.gpu.wait()?)
    }

    /// How steps are given to the device from now on.
    pub fn steps(&mut self, steps: Steps) {
        self.steps = steps;
    }

    fn speaker(&self, with: With) -> Speaker<'_> {
        Speaker { gpu: &self.gpu, d: &self.d, weights: &self.parts.weights, with, steps: self.steps }
    }

    /// As [`crate::generate::generate`]. No more sequences at a time than the memory that is free has room for.
    ///
    /// # Errors
    /// A prompt that is empty or fills the context, too little memory for one sequence, what fails on the device.
    pub fn generate(
        &self,
        with: With,
        prompts: &[Vec<u32>],
        options: &Options,
        see: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<Answer>, Error> {
        self.speaker(with).generate(prompts, options, see)
    }

    /// The logits that lead to each token of `answers`, whose tokens follow their prompts whatever is most likely: of every answer
    /// the rows one after another. For judges; all prompts in one batch.
    ///
    /// # Errors
    /// As [`Answerer::generate`].
    pub fn follow(&self, with: With, prompts: &[Vec<u32>], answers: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, Error> {
        self.speaker(with).follow(prompts, answers)
    }
}

/// What answers are made with.
#[derive(Clone, Copy)]
struct Speaker<'a> {
    gpu: &'a Arc<Gpu>,
    d: &'a Dims,
    weights: &'a Weights,
    with: With,
    steps: Steps,
}

impl Speaker<'_> {
    fn generate(&self, prompts: &[Vec<u32>], options: &Options, see: &mut dyn FnMut(Progress) -> bool) -> Result<Vec<Answer>, Error> {
        let job = Job::new(prompts, options, self.d.context)?;
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let mut device = Device::open(self, &job, options.batch)?;
        job.run(device.slots(), &mut device, see)
    }

    fn follow(&self, prompts: &[Vec<u32>], answers: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, Error> {
        let most = answers.iter().map(Vec::len).max().unwrap_or(0);
        let options = Options { max_new: most, stop: Vec::new(), batch: prompts.len() };
        let job = Job::new(prompts, &options, self.d.context)?;
        let mut device = Device::open(self, &job, prompts.len())?;
        device.follow(answers)
    }
}
