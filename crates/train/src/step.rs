//! One optimizer step: which examples, their micro-batches, the gradient; then, if nothing speaks against it, the update.

use crate::preference::{self, Pair, Reference};
use crate::schedule::{rate, warmup_steps};
use crate::{Error, Material};
use engine::Cx;
use engine::ops::adamw;
use model::batch::{SHARED_TOKENS_MIN, Sequence, Sharing, micro_batches};
use model::llama::{self, Limits, Room, loss_and_gradient};
use model::{Adapter, MicroBatch, Weights};
use record::Recipe;
use record::pack::Example;
use record::recipe::Objective;

pub use crate::material::{per_epoch, steps_of};

/// Everything that a run changes, and what it reads.
pub struct Trainer<'a> {
    cx: &'a Cx,
    weights: &'a Weights,
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
    grads: Vec<f32>,
    room: Room,
    /// Of the validation examples; empty where pairs are validated.
    validation: Vec<MicroBatch>,
    /// Empty unless preferences are learned.
    reference: Reference,
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
    pub fn new(cx: &'a Cx, weights: &'a Weights, material: &'a Material, recipe: &'a Recipe, adapter: Adapter) -> Trainer<'a> {
        Trainer::for_steps(steps_of(&recipe.train, material.units()), cx, weights, material, recipe, adapter)
    }

    /// As [`Trainer::new`], for the first `steps` steps, whatever the recipe says of their number.
    pub fn for_steps(
        steps: u64,
        cx: &'a Cx,
        weights: &'a Weights,
        material: &'a Material,
        recipe: &'a Recipe,
        adapter: Adapter,
    ) -> Trainer<'a> {
        let n = adapter.params.len();
        let pairs = recipe.train.objective == Objective::Dpo;
        let validation = if pairs { Vec::new() } else { batches_of(recipe, material.validation.iter()) };
        let mut limits = Limits { tokens: 1, targets: 1, positions: 1 };
        if pairs {
            widen(&mut limits, &alone(material.sequences().iter().chain(&material.validation)));
        } else {
            (0..steps).for_each(|step| widen(&mut limits, &batches(recipe, material, step)));
            widen(&mut limits, &validation);
        }
        let room = Room::new(weights, &adapter, limits);
        let (m, v, grads) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        let reference = Reference::default();
        Trainer { cx, weights, material, recipe, adapter, m, v, updates: 0, grads, room, validation, reference }
    }

    /// The data.
    pub fn material(&self) -> &Material {
        self.material
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        steps_of(&self.recipe.train, self.material.units())
    }

    /// Bytes of activations, gradients and optimizer state.
    pub fn bytes(&self) -> usize {
        self.room.bytes() + 4 * self.adapter.params.len() * size_of::<f32>()
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
        let mut all = |sequences: &[Example], from: usize| {
            let mut count = |done: usize| tell(from + done, of);
            preference::log_probabilities(self.cx, self.weights, &self.adapter, &mut self.room, sequences, &mut count)
        };
        self.reference.train = all(train, 0);
        self.reference.validation = all(validation, train.len() / 2);
        path.map_or(Ok(()), |path| self.reference.save(path, self.material))
    }

    /// Computes loss and gradient of step number `step` (from 0).
    pub fn measure(&mut self, step: u64) -> StepResult {
        self.grads.fill(0.0);
        let mut result = match self.recipe.train.objective {
            Objective::Sft => self.answers(step),
            Objective::Dpo => self.pairs(step),
        };
        result.grad_norm = adamw::norm(&self.grads);
        if !result.loss.is_finite() {
            result.not_finite = Some("the loss".into());
        } else if !result.grad_norm.is_finite() {
            result.not_finite = Some(self.first_not_finite());
        }
        result
    }

    fn answers(&mut self, step: u64) -> StepResult {
        let all = batches(self.recipe, self.material, step);
        let supervised: usize = all.iter().map(|b| b.supervised).sum();
        let scale = 1.0 / supervised.max(1) as f64;
        let mut sum = 0.0;
        for batch in &all {
            sum += loss_and_gradient(self.cx, self.weights, &self.adapter, &mut self.room, batch, scale, &mut self.grads).sum;
        }
        let computed = all.iter().map(|b| b.tokens.len()).sum();
        let unshared = all.iter().map(|b| b.unshared).sum();
        StepResult { loss: sum * scale, grad_norm: 0.0, supervised, computed, unshared, preference: None, not_finite: None }
    }

    fn pairs(&mut self, step: u64) -> StepResult {
        let units = self.material.chosen(self.recipe, step);
        let scale = 1.0 / units.len() as f64;
        let (mut loss, mut margin, mut preferred, mut supervised, mut tokens) = (0.0, 0.0, 0.0, 0, 0);
        for unit in units {
            let pair = self.material.unit(unit);
            let (start, beta): (Pair, f64) = (self.reference.train[unit], self.recipe.train.beta);
            let (cx, weights, adapter) = (self.cx, self.weights, &self.adapter);
            let judged = preference::pair_and_gradient(cx, weights, adapter, &mut self.room, pair, start, beta, scale, &mut self.grads);
            loss += scale * judged.loss;
            margin += scale * judged.margin;
            preferred += if judged.margin > 0.0 { scale } else { 0.0 };
            supervised += pair.iter().map(|e| sequence(e).supervised()).sum::<usize>();
            tokens += alone(pair.iter()).iter().map(|b| b.tokens.len()).sum::<usize>();
        }
        let preference = Some((margin, preferred));
        StepResult { loss, grad_norm: 0.0, supervised, computed: tokens, unshared: tokens, preference, not_finite: None }
    }

    /// The learning rate of step `step`.
    pub fn rate(&self, step: u64) -> f64 {
        let (t, steps) = (&self.recipe.train, self.steps());
        rate(t.schedule, t.lr, warmup_steps(t.warmup, steps), steps, step)
    }

    /// Moves the parameters along the gradient of `result`, which must be the last one measured and finite.
    pub fn update(&mut self, result: &StepResult, lr: f64) {
        let t = &self.recipe.train;
        // As torch.nn.utils.clip_grad_norm_.
        let clip = if t.clip > 0.0 { (t.clip / (result.grad_norm + 1e-6)).min(1.0) } else { 1.0 };
        let settings = adamw::Settings { beta1: t.betas[0], beta2: t.betas[1], eps: t.eps, weight_decay: t.weight_decay };
        self.updates += 1;
        adamw::step(self.cx, &mut self.adapter.params, &mut self.m, &mut self.v, &self.grads, &settings, lr, self.updates, clip);
    }

    /// The mean loss of the validation examples with the parameters as they are; forward alone, in the same buffers.
    pub fn validate(&mut self) -> Validation {
        if self.recipe.train.objective == Objective::Dpo {
            return self.validate_pairs();
        }
        let supervised: usize = self.validation.iter().map(|b| b.supervised).sum();
        let mut sum = 0.0;
        for batch in &self.validation {
            sum += llama::loss(self.cx, self.weights, &self.adapter, &mut self.room, batch).sum;
        }
        Validation { loss: sum / supervised.max(1) as f64, supervised }
    }

    fn validate_pairs(&mut self) -> Validation {
        let all = &self.material.validation;
        let now = preference::log_probabilities(self.cx, self.weights, &self.adapter, &mut self.room, all, &mut |_| {});
        let both = now.iter().zip(&self.reference.validation);
        let sum: f64 = both.map(|(now, start)| preference::judge(*now, *start, self.recipe.train.beta).loss).sum();
        Validation { loss: sum / now.len().max(1) as f64, supervised: all.iter().map(|e| sequence(e).supervised()).sum() }
    }

    fn first_not_finite(&self) -> String {
        let bad = |(_, shape, at): &(String, [usize; 2], usize)| self.grads[*at..*at + shape[0] * shape[1]].iter().any(|g| !g.is_finite());
        match self.adapter.places.tensors().iter().find(|t| bad(t)) {
            Some((name, ..)) => format!("the gradient of {name}"),
            None => "the norm of the gradient".into(),
        }
    }
}

