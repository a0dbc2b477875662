//! Recipe, pack and model to checkpoints and events: the training run, from its first step or onward from where it stopped.
//!
//! It reads tokens, never text; writes only into its run folder; prints nothing and reads no clock but for durations.

mod course;
mod end;
mod error;
mod material;
pub mod preference;
pub mod range;
mod run;
pub mod schedule;
pub mod spike;
mod state;
pub mod step;
pub mod watch;

pub use course::Course;
pub use end::End;
pub use error::Error;
pub use material::Material;
pub use run::{Abort, About, Start, run};
pub use step::{Place, StepResult, Trainer, Validation};
