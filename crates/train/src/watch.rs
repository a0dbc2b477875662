//! What the curves of a run say about its learning rate: noisy, diverging, flat, overfitting; a pure function.
//!
//! The losses are cut into ten blocks of steps (the warm-up apart). A block's level is its mean; the noise is the
//! robust spread of the differences between neighbouring steps, divided by √2, so that a trend does not count as noise;
//! a level is known to noise/√(steps of a block), its error. What was won is the mean of the first third less that of
//! the last, known to an error of its own.
//! - diverging: the last level lies above the lowest one by more than five errors of their difference and a tenth of it;
//! - noisy: the noise is above a fifth of the last level, and above what the run has won and two errors of it;
//! - flat: what the run has won, and two errors of it, are less than a twentieth of the loss;
//! - overfitting: the last validation lies more than 1 % above the best one, while training got better since.
//!
//! The next rate is the field's ladder: from 2e-4 stepwise down to 2e-5 (and on by halves), up again where it is flat.

use crate::spike::median;

/// Fewer steps say nothing.
const STEPS: usize = 30;
const BLOCKS: usize = 10;
/// Rates that are tried one after the other.
const LADDER: [f64; 6] = [1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5];
/// A loss so low has nothing left to learn; that it stays there is no fault.
const LEARNED: f64 = 0.05;

/// The curves of a run.
#[derive(Clone, Copy, Debug)]
pub struct Curves<'a> {
    /// Loss of each step, the warm-up included.
    pub losses: &'a [f64],
    /// Norm of each step's gradient.
    pub norms: &'a [f64],
    /// Validations: steps done, loss.
    pub validations: &'a [(u64, f64)],
    /// The recipe's rate.
    pub lr: f64,
    /// Steps of the warm-up.
    pub warmup: usize,
}

/// What can be wrong with a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    Diverging,
    Noisy,
    Flat,
    Overfitting,
}

impl Finding {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Finding::Diverging => "diverging",
            Finding::Noisy => "noisy",
            Finding::Flat => "flat",
            Finding::Overfitting => "overfitting",
        }
    }
}

/// A finding with what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    pub finding: Finding,
    /// What was seen and what to do.
    pub text: String,
    /// The rate to try next, where another one would help.
    pub lr: Option<f64>,
}

/// Everything that the curves say; nothing of a healthy run.
pub fn watch(curves: &Curves) -> Vec<Advice> {
    let losses = curves.losses.get(curves.warmup.min(curves.losses.len())..).unwrap_or_default();
    let mut all = Vec::new();
    if losses.len() >= STEPS && losses.iter().all(|loss| loss.is_finite()) {
        all.extend(of_training(losses, curves));
    }
    all.extend(overfitting(curves));
    all
}

fn of_training(losses: &[f64], curves: &Curves) -> Option<Advice> {
    let levels: Vec<f64> = (0..BLOCKS).map(|b| mean(&losses[b * losses.len() / BLOCKS..(b + 1) * losses.len() / BLOCKS])).collect();
    let noise = noise(losses);
    let error = noise / (losses.len() as f64 / BLOCKS as f64).sqrt();
    let (first, last) = (levels[0], levels[BLOCKS - 1]);
    let lowest = levels.iter().copied().fold(f64::INFINITY, f64::min);
    let third = losses.len() / 3;
    let begun = mean(&losses[..third]);
    let won = begun - mean(&losses[losses.len() - third..]);
    let most = won + 2.0 * noise * (2.0 / third as f64).sqrt();
    if last - lowest > 5.0 * error * std::f64::consts::SQRT_2 && last > 1.1 * lowest {
        let lr = lower(curves.lr);
        let norms = rising(curves.norms).map_or(String::new(), |times| format!(", its gradient {times:.0} times as large as before"));
        let text = format!("the loss rose from {lowest:.3} to {last:.3}{norms}: the run diverges; try a lower rate, {lr:e}");
        return Some(Advice { finding: Finding::Diverging, text, lr: Some(lr) });
    }
    if noise > 0.2 * last && noise > most {
        let lr = lower(curves.lr);
        let text = format!(
            "the loss jumps by {noise:.3} from step to step and won {:.3} in all: noise hides the progress; try a lower rate, {lr:e}, or a larger train.batch",
            won.max(0.0)
        );
        return Some(Advice { finding: Finding::Noisy, text, lr: Some(lr) });
    }
    if last > LEARNED && most < 0.05 * begun {
        let lr = higher(curves.lr);
        let next = lr.map_or("the rate is high already, so look at the data: is there something to learn?".to_string(), |lr| {
            format!("a larger rate is worth trying, {lr:e}")
        });
        let text = format!("the loss stays flat, {first:.3} to {last:.3}: {next}");
        return Some(Advice { finding: Finding::Flat, text, lr });
    }
    None
}

