//! What decides how a run goes on, beside its numbers: the best validation, the patience left, what steps usually look like.
//!
//! It is part of every checkpoint, so that an interrupted run takes the same decisions as one that was not.

use crate::spike::Usual;
use crate::{Error, Material};
use record::recipe::Train;
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "course.json";
const VERSION: u64 = 1;

/// Part of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// The lowest validation so far.
    pub best: Option<Best>,
    /// Validations since.
    pub worse: u32,
    /// What steps usually look like.
    pub usual: Usual,
    /// Steps in a row that were no numbers.
    pub lost: u64,
    /// Spikes in a row.
    pub spikes: u64,
    /// SHA-256 of the validation pack.
    pub validation: Option<String>,
}

/// A validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Steps that were done.
    pub step: u64,
    /// The bits of the loss, an f64.
    loss: u64,
}

impl Best {
    /// The loss.
    pub fn loss(&self) -> f64 {
        f64::from_bits(self.loss)
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u64,
    #[serde(flatten)]
    course: Course,
}

impl Course {
    /// The course of a run that begins.
    pub fn new(material: &Material) -> Course {
        Course { validation: material.validation_sha.clone(), ..Course::default() }
    }

    /// Notes a validation; whether it is the best one.
    pub fn validated(&mut self, step: u64, loss: f64) -> bool {
        // What is no number is never better.
        let better = loss.is_finite() && self.best.is_none_or(|best| loss < best.loss());
        if better {
            self.best = Some(Best { step, loss: loss.to_bits() });
            self.worse = 0;
        } else {
            self.worse += 1;
        }
        better
    }

    /// Whether the patience of the recipe is at its end.
    pub fn is_over(&self, train: &Train) -> bool {
        train.patience > 0 && self.worse >= train.patience
    }

    /// Writes it into a checkpoint's folder.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(FILE);
        let failed = |source| Error::Io { path: path.clone(), source };
        let text = serde_json::to_vec_pretty(&File { version: VERSION, course: self.clone() });
        std::fs::write(&path, text.map_err(|cause| failed(cause.into()))?).map_err(failed)
    }

    /// Reads it from a checkpoint that was verified, and refuses that of a run with other validation examples.
    pub fn load(folder: &Path, material: &Material) -> Result<Course, Error> {
        let path = folder.join(FILE);
        let failed = |source| Error::Io { path: path.clone(), source };
        let bytes = std::fs::read(&path).map_err(failed)?;
        let file: File = serde_json::from_slice(&bytes).map_err(|cause| failed(cause.into()))?;
        let other = |what, found: Option<String>, expected: Option<String>| Error::Other {
            path: path.clone(),
            what,
            found: found.unwrap_or_else(|| "none".into()),
            expected: expected.unwrap_or_else(|| "none".into()),
        };
        if file.version != VERSION {
            return Err(other("versions of this file", Some(file.version.to_string()), Some(VERSION.to_string())));
        }
        if file.course.validation != material.validation_sha {
            return Err(other("validation data", file.course.validation, material.validation_sha.clone()));
        }
        Ok(file.course)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_counts_validations_since_the_best() {
        let train = Train { patience: 2, ..record::Recipe::default().train };
        let mut course = Course::default();
        let mut over = Vec::new();
        for (step, loss) in [(1, 2.0), (2, 1.5), (3, 1.6), (4, 1.4), (5, 1.4), (6, f64::NAN)] {
            course.validated(step, loss);
            over.push(course.is_over(&train));
        }
        assert_eq!(over, [false, false, false, false, false, true]);
        assert_eq!(course.best.map(|best| (best.step, best.loss())), Some((4, 1.4)));
        assert!(!course.is_over(&Train { patience: 0, ..train }), "without patience a run goes to its end");
    }
}
