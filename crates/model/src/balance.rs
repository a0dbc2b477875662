//! The load-balancing loss of a model with experts, collected over all layers of a micro-batch.

use crate::decoder::Pass;
use crate::experts;
use crate::room::Room;
use engine::ops::balance::{self, Tally};
use engine::ops::route;

/// What all routers did with each example; nothing where the loss is off.
pub(crate) struct Balance {
    tally: Option<Tally>,
    coefficient: f64,
}

/// Looks at the router logits of all layers.
pub(crate) fn collect(s: &Pass, room: &mut Room) -> Balance {
    let coefficient = room.limits.balance;
    let Some(experts) = s.dims().experts.as_ref().filter(|_| coefficient > 0.0) else { return Balance { tally: None, coefficient } };
    let mut tally = Tally::default();
    tally.begin(&s.batch().rows, experts.count);
    let d = experts::dims(experts, s.tokens);
    let mut chosen = vec![0u32; d.rows * d.top];
    for logits in &room.routers {
        let logits = &logits[..d.rows * d.experts];
        route::forward(s.cx, &mut chosen, &mut room.sorted.weights[..d.rows * d.top], logits, d);
        balance::forward(&mut tally, logits, &chosen, &s.batch().rows, d);
    }
    Balance { tally: Some(tally), coefficient }
}

impl Balance {
    /// Coefficient times the sum over the examples.
    pub(crate) fn loss(&self) -> f64 {
        self.tally.as_ref().map_or(0.0, |t| self.coefficient * t.losses().sum::<f64>())
    }

    /// Adds the gradient to that of a layer's router logits; `examples` is one over the examples of the step.
    pub(crate) fn backward(&mut self, s: &Pass, dlogits: &mut [f32], logits: &[f32], examples: f64, d: route::Dims) {
        if let Some(tally) = &mut self.tally {
            balance::backward(tally, dlogits, logits, &s.batch().rows, self.coefficient * examples, d);
        }
    }
}
