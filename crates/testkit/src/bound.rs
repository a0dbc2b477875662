//! The bound: how far a result in f32 may be from the truth, in eps times the size of what it was made from.

/// A reference's result: values, and for each the size of the terms that it was added up from.
///
/// For a product the size is its magnitude. For a sum it is the sum of the magnitudes of its terms: the
/// rounding errors of a running sum grow with that, however long it is and however much of it cancels.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// The exact values, as good as f64 gives them.
    pub values: Vec<f64>,
    /// The size of each: an error is measured in eps times this.
    pub sizes: Vec<f64>,
}

impl Truth {
    /// No outputs yet.
    pub fn new() -> Truth {
        Truth::default()
    }

    /// `n` zeros of size zero, to be added to.
    pub fn zeros(n: usize) -> Truth {
        Truth { values: vec![0.0; n], sizes: vec![0.0; n] }
    }

    /// Values that must be met exactly: copies, and what must not be touched.
    pub fn exact(values: &[f32]) -> Truth {
        Truth { values: crate::wide(values), sizes: vec![0.0; values.len()] }
    }

    /// Appends an output.
    #[inline]
    pub fn push(&mut self, value: f64, size: f64) {
        self.values.push(value);
        self.sizes.push(size);
    }

    /// Adds a term to output `at`; its size is `size`.
    #[inline]
    pub fn add(&mut self, at: usize, value: f64, size: f64) {
        self.values[at] += value;
        self.sizes[at] += size;
    }

    /// What is expected of an op that adds to a buffer that held `before`.
    pub fn over(mut self, before: f64) -> Truth {
        for (v, s) in self.values.iter_mut().zip(&mut self.sizes) {
            *v += before;
            *s += before.abs();
        }
        self
    }
}

/// One output of an op: its bound and the worst that was seen.
#[derive(Clone, Debug)]
struct Output {
    name: &'static str,
    k: f64,
    worst: f64,
    worst_case: String,
}

/// The judge of one op: holds each output's bound k and remembers the worst error of all cases.
#[derive(Clone, Debug)]
pub struct Judge {
    op: &'static str,
    outputs: Vec<Output>,
}

impl Judge {
    /// A judge of `op`; `bounds` names its outputs and their k.
    pub fn new(op: &'static str, bounds: &[(&'static str, f64)]) -> Judge {
        let output = |&(name, k)| Output { name, k, worst: 0.0, worst_case: String::new() };
        Judge { op, outputs: bounds.iter().map(output).collect() }
    }

    /// Compares `got` with the truth: each error at most k·eps·size (f32's eps, also for outputs in f64).
    ///
    /// A size below the smallest normal number counts as that: what is lost there is lost to underflow.
    ///
    /// # Errors
    /// Op, output, case, place, found, expected and the worst error in eps.
    ///
    /// # Panics
    /// When the output is not one of those given to [`Judge::new`].
    pub fn see<T: Copy + Into<f64>>(&mut self, output: &str, case: &str, got: &[T], truth: &Truth) -> Result<(), String> {
        let op = self.op;
        let Some(o) = self.outputs.iter_mut().find(|o| o.name == output) else {
            panic!("{op} has no output {output}");
        };
        if got.len() != truth.values.len() || got.len() != truth.sizes.len() {
            return Err(format!("{op} {output} ({case}): {} values, expected {}", got.len(), truth.values.len()));
        }
        let (worst, at) = worst(got, truth);
        if worst > o.worst {
            o.worst = worst;
            o.worst_case = case.to_owned();
        }
        if worst <= o.k {
            return Ok(());
        }
        let (found, expected): (f64, f64) = (got[at].into(), truth.values[at]);
        let size = truth.sizes[at];
        Err(format!(
            "{op} {output} ({case}): element {at} is {found:e}, expected {expected:e}; off by {worst:.2} eps of {size:e}, bound {} eps",
            o.k
        ))
    }

    /// As [`Judge::see`], for values that are moved and not computed: every bit counts.
    ///
    /// # Errors
    /// As [`Judge::see`].
    pub fn see_exact(&self, output: &str, case: &str, got: &[f32], expected: &[f32]) -> Result<(), String> {
        crate::same_bits(&format!("{} {output} ({case})", self.op), expected, got)
    }

    /// Ends the judgement: a bound above four times the worst error seen is no bound.
    ///
    /// # Panics
    /// When a bound is that loose; the text gives the measured worst of every output.
    pub fn finish(self) {
        let list: Vec<String> =
            self.outputs.iter().map(|o| format!("{} k {} worst {:.2} eps ({})", o.name, o.k, o.worst, o.worst_case)).collect();
        let loose = self.outputs.iter().any(|o| o.k > 4.0 * o.worst);
        assert!(!loose, "{}: a bound is looser than 4 x the measured worst: {}", self.op, list.join("; "));
    }
}

/// The largest error in eps of its size, and where it is. Not a number and infinity are infinitely wrong, unless expected.
fn worst<T: Copy + Into<f64>>(got: &[T], truth: &Truth) -> (f64, usize) {
    let mut worst = (0.0, 0);
    for (i, ((&g, &value), &size)) in got.iter().zip(&truth.values).zip(&truth.sizes).enumerate() {
        let g: f64 = g.into();
        let unit = f64::from(f32::EPSILON) * size.max(f64::from(f32::MIN_POSITIVE));
        let error = if g == value { 0.0 } else { (g - value).abs() / unit };
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > worst.0 {
            worst = (error, i);
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Truth {
        Truth { values: vec![1.0, -2.0, 0.5], sizes: vec![1.0, 2.0, 10.0] }
    }

    #[test]
    fn an_error_is_measured_in_eps_of_its_size() {
        let mut j = Judge::new("op", &[("y", 3.0)]);
        let eps = f32::EPSILON;
        // 20 eps of a value 0.5 that was added up from terms of size 10 is 2 eps.
        j.see("y", "a", &[1.0 + eps, -2.0, 0.5 + 20.0 * eps], &truth()).unwrap();
        let text = j.see("y", "b", &[1.0 + 4.0 * eps, -2.0, 0.5], &truth()).unwrap_err();
        assert!(text.contains("op y (b): element 0") && text.contains("off by 4.00 eps of 1e0, bound 3 eps"), "{text}");
        j.finish();
    }

    #[test]
    fn nan_infinity_and_a_missing_value_are_refused() {
        let mut j = Judge::new("op", &[("y", 1e30)]);
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(j.see("y", "", &[1.0, bad, 0.5], &truth()).is_err());
        }
        assert!(j.see("y", "", &[1.0f32, -2.0], &truth()).unwrap_err().contains("2 values, expected 3"));
        assert!(Judge::new("op", &[("y", 4.0)]).see("y", "", &[1.0f32 + f32::EPSILON], &Truth::exact(&[1.0])).is_err());
    }

    #[test]
    #[should_panic(expected = "y k 9 worst 2.00 eps (far)")]
    fn a_loose_bound_is_refused() {
        let mut j = Judge::new("op", &[("y", 9.0)]);
        j.see("y", "far", &[1.0 + 2.0 * f32::EPSILON, -2.0, 0.5], &truth()).unwrap();
        j.finish();
    }
}
