//! Learning from pairs of answers: the chosen one is made likelier than the rejected one, measured against the model as
//! it was at the start (DPO: Rafailov and others, 2023, equation 7).
//!
//! With c and r the log-probabilities of the chosen and the rejected answer and c₀, r₀ those of the starting model,
//! z = beta·((c − c₀) − (r − r₀)), and the loss of a pair is ln(1 + e^−z). Its derivative by c is −beta·σ(−z), and by r
//! the opposite; so the gradient is that of the two answers' losses, weighted by beta·σ(−z) and its opposite.

use crate::{Error, Material};
use engine::Cx;
use model::batch::{Sequence, Sharing};
use model::llama::{Room, loss, loss_and_gradient};
use model::{Adapter, MicroBatch, Weights};
use record::pack::Example;
use serde::{Deserialize, Serialize};
use std::path::Path;

const VERSION: u64 = 1;

/// Log-probabilities of a pair: chosen, rejected.
pub type Pair = [f64; 2];

/// How likely the model at the start held the answers of every pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    /// Of the training pairs, replayed ones after them.
    pub train: Vec<Pair>,
    /// Of the validation pairs.
    pub validation: Vec<Pair>,
}

/// The file: bits of f64, since a decimal text might lose the last one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    train_pack: String,
    validation_pack: Option<String>,
    train: Vec<[u64; 2]>,
    validation: Vec<[u64; 2]>,
}

/// What a pair says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    pub loss: f64,
    /// z: how much more the model prefers the chosen answer than it did at the start.
    pub margin: f64,
    /// beta·σ(−z): the weight of the gradient.
    pub weight: f64,
}

/// The loss of a pair.
pub fn judge(now: Pair, start: Pair, beta: f64) -> Judged {
    let margin = beta * ((now[0] - start[0]) - (now[1] - start[1]));
    // ln(1 + e^−z) without overflow on either side.
    let loss = (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
    Judged { loss, margin, weight: beta / (1.0 + margin.exp()) }
}

/// Sum of the log-probabilities of a sequence's supervised tokens.
fn log_probability(cx: &Cx, weights: &Weights, adapter: &Adapter, room: &mut Room, example: &Example) -> f64 {
    -loss(cx, weights, adapter, room, &alone(example)).sum
}

/// A sequence as a micro-batch of its own: its gradient has its own weight.
fn alone(example: &Example) -> MicroBatch {
    MicroBatch::new(&[Sequence { ids: &example.ids, learned: &example.learned }], Sharing::None)
}

/// Log-probabilities of every pair of `sequences`; `tell` hears how many are done.
pub fn log_probabilities(
    cx: &Cx,
    weights: &Weights,
    adapter: &Adapter,
    room: &mut Room,
    sequences: &[Example],
    tell: &mut dyn FnMut(usize),
) -> Vec<Pair> {
    let pair = |(at, pair): (usize, &[Example])| {
        let both = [0, 1].map(|side| log_probability(cx, weights, adapter, room, &pair[side]));
        tell(at + 1);
        both
    };
    sequences.chunks_exact(2).enumerate().map(pair).collect()
}

/// Loss of one pair; adds its gradient, times `scale`, to `grads`.
pub fn pair_and_gradient(
    cx: &Cx,
    weights: &Weights,
    adapter: &Adapter,
    room: &mut Room,
    pair: &[Example],
    start: Pair,
    beta: f64,
    scale: f64,
    grads: &mut [f32],
) -> Judged {
    let now = [0, 1].map(|side| log_probability(cx, weights, adapter, room, &pair[side]));
    let judged = judge(now, start, beta);
    for (example, sign) in pair.iter().zip([1.0, -1.0]) {
        loss_and_gradient(cx, weights, adapter, room, &alone(example), sign * scale * judged.weight, grads);
    }
    judged
}

impl Reference {
    /// Reads what was written for these packs; nothing if there is none, or one for other packs.
    pub fn load(path: &Path, material: &Material) -> Option<Reference> {
        let file: File = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let fits = file.version == VERSION && file.train_pack == material.sha && file.validation_pack == material.validation_sha;
        let whole = file.train.len() * 2 == material.sequences().len() && file.validation.len() * 2 == material.validation.len();
        let floats = |pairs: Vec<[u64; 2]>| pairs.into_iter().map(|pair| pair.map(f64::from_bits)).collect();
        (fits && whole).then(|| Reference { train: floats(file.train), validation: floats(file.validation) })
    }

    /// Writes it for these packs.
    ///
    /// # Errors
    /// What the disk says.
    pub fn save(&self, path: &Path, material: &Material) -> Result<(), Error> {
        let bits = |pairs: &[Pair]| pairs.iter().map(|pair| pair.map(f64::to_bits)).collect();
        let file = File {
            version: VERSION,
            train_pack: material.sha.clone(),
            validation_pack: material.validation_sha.clone(),
            train: bits(&self.train),
            validation: bits(&self.validation),
        };
        let text = serde_json::to_vec(&file).map_err(|cause| Error::Io { path: path.into(), source: cause.into() })?;
        Ok(record::atomic::write(path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_that_of_the_paper_and_its_weight_its_derivative() {
        // -ln σ(z) at z = 0, and far to both sides, where the plain formula overflows.
        let at = |c: f64| judge([c, -3.0], [-5.0, -3.0], 0.5);
        assert!((at(-5.0).loss - 2f64.ln()).abs() < 1e-15 && (at(-5.0).weight - 0.25).abs() < 1e-15);
        assert!((at(-5000.0).loss - 2497.5).abs() < 1e-9 && at(5000.0).loss == 0.0);
        assert!((at(-5000.0).weight - 0.5).abs() < 1e-12 && at(5000.0).weight == 0.0);
        for c in [-9.0, -5.5, -2.0, 3.0] {
            let slope = (at(c + 1e-5).loss - at(c - 1e-5).loss) / 2e-5;
            assert!((slope + at(c).weight).abs() < 1e-9, "{c}: {slope}");
        }
        assert!((judge([-4.0, -6.0], [-5.0, -5.0], 0.1).margin - 0.2).abs() < 1e-15);
    }
}