fn widen(limits: &mut Limits, batches: &[MicroBatch]) {
    let l = Limits::of(batches);
    limits.tokens = limits.tokens.max(l.tokens);
    limits.targets = limits.targets.max(l.targets);
    limits.positions = limits.positions.max(l.positions);
}

fn sequence(example: &Example) -> Sequence<'_> {
    Sequence { ids: &example.ids, learned: &example.learned }
}

/// The micro-batches of a step.
fn batches(recipe: &Recipe, material: &Material, step: u64) -> Vec<MicroBatch> {
    batches_of(recipe, material.chosen(recipe, step).into_iter().flat_map(|unit| material.unit(unit)))
}

fn batches_of<'a>(recipe: &Recipe, examples: impl Iterator<Item = &'a Example>) -> Vec<MicroBatch> {
    let t = &recipe.train;
    // What dropout drops in a shared prefix would be dropped for all of its examples.
    let share = t.share_prefix && recipe.adapter.dropout == 0.0;
    let sharing = if share { Sharing::From(SHARED_TOKENS_MIN) } else { Sharing::None };
    let all: Vec<Sequence> = examples.map(sequence).collect();
    micro_batches(&all, sharing, t.micro_tokens as usize)
}

/// Each sequence as a micro-batch of its own.
fn alone<'a>(examples: impl Iterator<Item = &'a Example>) -> Vec<MicroBatch> {
    examples.map(|e| MicroBatch::new(&[sequence(e)], Sharing::None)).collect()
}
