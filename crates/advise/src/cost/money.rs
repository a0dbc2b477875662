//! US dollars in whole cents, so that tables add up.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Neg, Sub};

/// An amount of whole cents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cents(pub i64);

impl Cents {
    /// The nearest cent; half a cent goes away from zero, as in spreadsheets.
    ///
    /// What lies within a millionth of a cent of the half is taken as the half: sums in another order end there.
    pub fn round(usd: f64) -> Cents {
        let cents = usd * 100.0;
        // Saturates beyond 9e16 dollars.
        Cents((cents + 1e-6f64.copysign(cents)).round() as i64)
    }

    /// In US dollars.
    pub fn usd(self) -> f64 {
        self.0 as f64 / 100.0
    }
}

impl fmt::Display for Cents {
    /// `-1,234.50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, cents) = (self.0.unsigned_abs() / 100, self.0.unsigned_abs() % 100);
        write!(f, "{sign}{}.{cents:02}", grouped(whole))
    }
}

impl Add for Cents {
    type Output = Cents;
    fn add(self, other: Cents) -> Cents {
        Cents(self.0.saturating_add(other.0))
    }
}

impl Sub for Cents {
    type Output = Cents;
    fn sub(self, other: Cents) -> Cents {
        Cents(self.0.saturating_sub(other.0))
    }
}

impl Neg for Cents {
    type Output = Cents;
    fn neg(self) -> Cents {
        Cents(self.0.saturating_neg())
    }
}

impl Sum for Cents {
    fn sum<I: Iterator<Item = Cents>>(all: I) -> Cents {
        all.fold(Cents(0), Add::add)
    }
}

/// A whole number with its thousands apart: `1,200`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Dollars for a sentence: `$1,234`, and cents below a hundred.
pub fn plain(amount: Cents) -> String {
    let sign = if amount.0 < 0 { "-" } else { "" };
    match amount.0.unsigned_abs() {
        cents if cents < 10_000 => format!("{sign}${}.{:02}", cents / 100, cents % 100),
        cents => format!("{sign}${}", grouped((cents + 50) / 100)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_are_rounded_and_written() {
        assert_eq!([0.005, 0.015, 1.005, -0.005, 2.675, 0.004].map(|usd| Cents::round(usd).0), [1, 2, 101, -1, 268, 0]);
        assert_eq!([0, 5, 123_450, -123_456_789].map(|c| Cents(c).to_string()), ["0.00", "0.05", "1,234.50", "-1,234,567.89"]);
        assert_eq!([99, 9_999, 10_049, 10_050, -5_000_000].map(|c| plain(Cents(c))), ["$0.99", "$99.99", "$100", "$101", "-$50,000"]);
    }
}
