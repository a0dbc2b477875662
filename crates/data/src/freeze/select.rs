//! Which units are held out: as many of each label as its share, drawn by rank; or the newest.

use std::collections::BTreeMap;

use super::units::Unit;

/// Held-out units, so that each label has its share of `wanted` examples as nearly as whole units allow.
pub(super) fn stratified(units: &[Unit], labels: &[Option<String>], wanted: usize) -> Vec<bool> {
    let quota = quotas(labels, wanted);
    let counts = |unit: &Unit| {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for row in &unit.rows {
            *counts.entry(quota.of[*row]).or_default() += 1;
        }
        counts
    };
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|at| (units[*at].rank, units[*at].rows[0]));
    let mut held = vec![false; units.len()];
    let mut have = vec![0usize; quota.wanted.len()];
    // First what fits, then what brings labels nearer to their share although it passes one of them.
    for fits in [true, false] {
        for &at in order.iter() {
            if held[at] {
                continue;
            }
            let counts = counts(&units[at]);
            let take = if fits {
                counts.iter().all(|(label, count)| have[*label] + count <= quota.wanted[*label])
            } else {
                let off = |have: usize, label: usize| have.abs_diff(quota.wanted[label]) as i64;
                counts.iter().map(|(label, count)| off(have[*label] + count, *label) - off(have[*label], *label)).sum::<i64>() < 0
            };
            if take {
                held[at] = true;
                counts.iter().for_each(|(label, count)| have[*label] += count);
            }
        }
    }
    held
}

struct Quotas {
    /// The number of each row's label.
    of: Vec<usize>,
    /// How many examples of each label are held out.
    wanted: Vec<usize>,
}

/// Whole shares of `wanted`: each label gets its share rounded down, the rest goes where most was cut off.
fn quotas(labels: &[Option<String>], wanted: usize) -> Quotas {
    let mut numbers: BTreeMap<&Option<String>, usize> = BTreeMap::new();
    for label in labels {
        numbers.entry(label).or_default();
    }
    numbers.values_mut().enumerate().for_each(|(number, label)| *label = number);
    let of: Vec<usize> = labels.iter().map(|label| numbers[label]).collect();
    let mut counts = vec![0usize; numbers.len()];
    of.iter().for_each(|label| counts[*label] += 1);
    Quotas { of, wanted: shares(&counts, wanted) }
}

/// Divides `wanted` as `counts` are divided, by largest remainders.
pub(crate) fn shares(counts: &[usize], wanted: usize) -> Vec<usize> {
    let all: usize = counts.iter().sum();
    if all == 0 {
        return vec![0; counts.len()];
    }
    let exact = |count: usize| (count as u128 * wanted as u128 / all as u128, count as u128 * wanted as u128 % all as u128);
    let mut shares: Vec<usize> = counts.iter().map(|count| exact(*count).0 as usize).collect();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(exact(counts[*at]).1), *at));
    let missing = wanted - shares.iter().sum::<usize>();
    order.iter().take(missing).for_each(|at| shares[*at] += 1);
    shares
}

/// The newest units: those that were last touched at the cutoff or later, so that training sees nothing of that time.
/// `times` has the latest moment of each unit. Gives the cutoff too.
pub(super) fn newest(units: &[Unit], times: &[i64], wanted: usize) -> (Vec<bool>, i64) {
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(times[*at]), units[*at].rank));
    let mut rows = 0;
    let mut cutoff = i64::MAX;
    for at in order {
        if rows >= wanted {
            break;
        }
        rows += units[at].rows.len();
        cutoff = times[at];
    }
    (times.iter().map(|time| *time >= cutoff).collect(), cutoff)
}
