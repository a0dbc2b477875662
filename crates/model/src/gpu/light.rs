//! The speed of light of a step: the operations that it cannot do without, over the rate at which the device multiplies.

use crate::modules::{GATE_UP, QKV, inputs, members, shape};
use crate::{Dims, MicroBatch, Places};

/// Floating-point operations of a micro-batch, forward and backward, that no implementation can do without: products forward
/// and back to their input, and to the gradients of weights that are trained; scores and values of visible pairs (two products
/// forward, five back), the adapter, the head for supervised rows. Nothing that is computed twice counts, and no norm or
/// activation.
pub fn operations(d: &Dims, places: &Places, b: &MicroBatch) -> f64 {
    let (tokens, targets) = (b.tokens.len() as f64, b.targets.len() as f64);
    let trained = |is: bool| if is { 1.0 } else { 0.0 };
    let mut sum = 2.0 * (2.0 + trained(places.head().is_some())) * (d.vocab * d.hidden) as f64 * targets;
    let whole = trained(places.is_model());
    for layer in 0..d.layers {
        for group in 0..4 {
            // Of experts only those that a row is sent to.
            let blocks = if group < GATE_UP { 1.0 } else { d.blocks_per_token() as f64 };
            let (outputs, inputs): (usize, usize) = (members(group).map(|i| shape(d, i).0).sum(), inputs(d, group));
            let rows = if layer + 1 == d.layers && group != QKV { targets } else { tokens };
            let rows = rows * blocks;
            // Where nothing is trained below the first layer, its input needs no gradient.
            let ways = whole + if layer == 0 && group == QKV && places.embed().is_none() { 1.0 } else { 2.0 };
            sum += 2.0 * rows * ways * (outputs * inputs) as f64;
            sum += 6.0 * rows * (places.ranks(layer, group) * (outputs + inputs)) as f64;
        }
        let rows = if layer + 1 == d.layers { targets } else { tokens };
        sum += 4.0 * rows * d.experts.as_ref().map_or(0, |e| e.count * d.hidden) as f64;
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
        // Every product once more for its weight, and the first layer's input has a gradient.
        let products = 3.0 * (qkv + rest) + 3.0 * qkv + rest;
        assert_eq!(operations(&d, &Places::of_model(&d), &b), 6.0 * products + attention + 1.5 * head);
    }

    #[test]
    fn of_experts_those_count_that_a_row_is_sent_to() {
        let dense = tiny();
        let experts = Some(formats::config::Experts { count: 5, per_token: 2, aux_coef: 0.0 });
        let d = Dims { experts, ..dense.clone() };
        let (ids, learned) = ([1, 2, 3, 4], [false, false, false, true]);
        let b = MicroBatch::new(&[Sequence { ids: &ids, learned: &learned }], Sharing::None);
        let [one, two] = [&dense, &d].map(|d| operations(d, &Places::nothing(d), &b));
        // Once more gate and up 24 x 8 and down 8 x 12, and the router 5 x 8: for three rows, and for one of the last layer.
        assert_eq!(two - one, 4.0 * (3.0 + 1.0) * (24.0 * 8.0 + 8.0 * 12.0 + 5.0 * 8.0));
    }

    #[test]
    fn a_window_hides_pairs() {
        let d = Dims { window: Some(2), ..tiny() };
        let ids = [1, 2, 3, 4, 5];
        let b = MicroBatch::new(&[Sequence { ids: &ids, learned: &[true; 5] }], Sharing::None);
        assert_eq!(pairs(&d, &b), 1.0 + 2.0 + 2.0 + 2.0);
    }
}
