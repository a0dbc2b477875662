//! The merged folder opened again: do its logits agree with base and adapter?

use crate::{Error, Precision};
use engine::Cx;
use model::batch::{Sequence, Sharing};
use model::decoder::{self, Limits, Room};
use model::weights::Hold;
use model::{Adapter, Dims, MicroBatch, Weights};
use std::path::Path;

/// Largest difference of a float32 logit, as a share of the position's largest logit: float32 rounds each logit to
/// about 1e-7 of that size in every one of some hundred products, so an absolute bound would refuse large logits.
const LOGIT_MAX: f64 = 1e-4;
/// Largest mean divergence of a bfloat16 merge, in nats.
const KL_MAX: f64 = 1e-3;
/// Smallest share of positions with the same top token.
const TOP_MIN: f64 = 0.99;

/// What was compared, and how far it was.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Proof {
    /// Positions compared.
    pub positions: usize,
    /// Largest difference of a logit, as a share of the largest logit of its position.
    pub logit: f64,
    /// Mean KL divergence of the next-token distribution, in nats.
    pub kl: f64,
    /// Share of positions with the same most likely token.
    pub same_top: f64,
}

/// Compares `merged` (a draft of `out`) with base and adapter at every position of every prompt.
pub(crate) fn prove(
    cx: &Cx,
    weights: &Weights,
    adapter: &Adapter,
    precision: Precision,
    prompts: &[Vec<u32>],
    merged: &Path,
    out: &Path,
) -> Result<Proof, Error> {
    let config = formats::ModelConfig::open(merged)?;
    let dims = Dims::of(&config)?;
    let files = formats::Weights::open(merged)?;
    let again = Weights::load(cx, &files, &dims, Hold::F32, &mut |_, _| {})?;
    let none = Adapter::none(&dims);
    let mut p = Proof { positions: 0, logit: 0.0, kl: 0.0, same_top: 0.0 };
    for ids in prompts {
        let learned = vec![true; ids.len()];
        let batch = MicroBatch::new(&[Sequence { ids, learned: &learned }], Sharing::None);
        let logits = |w: &Weights, a: &Adapter| {
            let mut room = Room::new(&w.dims, &a.places, Limits::of([&batch]));
            decoder::logits(cx, w, a, &mut room, &batch)
        };
        compare(&mut p, &logits(weights, adapter), &logits(&again, &none), dims.vocab);
    }
    if p.positions > 0 {
        p.kl /= p.positions as f64;
        p.same_top /= p.positions as f64;
    }
    let differs = |what, found: String, expected: String| Error::Differs { path: out.into(), what, found, expected };
    match precision {
        _ if p.positions == 0 => Err(differs("positions compared", "0".into(), "at least 1".into())),
        // Written so that NaN is refused too.
        Precision::F32 if !matches!(p.logit.partial_cmp(&LOGIT_MAX), Some(o) if o.is_le()) => Err(differs(
            "the largest difference of a logit, relative to the largest of its position",
            format!("{:.1e}", p.logit),
            format!("at most {LOGIT_MAX:.0e}"),
        )),
        Precision::Bf16 if !matches!(p.kl.partial_cmp(&KL_MAX), Some(o) if o.is_lt()) => {
            Err(differs("the mean KL divergence", format!("{:.1e}", p.kl), format!("under {KL_MAX:.0e}")))
        }
        Precision::Bf16 if p.same_top < TOP_MIN => {
            Err(differs("the share of equal top tokens", format!("{:.4}", p.same_top), format!("at least {TOP_MIN}")))
        }
        _ => Ok(p),
    }
}

fn compare(p: &mut Proof, a: &[f32], b: &[f32], vocab: usize) {
    for (a, b) in a.chunks_exact(vocab).zip(b.chunks_exact(vocab)) {
        let size = a.iter().fold(0f32, |m, x| m.max(x.abs())) as f64;
        let far = a.iter().zip(b).map(|(x, y)| (*x as f64 - *y as f64).abs() / size);
        let largest = far.fold(0.0, |m: f64, d| if d > m || d.is_nan() { d } else { m });
        if largest > p.logit || largest.is_nan() {
            p.logit = largest;
        }
        let (la, lb) = (log_sum(a), log_sum(b));
        p.kl += a.iter().zip(b).map(|(&x, &y)| (x as f64 - la).exp() * ((x as f64 - la) - (y as f64 - lb))).sum::<f64>();
        p.same_top += f64::from(top(a) == top(b));
        p.positions += 1;
    }
}

fn log_sum(x: &[f32]) -> f64 {
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    most + x.iter().map(|&v| (v as f64 - most).exp()).sum::<f64>().ln()
}

fn top(x: &[f32]) -> usize {
    x.iter().enumerate().fold((0, f32::NEG_INFINITY), |b, (i, &v)| if v > b.1 { (i, v) } else { b }).0
}
