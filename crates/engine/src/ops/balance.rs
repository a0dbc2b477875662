//! Load balance of a mixture of experts: an auxiliary loss that is least when all experts get the same share.
//!
//! Forward    of one example, over its tokens t in all layers (T = tokens * layers):
//!            f_e = number of pairs (t, slot) sent to expert e / T      P_e = sum_t p_te / T      p_t = softmax(logits_t)
//!            loss = experts * sum_e f_e P_e
//! Backward   f counts as constant:  c_e = sum over the row's examples of scale * experts * f_e / T
//!            d logits_tj += p_tj (c_j - sum_e c_e p_te)
//! Shapes     logits, dlogits (rows, experts) of a layer   chosen (rows, top)   an example is a list of ranges of rows
//! Writes     the tally is added to; dlogits added to. One thread, so threads change no bit.
//! Rounds     f64; dlogits is rounded once, when it is added.
//! Moves      reads logits once forward and once backward: 2 * rows * experts * 4 bytes.
//!
//! Fedus et al., "Switch Transformers" (2021), equations 4-6, in the form of transformers' `load_balancing_loss_func` for a
//! batch of one example: shares and probabilities are means over all layers together, and the slots' shares are added up.
//! Rows of a shared prefix belong to several examples; sums over ranges are differences of running sums, so they cost once.

use super::route::Dims;
use std::ops::Range;

/// What was counted of each example so far. Kept between micro-batches: it allocates only to grow.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    experts: usize,
    layers: usize,
    tokens: Vec<f64>,  // (examples)
    sent: Vec<f64>,    // (examples, experts)
    likely: Vec<f64>,  // (examples, experts): sums of p
    running: Vec<f64>, // (rows + 1, 2 experts): room for running sums
    p: Vec<f64>,       // (experts): of one row
}

impl Tally {
    /// Nothing counted yet, of these examples: each the ranges of the rows that hold its tokens.
    pub fn begin(&mut self, examples: &[Vec<Range<usize>>], experts: usize) {
        (self.experts, self.layers) = (experts, 0);
        self.tokens.clear();
        self.tokens.extend(examples.iter().map(|ranges| ranges.iter().map(Range::len).sum::<usize>() as f64));
        for sums in [&mut self.sent, &mut self.likely] {
            sums.clear();
            sums.resize(examples.len() * experts, 0.0);
        }
    }

    /// The loss of each example, from the layers counted so far; 0 of an example without tokens.
    pub fn losses(&self) -> impl Iterator<Item = f64> + '_ {
        let sums = self.sent.chunks_exact(self.experts).zip(self.likely.chunks_exact(self.experts));
        self.tokens.iter().zip(sums).map(|(&tokens, (sent, likely))| {
            let t = tokens * self.layers as f64;
            let sum: f64 = sent.iter().zip(likely).map(|(f, p)| f * p).sum();
            if t == 0.0 { 0.0 } else { self.experts as f64 * sum / (t * t) }
        })
    }
}

/// Counts one layer: call it for every layer of the model, in any order, with the examples of [`Tally::begin`].
pub fn forward(tally: &mut Tally, logits: &[f32], chosen: &[u32], examples: &[Vec<Range<usize>>], d: Dims) {
    check(tally, logits, examples, d);
    assert_eq!(chosen.len(), d.rows * d.top);
    let n = d.experts;
    let Tally { running, p, sent, likely, layers, .. } = tally;
    *layers += 1;
    running.clear();
    running.resize(2 * n, 0.0);
    for (logits, chosen) in logits.chunks_exact(n).zip(chosen.chunks_exact(d.top)) {
        softmax(p, logits);
        let before = running.len() - 2 * n;
        running.extend_from_within(before..);
        let line = &mut running[before + 2 * n..];
        line[n..].iter_mut().zip(&*p).for_each(|(sum, p)| *sum += p);
        chosen.iter().for_each(|&e| line[e as usize] += 1.0);
    }
    for (ranges, (sent, likely)) in examples.iter().zip(sent.chunks_exact_mut(n).zip(likely.chunks_exact_mut(n))) {
        for r in ranges {
            let (first, last) = (&running[r.start * 2 * n..][..2 * n], &running[r.end * 2 * n..][..2 * n]);
            for e in 0..n {
                sent[e] += last[e] - first[e];
                likely[e] += last[n + e] - first[n + e];
            }
        }
    }
}

/// Adds the gradient of `scale` times the sum of the examples' losses to one layer's `dlogits`; all layers were counted before.
pub fn backward(tally: &mut Tally, dlogits: &mut [f32], logits: &[f32], examples: &[Vec<Range<usize>>], scale: f64, d: Dims) {
    check(tally, logits, examples, d);
    assert_eq!(dlogits.len(), logits.len());
    let n = d.experts;
    let Tally { running, p, sent, tokens, layers, .. } = tally;
    // c of a row is the running sum of what begins and ends there.
    running.clear();
    running.resize((d.rows + 1) * n, 0.0);
    for ((ranges, sent), &tokens) in examples.iter().zip(sent.chunks_exact(n)).zip(&*tokens) {
        let t = tokens * *layers as f64;
        for r in ranges.iter().filter(|r| !r.is_empty()) {
            for (e, sent) in sent.iter().enumerate() {
                let c = scale * n as f64 * sent / (t * t);
                running[r.start * n + e] += c;
                running[r.end * n + e] -= c;
            }
        }
    }
    for row in 0..d.rows {
        let at = row * n..(row + 1) * n;
        softmax(p, &logits[at.clone()]);
        let (c, next) = running[at.start..].split_at_mut(n);
        let mean: f64 = c.iter().zip(&*p).map(|(c, p)| c * p).sum();
        for ((o, c), p) in dlogits[at].iter_mut().zip(&*c).zip(&*p) {
            *o = (f64::from(*o) + p * (c - mean)) as f32;
        }
        next.iter_mut().zip(c).for_each(|(next, c)| *next += *c);
    }
}

/// `p` becomes the softmax of `logits`.
fn softmax(p: &mut Vec<f64>, logits: &[f32]) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    p.clear();
    p.extend(logits.iter().map(|v| (f64::from(*v) - f64::from(most)).exp()));
    let sum: f64 = p.iter().sum();
    p.iter_mut().for_each(|p| *p /= sum);
}

fn check(tally: &Tally, logits: &[f32], examples: &[Vec<Range<usize>>], d: Dims) {
    assert!(tally.experts == d.experts && tally.tokens.len() == examples.len(), "a tally of other examples");
    assert_eq!(logits.len(), d.rows * d.experts);
    assert!(examples.iter().flatten().all(|r| r.start <= r.end && r.end <= d.rows), "a range past the {} rows", d.rows);
}

#[cfg(test)]
mod tests;
