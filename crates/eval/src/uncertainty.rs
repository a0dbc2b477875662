//! How sure a count is: intervals for shares, and tests for paired shares.
//!
//! Everything here is for yes/no outcomes (right or wrong), two-sided, at 95 %.

use serde::{Deserialize, Serialize};

/// The 97.5 % point of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A 95 % interval, as shares (0.12 is 12 %).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// A difference of two shares with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// Wilson's score interval for `hits` of `n`; the whole range when nothing was counted.
///
/// Unlike value ± 1.96 standard errors it stays inside 0 to 1 and does not shrink to nothing
/// at 0 of n. Source: E. B. Wilson, JASA 22 (1927), 209-212.
pub fn wilson(hits: usize, n: usize) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (share, n_real) = (hits as f64 / n as f64, n as f64);
    let scale = 1.0 + Z * Z / n_real;
    let centre = (share + Z * Z / (2.0 * n_real)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n_real + Z * Z / (4.0 * n_real * n_real)).sqrt();
    // At the ends the bound is exact on paper; rounding must not push it past the share itself.
    let low = if hits == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if hits >= n { 1.0 } else { (centre + half).min(1.0) };
    Interval { low, high }
}

/// McNemar's exact two-sided p: how often a fair coin splits the discordant pairs at least this unevenly.
///
/// Only pairs on which the arms differ count: `only_a` where a alone was right, `only_b` where b
/// alone was. Without such pairs nothing speaks against equality and p is 1.
/// Source: Q. McNemar, Psychometrika 12 (1947), 153-157, in its exact binomial form.
pub fn mcnemar(only_a: usize, only_b: usize) -> f64 {
    let n = only_a + only_b;
    let few = only_a.min(only_b);
    if only_a == only_b {
        // The two tails meet in the middle term, so their sum would pass 1.
        return 1.0;
    }
    let log_all = n as f64 * std::f64::consts::LN_2;
    let log_ways = |k: usize| ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0);
    // Terms grow with k, so summing from the largest down lets the loop stop when the rest is lost in rounding.
    let mut tail = 0.0;
    for k in (0..=few).rev() {
        let term = (log_ways(k) - log_all).exp();
        tail += term;
        if term < tail * 1e-18 {
            break;
        }
    }
    (2.0 * tail).min(1.0)
}

/// Difference of two paired shares (a minus b) with Newcombe's hybrid score interval.
///
/// Source: R. G. Newcombe, Statistics in Medicine 17 (1998), 2635-2650, method 10: Wilson
/// intervals of both shares, combined with the continuity-corrected correlation of the pairs.
pub fn paired_difference(both: usize, only_a: usize, only_b: usize, neither: usize) -> Difference {
    let n = both + only_a + only_b + neither;
    if n == 0 {
        return Difference { value: 0.0, low: -1.0, high: 1.0 };
    }
    let (hits_a, hits_b) = (both + only_a, both + only_b);
    let (a, b) = (hits_a as f64 / n as f64, hits_b as f64 / n as f64);
    let (around_a, around_b) = (wilson(hits_a, n), wilson(hits_b, n));
    let phi = correlation(both, only_a, only_b, neither);
    let reach = |x: f64, y: f64| (x * x - 2.0 * phi * x * y + y * y).max(0.0).sqrt();
    let value = (only_a as f64 - only_b as f64) / n as f64;
    Difference {
        value,
        low: (value - reach(a - around_a.low, around_b.high - b)).max(-1.0),
        high: (value + reach(around_a.high - a, b - around_b.low)).min(1.0),
    }
}

/// The correlation of the pairs as method 10 wants it: a positive one is shrunk by n/2 before scaling.
fn correlation(both: usize, only_a: usize, only_b: usize, neither: usize) -> f64 {
    let n = (both + only_a + only_b + neither) as f64;
    let (r, s, t, u) = (both as f64, only_a as f64, only_b as f64, neither as f64);
    let scale = (r + s) * (t + u) * (r + t) * (s + u);
    if scale == 0.0 {
        return 0.0;
    }
    let raw = r * u - s * t;
    let corrected = if raw > 0.0 { (raw - n / 2.0).max(0.0) } else { raw };
    corrected / scale.sqrt()
}

/// The smallest true difference that `n` pairs would show in four of five evaluations (80 % power).
///
/// `discordant` is the share of pairs on which the arms differ. Source: R. J. Connor,
/// Biometrics 43 (1987), 207-211, in its first-order form (z at 97.5 % plus z at 80 %).
pub fn detectable(n: usize, discordant: f64) -> f64 {
    const Z_POWER: f64 = 0.841_621_233_572_914;
    if n == 0 { 1.0 } else { ((Z + Z_POWER) * (discordant.clamp(0.0, 1.0) / n as f64).sqrt()).min(1.0) }
}

