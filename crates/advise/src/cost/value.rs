//! One figure: its value, how sure it is, and where it is from.

use super::name::Name;

/// How far a figure can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Given by the user.
    Given,
    /// Measured by this tool.
    Measured,
    /// Read at the vendor.
    Published,
    /// Read at somebody who copied it.
    Secondary,
    /// Nobody has looked.
    Assumption,
}

impl Basis {
    /// In a word.
    pub fn text(self) -> &'static str {
        match self {
            Basis::Given => "given",
            Basis::Measured => "measured",
            Basis::Published => "published",
            Basis::Secondary => "secondary source",
            Basis::Assumption => "assumption",
        }
    }
}

/// Where the true value may lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// Where it is said to.
    Certain,
    /// Lognormal on either side of the value: one in ten is below `low`, one in ten above `high`.
    Lognormal {
        /// The tenth percentile.
        low: f64,
        /// The ninetieth.
        high: f64,
    },
    /// A triangle with its peak at the value.
    Triangle {
        /// Nothing is below.
        least: f64,
        /// Nothing is above.
        most: f64,
    },
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Which.
    pub name: Name,
    /// Its value.
    pub value: f64,
    /// How sure it is.
    pub spread: Spread,
    /// How far it can be trusted.
    pub basis: Basis,
    /// Why this one.
    pub why: String,
    /// Who says so.
    pub source: String,
    /// Of which day it is.
    pub as_of: Option<String>,
    /// Where in the world it holds.
    pub region: Option<String>,
}

/// The ninetieth percentile of the normal distribution.
const NINETIETH: f64 = 1.281_551_565_544_600_4;

impl Value {
    /// The value below which the share `p` of the spread lies.
    pub fn quantile(&self, p: f64) -> f64 {
        match self.spread {
            Spread::Certain => self.value,
            Spread::Lognormal { low, high } => {
                let side = if p < 0.5 { (self.value / low).ln() } else { (high / self.value).ln() };
                self.value * (side / NINETIETH * normal(p)).exp()
            }
            Spread::Triangle { least, most } => {
                let width = most - least;
                let peak = (self.value - least) / width;
                if p < peak { least + width * (p * peak).sqrt() } else { most - width * ((1.0 - p) * (1.0 - peak)).sqrt() }
            }
        }
    }

    /// Whether it has more than one value.
    pub fn uncertain(&self) -> bool {
        self.spread != Spread::Certain
    }
}

/// The quantile of the normal distribution, to 5e-9 of itself: a rational start by Acklam's coefficients
/// (relative error 1.2e-9 at the worst).
fn normal(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] =
        [-5.447_609_879_822_406e1, 1.615_858_368_580_409e2, -1.556_989_798_598_866e2, 6.680_131_188_771_972e1, -1.328_068_155_288_572e1];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    const TAIL: f64 = 0.02425;
    let poly = |terms: &[f64], x: f64| terms.iter().fold(0.0, |sum, term| sum * x + term);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        poly(&C, q) / (poly(&D, q) * q + 1.0)
    };
    let p = p.clamp(1e-12, 1.0 - 1e-12);
    if p < TAIL {
        tail(p)
    } else if p > 1.0 - TAIL {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        poly(&A, q * q) * q / (poly(&B, q * q) * q * q + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: f64, spread: Spread) -> Value {
        let (why, source) = (String::new(), String::new());
        Value { name: Name::Calls, value, spread, basis: Basis::Given, why, source, as_of: None, region: None }
    }

    #[test]
    fn normal_quantiles_agree_with_the_tables() {
        for (p, z) in [(0.5, 0.0), (0.9, NINETIETH), (0.975, 1.959_963_984_540_054), (0.001, -3.090_232_306_167_813)] {
            assert!((normal(p) - z).abs() < 5e-9, "{p}");
        }
    }

    #[test]
    fn percentiles_are_those_that_were_given() {
        let skewed = of(3.0, Spread::Lognormal { low: 2.0, high: 9.0 });
        for (p, expected) in [(0.1, 2.0), (0.5, 3.0), (0.9, 9.0)] {
            assert!((skewed.quantile(p) - expected).abs() < 1e-7, "{p}: {}", skewed.quantile(p));
        }
        let triangle = of(1.0, Spread::Triangle { least: 0.0, most: 3.0 });
        // The area below the peak is a third, that below 2 is 1 - 1/6.
        for (p, expected) in [(0.0, 0.0), (1.0 / 3.0, 1.0), (5.0 / 6.0, 2.0), (1.0, 3.0)] {
            assert!((triangle.quantile(p) - expected).abs() < 1e-12, "{p}");
        }
        assert_eq!(of(7.0, Spread::Certain).quantile(0.2), 7.0);
    }
}
