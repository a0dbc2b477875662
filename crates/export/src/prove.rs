//! What was written, opened again: are its tokens the same, do its logits agree with base and adapter?

use crate::Error;
use engine::Cx;
use model::batch::{Rules, Sequence, Sharing};
use model::decoder;
use model::weights::Hold;
use model::{Adapter, Folder, Limits, MicroBatch, Room, Weights};
use std::path::Path;

/// A model as training left it: what an export starts from and is compared with.
#[derive(Clone, Copy)]
pub struct Tuned<'a> {
    /// The threads.
    pub cx: &'a Cx,
    /// The base's files.
    pub base: &'a Folder,
    /// The base's weights, in memory.
    pub weights: &'a Weights,
    /// How they were held while training.
    pub hold: Hold,
    /// What was trained.
    pub adapter: &'a Adapter,
}

/// How far the logits of what was written may be from those of base and adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bound {
    /// Largest difference of a logit, as a share of the position's largest logit.
    logit: f64,
    /// Largest mean divergence, in nats.
    kl: f64,
    /// Smallest share of positions with the same top token.
    top: f64,
}

impl Bound {
    /// float32 rounds each logit to about 1e-7 of that size in every one of some hundred products, so an absolute
    /// bound would refuse large logits.
    pub const EXACT: Bound = Bound { logit: 1e-4, kl: f64::INFINITY, top: 0.0 };
    /// Sixteen bits a weight. Measured with float16 on SmolLM2-135M: 1.6e-3, 3.8e-6, 0.995.
    pub const HALF: Bound = Bound { logit: 5e-2, kl: 1e-3, top: 0.99 };
    /// Eight bits a weight, with a scale for each 32. Measured on SmolLM2-135M: 5.6e-2, 2.0e-3, 0.958.
    pub const EIGHT_BITS: Bound = Bound { logit: 2e-1, kl: 1e-2, top: 0.9 };
}

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

impl Tuned<'_> {
    /// Compares what lies at `written` (a draft of `out`) with base and adapter at every position of every prompt.
    pub(crate) fn prove(&self, bound: Bound, prompts: &[Vec<u32>], written: &Path, out: &Path) -> Result<Proof, Error> {
        let folder = Folder::open(written)?;
        same_text(self.base, &folder, prompts, out)?;
        let again = Weights::load(self.cx, &folder.files, &folder.dims, Hold::F32, &mut |_, _| {})?;
        let none = Adapter::none(&folder.dims);
        let nothing_frozen = Weights::none(&self.base.dims);
        let weights = if self.adapter.places.is_model() { &nothing_frozen } else { self.weights };
        let mut p = Proof { positions: 0, logit: 0.0, kl: 0.0, same_top: 0.0 };
        for ids in prompts {
            let learned = vec![true; ids.len()];
            let rules = Rules { sharing: Sharing::None, long_from: folder.dims.long_from() };
            let batch = MicroBatch::new(&[Sequence { ids, learned: &learned }], rules);
            let logits = |w: &Weights, a: &Adapter| {
                let mut room = Room::new(&w.dims, &a.places, Limits::of([&batch]));
                decoder::logits(self.cx, w, a, &mut room, &batch)
            };
            compare(&mut p, &logits(weights, self.adapter), &logits(&again, &none), folder.dims.vocab);
        }
        if p.positions > 0 {
            p.kl /= p.positions as f64;
            p.same_top /= p.positions as f64;
        }
        p.within(bound, out)
    }
}

