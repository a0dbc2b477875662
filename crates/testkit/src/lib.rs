//! Judges for tests: random inputs, gradient checks, bounds in eps, guarded buffers, equal bits, derivatives in float64; knows no op of the engine.
//!
//! Every judge answers `Result<_, String>` instead of panicking, so that a test can also ask whether it
//! *refuses* what is wrong: each op plants bugs in copies of itself and expects a refusal. Never used
//! outside of tests, never prints, reads no files and no clock.

pub mod bits;
pub mod bound;
pub mod gradient;
pub mod guard;
pub mod random;
pub mod tape;

pub use bits::{alike, same_bits};
pub use bound::{Judge, Truth};
pub use guard::Guarded;
pub use random::Random;
pub use tape::{Tape, Var};

/// The same numbers in double precision, for a reference.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

/// The same numbers rounded to single precision.
pub fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&v| v as f32).collect()
}

/// `sum of a[i] * b[i]`: the scalar that a random cotangent makes of an output.
///
/// # Panics
/// When the lengths differ.
#[inline]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Asserts that a judge refuses what a planted bug made; `bug` names it in the failure.
///
/// # Panics
/// When the judge was content.
pub fn must_catch(bug: &str, verdict: Result<(), String>) {
    assert!(verdict.is_err(), "the judge did not see the planted bug: {bug}");
}
