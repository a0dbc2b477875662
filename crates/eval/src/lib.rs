//! Model and tasks to scores with their uncertainty.
//!
//! An evaluation compares *arms* on the same held-out examples: the base model with the plain
//! prompt, the base model with a good few-shot prompt, the tuned model. [`score`] judges one
//! output, [`arms`] counts and compares, [`uncertainty`] says how sure the counts are,
//! [`prompt`] builds the honest rival's prompt, and [`report`] writes it all as one HTML page.
//!
//! This room never prints and never reads the network, the clock or the environment.

pub mod arms;
pub mod error;
pub mod labels;
pub mod prompt;
pub mod report;
pub mod run;
pub mod score;
pub mod uncertainty;
pub mod verdict;

pub use arms::{Arm, Example, Output, Role, Scores, Task};
pub use error::{Error, Result};
pub use report::{Report, html};
pub use run::{Case, Contest, Setup};
pub use score::Schema;
pub use verdict::{Finding, Verdict};
