//! What a recipe needs on this machine, before anything of it is allocated.

use crate::ready::hold_to_teach;
use crate::{Error, teach};
use model::weights::{self, Scheme};
use model::{Dims, Folder, Limits, Places};
use plan::cpu::{Hold, Job, Plan};
use plan::{Buffer, Life, Storage};
use record::{Recipe, RunFolder};
use train::Material;

/// A plan, and what would make it smaller.
pub struct Room {
    /// Every buffer at the highest moment.
    pub plan: Plan,
    /// The largest half, quarter, … of `train.micro_tokens` that fits the bytes there are; none if it fits already, or if
    /// none does.
    pub smaller: Option<u32>,
}

/// Plans the run of a settled recipe, or the rest of `run` (threads 0: all cores); `free` is what this machine can spare, if that is known.
///
/// # Errors
/// An adapter that reaches no layer of the model, or a tokenizer that cannot be written.
pub fn foresee(
    recipe: &Recipe,
    folder: &Folder,
    run: Option<&RunFolder>,
    material: &Material,
    threads: usize,
    free: Option<u64>,
) -> Result<Room, Error> {
    let places = teach::places(recipe, folder, run)?;
    let tokenizer = folder.chat.tokenizer.to_json()?.len() as u64;
    let count = |recipe: &Recipe| plan::cpu::plan(&job(recipe, folder, material, &places, threads, tokenizer));
    let plan = count(recipe);
    let smaller = free.filter(|free| plan.peak_bytes > *free).and_then(|free| {
        let fits = |n: &u32| {
            let mut changed = recipe.clone();
            changed.train.micro_tokens = *n;
            count(&changed).peak_bytes <= free
        };
        std::iter::successors(Some(recipe.train.micro_tokens / 2), |n| Some(n / 2)).take_while(|n| *n > 0).find(fits)
    });
    Ok(Room { plan, smaller })
}

fn job<'a>(recipe: &Recipe, folder: &'a Folder, material: &Material, places: &Places, threads: usize, tokenizer: u64) -> Job<'a> {
    let steps = train::step::steps_of(&recipe.train, material.units());
    let limits = train::step::limits(recipe, &folder.dims, material, steps);
    let (blocks, tables) = holds(recipe, folder);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let sequences = material.sequences().iter().chain(&material.validation);
    Job {
        config: &folder.config,
        blocks,
        tables,
        trained: places.len() as u64,
        room: room(&folder.dims, places, limits),
        tokens: limits.tokens as u64,
        positions: limits.positions as u64,
        threads: if threads == 0 { cores() } else { threads } as u64,
        tokenizer,
        examples: sequences.map(|e| e.ids.len() as u64).sum(),
        stored: if folder.files.gguf_file().is_some() { 1 } else { 2 },
    }
}

/// How the matrices of the blocks are held, and how embedding and head are.
fn holds(recipe: &Recipe, folder: &Folder) -> (Hold, Hold) {
    let [blocks, tables] = as_stored(folder);
    match hold_to_teach(recipe) {
        None => (Hold::Trained, Hold::Trained),
        Some(weights::Hold::F32) => (Hold::Panels, Hold::Panels),
        Some(weights::Hold::Bf16) => (Hold::Pairs, Hold::Pairs),
        Some(weights::Hold::Quantised(Scheme::Int8)) => (Hold::Coded(Storage::Int8), tables),
        Some(weights::Hold::Quantised(Scheme::Nf4 { .. })) => (Hold::Coded(Storage::Nf4), tables),
        Some(weights::Hold::Stored) => (blocks, tables),
    }
}

/// The bytes of the matrices as the files have them: of the blocks, and of embedding and head.
fn as_stored(folder: &Folder) -> [Hold; 2] {
    let files = &folder.files;
    let mut bytes = [0u64; 2];
    for name in files.names() {
        // What bitsandbytes has quantised is more than one tensor.
        match files.scheme(name) {
            Some(Scheme::Int8) => return [Hold::Coded(Storage::Int8), Hold::Coded(Storage::Bf16)],
            Some(Scheme::Nf4 { .. }) => return [Hold::Coded(Storage::Nf4), Hold::Coded(Storage::Bf16)],
            None => {}
        }
        if let Ok(stored) = files.tensor(name)
            && stored.tensor.shape.len() > 1
        {
            bytes[usize::from(!name.contains(".layers."))] += stored.tensor.bytes.len() as u64;
        }
    }
    bytes.map(Hold::Counted)
}

/// The buffers of a micro-batch, as the model counts them.
fn room(dims: &Dims, places: &Places, limits: Limits) -> Vec<Buffer> {
    let all = model::room::buffers(dims, places, limits);
    let beside = model::room::bytes_beside(dims, limits) as u64;
    let tables = Buffer::new("rotary table", beside, Life::Run, "cosines and sines of every position, and who does which rows");
    all.into_iter().map(|b| Buffer::new(b.name, b.bytes as u64, Life::Pass, b.why)).chain([tables]).collect()
}
