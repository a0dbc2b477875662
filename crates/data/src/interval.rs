//! How sure a share is: Wilson's interval at 95 %, and how many examples a wanted width needs.
//!
//! Counts may be broken: a weighted sample counts for as many examples as an unweighted one of the same variance.

/// The 97.5 % point of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's interval around a share of `n`; the whole range when nothing was counted.
/// Source: E. B. Wilson, JASA 22 (1927), 209-212.
pub fn wilson(share: f64, n: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let scale = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At the ends the bound is exact on paper; rounding must not push it past the share itself.
    let low = if share <= 0.0 { 0.0 } else { (centre - half).clamp(0.0, share) };
    let high = if share >= 1.0 { 1.0 } else { (centre + half).clamp(share, 1.0) };
    (low, high)
}

/// Half of the interval's width.
pub fn half_width(share: f64, n: f64) -> f64 {
    let (low, high) = wilson(share, n);
    (high - low) / 2.0
}

/// The fewest examples whose interval around `share` reaches no further than `half` on average to both sides.
pub fn needed(share: f64, half: f64) -> usize {
    let (mut low, mut high) = (1usize, 1usize);
    while half_width(share, high as f64) > half && high < 1 << 40 {
        low = high;
        high *= 2;
    }
    while low < high {
        let middle = low.midpoint(high);
        if half_width(share, middle as f64) > half { low = middle + 1 } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3; and of a review of 150.
    #[test]
    fn the_published_intervals() {
        let published = [
            (81.0, 263.0, 0.2553, 0.3662),
            (15.0, 148.0, 0.0624, 0.1605),
            (0.0, 20.0, 0.0, 0.1611),
            (1.0, 29.0, 0.0061, 0.1718),
            (3.0, 150.0, 0.0068, 0.0571),
        ];
        for (hits, n, low, high) in published {
            let found = wilson(hits / n, n);
            assert!((found.0 - low).abs() < 5e-5 && (found.1 - high).abs() < 5e-5, "{hits} of {n}: {found:?}");
        }
        assert_eq!(wilson(0.3, 0.0), (0.0, 1.0));
    }

    #[test]
    fn needed_is_the_first_that_suffices() {
        for (share, half) in [(0.5, 0.07), (0.02, 0.01), (0.9, 0.03), (0.0, 0.02)] {
            let n = needed(share, half);
            assert!(half_width(share, n as f64) <= half && half_width(share, n as f64 - 1.0) > half, "{share} {half}: {n}");
        }
    }
}
