//! The DPO loss: how well the policy prefers the chosen answers, measured against a reference.
//!
//! Forward    z = beta ((c - c_ref) - (r - r_ref))      loss = -ln sigma(z)      rewards beta (c - c_ref), beta (r - r_ref)
//!            c, r: log-probabilities of the chosen and the rejected answer, summed over their tokens
//! Backward   d c = -beta sigma(-z)      d r = +beta sigma(-z)
//! Shapes     one pair
//! Writes     nothing: the outcome is returned.
//! Rounds     f64; the larger exponential is never formed, so nothing overflows and small losses keep their digits.
//! Moves      nothing to speak of.
//!
//! Rafailov et al., "Direct Preference Optimization" (2023), equation 7.

/// Log-probabilities of a pair of answers to one prompt, each summed over the tokens of the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Of the chosen answer, by the policy.
    pub chosen: f64,
    /// Of the rejected answer, by the policy.
    pub rejected: f64,
    /// Of the chosen answer, by the reference.
    pub chosen_reference: f64,
    /// Of the rejected answer, by the reference.
    pub rejected_reference: f64,
}

/// Loss of a pair and its derivatives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// -ln sigma(z).
    pub loss: f64,
    /// Reward of the chosen answer.
    pub chosen_reward: f64,
    /// Reward of the rejected answer; below the other where the policy prefers as it should.
    pub rejected_reward: f64,
    /// Derivative of the loss with respect to [`Pair::chosen`].
    pub d_chosen: f64,
    /// Derivative with respect to [`Pair::rejected`].
    pub d_rejected: f64,
}

/// The outcome of one pair; `beta` says how dear it is to leave the reference.
pub fn dpo(p: Pair, beta: f64) -> Outcome {
    let chosen_reward = beta * (p.chosen - p.chosen_reference);
    let rejected_reward = beta * (p.rejected - p.rejected_reference);
    let z = chosen_reward - rejected_reward;
    let small = (-z.abs()).exp();
    let doubt = if z < 0.0 { 1.0 } else { small } / (1.0 + small); // sigma(-z)
    Outcome { loss: (-z).max(0.0) + small.ln_1p(), chosen_reward, rejected_reward, d_chosen: -beta * doubt, d_rejected: beta * doubt }
}

#[cfg(test)]
mod tests;
