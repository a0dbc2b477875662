//! Whole runs on a tiny model: the losses of PyTorch's loop, and the same bits after any interruption.

mod course;
mod losses;
mod resume;

use model::weights::Hold;
use model::{Adapter, Dims, Weights};
use std::path::{Path, PathBuf};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

pub fn weights(cx: &engine::Cx, model: &Path, rounded: bool) -> Weights {
    let dims = Dims::of(&formats::ModelConfig::open(model).expect("config")).expect("dims");
    let files = formats::Weights::open(model).expect("files");
    let hold = if rounded { Hold::Bf16 } else { Hold::F32 };
    Weights::load(cx, &files, &dims, hold, &mut |_, _| {}).expect("weights")
}

pub fn adapter(dims: &Dims, folder: &Path) -> Adapter {
    Adapter::load(dims, folder).expect("adapter")
}
