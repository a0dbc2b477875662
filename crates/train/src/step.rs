//! One optimizer step: which examples, their micro-batches, the gradient; then, if nothing speaks against it, the update.
//!
//! The numbers are made on the threads of the CPU or on a GPU: [`Place`]. What a step is does not depend on it.

use crate::preference::{Pair, Reference};
use crate::schedule::{rate, warmup_steps};
use crate::{Error, Material};
use engine::Cx;
use engine::cuda::Gpu;
use engine::ops::adamw;
use model::batch::{Noise, Rules, SHARED_TOKENS_MIN, Sequence, Sharing, micro_batches, micro_batches_of_units};
use model::decoder::{self, Limits, Room, Scale};
use model::places::Trained;
use model::preference as dpo;
use model::{Adapter, Dims, Folder, MicroBatch, Weights, gpu};
use record::Recipe;
use record::pack::Example;
use record::recipe::{Objective, Recompute, Storage};
use std::borrow::Cow;
use std::sync::Arc;

pub use crate::material::{per_epoch, steps_of};

/// Where the numbers are made.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// On the CPU, with these frozen weights.
    Cpu(&'a Cx, &'a Weights),
    /// On a GPU, to which the frozen weights are copied from a model's files.
    Gpu(&'a Arc<Gpu>, &'a Folder),
}

impl Place<'_> {
    /// `cpu`, or what the bits of a GPU depend on: the device, its library of products, our kernels.
    pub fn name(&self) -> String {
        match self {
            Place::Cpu(..) => "cpu".into(),
            Place::Gpu(gpu, _) => gpu.identity(),
        }
    }

    /// Threads that make the numbers: on a GPU the one that feeds it.
    pub fn threads(&self) -> usize {
        match self {
            Place::Cpu(cx, _) => cx.threads(),
            Place::Gpu(..) => 1,
        }
    }
}

/// The buffers of a place, and the gradient.
enum Maker<'a> {
    Cpu { cx: &'a Cx, weights: &'a Weights, room: Box<Room>, grads: Vec<f32> },
    Gpu(Box<gpu::Engine>),
}

/// Everything that a run changes, and what it reads.
pub struct Trainer<'a> {
    maker: Maker<'a>,
    dims: &'a Dims,
    material: &'a Material,
    recipe: &'a Recipe,
    /// The adapter under training.
    pub adapter: Adapter,
    /// First moment of every parameter.
    pub m: Vec<f32>,
    /// Second moment of every parameter.
    pub v: Vec<f32>,
    /// Updates made so far.
    pub updates: u64,
    /// Of the validation examples; empty where pairs are validated.
    validation: Vec<MicroBatch>,
    /// Empty unless preferences are learned.
    reference: Reference,
    /// The micro-batches of a step that is to come, cut while a GPU was busy with the one before.
    ahead: Option<(u64, Vec<MicroBatch>)>,
}

/// What a step found; the gradient waits for [`Trainer::update`].
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of the supervised tokens, or of the pairs.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Supervised tokens.
    pub supervised: usize,
    /// Tokens computed.
    pub computed: usize,
    /// Tokens without sharing.
    pub unshared: usize,
    /// Of pairs: how much more the chosen answers are preferred than at the start, on average, and the share of pairs
    /// where they are.
    pub preference: Option<(f64, f64)>,
    /// Seconds that the step's operations take at the rate at which a GPU multiplies.
    pub light: Option<f64>,
    /// What is not finite, if something is.
    pub not_finite: Option<String>,
}

/// The loss of the validation examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    pub loss: f64,
    pub supervised: usize,
}

