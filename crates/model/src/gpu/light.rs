//! The speed of light of a step: the operations that it cannot do without, over the rate at which the device multiplies.

use crate::modules::{QKV, inputs, members, shape};
use crate::{Dims, MicroBatch, Places};

/// Floating-point operations of a micro-batch, forward and backward, that no implementation of LoRA on frozen weights can do
/// without: products forward and back to their input, scores and values of visible pairs (two products forward, five back),
/// the adapter, the head for supervised rows. Nothing that is computed twice counts, and no norm or activation.
pub fn operations(d: &Dims, places: &Places, b: &MicroBatch) -> f64 {
    let (tokens, targets) = (b.tokens.len() as f64, b.targets.len() as f64);
    let mut sum = 4.0 * (d.vocab * d.hidden) as f64 * targets;
    for layer in 0..d.layers {
        for group in 0..4 {
            let (outputs, inputs): (usize, usize) = (members(group).map(|i| shape(d, i).0).sum(), inputs(d, group));
            let rows = if layer + 1 == d.layers && group != QKV { targets } else { tokens };
            // Below the first layer nothing is trained, so its input needs no gradient.
            let ways = if layer == 0 && group == QKV { 1.0 } else { 2.0 };
            sum += 2.0 * rows * ways * (outputs * inputs) as f64;
            sum += 6.0 * rows * (places.ranks(layer, group) * (outputs + inputs)) as f64;
        }
    }
    sum + 14.0 * pairs(d, b) * (d.layers * d.q_width()) as f64
}

/// Pairs of a query and a key that it sees.
fn pairs(d: &Dims, b: &MicroBatch) -> f64 {
    let seen = |p: u32| (p as usize + 1).min(d.window.unwrap_or(usize::MAX)) as f64;
    b.layout.positions().into_iter().map(seen).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Sequence, Sharing};
    use crate::dims::tests::tiny;

    #[test]
    fn operations_are_those_counted_by_hand() {
        let d = tiny();
        let (ids, learned) = ([1, 2, 3, 4], [false, false, false, true]);
        let b = MicroBatch::new(&[Sequence { ids: &ids, learned: &learned }], Sharing::None);
        // Three tokens, one target. W of a layer: qkv 16 x 8, o 8 x 8, gate and up 24 x 8, down 8 x 12.
        let (qkv, rest) = (16.0 * 8.0, 8.0 * 8.0 + 24.0 * 8.0 + 8.0 * 12.0);
        let first = 2.0 * 3.0 * qkv + 4.0 * 3.0 * rest;
        let last = 4.0 * 3.0 * qkv + 4.0 * rest;
        let attention = 14.0 * 6.0 * (2 * 8) as f64;
        let head = 4.0 * 11.0 * 8.0;
        assert_eq!(operations(&d, &Places::nothing(&d), &b), first + last + attention + head);
    }

    #[test]
    fn a_window_hides_pairs() {
        let d = Dims { window: Some(2), ..tiny() };
        let ids = [1, 2, 3, 4, 5];
        let b = MicroBatch::new(&[Sequence { ids: &ids, learned: &[true; 5] }], Sharing::None);
        assert_eq!(pairs(&d, &b), 1.0 + 2.0 + 2.0 + 2.0);
    }
}
