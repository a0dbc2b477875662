//! How many bands of how many rows: the chance that two texts are compared, as a function of how alike they are.

/// MinHash values in bands; a pair is compared when all rows of one band agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    pub bands: usize,
    pub rows: usize,
}

impl Default for Scheme {
    /// Finds 98 % of the pairs of which six tenths agree, with 128 values.
    fn default() -> Self {
        Self::solve(0.6, 0.98, 128).unwrap_or(Self { bands: 32, rows: 4 })
    }
}

impl Scheme {
    /// The chance that a pair of this Jaccard similarity is compared: `1 - (1 - j^rows)^bands`.
    pub fn chance(self, jaccard: f64) -> f64 {
        1.0 - (1.0 - jaccard.powi(self.rows as i32)).powi(self.bands as i32)
    }

    /// The scheme of at most `values` values that compares the fewest pairs and still finds `recall` of those
    /// that are `jaccard` alike; none where no scheme of so few values does.
    pub fn solve(jaccard: f64, recall: f64, values: usize) -> Option<Self> {
        // More rows compare fewer pairs; what is left of the values goes into bands, which find more.
        let schemes = (1..=values).rev().map(|rows| Self { bands: values / rows, rows });
        schemes.into_iter().find(|scheme| scheme.chance(jaccard) >= recall)
    }

    /// All values of a sketch.
    pub(super) fn values(self) -> usize {
        self.bands * self.rows
    }
}
