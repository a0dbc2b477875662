//! A dataset to compare: a file, or a frozen folder with both its sides.

use std::path::Path;

use super::error::Result;
use super::manifest::read_manifest;
use crate::item::{Item, items};

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// In a file that has no sides.
    Whole,
    Train,
    Eval,
}

impl Side {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Side::Whole => "the file",
            Side::Train => "train",
            Side::Eval => "eval",
        }
    }
}

/// The rows of a dataset.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// As it was named.
    pub name: String,
    pub rows: Vec<(Item, Side)>,
}

/// Reads a file or a frozen folder.
///
/// # Errors
/// A folder without a manifest, or a file that cannot be read.
pub fn load(path: &Path) -> Result<Loaded> {
    let name = path.display().to_string();
    if !path.is_dir() {
        return Ok(Loaded { name, rows: items(path)?.into_iter().map(|item| (item, Side::Whole)).collect() });
    }
    read_manifest(path)?;
    let mut rows = Vec::new();
    for (file, side) in [("train.jsonl", Side::Train), ("eval.jsonl", Side::Eval)] {
        rows.extend(items(&path.join(file))?.into_iter().map(|item| (item, side)));
    }
    Ok(Loaded { name, rows })
}
