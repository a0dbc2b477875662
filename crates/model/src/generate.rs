//! Greedy generation in batches: the common beginning of all prompts is computed once, and each token's keys are kept.
//!
//! What an answer is is said here once; the tokens are made on the CPU (`generate/threads.rs`) or on a GPU (`gpu/answer.rs`).

mod threads;

use crate::gpu::{Answerer, With};
use crate::{Adapter, Error, Weights};
use engine::Cx;
use threads::Threads;

/// What to generate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most new tokens of an answer.
    pub max_new: usize,
    /// Tokens that end an answer.
    pub stop: Vec<u32>,
    /// Answers generated side by side, at most.
    pub batch: usize,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// New tokens, the stop token not among them.
    pub ids: Vec<u32>,
    /// Whether a stop token ended it (else it ran into the limit).
    pub stopped: bool,
}

/// What happens while generating.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Prompt number `index` got token `id`.
    Token {
        /// Which prompt.
        index: usize,
        /// The new token.
        id: u32,
    },
    /// Prompt number `index` is answered.
    Done {
        /// Which prompt.
        index: usize,
    },
}

/// Who answers.
#[derive(Clone, Copy)]
pub enum Who<'a> {
    /// The CPU's threads, with these weights in float32 or quantised, and an adapter or none.
    Cpu(&'a Cx, &'a Weights, Option<&'a Adapter>),
    /// A GPU, as the base or with the adapter that it was opened with.
    Gpu(&'a Answerer, With),
}

impl Who<'_> {
    /// The longest sequence that it answers in.
    pub fn context(&self) -> usize {
        match self {
            Who::Cpu(_, weights, _) => weights.dims.context,
            Who::Gpu(answerer, _) => answerer.dims().context,
        }
    }
}

/// A shorter common beginning is computed with each prompt.
const PREFIX_MIN: usize = 16;

/// Answers every prompt; `see` returns false to stop early (what is there by then is returned).
///
/// # Errors
/// A prompt that is empty or fills the context; what fails on a GPU.
pub fn generate(who: Who, prompts: &[Vec<u32>], options: &Options, see: &mut dyn FnMut(Progress) -> bool) -> Result<Vec<Answer>, Error> {
    match who {
        Who::Cpu(cx, weights, adapter) => {
            let none = Adapter::none(&weights.dims);
            let job = Job::new(prompts, options, weights.dims.context)?;
            job.run(options.batch, &mut Threads::new(cx, weights, adapter.unwrap_or(&none), &job), see)
        }
        Who::Gpu(answerer, with) => answerer.generate(with, prompts, options, see),
    }
}

/// Prompts and what is asked of them, in the order in which they are answered.
pub(crate) struct Job<'a> {
    pub prompts: &'a [Vec<u32>],
    options: &'a Options,
    context: usize,
    /// Tokens that all begin with.
    pub prefix: usize,
    /// Prompts of similar length side by side; the order of the answers is the caller's.
    pub order: Vec<usize>,
}

/// What makes the tokens of a job. Sequences are named by their place in the batch.
pub(crate) trait Machine {
    /// Computes what all prompts begin with.
    fn begin(&mut self) -> Result<(), Error>;
    /// A batch begins with these prompts of the job: the most likely token after each.
    fn prompts(&mut self, group: &[usize]) -> Result<Vec<u32>, Error>;
    /// The sequences `kept`, and no others any more, go on with `ids`: the most likely token after each.
    fn step(&mut self, kept: &[usize], ids: &[u32]) -> Result<Vec<u32>, Error>;
}

impl<'a> Job<'a> {
    /// # Errors
    /// A prompt that is empty or fills the context.
    pub fn new(prompts: &'a [Vec<u32>], options: &'a Options, context: usize) -> Result<Job<'a>, Error> {
        for (index, p) in prompts.iter().enumerate() {
            if p.is_empty() || p.len() >= context {
                return Err(Error::TooLong { index, tokens: p.len(), context });
            }
        }
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|&i| (prompts[i].len(), i));
        Ok(Job { prompts, options, context, prefix: common_prefix(prompts), order })
    }

    /// Tokens of prompt `i` behind the common beginning.
    pub fn own(&self, i: usize) -> &'a [u32] {
        &self.prompts[i][self.prefix..]
    }

    /// New tokens that prompt `i` may get.
    pub fn room(&self, i: usize) -> usize {
        self.options.max_new.min(self.context - self.prompts[i].len())
    }

    /// Positions that the longest sequence may reach.
    pub fn positions(&self) -> usize {
        let longest = self.prompts.iter().map(Vec::len).max().unwrap_or(0);
        (longest + self.options.max_new).min(self.context)
    }

    /// Lets `machine` answer in batches of at most `size`.
    pub fn run(&self, size: usize, machine: &mut dyn Machine, see: &mut dyn FnMut(Progress) -> bool) -> Result<Vec<Answer>, Error> {
        let mut answers = vec![Answer::default(); self.prompts.len()];
        if self.prefix > 0 {
            machine.begin()?;
        }
        for group in self.order.chunks(size.max(1)) {
            if !self.batch(group, machine, &mut answers, see)? {
                break;
            }
        }
        Ok(answers)
    }

    /// One batch from prompts to answers; false when the caller said stop.
    fn batch(
        &self,
        group: &[usize],
        machine: &mut dyn Machine,
        answers: &mut [Answer],
        see: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<bool, Error> {
        let mut active: Vec<usize> = (0..group.len()).collect();
        let mut next = machine.prompts(group)?;
        loop {
            // Take each sequence's newest token; drop those that are done.
            let (mut kept, mut inputs) = (Vec::new(), Vec::new());
            for (&place, &id) in active.iter().zip(&next) {
                let index = group[place];
                let answer = &mut answers[index];
                answer.stopped = self.options.stop.contains(&id);
                if !answer.stopped {
                    answer.ids.push(id);
                    if !see(Progress::Token { index, id }) {
                        return Ok(false);
                    }
                }
                if answer.stopped || answer.ids.len() >= self.room(index) {
                    if !see(Progress::Done { index }) {
                        return Ok(false);
                    }
                } else {
                    kept.push(place);
                    inputs.push(id);
                }
            }
            active = kept;
            if active.is_empty() {
                return Ok(true);
            }
            next = machine.step(&active, &inputs)?;
        }
    }
}

/// Length of what all prompts begin with, at least one token less than the shortest; 0 if not worth it.
fn common_prefix(prompts: &[Vec<u32>]) -> usize {
    let Some((first, rest)) = prompts.split_first() else { return 0 };
    if rest.is_empty() {
        return 0;
    }
    let agree = |p: &Vec<u32>| first.iter().zip(p).take_while(|(a, b)| a == b).count();
    let common = rest.iter().map(agree).min().unwrap_or(0);
    let shortest = prompts.iter().map(Vec::len).min().unwrap_or(0);
    let usable = common.min(shortest.saturating_sub(1));
    if usable >= PREFIX_MIN { usable } else { 0 }
}
