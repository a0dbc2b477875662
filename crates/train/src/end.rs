//! How a run ended, read from its log: so a run that ended long ago tells the same.

use record::Event;

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    /// Whether it came to its end (else it was asked to stop, and saved).
    pub finished: bool,
    /// Steps done.
    pub steps: u64,
    /// Loss of the first step of the run.
    pub loss_first: f64,
    /// Mean loss of the last ten steps.
    pub loss_last: f64,
    /// Seconds of the last call.
    pub seconds: f64,
    /// Damaged checkpoints that were passed over, with the reason.
    pub damaged: Vec<String>,
    /// Validations: steps done, loss. Step 0 is the model as it came.
    pub validations: Vec<(u64, f64)>,
    /// The step whose adapter is the result, and its loss on the validation examples.
    pub published: Option<(u64, Option<f64>)>,
    /// Whether validation ended it before its last step.
    pub stopped_early: bool,
    /// Steps that changed nothing.
    pub skipped: u64,
    /// Times that it went back to a checkpoint.
    pub rewound: u64,
    /// What the curves say: the finding, a text, the next rate.
    pub advice: Vec<(String, String, Option<f64>)>,
}

impl End {
    /// What a log tells of the run up to its last line.
    pub fn of(events: &[Event]) -> End {
        let mut end = End::default();
        let (mut losses, mut said) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Step { step, loss, .. } => {
                    end.steps = *step;
                    losses.push(*loss);
                }
                Event::Skipped { step, .. } => (end.steps, end.skipped) = (*step, end.skipped + 1),
                Event::Rewound { step, .. } => (end.steps, end.rewound) = (*step, end.rewound + 1),
                Event::Validation { step, loss, .. } => end.validations.push((*step, *loss)),
                Event::EarlyStop { .. } => end.stopped_early = true,
                Event::Published { step, validation_loss } => end.published = Some((*step, *validation_loss)),
                Event::Advice { step, finding, text, lr } => said.push((*step, (finding.clone(), text.clone(), *lr))),
                Event::Finished { seconds, .. } => (end.finished, end.seconds) = (true, *seconds),
                _ => {}
            }
        }
        // What was said on the way may have mended itself.
        end.advice = said.into_iter().filter(|(step, _)| end.finished && *step == end.steps).map(|(_, advice)| advice).collect();
        let last = &losses[losses.len().saturating_sub(10)..];
        end.loss_first = losses.first().copied().unwrap_or(0.0);
        end.loss_last = last.iter().sum::<f64>() / last.len().max(1) as f64;
        end
    }
}
