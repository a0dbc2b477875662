//! Direct preference optimisation: of two answers the better one is to become more likely, measured against a reference.

use crate::decoder::{self, Weigh, backward, forward, head, head_backward};
use crate::gpu::Engine;
use crate::{Adapter, Error, MicroBatch, Room, Weights};
use engine::Cx;
use engine::ops::cross_entropy::Target;
use engine::ops::preference::{Outcome, Pair, dpo};

/// What a micro-batch of pairs gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preferences {
    /// Sum of the pairs' losses.
    pub sum: f64,
    /// One a pair.
    pub losses: Vec<f64>,
    /// How much more likely the better answer became than the worse one, times beta; one a pair.
    pub margins: Vec<f64>,
    /// Log-probability of each example's supervised tokens, in the order given.
    pub logps: Vec<f64>,
    /// Load-balancing loss of the experts.
    pub balance: f64,
}

/// Loss of one pair of log-probabilities (chosen, rejected), against those at the start.
pub fn judge(now: [f64; 2], start: [f64; 2], beta: f64) -> Outcome {
    let [chosen, rejected] = now;
    dpo(Pair { chosen, rejected, chosen_reference: start[0], rejected_reference: start[1] }, beta)
}

/// Log-probability of each example's supervised tokens, summed, in the order in which they were given.
pub fn log_probabilities(cx: &Cx, weights: &Weights, adapter: &Adapter, room: &mut Room, batch: &MicroBatch) -> Vec<f64> {
    sums(batch, &decoder::loss(cx, weights, adapter, room, batch).each)
}

/// Loss of pairs (examples 2i chosen, 2i + 1 rejected) and its gradient, added to `grads`.
///
/// `reference` holds the log-probabilities of the same examples under the model that training began with; `scale` is one
/// over the pairs of the whole step. Rafailov et al., "Direct preference optimization" (2023), equation 7.
#[allow(clippy::too_many_arguments)]
pub fn loss_and_gradient(
    cx: &Cx,
    weights: &Weights,
    adapter: &Adapter,
    room: &mut Room,
    batch: &MicroBatch,
    reference: &[f64],
    beta: f64,
    scale: f64,
    grads: &mut [f32],
) -> Preferences {
    assert!(batch.wanted.len().is_multiple_of(2) && reference.len() == batch.wanted.len() && grads.len() == adapter.params.len());
    let s = forward(cx, weights, adapter, room, batch);
    let (mut out, each) = weigh(batch, &head(&s, room), reference, beta, scale);
    head_backward(&s, room, Weigh::Each(&each), grads);
    out.balance = backward(&s, room, scale / 2.0, grads);
    out
}

/// As [`loss_and_gradient`], on a GPU.
///
/// # Errors
/// What failed there.
pub fn loss_and_gradient_there(
    engine: &mut Engine,
    batch: &MicroBatch,
    reference: &[f64],
    beta: f64,
    scale: f64,
) -> Result<Preferences, Error> {
    let mut out = None;
    engine.weighed_gradient(batch, &mut |losses| {
        let (found, each) = weigh(batch, losses, reference, beta, scale);
        out = Some(found);
        each
    })?;
    Ok(out.unwrap_or_default())
}

/// What the losses of the targets mean for the pairs, and what each target's loss is then multiplied by.
fn weigh(batch: &MicroBatch, losses: &[f64], reference: &[f64], beta: f64, scale: f64) -> (Preferences, Vec<f64>) {
    let mut out = Preferences { logps: sums(batch, losses), ..Preferences::default() };
    // The gradient of a target's loss is that of its log-probability, negated, for each example that wants it.
    let mut each = vec![0f64; batch.targets.len()];
    for (i, (policy, reference)) in out.logps.chunks_exact(2).zip(reference.chunks_exact(2)).enumerate() {
        let p = judge([policy[0], policy[1]], [reference[0], reference[1]], beta);
        out.losses.push(p.loss);
        out.margins.push(p.chosen_reward - p.rejected_reward);
        for (example, slope) in [(2 * i, p.d_chosen), (2 * i + 1, p.d_rejected)] {
            batch.wanted[example].iter().for_each(|&t| each[t as usize] -= scale * slope);
        }
    }
    out.sum = out.losses.iter().sum();
    (out, each)
}

/// Sums each example's targets; `each` holds a target's loss times its count.
pub fn sums(batch: &MicroBatch, each: &[f64]) -> Vec<f64> {
    let one = |&t: &u32| {
        let Target { count, .. } = batch.targets[t as usize];
        -each[t as usize] / f64::from(count)
    };
    batch.wanted.iter().map(|wanted| wanted.iter().map(one).sum()).collect()
}