/// Natural logarithm of the gamma function for x of at least 1, to about 14 digits.
///
/// Stirling's series after shifting x above 10 by the recurrence. Source: Abramowitz and Stegun, 6.1.41.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 1.0);
    while x < 10.0 {
        shift *= x;
        x += 1.0;
    }
    let inv = 1.0 / x;
    let inv2 = inv * inv;
    let series = inv * (1.0 / 12.0 - inv2 * (1.0 / 360.0 - inv2 * (1.0 / 1260.0 - inv2 * (1.0 / 1680.0 - inv2 / 1188.0))));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - f64::ln(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected}");
    }

    /// The four examples of R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
    #[test]
    fn wilson_gives_the_published_intervals() {
        for (hits, n, low, high) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)] {
            let found = wilson(hits, n);
            near(found.low, low, 5e-5);
            near(found.high, high, 5e-5);
        }
        assert_eq!(wilson(10, 10).high, 1.0);
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    /// Every split of up to 60 discordant pairs against whole-number binomials.
    #[test]
    fn mcnemar_equals_counting() {
        for n in 0..=60usize {
            let mut row = vec![1u128];
            for k in 0..n {
                row.push(row[k] * (n - k) as u128 / (k + 1) as u128);
            }
            for a in 0..=n {
                let tail: u128 = row[..=a.min(n - a)].iter().sum();
                let expected = (2.0 * tail as f64 / 2f64.powi(n as i32)).min(1.0);
                near(mcnemar(a, n - a), expected, expected * 1e-11);
            }
        }
        assert_eq!(mcnemar(0, 0), 1.0);
        near(mcnemar(1, 9), 0.021484375, 1e-14);
    }

    /// Values from exact rational arithmetic (sums of binomial coefficients as whole numbers).
    #[test]
    fn mcnemar_stays_exact_for_thousands_of_pairs() {
        near(mcnemar(600, 500), 0.0028195449914364275, 1e-12);
        near(mcnemar(86, 150), 3.715936139571442e-5, 1e-15);
        near(mcnemar(2, 130) / 3.2248952830840194e-36, 1.0, 1e-10);
        assert!(mcnemar(10, 15_000) >= 0.0 && mcnemar(10, 15_000) < 1e-300);
        assert_eq!(mcnemar(50_000, 50_000), 1.0);
    }

    /// The first is published: Altman et al., Statistics with Confidence (2000), table 6.2, page 52. The other two
    /// are the formula in a second implementation, for a negative correlation and for one that is not defined.
    #[test]
    fn paired_difference_gives_the_published_intervals() {
        for ((r, s, t, u), value, low, high) in
            [((14, 5, 0, 22), 0.122, 0.011, 0.226), ((36, 12, 2, 0), 0.2, 0.0569, 0.3404), ((36, 14, 0, 0), 0.28, 0.1528, 0.4167)]
        {
            let found = paired_difference(r, s, t, u);
            near(found.value, value, 5e-4);
            near(found.low, low, 5e-4);
            near(found.high, high, 5e-4);
        }
    }

    #[test]
    fn paired_difference_turns_round_with_its_arms() {
        let (one, other) = (paired_difference(20, 12, 2, 16), paired_difference(20, 2, 12, 16));
        near(one.low, -other.high, 1e-15);
        near(one.high, -other.low, 1e-15);
        assert_eq!(paired_difference(0, 0, 0, 0), Difference { value: 0.0, low: -1.0, high: 1.0 });
    }

    /// All tables of 30 pairs, weighted by their probability: the interval must hold the truth 95 % of the time.
    #[test]
    fn paired_interval_covers_the_truth() {
        let n = 30;
        let log_fact: Vec<f64> = (0..=n).map(|k| ln_gamma(k as f64 + 1.0)).collect();
        for p in [[0.5, 0.2, 0.1, 0.2], [0.1, 0.6, 0.02, 0.28], [0.3, 0.15, 0.15, 0.4], [0.8, 0.1, 0.05, 0.05]] {
            let truth = p[1] - p[2];
            let mut covered = 0.0;
            for r in 0..=n {
                for s in 0..=n - r {
                    for t in 0..=n - r - s {
                        let counts = [r, s, t, n - r - s - t];
                        let log_p: f64 = log_fact[n] + counts.iter().zip(p).map(|(&k, p)| k as f64 * f64::ln(p) - log_fact[k]).sum::<f64>();
                        let found = paired_difference(counts[0], counts[1], counts[2], counts[3]);
                        if found.low <= truth && truth <= found.high {
                            covered += log_p.exp();
                        }
                    }
                }
            }
            assert!((0.935..0.995).contains(&covered), "{p:?}: covered {covered}");
        }
    }

    #[test]
    fn detectable_differences_match_the_power_table() {
        near(detectable(100, 0.2), 0.125, 0.002);
        near(detectable(200, 0.1), 0.063, 0.001);
    }
}
