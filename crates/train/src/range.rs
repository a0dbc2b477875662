//! Which learning rate to begin with: the rate rises from step to step until the loss goes up.
//!
//! The method is Smith's range test (Cyclical Learning Rates, 2015). The losses are smoothed over the logarithm of the rate.
//! Two rates are read off the curve: the one of its steepest fall (that of a line through neighbouring points), and the
//! one at its lowest point, from which the loss went up: the largest that still helped.
//!
//! Suggested is a quarter of the latter, as the nearest 1, 2 or 5 times a power of ten. The best rate mostly lies within a
//! factor of two of the largest that does not diverge (Bengio, Practical Recommendations, 2012), the average over past steps
//! sees the turn up to another factor of two too late, and Smith takes a third or a quarter himself. The steepest fall, or
//! a tenth of the lowest point as fastai has it, is where learning begins; runs that warm up and then decay the rate spend
//! most of their steps below its peak and want more. The test has about a hundred steps: a run of many thousands may want
//! less. A loss that never went up gives no such bound; then the steepest fall is suggested.

use crate::watch::noise;
use crate::{Error, Trainer};

/// Points to each side of a slope's middle.
const REACH: usize = 6;
/// Fewer steps do not show a rise.
const KNOWN: usize = 20;
/// How far below the largest rate that still helped a run begins.
const SAFE: f64 = 4.0;
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
        let result = trainer.measure(step)?;
        if let Some(what) = result.not_finite {
            if step == 0 {
                return Err(Error::NotFinite { what, step: 1, times: 1, examples: Vec::new() });
            }
            blew_up = losses.last().map(|(lr, _)| *lr);
            break;
        }
        trainer.update(&result, lr)?;
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
    let suggestion = steepest.map(|lr| round(blew_up.map_or(lr, |up| up / SAFE)));
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

