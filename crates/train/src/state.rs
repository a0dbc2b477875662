//! What a checkpoint holds of the numbers: the adapter and both moments, under PEFT's tensor names.

use crate::{Error, Trainer};
use model::adapter::{read_flat, write_flat};
use std::path::Path;

const FIRST: &str = "first_moment.safetensors";
const SECOND: &str = "second_moment.safetensors";

/// Bytes that [`save`] writes, about.
pub fn bytes(t: &Trainer) -> u64 {
    (3 * t.adapter.params.len() * size_of::<f32>() + 256 * 1024) as u64
}

/// Writes the numbers into `folder`.
pub fn save(t: &Trainer, folder: &Path) -> Result<(), Error> {
    t.adapter.save(folder)?;
    write_flat(&folder.join(FIRST), &t.adapter.places, &t.m)?;
    write_flat(&folder.join(SECOND), &t.adapter.places, &t.v)?;
    Ok(())
}

/// Reads what [`save`] wrote.
pub fn load(t: &mut Trainer, folder: &Path) -> Result<(), Error> {
    let places = t.adapter.places.clone();
    t.adapter.params = read_flat(&folder.join(model::adapter::WEIGHTS_FILE), &places)?;
    t.m = read_flat(&folder.join(FIRST), &places)?;
    t.v = read_flat(&folder.join(SECOND), &places)?;
    Ok(())
}
