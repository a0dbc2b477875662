//! Which learning rate to begin with: the rate rises from step to step until the loss goes up; what fell fastest is told.
//!
//! The method is Smith's range test (2017). The losses are smoothed over the logarithm of the rate; the steepest fall is
//! that of a line through neighbouring points. Suggested is the lower of the rate of the steepest fall and a tenth of the
//! rate at which the loss went up, rounded to 1, 2 or 5 times a power of ten.

use crate::{Error, Trainer};

/// Points to each side of a slope's middle.
const REACH: usize = 6;
/// Weight of the past in the smoothed loss.
const PAST: f64 = 0.8;

/// What to try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub from: f64,
    pub to: f64,
    pub steps: u64,
}

/// The usual range of adapters.
pub const USUAL: Range = Range { from: 1e-6, to: 1.0, steps: 100 };

/// One step of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub lr: f64,
    pub loss: f64,
    /// The loss without its noise.
    pub smooth: f64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub points: Vec<Point>,
    /// Where the loss fell fastest; none if it never fell.
    pub steepest: Option<f64>,
    /// Where it went up; none if it never did.
    pub blew_up: Option<f64>,
    /// The rate to begin with; none if the loss never fell.
    pub suggestion: Option<f64>,
}

/// Trains on the run's own steps with a rate that rises, until the loss goes up; `see` gets each point and returns false
/// to stop.
///
/// # Errors
/// When not even the first step gives a number.
pub fn find(trainer: &mut Trainer, range: &Range, see: &mut dyn FnMut(&Point) -> bool) -> Result<Found, Error> {
    let mut losses: Vec<(f64, f64)> = Vec::new();
    let mut blew_up = None;
    for step in 0..range.steps {
        let lr = range.from * (range.to / range.from).powf(step as f64 / (range.steps - 1).max(1) as f64);
        let result = trainer.measure(step);
        if let Some(what) = result.not_finite {
            if step == 0 {
                return Err(Error::NotFinite { what, step: 1, times: 1, examples: Vec::new() });
            }
            blew_up = losses.last().map(|(lr, _)| *lr);
            break;
        }
        trainer.update(&result, lr);
        losses.push((lr, result.loss));
        let points = smooth(&losses);
        let go_on = points.last().is_none_or(&mut *see);
        blew_up = rose(&points);
        if blew_up.is_some() || !go_on {
            break;
        }
    }
    Ok(found(smooth(&losses), blew_up))
}

fn found(points: Vec<Point>, blew_up: Option<f64>) -> Found {
    let steepest = steepest(&points, blew_up);
    let suggestion = steepest.map(|lr| round(blew_up.map_or(lr, |up| lr.min(up / 10.0))));
    Found { points, steepest, blew_up, suggestion }
}

/// An exponential average, freed of the zero that it begins with.
fn smooth(losses: &[(f64, f64)]) -> Vec<Point> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let point = |(lr, loss): &(f64, f64)| {
        sum = PAST * sum + (1.0 - PAST) * loss;
        weight = PAST * weight + (1.0 - PAST);
        Point { lr: *lr, loss: *loss, smooth: sum / weight }
    };
    losses.iter().map(point).collect()
}

/// The rate at which the loss began to rise, once it is clearly above its lowest point: by half of it and by half of all
/// that was won.
fn rose(points: &[Point]) -> Option<f64> {
    let last = points.last()?;
    let (at, lowest) = points.iter().enumerate().min_by(|a, b| a.1.smooth.total_cmp(&b.1.smooth))?;
    let won = points[0].smooth - lowest.smooth;
    let up = last.smooth - lowest.smooth;
    (points.len() > REACH && at + 1 < points.len() && up > 0.5 * lowest.smooth && up > 0.5 * won).then_some(lowest.lr)
}