impl<'a> Trainer<'a> {
    /// Prepares buffers for the largest micro-batch of the whole run, validation included; nothing is allocated later.
    ///
    /// # Errors
    /// What a GPU refuses.
    pub fn new(place: Place<'a>, material: &'a Material, recipe: &'a Recipe, adapter: Adapter) -> Result<Trainer<'a>, Error> {
        Trainer::for_steps(steps_of(&recipe.train, material.units()), place, material, recipe, adapter)
    }

    /// As [`Trainer::new`], for the first `steps` steps, whatever the recipe says of their number.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn for_steps(
        steps: u64,
        place: Place<'a>,
        material: &'a Material,
        recipe: &'a Recipe,
        adapter: Adapter,
    ) -> Result<Trainer<'a>, Error> {
        let n = adapter.params.len();
        let dims = match place {
            Place::Cpu(_, weights) => &weights.dims,
            Place::Gpu(_, folder) => &folder.dims,
        };
        let pairs = recipe.train.objective == Objective::Dpo;
        let validation = if pairs { Vec::new() } else { batches_of(recipe, dims, material.validation.iter()) };
        let limits = limits(recipe, dims, material, steps);
        let maker = match place {
            Place::Cpu(cx, weights) => {
                Maker::Cpu { cx, weights, room: Box::new(Room::new(dims, &adapter.places, limits)), grads: vec![0.0; n] }
            }
            Place::Gpu(gpu, folder) => {
                let source = gpu::Source::Files(&folder.files);
                let engine = gpu::Engine::open(gpu, dims, &adapter.places, hold(recipe), limits, &source, &adapter.params, &mut |_, _| {})?;
                Maker::Gpu(Box::new(engine))
            }
        };
        let (m, v) = (vec![0.0; n], vec![0.0; n]);
        Ok(Trainer { maker, dims, material, recipe, adapter, m, v, updates: 0, validation, reference: Reference::default(), ahead: None })
    }

    /// The data.
    pub fn material(&self) -> &Material {
        self.material
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        steps_of(&self.recipe.train, self.material.units())
    }

    /// Bytes of activations, gradients and optimizer state on the CPU.
    pub fn bytes(&self) -> usize {
        let room = match &self.maker {
            Maker::Cpu { room, .. } => room.bytes(),
            Maker::Gpu(_) => 0,
        };
        room + 4 * self.adapter.params.len() * size_of::<f32>()
    }

    /// Brings parameters and moments from where they are trained, to be looked at or written.
    ///
    /// # Errors
    /// What failed on a GPU.
    pub fn fetch(&mut self) -> Result<(), Error> {
        match &self.maker {
            Maker::Cpu { .. } => Ok(()),
            Maker::Gpu(engine) => Ok(engine.get(&mut self.adapter.params, &mut self.m, &mut self.v)?),
        }
    }

    /// Takes parameters and moments as they are here to where they are trained.
    ///
    /// # Errors
    /// What failed on a GPU.
    pub fn bring(&mut self) -> Result<(), Error> {
        match &self.maker {
            Maker::Cpu { .. } => Ok(()),
            Maker::Gpu(engine) => Ok(engine.set(&self.adapter.params, &self.m, &self.v)?),
        }
    }

    /// Finds out how likely the model as it is now holds every answer: what preferences are measured against.
    ///
    /// Reads it where it was written for these packs, else computes it and writes it to `path`, if there is one;
    /// `tell(done, of)` counts pairs.
    ///
    /// # Errors
    /// What the disk says.
    pub fn refer(&mut self, path: Option<&std::path::Path>, tell: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
        if let Some(known) = path.and_then(|path| Reference::load(path, self.material)) {
            self.reference = known;
            return Ok(());
        }
        let (train, validation) = (self.material.sequences(), self.material.validation.as_slice());
        let of = (train.len() + validation.len()) / 2;
        let mut all = |sequences: &[Example], from: usize| self.log_probabilities(sequences, &mut |done| tell(from + done, of));
        let reference = Reference { train: all(train, 0)?, validation: all(validation, train.len() / 2)? };
        path.map_or(Ok(()), |path| reference.save(path, self.material))?;
        self.reference = reference;
        Ok(())
    }

    /// Log-probabilities of the answers of every pair; `tell` hears how many pairs are done.
    fn log_probabilities(&mut self, sequences: &[Example], tell: &mut dyn FnMut(usize)) -> Result<Vec<Pair>, Error> {
        let mut found = vec![[0.0; 2]; sequences.len() / 2];
        let mut done = 0;
        for (batch, units) in pairs_of(self.recipe, self.dims, sequences.chunks_exact(2)) {
            let logps = match &mut self.maker {
                Maker::Cpu { cx, weights, room, .. } => dpo::log_probabilities(cx, weights, &self.adapter, room, &batch),
                Maker::Gpu(engine) => dpo::sums(&batch, &engine.losses(&batch)?),
            };
            units.iter().zip(logps.chunks_exact(2)).for_each(|(&unit, pair)| found[unit] = [pair[0], pair[1]]);
            done += units.len();
            tell(done);
        }
        Ok(found)
    }

    /// Computes loss and gradient of step number `step` (from 0).
    ///
    /// # Errors
    /// What failed on a GPU.
    pub fn measure(&mut self, step: u64) -> Result<StepResult, Error> {
        match &mut self.maker {
            Maker::Cpu { grads, .. } => grads.fill(0.0),
            Maker::Gpu(engine) => engine.clear(),
        }
        let mut result = match self.recipe.train.objective {
            Objective::Sft => self.answers(step)?,
            Objective::Dpo => self.pairs(step)?,
        };
        result.grad_norm = match &self.maker {
            Maker::Cpu { grads, .. } => adamw::norm(grads),
            Maker::Gpu(engine) => engine.norm(self.recipe.train.clip)?,
        };
        if let (Maker::Gpu(engine), Objective::Sft) = (&self.maker, self.recipe.train.objective) {
            result.loss += engine.loss()? / result.supervised.max(1) as f64;
        }
        if !result.loss.is_finite() {
            result.not_finite = Some("the loss".into());
        } else if !result.grad_norm.is_finite() {
            result.not_finite = Some(self.first_not_finite()?);
        }
        Ok(result)
    }

    /// Seconds that micro-batches take at the speed of light, on a GPU.
    fn light(&self, batches: &mut dyn Iterator<Item = &MicroBatch>) -> Option<f64> {
        match &self.maker {
            Maker::Cpu { .. } => None,
            Maker::Gpu(engine) => Some(batches.map(|b| engine.light(&self.adapter.places, b)).sum()),
        }
    }

    fn answers(&mut self, step: u64) -> Result<StepResult, Error> {
        let of = |step| batches(self.recipe, self.dims, self.material, step);
        let mut all = self.ahead.take().filter(|(ahead, _)| *ahead == step).map_or_else(|| of(step), |(_, all)| all);
        let supervised: usize = all.iter().map(|b| b.supervised).sum();
        let examples: usize = all.iter().map(|b| b.rows.len()).sum();
        let scale = Scale { tokens: 1.0 / supervised.max(1) as f64, examples: 1.0 / examples.max(1) as f64 };
        let (mut loss, light) = (0.0, self.light(&mut all.iter()));
        for batch in &mut all {
            batch.noise = Some(Noise { seed: self.recipe.train.seed, step });
            loss += match &mut self.maker {
                Maker::Cpu { cx, weights, room, grads } => {
                    let part = decoder::loss_and_gradient(cx, weights, &self.adapter, room, batch, scale, grads);
                    scale.tokens * part.sum + scale.examples * part.balance
                }
                Maker::Gpu(engine) => {
                    engine.submit(batch, scale)?;
                    scale.examples * engine.balance()
                }
            };
        }
        if matches!(self.maker, Maker::Gpu(_)) && step + 1 < self.steps() {
            self.ahead = Some((step + 1, of(step + 1)));
        }
        let computed = all.iter().map(|b| b.tokens.len()).sum();
        let unshared = all.iter().map(|b| b.unshared).sum();
        Ok(StepResult { loss, grad_norm: 0.0, supervised, computed, unshared, preference: None, light, not_finite: None })
    }

    fn pairs(&mut self, step: u64) -> Result<StepResult, Error> {
        let chosen = self.material.chosen(self.recipe, step);
        let all = pairs_of(self.recipe, self.dims, chosen.iter().map(|&unit| self.material.unit(unit)));
        let (scale, beta) = (1.0 / chosen.len() as f64, self.recipe.train.beta);
        let (mut loss, mut margin, mut preferred) = (0.0, 0.0, 0.0);
        let (mut supervised, mut computed, mut unshared) = (0, 0, 0);
        let light = self.light(&mut all.iter().map(|(batch, _)| batch));
        for (mut batch, units) in all {
            batch.noise = Some(Noise { seed: self.recipe.train.seed, step });
            let start: Vec<f64> = units.iter().flat_map(|&unit| self.reference.train[chosen[unit]]).collect();
            let part = match &mut self.maker {
                Maker::Cpu { cx, weights, room, grads } => {
                    dpo::loss_and_gradient(cx, weights, &self.adapter, room, &batch, &start, beta, scale, grads)
                }
                Maker::Gpu(engine) => dpo::loss_and_gradient_there(engine, &batch, &start, beta, scale)?,
            };
            loss += scale * (part.sum + part.balance / 2.0);
            margin += scale * part.margins.iter().sum::<f64>();
            preferred += scale * part.margins.iter().filter(|m| **m > 0.0).count() as f64;
            supervised += batch.supervised;
            computed += batch.tokens.len();
            unshared += batch.unshared;
        }
        Ok(StepResult {
            loss,
            grad_norm: 0.0,
            supervised,
            computed,
            unshared,
            preference: Some((margin, preferred)),
            light,
            not_finite: None,
        })
    }

    /// The learning rate of step `step`.
    pub fn rate(&self, step: u64) -> f64 {
        let (t, steps) = (&self.recipe.train, self.steps());
        rate(t.schedule, t.lr, warmup_steps(t.warmup, steps), steps, step)
    }

    /// Moves the parameters along the gradient of `result`, which must be the last one measured and finite.
    ///
    /// # Errors
    /// What failed on a GPU.
    pub fn update(&mut self, result: &StepResult, lr: f64) -> Result<(), Error> {
        let t = &self.recipe.train;
        // As torch.nn.utils.clip_grad_norm_.
        let clip = if t.clip > 0.0 { (t.clip / (result.grad_norm + 1e-6)).min(1.0) } else { 1.0 };
        let settings = adamw::Settings { beta1: t.betas[0], beta2: t.betas[1], eps: t.eps, weight_decay: t.weight_decay };
        self.updates += 1;
        match &mut self.maker {
            Maker::Cpu { cx, grads, .. } => {
                adamw::step(cx, &mut self.adapter.params, &mut self.m, &mut self.v, grads, &settings, lr, self.updates, clip);
            }
            Maker::Gpu(engine) => engine.update(&settings, lr, self.updates, t.seed)?,
        }
        Ok(())
    }

    /// The mean loss of the validation examples with the parameters as they are; forward alone, in the same buffers.
    ///
    /// # Errors
    /// What failed on a GPU.
    pub fn validate(&mut self) -> Result<Validation, Error> {
        if self.recipe.train.objective == Objective::Dpo {
            return self.validate_pairs();
        }
        let supervised: usize = self.validation.iter().map(|b| b.supervised).sum();
        let mut sum = 0.0;
        for batch in &self.validation {
            sum += match &mut self.maker {
                Maker::Cpu { cx, weights, room, .. } => decoder::loss(cx, weights, &self.adapter, room, batch).sum,
                Maker::Gpu(engine) => engine.losses(batch)?.iter().sum(),
            };
        }
        Ok(Validation { loss: sum / supervised.max(1) as f64, supervised })
    }

    fn validate_pairs(&mut self) -> Result<Validation, Error> {
        let material = self.material;
        let (all, beta) = (&material.validation, self.recipe.train.beta);
        let now = self.log_probabilities(all, &mut |_| {})?;
        let both = now.iter().zip(&self.reference.validation);
        let sum: f64 = both.map(|(now, start)| dpo::judge(*now, *start, beta).loss).sum();
        Ok(Validation { loss: sum / now.len().max(1) as f64, supervised: all.iter().map(|e| sequence(e).supervised()).sum() })
    }

    fn first_not_finite(&self) -> Result<String, Error> {
        let grads = match &self.maker {
            Maker::Cpu { grads, .. } => Cow::Borrowed(grads),
            Maker::Gpu(engine) => Cow::Owned(engine.gradient()?),
        };
        let bad = |t: &&Trained| t.read(&grads).iter().any(|g| !g.is_finite());
        Ok(match self.adapter.places.tensors().iter().find(bad) {
            Some(t) => format!("the gradient of {}", t.name),
            None => "the norm of the gradient".into(),
        })
    }
}