/// Spread of the noise: differences of neighbours, so that neither trend nor a stair at the end of a pass counts.
fn noise(losses: &[f64]) -> f64 {
    let steps: Vec<f64> = losses.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let middle = median(&steps);
    let distances: Vec<f64> = steps.iter().map(|step| (step - middle).abs()).collect();
    1.4826 * median(&distances) / std::f64::consts::SQRT_2
}

/// How many times the last tenth of the norms is the middle of the run, when that is more than three.
fn rising(norms: &[f64]) -> Option<f64> {
    let tenth = norms.len() / BLOCKS;
    let times = median(&norms[norms.len() - tenth..]) / median(norms).max(1e-12);
    (tenth > 0 && times > 3.0).then_some(times)
}

fn overfitting(curves: &Curves) -> Option<Advice> {
    // The model as it came, step 0, is no candidate.
    let all: Vec<(u64, f64)> = curves.validations.iter().copied().filter(|(step, _)| *step > 0).collect();
    let (last_step, last) = *all.last()?;
    let (best_step, best) = all.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))?;
    // As many steps up to the best as after it: what training won since.
    let reach = ((last_step - best_step) as usize).min(best_step as usize);
    let part = |end: u64| curves.losses.get((end as usize).saturating_sub(reach)..(end as usize).min(curves.losses.len())).map(mean);
    let falling = reach > 0 && part(last_step)? < part(best_step)?;
    if !(last > 1.01 * best && falling) {
        return None;
    }
    let lr = lower(curves.lr);
    let text = format!(
        "validation was best at step {best_step} ({best:.4}) and is {last:.4} now, while training got better: it learns by heart; fewer passes (train.epochs), or a lower rate, {lr:e}"
    );
    Some(Advice { finding: Finding::Overfitting, text, lr: Some(lr) })
}

/// The next rate down.
fn lower(lr: f64) -> f64 {
    LADDER.into_iter().find(|step| *step < 0.99 * lr).unwrap_or(lr / 2.0)
}

