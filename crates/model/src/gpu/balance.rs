//! The load-balancing loss of a model with experts that is trained on a GPU, counted on the host from the routers' logits.
//!
//! They are a few numbers a row, and the loss of an example spans all layers; so one reading between forward and backward, and one
//! small copy back a layer, take the place of kernels.

use crate::gpu::pass::Pass;
use engine::ops::balance::{self, Tally};
use engine::ops::route::Dims;
use std::ops::Range;

/// What all routers did with each example of a micro-batch.
pub(crate) struct Balance {
    coefficient: f64,
    tally: Tally,
    logits: Vec<Vec<f32>>,
    loss: f64,
}

impl Balance {
    pub fn new(coefficient: f64) -> Balance {
        Balance { coefficient, tally: Tally::default(), logits: Vec::new(), loss: 0.0 }
    }

    /// Coefficient times the sum over the examples of the last micro-batch.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// No micro-batch was looked at.
    pub fn forget(&mut self) {
        self.loss = 0.0;
    }

    /// The gradient of a layer's logits, (rows, experts); `share` is one over the examples of the step.
    pub fn gradient(&mut self, layer: usize, examples: &[Vec<Range<usize>>], share: f64, d: Dims) -> Vec<f32> {
        let mut gradient = vec![0f32; d.rows * d.experts];
        balance::backward(&mut self.tally, &mut gradient, &self.logits[layer], examples, self.coefficient * share, d);
        gradient
    }
}

impl Pass<'_> {
    /// Looks at what the routers of all layers did, where the loss is asked for.
    pub(super) fn weigh_routers(&self) {
        let (Some(e), Some(room)) = (&self.d.experts, &self.room.experts) else { return };
        let Some(mut b) = room.balance.as_ref().map(|b| b.borrow_mut()) else { return };
        let d = crate::experts::dims(e, self.batch.tokens);
        b.tally.begin(self.examples, e.count);
        b.logits.clear();
        for route in room.routes() {
            let (logits, chosen) = (route.logits.part(0..d.rows * d.experts).peek(), route.chosen.part(0..d.rows * d.top).peek());
            balance::forward(&mut b.tally, &logits, &chosen, self.examples, d);
            b.logits.push(logits);
        }
        b.loss = b.coefficient * b.tally.losses().sum::<f64>();
    }
}
