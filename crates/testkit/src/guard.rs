//! A buffer between two guard bands, so that a write outside of it is seen.

use std::ops::{Deref, DerefMut};

/// Numbers on each side of the buffer; odd, so that the buffer does not begin at a vector's boundary.
const BAND: usize = 67;

/// What a guard band holds: no op computes it.
const GUARD: f64 = -7.0e37;

/// A buffer of `T` (f32 or f64) with a guard band before and behind it.
#[derive(Clone, Debug)]
pub struct Guarded<T = f32> {
    all: Vec<T>,
}

/// Numbers that a guarded buffer holds.
pub trait Number: Copy + PartialEq + Into<f64> {
    /// The nearest number of this type.
    fn of(v: f64) -> Self;
}

impl Number for f32 {
    fn of(v: f64) -> f32 {
        v as f32
    }
}

impl Number for f64 {
    fn of(v: f64) -> f64 {
        v
    }
}

impl<T: Number> Guarded<T> {
    /// For an output that is overwritten: NaN, so that what is not written or is read first shows.
    pub fn unwritten(len: usize) -> Guarded<T> {
        Guarded::filled(len, f64::NAN)
    }

    /// For an output that is added to: 3, so that `=` in place of `+=` shows.
    pub fn threes(len: usize) -> Guarded<T> {
        Guarded::filled(len, 3.0)
    }

    /// For a buffer that is changed in place.
    pub fn holding(values: &[T]) -> Guarded<T> {
        let mut g = Guarded::filled(values.len(), 0.0);
        g.copy_from_slice(values);
        g
    }

    /// `len` times `value`.
    pub fn filled(len: usize, value: f64) -> Guarded<T> {
        let mut all = vec![T::of(GUARD); len + 2 * BAND];
        all[BAND..BAND + len].fill(T::of(value));
        Guarded { all }
    }

    /// Looks at both bands after a call.
    ///
    /// # Errors
    /// How far outside of the buffer something was written.
    pub fn intact(&self, name: &str) -> Result<(), String> {
        let end = self.all.len() - BAND;
        let bad = |i: &usize| self.all[*i] != T::of(GUARD);
        if let Some(i) = (0..BAND).rev().find(bad) {
            return Err(format!("{name}: {:e} was written {} before its begin", self.all[i].into(), BAND - i));
        }
        match (end..self.all.len()).find(bad) {
            Some(i) => Err(format!("{name}: {:e} was written {} past its end", self.all[i].into(), i - end)),
            None => Ok(()),
        }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.all[BAND..self.all.len() - BAND]
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let end = self.all.len() - BAND;
        &mut self.all[BAND..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_outside_is_seen() {
        let mut g = Guarded::<f32>::threes(5);
        assert_eq!(*g, [3.0; 5]);
        g.fill(1.0);
        g.intact("y").unwrap();
        g.all[BAND + 5] = 1.0;
        assert_eq!(g.intact("y").unwrap_err(), "y: 1e0 was written 0 past its end");
        g.all[BAND - 2] = f32::NAN;
        assert_eq!(g.intact("y").unwrap_err(), "y: NaN was written 2 before its begin");
        assert!(Guarded::<f64>::unwritten(2).iter().all(|v| v.is_nan()));
        assert_eq!(*Guarded::holding(&[1.5f64, 2.5]), [1.5, 2.5]);
    }
}
