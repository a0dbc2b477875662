//! How several GPUs share one run, and what each of them does.

use crate::ask::{Recipe, Tuning};
use crate::pass::{Part, Talk};

/// How GPUs share a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharding {
    /// There is one GPU.
    None,
    /// Each has its share of the weights, gradients and moments and its own micro-batch; blocks are gathered when needed.
    Zero3,
    /// Each has its share of the layers; micro-batches go through them one after another.
    Pipeline,
}

/// Micro-batches of a step, where a pipeline's fill is reckoned.
pub(crate) const PER_STEP: usize = 8;

impl Sharding {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Sharding::None => "none",
            Sharding::Zero3 => "zero-3",
            Sharding::Pipeline => "pipeline",
        }
    }

    /// What it assumes, in words.
    pub fn title(self, gpus: usize) -> String {
        match self {
            Sharding::None => "one GPU has everything".to_string(),
            Sharding::Zero3 => format!(
                "ZeRO-3 (FSDP): each of {gpus} GPUs holds a part of the weights and of what is trained in full, gathers the block in work \
                 and the next, and computes its own micro-batch"
            ),
            Sharding::Pipeline => format!(
                "pipeline: the layers in {gpus} parts, one micro-batch forward and one backward in turn, at most {gpus} in flight at the first"
            ),
        }
    }

    /// What can be tried for a method, the usual way first.
    ///
    /// Layers that are packed stay whole where they are: gathering them would move bytes that a pipeline need not move.
    pub(crate) fn ways(recipe: &Recipe, gpus: usize, layers: usize) -> Vec<Sharding> {
        let ways = match (gpus, recipe.tuning) {
            (1, _) => vec![Sharding::None],
            (_, Tuning::Full) => vec![Sharding::Zero3],
            _ if recipe.storage.is_packed() => vec![Sharding::Pipeline, Sharding::Zero3],
            _ => vec![Sharding::Zero3, Sharding::Pipeline],
        };
        ways.into_iter().filter(|w| *w != Sharding::Pipeline || gpus <= layers).collect()
    }

    /// The parts of the GPUs; one stands for all where they do the same.
    pub(crate) fn parts(self, whole: Part, gpus: usize) -> Vec<Part> {
        match self {
            Sharding::None => vec![whole],
            Sharding::Zero3 => vec![Part { shard: gpus as u64, talk: Talk::All, ..whole }],
            Sharding::Pipeline => {
                // The first keeps most micro-batches in flight, so layers that do not divide go to the last.
                let layers = |i: usize| whole.layers / gpus + usize::from(i >= gpus - whole.layers % gpus);
                let part = |i: usize| Part {
                    layers: layers(i),
                    first: i == 0,
                    last: i + 1 == gpus,
                    in_flight: (gpus - i) as u64,
                    talk: Talk::Neighbours,
                    ..whole
                };
                (0..gpus).map(part).collect()
            }
        }
    }
}
