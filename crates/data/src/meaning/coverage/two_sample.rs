//! Whether a classifier can tell two sets of texts apart, and how well it could by chance.

use rayon::prelude::*;

use crate::meaning::logistic::{Logistic, mixed, shuffled};
use crate::meaning::vectors::Rows;

/// What the test gave.
pub(crate) struct TwoSample {
    /// The chance that an input of production is told from one of training.
    pub auc: f64,
    /// The highest AUC with shuffled labels.
    pub null: f64,
    pub trials: usize,
}

/// So many rows of each set at most: more do not change the figure, only the time.
const ROWS: usize = 1500;
const TRIALS: u64 = 19;
const FOLDS: u64 = 3;

/// Trains on two thirds, judges the rest, three times; then again with labels that mean nothing.
pub(crate) fn two_sample(training: &Rows, production: &Rows) -> TwoSample {
    let size = training.len().min(production.len()).min(ROWS);
    let some = |rows: &Rows, seed| {
        shuffled(&(0..rows.len()).collect::<Vec<_>>(), seed).into_iter().take(size).map(|row| rows.row(row).to_vec()).collect::<Vec<_>>()
    };
    let rows = Rows::new([some(training, 1), some(production, 2)].concat(), training.width);
    let labels: Vec<u32> = (0..rows.len()).map(|row| u32::from(row >= size)).collect();
    let trial = |seed: u64| {
        let order = shuffled(&(0..rows.len()).collect::<Vec<_>>(), 100 + seed);
        let mixed: Vec<u32> = order.iter().map(|row| labels[*row]).collect();
        out_of_fold_auc(&rows, &mixed)
    };
    let null = (0..TRIALS).into_par_iter().map(trial).collect::<Vec<_>>().into_iter().fold(0.0, f64::max);
    TwoSample { auc: out_of_fold_auc(&rows, &labels), null, trials: TRIALS as usize }
}

fn out_of_fold_auc(rows: &Rows, labels: &[u32]) -> f64 {
    let fold = |row: usize| mixed(7, row as u64) % FOLDS;
    let mut scored: Vec<(f32, u32)> = Vec::with_capacity(rows.len());
    for out in 0..FOLDS {
        let (judged, learned): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|row| fold(*row) == out);
        let model = Logistic::learn(rows, &learned, labels, 2);
        let mut own = [0.0; 2];
        for row in judged {
            model.scores(rows.row(row), &mut own);
            scored.push((own[1], labels[row]));
        }
    }
    auc(&mut scored)
}

/// The share of pairs of unlike labels that are in the right order; equal scores count half.
fn auc(scored: &mut [(f32, u32)]) -> f64 {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut right) = (0.0, 0.0);
    for same in scored.chunk_by(|a, b| a.0 == b.0) {
        let high = same.iter().filter(|(_, label)| *label == 1).count() as f64;
        let low = same.len() as f64 - high;
        right += high * (below + 0.5 * low);
        below += low;
    }
    let high = scored.len() as f64 - below;
    if below * high > 0.0 { right / (below * high) } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_ordered_pairs() {
        assert_eq!(auc(&mut [(0.1, 0), (0.4, 1), (0.35, 0), (0.8, 1)]), 1.0);
        assert_eq!(auc(&mut [(0.5, 0), (0.5, 1)]), 0.5);
        assert_eq!(auc(&mut [(0.1, 1), (0.2, 0), (0.3, 1)]), 0.5);
    }
}
