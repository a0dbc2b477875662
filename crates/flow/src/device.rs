//! Where a recipe is trained: a GPU where there is one that it runs on, else the CPU.

use crate::Error;
use engine::cuda::Gpu;
use model::Folder;
use record::Recipe;
use record::recipe::{Device, Precision, Storage};
use std::sync::Arc;

/// What was chosen, and what is to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// The CPU, as the recipe wants it or because there is no driver of a GPU.
    Cpu,
    /// The CPU although there is a GPU: why.
    NotGpu(String),
    /// This GPU; in bf16 although the recipe says f32, where `rounded`.
    Gpu {
        /// As its driver calls it.
        name: String,
        /// Whether the recipe wanted float32.
        rounded: bool,
    },
}

/// Settles `train.device`, and with it `train.precision` on a GPU.
pub(crate) fn choose(recipe: &mut Recipe) -> Choice {
    let wanted = recipe.train.device;
    if wanted == Device::Cpu {
        return Choice::Cpu;
    }
    let found = if wanted == Device::Auto { found(recipe) } else { Ok(None) };
    match found {
        Err(choice) => {
            recipe.train.device = Device::Cpu;
            choice
        }
        Ok(gpu) => {
            let rounded = recipe.train.precision == Precision::F32;
            (recipe.train.device, recipe.train.precision) = (Device::Cuda, Precision::Bf16);
            Choice::Gpu { name: gpu.map_or_else(String::new, |gpu| gpu.about().name.clone()), rounded }
        }
    }
}

/// The GPU that a recipe which leaves the choice is trained on.
fn found(recipe: &Recipe) -> Result<Option<Arc<Gpu>>, Choice> {
    match Gpu::count() {
        // A machine without a driver has no GPU to speak of; a driver that does not start is worth a word.
        Ok(0) | Err(engine::cuda::Error::NoLibrary { .. }) => return Err(Choice::Cpu),
        Err(e) => return Err(Choice::NotGpu(e.to_string())),
        Ok(_) => {}
    }
    if let Some(what) = not_there(recipe) {
        return Err(Choice::NotGpu(format!("{what} does not run there yet")));
    }
    Gpu::open(0).map(Some).map_err(|e| Choice::NotGpu(e.to_string()))
}

/// What of a recipe does not run on a GPU.
fn not_there(recipe: &Recipe) -> Option<&'static str> {
    (recipe.model.storage == Storage::Stored).then_some("model.storage = \"stored\"")
}

/// The GPU of a settled recipe, if it is trained on one.
///
/// # Errors
/// What is missing.
pub fn gpu(recipe: &Recipe) -> Result<Option<Arc<Gpu>>, Error> {
    match recipe.train.device {
        Device::Cuda => match not_there(recipe) {
            None => Gpu::open(0).map_err(|e| model::Error::Gpu(e).into()).and_then(|gpu| eight(recipe, &gpu).map(|()| Some(gpu))),
            Some(what) => Err(Error::Model(model::Error::Unsupported {
                what: format!("{what} on a GPU"),
                found: "train.device = \"cuda\"".into(),
                supported: "storage full, nf4, int8, fp8".into(),
            })),
        },
        Device::Auto | Device::Cpu if recipe.model.storage == Storage::Fp8 => Err(no_eight("the CPU")),
        Device::Auto | Device::Cpu => Ok(None),
    }
}

/// Whether a GPU has the 8-bit floats that a recipe may want.
fn eight(recipe: &Recipe, gpu: &Gpu) -> Result<(), Error> {
    let about = gpu.about();
    if recipe.model.storage != Storage::Fp8 || gpu.multiplies_eight() {
        return Ok(());
    }
    Err(no_eight(&format!("{} ({}.{}), {}", about.name, about.capability.0, about.capability.1, gpu.identity())))
}

fn no_eight(found: &str) -> Error {
    Error::Model(model::Error::Unsupported {
        what: "model.storage = \"fp8\"".into(),
        found: found.into(),
        supported: "a GPU of capability 9.0 or later (Hopper, Blackwell) with cuBLASLt 12.9 or later; elsewhere storage full, nf4, int8"
            .into(),
    })
}

/// Whether a settled recipe trains this model on a GPU, where it is to.
///
/// # Errors
/// What does not run there.
pub fn suits(recipe: &Recipe, folder: &Folder) -> Result<(), Error> {
    if recipe.train.device == Device::Cuda {
        model::gpu::refuse(&folder.dims, &crate::teach::places(recipe, folder, None)?, train::step::hold(recipe))?;
    }
    Ok(())
}

/// Bytes that a run can have on the GPU of a settled recipe; none of one that is trained on the CPU.
///
/// # Errors
/// As [`gpu`], or a device that does not answer.
pub fn gpu_free(recipe: &Recipe) -> Result<Option<u64>, Error> {
    let Some(gpu) = gpu(recipe)? else { return Ok(None) };
    // The plan counts what having the device open has taken already.
    let (free, _) = gpu.memory().map_err(model::Error::Gpu)?;
    Ok(Some((free + engine::cuda::CONTEXT + engine::cuda::product::WORKSPACE) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::recipe::Method;
    use std::path::Path;

    #[test]
    fn what_does_not_run_on_a_gpu_is_known_before_anything_is_loaded() {
        let folder = Folder::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-chat")).expect("model");
        let mut recipe = Recipe::default();
        recipe.train.device = Device::Cuda;
        assert!(suits(&recipe, &folder).is_ok());
        for method in [Method::Lora, Method::Dora, Method::Full] {
            recipe.train.method = method;
            assert!(suits(&recipe, &folder).is_ok());
        }
        recipe.model.storage = Storage::Stored;
        let why = gpu(&recipe).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(why.starts_with("model.storage = \"stored\" on a GPU is not supported"), "{why}");
        recipe.train.device = Device::Cpu;
        assert!(suits(&recipe, &folder).is_ok() && gpu(&recipe).is_ok_and(|gpu| gpu.is_none()));
    }

    #[test]
    fn eight_bit_floats_are_refused_where_nothing_multiplies_them() {
        let mut recipe = Recipe::default();
        recipe.model.storage = Storage::Fp8;
        recipe.train.device = Device::Cpu;
        let why = gpu(&recipe).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(why.contains("found the CPU") && why.contains("capability 9.0"), "{why}");
        // Heads of 4 and 16 hidden: some matrix is narrower than sixteen.
        let folder = Folder::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-chat")).expect("model");
        recipe.train.device = Device::Cuda;
        let odd = Folder { dims: model::Dims { intermediate: 40, ..folder.dims.clone() }, ..folder };
        let why = suits(&recipe, &odd).unwrap_err().to_string();
        assert!(why.contains("multiples of 16"), "{why}");
    }

    #[test]
    fn a_recipe_that_wants_the_cpu_keeps_its_precision() {
        let mut recipe = Recipe::default();
        recipe.train.device = Device::Cpu;
        assert_eq!(choose(&mut recipe), Choice::Cpu);
        assert_eq!((recipe.train.device, recipe.train.precision), (Device::Cpu, Precision::F32));
        recipe.train.device = Device::Cuda;
        assert!(matches!(choose(&mut recipe), Choice::Gpu { rounded: true, .. }));
        assert_eq!(recipe.train.precision, Precision::Bf16);
    }
}
