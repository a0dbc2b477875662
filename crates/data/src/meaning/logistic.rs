//! Multinomial logistic regression on sparse rows, by stochastic gradient descent with a step for each weight.

use super::vectors::Rows;

/// Passes over the rows; more of them fit wrong labels too.
const PASSES: usize = 12;
/// The first step of a weight.
const RATE: f32 = 0.3;
/// Weight decay of a step, on the weights that the row touches.
const DECAY: f32 = 1e-5;

/// A classifier: one weight a feature and class, and one a class.
pub(crate) struct Logistic {
    classes: usize,
    weights: Vec<f32>,
    offsets: Vec<f32>,
}

impl Logistic {
    /// Learns the classes of some rows. The same rows give the same weights.
    pub(crate) fn learn(rows: &Rows, picked: &[usize], labels: &[u32], classes: usize) -> Self {
        let mut model = Self { classes, weights: vec![0.0; rows.width * classes], offsets: vec![0.0; classes] };
        // The sum of squared gradients of a feature, over its classes: one number a feature is enough and saves memory.
        let mut seen = vec![1e-2_f32; rows.width];
        let mut scores = vec![0.0; classes];
        for pass in 0..PASSES {
            for index in shuffled(picked, pass as u64) {
                let row = rows.row(index);
                model.scores(row, &mut scores);
                scores[labels[index] as usize] -= 1.0;
                let size: f32 = scores.iter().map(|g| g * g).sum();
                for (feature, weight) in row {
                    let place = *feature as usize;
                    seen[place] += size * weight * weight;
                    let step = RATE * weight / seen[place].sqrt();
                    let own = &mut model.weights[place * classes..][..classes];
                    own.iter_mut().zip(&scores).for_each(|(w, g)| *w -= step * g + DECAY * *w);
                }
                let rate = 0.05 / (1.0 + pass as f32);
                model.offsets.iter_mut().zip(&scores).for_each(|(w, g)| *w -= rate * g);
            }
        }
        model
    }

    /// The probability of each class.
    pub(crate) fn scores(&self, row: &[(u32, f32)], out: &mut [f32]) {
        out.copy_from_slice(&self.offsets);
        for (feature, weight) in row {
            let own = &self.weights[*feature as usize * self.classes..][..self.classes];
            out.iter_mut().zip(own).for_each(|(sum, w)| *sum += weight * w);
        }
        let most = out.iter().copied().fold(f32::MIN, f32::max);
        out.iter_mut().for_each(|score| *score = (*score - most).exp());
        let sum: f32 = out.iter().sum();
        out.iter_mut().for_each(|score| *score /= sum);
    }
}

/// A number that looks random, of a seed and an index (SplitMix64).
pub(crate) fn mixed(seed: u64, index: u64) -> u64 {
    let mut bits = seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The indices in an order that a seed settles.
pub(crate) fn shuffled(indices: &[usize], seed: u64) -> Vec<usize> {
    let mut order: Vec<(u64, usize)> = indices.iter().map(|index| (mixed(seed, *index as u64), *index)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_classes_are_told_apart() {
        let rows = Rows::new((0..40).map(|i| vec![(i % 2, 0.8), (2 + i % 5, 0.6)]).collect(), 7);
        let labels: Vec<u32> = (0..40).map(|i| i % 2).collect();
        let model = Logistic::learn(&rows, &(0..40).collect::<Vec<_>>(), &labels, 2);
        let mut scores = [0.0; 2];
        model.scores(&[(0, 1.0)], &mut scores);
        assert!(scores[0] > 0.9 && (scores[0] + scores[1] - 1.0).abs() < 1e-6, "{scores:?}");
    }
}
