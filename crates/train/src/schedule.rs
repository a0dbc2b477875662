//! The learning rate of each step: warm-up, then cosine, linear or constant; the same values as transformers' schedules.

use record::recipe::Schedule;

/// Learning rate of step `step` (from 0) of `steps`: rises linearly from 0 over the first `warmup` steps, then follows `kind`.
pub fn rate(kind: Schedule, lr: f64, warmup: u64, steps: u64, step: u64) -> f64 {
    if step < warmup {
        return lr * step as f64 / warmup.max(1) as f64;
    }
    let done = (step - warmup) as f64 / (steps.saturating_sub(warmup)).max(1) as f64;
    match kind {
        Schedule::Cosine => lr * (0.5 * (1.0 + (std::f64::consts::PI * done).cos())).max(0.0),
        Schedule::Linear => lr * (1.0 - done).max(0.0),
        Schedule::Constant => lr,
    }
}

/// Warm-up steps of a share of the run.
pub fn warmup_steps(share: f64, steps: u64) -> u64 {
    (share * steps as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_transformers() {
        // get_cosine_schedule_with_warmup(lr 1e-3, 3 of 10 steps): values printed by transformers 5.23.
        let want = [0.0, 3.3333e-4, 6.6667e-4, 1e-3, 9.5048e-4, 8.1174e-4, 6.1126e-4, 3.8874e-4, 1.8826e-4, 4.9516e-5];
        for (step, want) in want.iter().enumerate() {
            let got = rate(Schedule::Cosine, 1e-3, 3, 10, step as u64);
            assert!((got - want).abs() < 5e-9 + want * 1e-4, "step {step}: {got} {want}");
        }
        assert!((rate(Schedule::Linear, 1.0, 0, 4, 3) - 0.25).abs() < 1e-12);
        assert_eq!(rate(Schedule::Constant, 1.0, 2, 4, 1), 0.5);
        assert_eq!(rate(Schedule::Constant, 1.0, 2, 4, 3), 1.0);
        assert_eq!(warmup_steps(0.03, 126), 3);
    }
}