/// The rate at which the loss began to rise, once it is clearly above its lowest point: by a tenth of it, by half of all
/// that was won, and by what its noise cannot explain.
fn rose(points: &[Point]) -> Option<f64> {
    // The average begins with single steps, noise and all.
    let known = points.get(REACH..).filter(|_| points.len() >= KNOWN)?;
    let (at, lowest) = known.iter().enumerate().min_by(|a, b| a.1.smooth.total_cmp(&b.1.smooth))?;
    let won = known[0].smooth - lowest.smooth;
    let up = known[known.len() - 1].smooth - lowest.smooth;
    let noise = noise(&points.iter().map(|p| p.loss).collect::<Vec<_>>());
    let clearly = up > 0.1 * lowest.smooth && up > 0.5 * won && up > 2.5 * noise;
    (at + 1 < known.len() && clearly).then_some(lowest.lr)
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

/// The nearest of 1, 2 and 5 times a power of ten, by their ratio.
fn round(lr: f64) -> f64 {
    let power = lr.log10().floor() as i32;
    let of = |(digit, power): (u32, i32)| format!("{digit}e{power}").parse::<f64>().unwrap_or(lr);
    let far = |rate: &f64| (rate / lr).ln().abs();
    [(1, power), (2, power), (5, power), (1, power + 1)].map(of).into_iter().min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(lr)
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
                // Without noise the curve is lowest at 9.3e-3.
                let lr = found.suggestion.expect("a rate");
                assert!((1e-3..=1e-2).contains(&lr) && lr <= up / 2.0 && lr > steepest / 5.0, "{lr} {up}");
            }
        }
    }

    #[test]
    fn a_rise_to_a_ceiling_is_one_and_noise_is_none() {
        // A small model that is thrown far ends at the loss of chance, not at infinity.
        let ceiling = |lr: f64| 3.0 + 3.0 / (1.0 + (lr / 3e-3).powi(2)) + if lr > 0.05 { 2.0 } else { 0.0 };
        let rates = || (0..100u64).map(|i| (i, 1e-6 * 1e6f64.powf(i as f64 / 99.0)));
        let found = judged(smooth(&rates().map(|(_, lr)| (lr, ceiling(lr))).collect::<Vec<_>>()));
        let up = found.blew_up.expect("a rise");
        assert!((0.03..0.07).contains(&up) && found.suggestion.is_some_and(|lr| lr <= up / 2.0), "{found:?}");
        // Flat for half of the test, with the noise of small batches.
        let flat = |seed: u64| {
            let loss =
                |(i, lr): (u64, f64)| (lr, (if lr < 1e-4 { 2.5 } else { 2.5 - 0.5 * (lr / 1e-4).log10() }) * (0.2 * normal(seed, i)).exp());
            judged(smooth(&rates().take(66).map(loss).collect::<Vec<_>>()))
        };
        let alarms = (0..100).filter(|seed| flat(*seed).blew_up.is_some()).count();
        println!("{alarms} of 100 noisy curves were taken for a rise");
        assert!(alarms <= 2, "{alarms}");
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
    fn rates_are_rounded_to_the_nearest_one_two_or_five() {
        assert_eq!([1e-4, 1.3e-4, 1.5e-4, 3e-4, 3.3e-4, 7e-4, 8e-4, 3e-3].map(round), [1e-4, 1e-4, 2e-4, 2e-4, 5e-4, 5e-4, 1e-3, 2e-3]);
    }

    const OUTPUTS: usize = 6;
    const INPUTS: usize = 8;
    const RANK: usize = 2;

    /// The smallest training that is one: B·A learns a target by Adam, from B = 0, with noise in each gradient.
    struct Lora {
        params: Vec<f64>, // A (RANK, INPUTS), then B (OUTPUTS, RANK)
        target: Vec<f64>,
        m: Vec<f64>,
        v: Vec<f64>,
        noise: f64,
        seed: u64,
        steps: i32,
    }

    impl Lora {
        fn new(seed: u64, size: f64, noise: f64) -> Lora {
            let n = RANK * (INPUTS + OUTPUTS);
            let params = (0..n).map(|i| if i < RANK * INPUTS { normal(seed, i as u64) / (INPUTS as f64).sqrt() } else { 0.0 }).collect();
            let (p, q) =
                (|o: usize, r: usize| normal(seed, 1000 + (o * RANK + r) as u64), |r, i| normal(seed, 2000 + (r * INPUTS + i) as u64));
            let at = |j: usize| (0..RANK).map(|r| p(j / INPUTS, r) * q(r, j % INPUTS)).sum::<f64>() * size / (INPUTS as f64).sqrt();
            let target = (0..OUTPUTS * INPUTS).map(at).collect();
            Lora { params, target, m: vec![0.0; n], v: vec![0.0; n], noise: noise * size, seed, steps: 0 }
        }

        /// B·A minus the target.
        fn error(&self) -> Vec<f64> {
            let (a, b) = self.params.split_at(RANK * INPUTS);
            let at = |j: usize| (0..RANK).map(|r| b[j / INPUTS * RANK + r] * a[r * INPUTS + j % INPUTS]).sum::<f64>() - self.target[j];
            (0..OUTPUTS * INPUTS).map(at).collect()
        }

        fn loss(&self) -> f64 {
            self.error().iter().map(|e| e * e / 2.0).sum()
        }

        /// One step; the loss as a batch shows it.
        fn step(&mut self, lr: f64) -> f64 {
            self.steps += 1;
            let from = 10_000 * self.steps as u64;
            let e: Vec<f64> = self.error().iter().zip(from..).map(|(e, at)| e + self.noise * normal(self.seed, at)).collect();
            let (a, b) = self.params.split_at(RANK * INPUTS);
            let da = (0..RANK * INPUTS).map(|k| (0..OUTPUTS).map(|o| b[o * RANK + k / INPUTS] * e[o * INPUTS + k % INPUTS]).sum::<f64>());
            let db = (0..OUTPUTS * RANK).map(|k| (0..INPUTS).map(|i| e[k / RANK * INPUTS + i] * a[k % RANK * INPUTS + i]).sum::<f64>());
            let gradient: Vec<f64> = da.chain(db).collect();
            for (((p, m), v), g) in self.params.iter_mut().zip(&mut self.m).zip(&mut self.v).zip(gradient) {
                (*m, *v) = (0.9 * *m + 0.1 * g, 0.999 * *v + 0.001 * g * g);
                let root = (*v / (1.0 - 0.999f64.powi(self.steps))).sqrt() + 1e-8;
                *p -= lr * (*m / (1.0 - 0.9f64.powi(self.steps))) / root;
            }
            e.iter().map(|e| e * e / 2.0).sum()
        }

        /// What a run with warm-up and decay ends with.
        fn trained(mut self, lr: f64, steps: u64) -> f64 {
            let warmup = crate::schedule::warmup_steps(0.03, steps);
            (0..steps).for_each(|step| _ = self.step(crate::schedule::rate(record::recipe::Schedule::Cosine, lr, warmup, steps, step)));
            self.loss()
        }
    }

    /// The range test of small trainings against a sweep over all rates of the same ones: how much higher the loss ends, and
    /// how far the rate is off, at worst.
    fn against_a_sweep(times: f64) -> (f64, f64) {
        let (mut higher, mut off) = (1f64, 1f64);
        for (size, noise) in [(0.1, 0.1), (0.1, 0.5), (0.3, 0.1), (0.3, 0.5), (1.0, 0.1)] {
            for seed in 0..3 {
                let new = || Lora::new(seed, size, noise);
                let mut tried = new();
                let losses: Vec<(f64, f64)> =
                    (0..100).map(|i| 1e-6 * 1e6f64.powf(f64::from(i) / 99.0)).map(|lr| (lr, tried.step(lr))).collect();
                let lr = times * judged(smooth(&losses)).suggestion.expect("a rate");
                let rates = (-4..0).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
                let ends = rates.map(|lr| (new().trained(lr, 200), lr));
                let (least, best) = ends.min_by(|a, b| a.0.total_cmp(&b.0)).expect("a rate");
                higher = higher.max(new().trained(lr, 200) / least);
                off = off.max((lr / best).max(best / lr));
            }
        }
        (higher, off)
    }

    #[test]
    fn the_suggestion_is_close_to_what_a_sweep_finds_best() {
        let (higher, off) = against_a_sweep(1.0);
        println!("at worst {off:.1} times off, and the loss ends {higher:.1} times higher");
        // Measured worst: 5 times off, where the rate hardly matters; 2.9 times higher, of a loss that fell by 99 %. The lower of
        // the steepest fall and a tenth of the lowest point ended up to 22 times higher.
        assert!(off < 6.0 && higher < 4.0, "{off} {higher}");
        for wrong in [0.1, 10.0] {
            let (higher, off) = against_a_sweep(wrong);
            assert!(off > 6.0 && higher > 4.0, "{wrong} times the suggestion is refused: {off} {higher}");
        }
    }
}