impl Proof {
    /// Itself, if it keeps the bound.
    fn within(self, bound: Bound, out: &Path) -> Result<Proof, Error> {
        let differs = |what, found: String, expected: String| Err(Error::Differs { path: out.into(), what, found, expected });
        // Written so that what is not a number is refused too.
        let at_most = |x: f64, most: f64| x <= most;
        if self.positions == 0 {
            return differs("positions compared", "0".into(), "at least 1".into());
        }
        if !at_most(self.kl, bound.kl) {
            return differs("the mean KL divergence", format!("{:.1e}", self.kl), format!("under {:.0e}", bound.kl));
        }
        if !at_most(bound.top, self.same_top) {
            let found = format!("{:.4}", self.same_top);
            return differs("the share of equal top tokens", found, format!("at least {}", bound.top));
        }
        if !at_most(self.logit, bound.logit) {
            let what = "the largest difference of a logit, relative to the largest of its position";
            return differs(what, format!("{:.1e}", self.logit), format!("at most {:.0e}", bound.logit));
        }
        Ok(self)
    }
}

/// A tokenizer that cuts otherwise would make another model of the same weights.
fn same_text(base: &Folder, written: &Folder, prompts: &[Vec<u32>], out: &Path) -> Result<(), Error> {
    let why = |source| Error::Tokenizer { path: out.into(), source };
    let (theirs, ours) = (&written.chat, &base.chat);
    let differs = |what, found: String, expected: String| Err(Error::Differs { path: out.into(), what, found, expected });
    if theirs.template.source() != ours.template.source() {
        return differs("the chat template", "another one".into(), "that of the base".into());
    }
    if theirs.eos != ours.eos {
        return differs("the tokens that end an answer", format!("{:?}", theirs.eos), format!("{:?}", ours.eos));
    }
    for ids in prompts {
        let text = ours.tokenizer.decode(ids, false).map_err(why)?;
        let (found, expected) = (theirs.tokenizer.encode(&text).map_err(why)?, ours.tokenizer.encode(&text).map_err(why)?);
        if let Some(at) = (0..expected.len().max(found.len())).find(|&i| found.get(i) != expected.get(i)) {
            let around = |ids: &[u32]| format!("{:?}", ids.iter().skip(at).take(4).collect::<Vec<_>>());
            return differs("the tokens of a held-out example", around(&found), around(&expected));
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_refuses_what_is_beyond_it_and_what_is_no_number() {
        let good = Proof { positions: 9, logit: 1e-5, kl: 1e-6, same_top: 1.0 };
        let judged = |p: Proof, bound| p.within(bound, Path::new("m.gguf")).map_err(|e| e.to_string()).err();
        for bound in [Bound::EXACT, Bound::HALF, Bound::EIGHT_BITS] {
            assert_eq!(judged(good, bound), None);
            assert!(judged(Proof { positions: 0, ..good }, bound).is_some_and(|e| e.contains("positions compared: found 0")));
            for logit in [bound.logit * 1.01, f64::NAN] {
                assert!(judged(Proof { logit, ..good }, bound).is_some_and(|e| e.contains("the largest difference of a logit")));
            }
        }
        for bound in [Bound::HALF, Bound::EIGHT_BITS] {
            for kl in [bound.kl * 1.01, f64::NAN] {
                assert!(judged(Proof { kl, ..good }, bound).is_some_and(|e| e.contains("the mean KL divergence")));
            }
            assert!(judged(Proof { same_top: bound.top - 0.01, ..good }, bound).is_some_and(|e| e.contains("equal top tokens")));
        }
    }

    #[test]
    fn differences_are_measured_where_they_are() {
        let mut p = Proof { positions: 0, logit: 0.0, kl: 0.0, same_top: 0.0 };
        compare(&mut p, &[1.0, 4.0, 0.0, 2.0, 2.5, 0.0], &[1.0, 4.0, 0.0, 3.0, 2.5, 0.0], 3);
        assert_eq!((p.positions, p.same_top), (2, 1.0));
        assert!((p.logit - 1.0 / 2.5).abs() < 1e-12 && p.kl > 0.01, "{p:?}");
        compare(&mut p, &[1.0, 2.0, 3.0], &[1.0, f32::NAN, 3.0], 3);
        assert!(p.logit.is_nan() && p.kl.is_nan());
    }
}