/// What a room must be made for: every micro-batch of the first `steps` steps, and of validation.
pub fn limits(recipe: &Recipe, d: &Dims, material: &Material, steps: u64) -> Limits {
    let mut limits = Limits { balance: recipe.train.router_loss, recompute: again(recipe, d), ..Limits::NONE };
    if recipe.train.objective == Objective::Dpo {
        for sequences in [material.sequences(), &material.validation] {
            pairs_of(recipe, d, sequences.chunks_exact(2)).iter().for_each(|(b, _)| limits.widen(b));
        }
        for step in 0..steps {
            limits.widen_to_step(pairs_of(recipe, d, pairs_at(recipe, material, step)).iter().map(|(b, _)| b));
        }
        return limits;
    }
    batches_of(recipe, d, material.validation.iter()).iter().for_each(|b| limits.widen(b));
    for step in 0..steps {
        limits.widen_to_step(&batches(recipe, d, material, step));
    }
    limits
}

/// How a recipe holds the frozen weights on a GPU.
pub fn hold(recipe: &Recipe) -> gpu::Hold {
    match recipe.model.storage {
        Storage::Full | Storage::Stored => gpu::Hold::Bf16,
        Storage::Nf4 => gpu::Hold::Nf4,
        Storage::Int8 => gpu::Hold::Int8,
        Storage::Fp8 => gpu::Hold::Fp8,
    }
}

