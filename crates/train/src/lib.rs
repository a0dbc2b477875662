//! Recipe, pack and model to checkpoints and events: the training run, from its first step or onward from where it stopped.
//!
//! It reads tokens, never text; writes only into its run folder; prints nothing and reads no clock but for durations.

mod error;
mod run;
pub mod schedule;
mod state;
pub mod step;

pub use error::Error;
pub use run::{Abort, About, End, Start, run};
pub use step::{StepResult, Trainer};
