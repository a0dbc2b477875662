//! What a recipe needs on this machine, before anything of it is allocated.

use crate::ready::hold_to_teach;
use crate::{Error, teach};
use model::weights::{self, Scheme};
use model::{Dims, Folder, Limits, Places};
use plan::cpu::{Hold, Job, Plan};
use plan::{Buffer, Life, Storage};
use record::recipe::{Device, Recompute};
use record::{Recipe, RunFolder};
use train::Material;

/// The fewest tokens that a recipe takes for a micro-batch.
const LEAST: u32 = 16;

/// A plan, what it settles, and what would make it smaller.
pub struct Room {
    /// Every buffer at the highest moment.
    pub plan: Plan,
    /// Layers, from the first on, that the plan computes a second time.
    pub again: usize,
    /// Layers of the model.
    pub layers: usize,
    /// The peak if all layers were computed a second time.
    pub least_bytes: u64,
    /// The largest half, quarter, … of `train.micro_tokens` that fits the bytes there are; none if it fits already, or if
    /// none does.
    pub smaller: Option<u32>,
    /// Of a plan that fits: the largest of those with which nothing has to be computed a second time; none if nothing is.
    pub keeping: Option<u32>,
}

impl Room {
    /// The recipe with what the plan has settled, so that the run is the one that was planned.
    pub fn settle(&self, recipe: &Recipe) -> Recipe {
        let mut settled = recipe.clone();
        settled.train.recompute = Recompute::First(self.again as u32);
        settled
    }
}

/// Plans the run of a settled recipe, or the rest of `run` (threads 0: all cores); `free` is what this machine can spare, if that is known.
///
/// `train.recompute = "auto"` is settled here: everything is kept if that fits, else as few layers as make it fit are computed
/// again, or all of them where not even that helps.
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
    let c = Counter { recipe, folder, material, places: &places, threads, tokenizer };
    let fits = |plan: &Plan| free.is_none_or(|free| plan.peak_bytes <= free);
    let layers = folder.dims.layers;
    let (wish, own) = (recipe.train.recompute, recipe.train.micro_tokens);
    let limits = c.limits(own);
    let (again, plan) = c.fit(limits, wish, &fits);
    let least_bytes = c.plan(Limits { recompute: layers, ..limits }).peak_bytes;
    let smallest = |wish| {
        let halves = std::iter::successors(Some(own / 2), |n| Some(n / 2)).take_while(|n| *n >= LEAST);
        halves.into_iter().find(|n| fits(&c.fit(c.limits(*n), wish, &fits).1))
    };
    let smaller = if fits(&plan) { None } else { smallest(wish) };
    let keeping = if again > 0 && wish == Recompute::Auto && fits(&plan) { smallest(Recompute::None) } else { None };
    Ok(Room { plan, again, layers, least_bytes, smaller, keeping })
}

/// What a count is made from.
struct Counter<'a> {
    recipe: &'a Recipe,
    folder: &'a Folder,
    material: &'a Material,
    places: &'a Places,
    threads: usize,
    tokenizer: u64,
}

impl Counter<'_> {
    /// What the run's micro-batches of `micro_tokens` need.
    fn limits(&self, micro_tokens: u32) -> Limits {
        let mut recipe = self.recipe.clone();
        recipe.train.micro_tokens = micro_tokens;
        let steps = train::step::steps_of(&recipe.train, self.material.units());
        train::step::limits(&recipe, &self.folder.dims, self.material, steps)
    }

    /// How many layers are computed again, and the plan with them.
    fn fit(&self, limits: Limits, wish: Recompute, fits: &dyn Fn(&Plan) -> bool) -> (usize, Plan) {
        let layers = self.folder.dims.layers;
        let of = |recompute: usize| (recompute, self.plan(Limits { recompute, ..limits }));
        match wish {
            Recompute::None => of(0),
            Recompute::All => of(layers),
            Recompute::First(n) => of((n as usize).min(layers)),
            // One layer alone has nobody to share its place with: that would cost time and save nothing.
            Recompute::Auto => (0..=layers).filter(|n| *n != 1).map(of).find(|(_, plan)| fits(plan)).unwrap_or_else(|| of(layers)),
        }
    }

    fn plan(&self, limits: Limits) -> Plan {
        let (recipe, folder) = (self.recipe, self.folder);
        if recipe.train.device == Device::Cuda {
            return on_gpu(recipe, &folder.dims, self.places, limits);
        }
        let (blocks, tables) = holds(recipe, folder);
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let sequences = self.material.sequences().iter().chain(&self.material.validation);
        plan::cpu::plan(&Job {
            config: &folder.config,
            blocks,
            tables,
            trained: self.places.len() as u64,
            room: room(&folder.dims, self.places, limits),
            tokens: limits.tokens as u64,
            positions: limits.positions as u64,
            threads: if self.threads == 0 { cores() } else { self.threads } as u64,
            tokenizer: self.tokenizer,
            examples: sequences.map(|e| e.ids.len() as u64).sum(),
            stored: if folder.files.gguf_file().is_some() { 1 } else { 2 },
        })
    }
}

