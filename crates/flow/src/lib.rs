//! Work that joins stages: prepare and train a recipe, measure a run, merge it, talk to it, and the demo that does all of it.
//!
//! Stages do not know each other; this room knows them all and holds no formula of its own. It prints
//! nothing: what happens is told to a [`Watch`].

mod answer;
mod combine;
mod demo;
mod device;
mod doctor;
mod error;
mod fingerprint;
mod foresee;
mod measure;
mod prepare;
mod rate;
mod ready;
mod sweep;
mod talk;
mod teach;

pub use answer::Answerer;
pub use combine::{Merged, combine, combine_gguf};
pub use demo::{Demo, demo, write_example};
pub use device::{Choice, gpu, gpu_free, suits};
pub use doctor::{Card, Findings, doctor};
pub use engine::cuda::library::Found;
pub use error::Error;
pub use fingerprint::{Origin, fingerprint, older_adapter};
pub use foresee::{Room, foresee};
pub use measure::{Measured, measure};
pub use prepare::{Prepared, prepare, write_pack};
pub use rate::{Rate, find_rate};
pub use ready::{Fit, Ready, Settled, load_as_trained, load_to_teach, pin, settle};
pub use sweep::{Axes, Outcome, Plan, Ranked, begin_sweep, plan, sweep};
pub use talk::Talk;
pub use teach::{parameters, teach};

/// What a long job tells while it goes on.
pub trait Watch {
    /// A new part of the job begins; `of` is how many units [`Watch::advance`] will count, 0 if unknown.
    fn begin(&mut self, what: &str, of: u64);
    /// `done` units of the present part are done.
    fn advance(&mut self, done: u64);
    /// The present part is over.
    fn end(&mut self);
    /// Something worth a line.
    fn note(&mut self, text: &str);
    /// The data as it will be trained on, before the first step.
    fn prepared(&mut self, prepared: &Prepared);
    /// An event of training, after it was logged.
    fn event(&mut self, event: &record::Event);
}