/// The next rate up, if there is one that is worth trying.
fn higher(lr: f64) -> Option<f64> {
    LADDER.into_iter().rev().find(|step| *step > 1.01 * lr)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use model::random::{self, Stream};

    pub fn uniform(seed: u64, at: u64) -> f64 {
        random::uniform(seed, Stream::Order(77), at)
    }

    /// A normal number (Box and Muller).
    pub fn normal(seed: u64, at: u64) -> f64 {
        let (a, b) = (uniform(seed + 10_000, 2 * at), uniform(seed + 10_000, 2 * at + 1));
        (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    fn of(losses: &[f64]) -> Vec<Advice> {
        watch(&Curves { losses, norms: &[], validations: &[], lr: 2e-4, warmup: 0 })
    }

    fn found(losses: &[f64]) -> Option<Finding> {
        of(losses).first().map(|advice| advice.finding)
    }

    /// Of 200 curves of `steps` steps, how many are found to be `finding`, or anything if none is named.
    fn share(finding: Option<Finding>, steps: u64, curve: impl Fn(u64, f64) -> f64, noise: f64) -> f64 {
        let one = |seed: u64| {
            let losses: Vec<f64> =
                (0..steps).map(|t| curve(t, t as f64 / steps as f64) * (noise * normal(seed, t) - noise * noise / 2.0).exp()).collect();
            let found = found(&losses);
            if finding.is_some() { found == finding } else { found.is_some() }
        };
        (0..200).filter(|seed| one(*seed)).count() as f64 / 200.0
    }

    #[test]
    fn healthy_curves_raise_almost_no_alarm() {
        type Curve = fn(u64, f64) -> f64;
        let kinds: [(&str, Curve); 4] = [
            ("steep", |_, x| 0.4 + 2.0 * (-12.0 * x).exp()),
            ("slow", |_, x| 1.6 - 0.5 * x),
            ("stairs at the ends of three passes", |_, x| {
                if x < 0.34 {
                    1.5
                } else if x < 0.67 {
                    1.0
                } else {
                    0.7
                }
            }),
            ("learned to the end", |_, x| 0.01 + 3.0 * (-15.0 * x).exp()),
        ];
        for (name, curve) in kinds {
            for steps in [40, 150, 1000] {
                for noise in [0.02, 0.1, 0.2] {
                    let alarms = share(None, steps, curve, noise);
                    println!("{name}, {steps} steps, noise {noise}: {:.1} % false alarms", 100.0 * alarms);
                    assert!(alarms <= 0.02, "{name}, {steps} steps, noise {noise}: {alarms}");
                }
            }
        }
    }

    #[test]
    fn each_fault_is_found() {
        for steps in [60, 300] {
            assert!(share(Some(Finding::Diverging), steps, |_, x| if x < 0.6 { 2.0 - x } else { 1.4 + 5.0 * (x - 0.6) }, 0.1) > 0.98);
            // Few steps of great noise do not show how little was won.
            assert!(share(Some(Finding::Noisy), steps, |_, x| 1.5 - 0.1 * x, 0.6) > if steps < 100 { 0.6 } else { 0.95 });
            assert!(share(Some(Finding::Flat), steps, |_, _| 1.5, 0.02) > 0.95);
        }
        assert_eq!(found(&[0.02; 50]), None, "a loss that has nothing left to learn may stay flat");
        assert_eq!(found(&[1.0; 29]), None, "too few steps");
        assert_eq!(found(&[f64::NAN; 60]), None);
    }

    #[test]
    fn the_next_rate_is_named() {
        let rising: Vec<f64> = (0..60).map(|t| if t < 30 { 2.0 } else { 2.0 + 0.1 * (t - 30) as f64 }).collect();
        let advice = |losses: &[f64], lr| watch(&Curves { losses, norms: &[], validations: &[], lr, warmup: 0 }).remove(0);
        assert_eq!([2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 3e-3].map(|lr| advice(&rising, lr).lr), [1e-4, 5e-5, 2e-5, 1e-5, 5e-6, 1e-3].map(Some));
        assert_eq!([1e-5, 2e-4, 1e-3].map(|lr| advice(&[1.0; 60], lr).lr), [Some(2e-5), Some(5e-4), None]);
        assert!(advice(&rising, 2e-4).text.ends_with("try a lower rate, 1e-4"), "{}", advice(&rising, 2e-4).text);
        assert!(advice(&[1.0; 60], 1e-3).text.contains("is there something to learn?"));
    }

    #[test]
    fn overfitting_is_a_validation_that_rises_while_training_falls() {
        let falling: Vec<f64> = (0..100).map(|t| 2.0 - 0.015 * t as f64).collect();
        let of = |losses: &[f64], validations: &[(u64, f64)]| {
            let curves = Curves { losses, norms: &[], validations, lr: 2e-4, warmup: 0 };
            watch(&curves).iter().map(|advice| advice.finding).collect::<Vec<_>>()
        };
        let rises = [(0, 2.5), (25, 1.8), (50, 1.6), (75, 1.7), (100, 1.9)];
        assert_eq!(of(&falling, &rises), [Finding::Overfitting]);
        assert_eq!(of(&falling, &[(25, 1.8), (50, 1.6), (75, 1.5), (100, 1.505)]), [], "within a hundredth of the best");
        assert_eq!(of(&falling, &[(0, 1.0), (100, 1.6)]), [], "the model as it came is no candidate");
        let text = &watch(&Curves { losses: &falling, norms: &[], validations: &rises, lr: 2e-4, warmup: 0 })[0].text;
        assert!(text.contains("best at step 50 (1.6000) and is 1.9000 now"), "{text}");
    }

    #[test]
    fn a_gradient_that_grew_is_told_and_the_warm_up_is_left_out() {
        let losses: Vec<f64> = (0..100).map(|t| if t < 60 { 1.0 } else { 1.0 + 0.05 * (t - 60) as f64 }).collect();
        let norms: Vec<f64> = (0..100).map(|t| if t < 85 { 1.0 } else { 40.0 }).collect();
        let text = &watch(&Curves { losses: &losses, norms: &norms, validations: &[], lr: 2e-4, warmup: 0 })[0].text;
        assert!(text.contains("its gradient 40 times as large"), "{text}");
        let late: Vec<f64> = (0..100).map(|t| if t < 40 { 0.1 } else { 2.0 - 0.01 * t as f64 }).collect();
        let curves = Curves { losses: &late, norms: &[], validations: &[], lr: 2e-4, warmup: 40 };
        assert_eq!(watch(&curves), []);
        assert_eq!(of(&late)[0].finding, Finding::Diverging);
    }
}