/// The rate in the middle of the steepest fall before the loss went up.
fn steepest(points: &[Point], blew_up: Option<f64>) -> Option<f64> {
    let end = points.iter().take_while(|p| blew_up.is_none_or(|up| p.lr <= up)).count();
    let fall = |middle: usize| (slope(&points[middle - REACH..=(middle + REACH).min(end - 1)]), points[middle].lr);
    let (slope, lr) = (REACH..end).map(fall).min_by(|a, b| a.0.total_cmp(&b.0))?;
    // A slope within the noise is no fall: a hundredth of the first loss over the points of one slope.
    let across = (points[1].lr / points[0].lr).ln() * (2 * REACH) as f64;
    (slope * across < -0.01 * points[0].smooth).then_some(lr)
}

/// Slope of the least-squares line of the smoothed loss over ln of the rate.
fn slope(points: &[Point]) -> f64 {
    let n = points.len() as f64;
    let x = |p: &Point| p.lr.ln();
    let (mx, my) = (points.iter().map(x).sum::<f64>() / n, points.iter().map(|p| p.smooth).sum::<f64>() / n);
    let over: f64 = points.iter().map(|p| (x(p) - mx) * (p.smooth - my)).sum();
    over / points.iter().map(|p| (x(p) - mx).powi(2)).sum::<f64>().max(f64::MIN_POSITIVE)
}

/// The nearest of 1, 2 and 5 times a power of ten that is not above.
fn round(lr: f64) -> f64 {
    let power = lr.log10().floor() as i32;
    let of = |digit: u32| format!("{digit}e{power}").parse::<f64>().unwrap_or(lr);
    [5, 2].into_iter().map(of).find(|step| *step <= lr * 1.000_001).unwrap_or_else(|| of(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests::normal;

    /// A loss that falls around `fall` and rises from `rise` on.
    fn curve(fall: f64, rise: f64, noise: f64, seed: u64) -> Vec<Point> {
        let loss = |lr: f64, at: u64| {
            let down = 1.5 / (1.0 + (fall / lr).powi(2));
            (2.5 - down + 2.0 * (lr / rise).powi(2)) * (noise * normal(seed, at)).exp()
        };
        let rates = (0..100u64).map(|i| (i, 1e-6 * 1e6f64.powf(i as f64 / 99.0)));
        smooth(&rates.map(|(i, lr)| (lr, loss(lr, i))).collect::<Vec<_>>())
    }

    fn judged(points: Vec<Point>) -> Found {
        let end = (1..=points.len()).find(|n| rose(&points[..*n]).is_some()).unwrap_or(points.len());
        let blew_up = rose(&points[..end]);
        found(points[..end].to_vec(), blew_up)
    }

    #[test]
    fn the_suggestion_lies_where_the_loss_falls_and_below_where_it_rises() {
        for noise in [0.0, 0.05] {
            for seed in 0..20 {
                let found = judged(curve(1e-3, 0.1, noise, seed));
                let (steepest, up) = (found.steepest.expect("a fall"), found.blew_up.expect("a rise"));
                // An average over the past comes late: up to 10^0.5.
                assert!((5e-4..5e-3).contains(&steepest), "{steepest}");
                assert!((5e-3..0.2).contains(&up), "{up}");
                let lr = found.suggestion.expect("a rate");
                assert!((2e-4..=5e-3).contains(&lr) && lr <= up / 10.0 * 1.01, "{lr} {up}");
            }
        }
    }

    #[test]
    fn a_loss_that_never_falls_suggests_nothing() {
        let flat = |noise: f64| {
            smooth(&(0..100u64).map(|i| (1e-6 * 1e6f64.powf(i as f64 / 99.0), 2.0 + noise * normal(1, i))).collect::<Vec<_>>())
        };
        assert_eq!(judged(flat(0.0)).suggestion, None);
        assert_eq!(judged(flat(0.0)).blew_up, None);
        assert_eq!(judged(Vec::new()).suggestion, None);
    }

    #[test]
    fn rates_are_rounded_down_to_one_two_or_five() {
        assert_eq!([1e-4, 1.9e-4, 2e-4, 4.9e-4, 5e-4, 9.99e-4, 3e-3].map(round), [1e-4, 1e-4, 2e-4, 2e-4, 5e-4, 5e-4, 2e-3]);
    }
}
