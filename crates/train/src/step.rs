//! One optimizer step: which examples, their micro-batches, the gradient, the update.

use crate::schedule::{rate, warmup_steps};
use engine::Cx;
use engine::ops::adamw;
use model::batch::{SHARED_TOKENS_MIN, Sequence, Sharing, micro_batches};
use model::decoder::{Limits, Room, Scale, loss_and_gradient};
use model::places::Trained;
use model::random::{Stream, order};
use model::{Adapter, MicroBatch, Weights};
use record::pack::Example;
use record::recipe::Train;

/// Everything that a run changes, and what it reads.
pub struct Trainer<'a> {
    cx: &'a Cx,
    weights: &'a Weights,
    examples: &'a [Example],
    settings: &'a Train,
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
}

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of the supervised tokens.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Supervised tokens.
    pub supervised: usize,
    /// Tokens computed.
    pub computed: usize,
    /// Tokens without sharing.
    pub unshared: usize,
    /// Set when nothing was updated because this was not finite.
    pub not_finite: Option<String>,
}

impl<'a> Trainer<'a> {
    /// Prepares buffers for the largest micro-batch of the whole run; nothing is allocated later.
    pub fn new(cx: &'a Cx, weights: &'a Weights, examples: &'a [Example], settings: &'a Train, adapter: Adapter) -> Trainer<'a> {
        let n = adapter.params.len();
        let mut limits = Limits::NONE;
        for step in 0..steps_of(settings, examples.len()) {
            batches(settings, examples, step).iter().for_each(|b| limits.widen(b));
        }
        let room = Room::new(&weights.dims, &adapter.places, limits);
        Trainer { cx, weights, examples, settings, adapter, m: vec![0.0; n], v: vec![0.0; n], updates: 0, grads: vec![0.0; n], room }
    }

    /// The data.
    pub fn examples(&self) -> &[Example] {
        self.examples
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        steps_of(self.settings, self.examples.len())
    }

    /// Bytes of activations, gradients and optimizer state.
    pub fn bytes(&self) -> usize {
        self.room.bytes() + 4 * self.adapter.params.len() * size_of::<f32>()
    }

    /// Does step number `step` (from 0).
    pub fn step(&mut self, step: u64) -> StepResult {
        let all = batches(self.settings, self.examples, step);
        let supervised: usize = all.iter().map(|b| b.supervised).sum();
        let scale = 1.0 / supervised.max(1) as f64;
        let examples = 1.0 / self.lines(step).len().max(1) as f64;
        self.grads.fill(0.0);
        let mut sum = 0.0;
        for batch in &all {
            sum += loss_and_gradient(
                self.cx,
                self.weights,
                &self.adapter,
                &mut self.room,
                batch,
                Scale { tokens: scale, examples },
                &mut self.grads,
            )
            .sum;
        }
        let grad_norm = adamw::norm(&self.grads);
        let s = self.settings;
        let steps = self.steps();
        let lr = rate(s.schedule, s.lr, warmup_steps(s.warmup, steps), steps, step);
        let mut result = StepResult {
            loss: sum * scale,
            lr,
            grad_norm,
            supervised,
            computed: all.iter().map(|b| b.tokens.len()).sum(),
            unshared: all.iter().map(|b| b.unshared).sum(),
            not_finite: None,
        };
        if !result.loss.is_finite() {
            result.not_finite = Some("the loss".into());
        } else if !grad_norm.is_finite() {
            result.not_finite = Some(self.first_not_finite());
        } else {
            // As torch.nn.utils.clip_grad_norm_.
            let clip = if s.clip > 0.0 { (s.clip / (grad_norm + 1e-6)).min(1.0) } else { 1.0 };
            let settings = adamw::Settings { beta1: s.betas[0], beta2: s.betas[1], eps: s.eps, weight_decay: s.weight_decay };
            self.updates += 1;
            adamw::step(self.cx, &mut self.adapter.params, &mut self.m, &mut self.v, &self.grads, &settings, lr, self.updates, clip);
        }
        result
    }

    fn first_not_finite(&self) -> String {
        let bad = |t: &&Trained| t.read(&self.grads).iter().any(|g| !g.is_finite());
        match self.adapter.places.tensors().iter().find(bad) {
            Some(t) => format!("the gradient of {}", t.name),
            None => "the norm of the gradient".into(),
        }
    }

    /// Source lines of the examples of a step.
    pub fn lines(&self, step: u64) -> Vec<u32> {
        chosen(self.settings, self.examples.len(), step).into_iter().map(|i| self.examples[i].source_line).collect()
    }
}

/// Steps of a run over `examples` examples, one at least.
pub fn steps_of(s: &Train, examples: usize) -> u64 {
    ((per_epoch(s, examples) as f64 * s.epochs).round() as u64).max(1)
}

/// Steps of one pass over the data; the last may have fewer examples.
pub fn per_epoch(s: &Train, examples: usize) -> u64 {
    examples.div_ceil(s.batch as usize) as u64
}

/// Indices of the examples of a step: each pass has its own random order.
fn chosen(s: &Train, examples: usize, step: u64) -> Vec<usize> {
    let (epoch, within) = (step / per_epoch(s, examples), (step % per_epoch(s, examples)) as usize);
    let from = within * s.batch as usize;
    let order = order(s.seed, Stream::Order(epoch as u32), examples);
    order[from..examples.min(from + s.batch as usize)].to_vec()
}

fn batches(s: &Train, examples: &[Example], step: u64) -> Vec<MicroBatch> {
    let sharing = if s.share_prefix { Sharing::From(SHARED_TOKENS_MIN) } else { Sharing::None };
    let of = |i: usize| Sequence { ids: &examples[i].ids, learned: &examples[i].learned };
    let all: Vec<Sequence> = chosen(s, examples.len(), step).into_iter().map(of).collect();
    micro_batches(&all, sharing, s.micro_tokens as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_pass_is_half_its_steps() {
        let steps = |epochs: f64, examples| steps_of(&Train { epochs, batch: 4, ..record::Recipe::default().train }, examples);
        assert_eq!([steps(1.0, 9), steps(2.0, 9), steps(1.5, 16), steps(0.01, 9)], [3, 6, 6, 1]);
    }
}
