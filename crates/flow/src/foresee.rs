//! What a recipe needs on this machine, before anything of it is allocated.

use crate::{Error, adapter_config};
use model::{Folder, Limits, Places};
use plan::cpu::{Hold, Job, Plan};
use plan::{Buffer, Life};
use record::recipe::Precision;
use record::{Example, Recipe};

/// A plan, and what would make it smaller.
pub struct Room {
    /// Every buffer at the highest moment.
    pub plan: Plan,
    /// The largest `train.micro_tokens` that fits the bytes there are; none if it fits already, or if none does.
    pub smaller: Option<u32>,
}

/// Plans the run of `recipe` over `examples` (threads 0: all cores); `free` is what this machine can spare, if that is known.
///
/// # Errors
/// An adapter that reaches no layer of the model, or a tokenizer that cannot be written.
pub fn foresee(recipe: &Recipe, folder: &Folder, examples: &[Example], threads: usize, free: Option<u64>) -> Result<Room, Error> {
    let places = Places::of_adapter(&folder.dims, &adapter_config(recipe, &recipe.model.base))?;
    let tokenizer = folder.chat.tokenizer.to_json()?.len() as u64;
    let count = |recipe: &Recipe| plan::cpu::plan(&job(recipe, folder, examples, &places, threads, tokenizer));
    let plan = count(recipe);
    let smaller = free.filter(|free| plan.peak_bytes > *free).and_then(|free| {
        let halves = std::iter::successors(Some(recipe.train.micro_tokens / 2), |n| Some(n / 2)).take_while(|n| *n > 0);
        let fits = |n: &u32| {
            let mut changed = recipe.clone();
            changed.train.micro_tokens = *n;
            count(&changed).peak_bytes <= free
        };
        halves.into_iter().find(fits)
    });
    Ok(Room { plan, smaller })
}

fn job<'a>(recipe: &Recipe, folder: &'a Folder, examples: &[Example], places: &Places, threads: usize, tokenizer: u64) -> Job<'a> {
    let limits = train::step::limits(&recipe.train, examples);
    let hold = match recipe.train.precision {
        Precision::Bf16 => Hold::Pairs,
        Precision::F32 | Precision::Auto => Hold::Panels,
    };
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Job {
        config: &folder.config,
        blocks: hold,
        tables: hold,
        trained: places.len() as u64,
        room: room(folder, places, limits),
        tokens: limits.tokens as u64,
        positions: limits.positions as u64,
        threads: if threads == 0 { cores() } else { threads } as u64,
        tokenizer,
        examples: examples.iter().map(|e| e.ids.len() as u64).sum(),
        stored: if folder.files.gguf_file().is_some() { 1 } else { 2 },
    }
}

/// The buffers of a micro-batch, as the model counts them.
fn room(folder: &Folder, places: &Places, limits: Limits) -> Vec<Buffer> {
    let all = model::room::buffers(&folder.dims, places, limits);
    let beside = model::room::bytes_beside(&folder.dims, limits) as u64;
    let tables = Buffer::new("rotary table", beside, Life::Run, "cosines and sines of every position, and who does which rows");
    all.into_iter().map(|b| Buffer::new(b.name, b.bytes as u64, Life::Pass, b.why)).chain([tables]).collect()
}
