//! What a checkpoint holds: what is trained and both moments, under the names that its files have, and the course of the run.

use crate::{Course, Error, Trainer};
use model::adapter::{read_flat, write_flat};
use std::path::Path;

const FIRST: &str = "first_moment.safetensors";
const SECOND: &str = "second_moment.safetensors";

/// Bytes that [`save`] writes, about.
pub fn bytes(t: &Trainer) -> u64 {
    (3 * t.adapter.params.len() * size_of::<f32>() + 256 * 1024) as u64
}

/// Writes the numbers and the course into `folder`.
pub fn save(t: &mut Trainer, course: &Course, folder: &Path) -> Result<(), Error> {
    t.fetch()?;
    t.adapter.save(folder)?;
    write_flat(&folder.join(FIRST), &t.adapter.places, &t.m)?;
    write_flat(&folder.join(SECOND), &t.adapter.places, &t.v)?;
    course.save(folder)
}

/// Reads the numbers that [`save`] wrote; `updates` is what the checkpoint's state says.
pub fn load(t: &mut Trainer, folder: &Path, updates: u64) -> Result<(), Error> {
    let places = t.adapter.places.clone();
    t.adapter.params = read_flat(&folder.join(t.adapter.file()), &places)?;
    t.m = read_flat(&folder.join(FIRST), &places)?;
    t.v = read_flat(&folder.join(SECOND), &places)?;
    t.updates = updates;
    t.bring()
}