/// Layers, from the first on, that are computed again for the backward pass. A recipe that leaves that to the machine and was
/// not settled keeps everything.
fn again(recipe: &Recipe, d: &Dims) -> usize {
    match recipe.train.recompute {
        Recompute::Auto | Recompute::None => 0,
        Recompute::All => d.layers,
        Recompute::First(layers) => (layers as usize).min(d.layers),
    }
}

fn sequence(example: &Example) -> Sequence<'_> {
    Sequence { ids: &example.ids, learned: &example.learned }
}

fn rules(recipe: &Recipe, d: &Dims) -> Rules {
    // What dropout drops in a shared prefix would be dropped for all of its examples.
    let share = recipe.train.share_prefix && recipe.adapter.dropout == 0.0;
    Rules { sharing: if share { Sharing::From(SHARED_TOKENS_MIN) } else { Sharing::None }, long_from: d.long_from() }
}

/// The micro-batches of a step.
fn batches(recipe: &Recipe, d: &Dims, material: &Material, step: u64) -> Vec<MicroBatch> {
    batches_of(recipe, d, material.chosen(recipe, step).into_iter().flat_map(|unit| material.unit(unit)))
}

fn batches_of<'a>(recipe: &Recipe, d: &Dims, examples: impl Iterator<Item = &'a Example>) -> Vec<MicroBatch> {
    let all: Vec<Sequence> = examples.map(sequence).collect();
    micro_batches(&all, rules(recipe, d), recipe.train.micro_tokens as usize)
}

/// The pairs of a step.
fn pairs_at<'a>(recipe: &Recipe, material: &'a Material, step: u64) -> impl Iterator<Item = &'a [Example]> {
    material.chosen(recipe, step).into_iter().map(|unit| material.unit(unit))
}

/// Micro-batches of whole pairs, and which of them each holds.
fn pairs_of<'a>(recipe: &Recipe, d: &Dims, pairs: impl Iterator<Item = &'a [Example]>) -> Vec<(MicroBatch, Vec<usize>)> {
    let units: Vec<Vec<Sequence>> = pairs.map(|pair| pair.iter().map(sequence).collect()).collect();
    micro_batches_of_units(&units, rules(recipe, d), recipe.train.micro_tokens as usize)
}
