//! What a recipe needs on this machine, before anything of it is allocated.

use crate::Error;
use crate::teach::places;
use model::modules::{self, EMBED, HEAD};
use model::{Folder, Limits, Places};
use plan::cpu::{Hold, Job, Plan};
use plan::{Buffer, Life};
use record::recipe::{Method, Precision, Storage};
use record::{Example, Recipe, RunFolder};
use train::Material;

/// A plan, and what would make it smaller.
pub struct Room {
    /// Every buffer at the highest moment.
    pub plan: Plan,
    /// The largest `train.micro_tokens` that fits the bytes there are; none if it fits already, or if none does.
    pub smaller: Option<u32>,
}

/// Plans the run of `recipe` over `material`, or the rest of `run` (threads 0: all cores); `free` is what this machine can spare, if that is known.
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
    let places = places(recipe, folder, run)?;
    let held = held(recipe, folder)?;
    let tokenizer = folder.chat.tokenizer.to_json()?.len() as u64;
    let count = |recipe: &Recipe| plan::cpu::plan(&job(recipe, folder, material, &places, &held, threads, tokenizer));
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

fn job<'a>(
    recipe: &Recipe,
    folder: &'a Folder,
    material: &Material,
    places: &Places,
    held: &[Buffer],
    threads: usize,
    tokenizer: u64,
) -> Job<'a> {
    let limits = train::step::limits(recipe, &folder.dims, material);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let tokens = |all: &[Example]| all.iter().map(|e| e.ids.len() as u64).sum::<u64>();
    Job {
        config: &folder.config,
        weights: held.to_vec(),
        packs: recipe.model.storage == Storage::Full,
        largest_trained: places.tensors().iter().map(|t| t.shape.iter().product::<usize>() as u64).max().unwrap_or(0),
        trained: places.len() as u64,
        room: room(folder, places, limits),
        tokens: limits.tokens as u64,
        positions: limits.positions as u64,
        threads: if threads == 0 { cores() } else { threads } as u64,
        tokenizer,
        examples: tokens(material.sequences()) + tokens(&material.validation),
        stored: if folder.files.gguf_file().is_some() { 1 } else { 2 },
    }
}

/// The frozen weights, as training holds them.
fn held(recipe: &Recipe, folder: &Folder) -> Result<Vec<Buffer>, Error> {
    let c = &folder.config;
    if recipe.train.method == Method::Full {
        return Ok(Vec::new());
    }
    let quantised = |storage| -> Result<Vec<Buffer>, Error> {
        let (embedding, head) = tables(folder)?;
        let blocks = plan::cpu::weights(c, Hold::Coded(storage), Hold::Panels)[0].bytes;
        Ok(plan::cpu::named(blocks, embedding, head))
    };
    match recipe.model.storage {
        Storage::Nf4 => quantised(plan::Storage::Nf4),
        Storage::Int8 => quantised(plan::Storage::Int8),
        Storage::Stored => as_stored(folder),
        Storage::Full if recipe.train.precision == Precision::Bf16 => Ok(plan::cpu::weights(c, Hold::Pairs, Hold::Pairs)),
        Storage::Full => Ok(plan::cpu::weights(c, Hold::Panels, Hold::Panels)),
    }
}

/// Every matrix as its file has it; vectors are held in f32.
fn as_stored(folder: &Folder) -> Result<Vec<Buffer>, Error> {
    let (d, c) = (&folder.dims, &folder.config);
    let vectors = plan::cpu::weights(c, Hold::Nothing, Hold::Nothing)[0].bytes;
    let mut blocks = vectors;
    for layer in 0..d.layers {
        for group in 0..modules::groups(d) {
            for module in modules::on_disk(d, layer, group) {
                let rows = module.linears.clone().map(|i| modules::shape(d, i).0).sum();
                blocks += stored(folder, &module.name, (rows, modules::inputs(d, group)))?;
            }
        }
    }
    let (embedding, head) = tables(folder)?;
    Ok(plan::cpu::named(blocks, embedding, head))
}

/// Bytes of a module's (rows, width) weight as its file has it.
fn stored(folder: &Folder, module: &str, (rows, width): (usize, usize)) -> Result<u64, Error> {
    let name = format!("{module}.weight");
    let bytes = match folder.files.scheme(&name) {
        Some(scheme) => scheme.bytes(rows, width),
        None => folder.files.tensor(&name).map_err(model::Error::from)?.tensor.bytes.len(),
    };
    Ok(bytes as u64)
}

/// Bytes of the embedding and of the head as their file has them.
fn tables(folder: &Folder) -> Result<(u64, u64), Error> {
    let shape = (folder.dims.vocab, folder.dims.hidden);
    Ok((stored(folder, EMBED, shape)?, if folder.dims.tied { 0 } else { stored(folder, HEAD, shape)? }))
}

/// The buffers of a micro-batch, as the model counts them.
fn room(folder: &Folder, places: &Places, limits: Limits) -> Vec<Buffer> {
    let all = model::room::buffers(&folder.dims, places, limits);
    let beside = model::room::bytes_beside(&folder.dims, limits) as u64;
    let tables = Buffer::new("rotary table", beside, Life::Run, "cosines and sines of every position, and who does which rows");
    all.into_iter().map(|b| Buffer::new(b.name, b.bytes as u64, Life::Pass, b.why)).chain([tables]).collect()
}