/// What a run takes on a GPU: the one allocation, and what it costs to use the device at all.
fn on_gpu(recipe: &Recipe, dims: &Dims, places: &Places, limits: Limits) -> Plan {
    let all = model::gpu::buffers(dims, places, train::step::hold(recipe), limits);
    let beside = [
        Buffer::new("products' workspace", engine::cuda::product::WORKSPACE as u64, Life::Run, "cuBLASLt's"),
        Buffer::new("CUDA", engine::cuda::CONTEXT as u64, Life::Run, "the driver's context, kernels and library"),
    ];
    let mut buffers: Vec<Buffer> = all.into_iter().map(|b| Buffer::new(b.name, b.bytes as u64, Life::Run, b.why)).chain(beside).collect();
    buffers.sort_by_key(|b| std::cmp::Reverse(b.bytes));
    Plan { peak_bytes: buffers.iter().map(|b| b.bytes).sum(), buffers, when: "of the GPU in training" }
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

#[cfg(test)]
mod tests {
    use super::*;
    use record::pack::{Example, Kind};
    use std::path::Path;

    /// A tiny model, and examples of 40 to 59 tokens.
    fn tiny() -> (Folder, Material) {
        let folder = Folder::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-chat")).expect("model");
        let example = |n: u32| {
            let ids: Vec<u32> = (0..40 + n).map(|i| 3 + (i * (n + 1)) % 50).collect();
            let learned = ids.iter().enumerate().map(|(i, _)| i > 20).collect();
            Example { ids, learned, source_line: n + 1 }
        };
        let all: Vec<Example> = (0..20).map(example).collect();
        (folder, Material::unwritten(Kind::Answers, &all, &[], &[]))
    }

    fn recipe(recompute: Recompute) -> Recipe {
        let mut recipe = Recipe::default();
        (recipe.train.micro_tokens, recipe.train.recompute) = (1024, recompute);
        recipe
    }

    fn seen(recipe: &Recipe, free: Option<u64>) -> Room {
        let (folder, material) = tiny();
        foresee(recipe, &folder, None, &material, 2, free).expect("a plan")
    }

    #[test]
    fn layers_are_computed_again_only_where_memory_would_not_do() {
        let peak = |recompute, free| seen(&recipe(recompute), free).plan.peak_bytes;
        let (kept, least) = (peak(Recompute::None, None), peak(Recompute::All, None));
        assert!(least < kept, "{least} {kept}");
        for (free, again, bytes) in [(None, 0, kept), (Some(kept), 0, kept), (Some(kept - 1), 2, least), (Some(least), 2, least)] {
            let room = seen(&recipe(Recompute::Auto), free);
            assert_eq!((room.again, room.layers, room.plan.peak_bytes, room.least_bytes), (again, 2, bytes, least), "{free:?}");
            assert!(room.smaller.is_none() && free.is_none_or(|free| room.plan.peak_bytes <= free));
            // The run that begins is the one that was planned.
            let settled = room.settle(&recipe(Recompute::Auto));
            assert_eq!((settled.train.recompute, peak(settled.train.recompute, None)), (Recompute::First(again as u32), bytes));
            assert_eq!(settled.fingerprint(), recipe(Recompute::Auto).fingerprint());
        }
    }

    #[test]
    fn smaller_micro_batches_are_named_and_fit() {
        let peak = |tokens, recompute, free| {
            let mut recipe = recipe(recompute);
            recipe.train.micro_tokens = tokens;
            seen(&recipe, free).plan.peak_bytes
        };
        let (kept, least) = (peak(1024, Recompute::None, None), peak(1024, Recompute::All, None));
        // Fits if computed again; the largest that would not need it is told.
        let room = seen(&recipe(Recompute::Auto), Some(least));
        let keeping = room.keeping.expect("smaller micro-batches");
        assert!(peak(keeping, Recompute::None, None) <= least && peak(2 * keeping, Recompute::None, None) > least);
        // Does not fit even so.
        let room = seen(&recipe(Recompute::Auto), Some(least - 1));
        let smaller = room.smaller.expect("smaller micro-batches");
        assert!(room.again == 2 && room.plan.peak_bytes == least && room.keeping.is_none());
        assert!(
            peak(smaller, Recompute::Auto, Some(least - 1)) < least && (smaller == 512 || peak(2 * smaller, Recompute::All, None) >= least)
        );
        // What a recipe forbids is not done for it.
        let room = seen(&recipe(Recompute::None), Some(kept - 1));
        assert!(room.again == 0 && room.plan.peak_bytes == kept && room.least_bytes < kept && room.smaller.is_some());
        assert_eq!(seen(&recipe(Recompute::Auto), Some(1)).smaller, None);
    }
}
