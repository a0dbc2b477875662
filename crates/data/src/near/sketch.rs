//! What is kept of each text: one key a band, and the marks of its runs of words.
//!
//! One hash a shingle serves all values (one-permutation MinHash, Li, Owen and Zhang 2012): its high bits
//! choose the value that it may lower. Values that no shingle chose are lent by others in an order that is
//! the same for all texts (optimal densification, Shrivastava 2017), so a pair agrees in each with the
//! chance of its Jaccard similarity.

use rayon::prelude::*;

use super::shingle::Shingler;
use super::{Options, runs};

/// Texts that one thread reads before it takes others.
const BLOCK: usize = 1024;
/// The value that no shingle has chosen.
const UNSET: u32 = u32::MAX;

/// The sketches of all texts.
pub(super) struct Sketches {
    pub bands: usize,
    /// For each text the keys of its bands.
    pub keys: Vec<u32>,
    /// For each text the number of its shingles.
    pub sizes: Vec<u32>,
    /// Marks of runs: hash above, text below.
    pub runs: Vec<u64>,
}

/// Reads every text once.
pub(super) fn all<'a>(count: usize, text: &(impl Fn(u32) -> &'a str + Sync), shingler: &Shingler, options: &Options) -> Sketches {
    let bands = options.scheme.bands;
    let mut keys = vec![0; count * bands];
    let mut sizes = vec![0; count];
    let blocks = keys.par_chunks_mut(BLOCK * bands).zip(sizes.par_chunks_mut(BLOCK)).enumerate();
    let runs: Vec<Vec<u64>> = blocks
        .map(|(block, (keys, sizes))| {
            let mut shingler = shingler.clone();
            let mut values = vec![UNSET; options.scheme.values()];
            let mut marks = Vec::new();
            for (at, (keys, size)) in keys.chunks_mut(bands).zip(sizes).enumerate() {
                let id = (block * BLOCK + at) as u32;
                let shingles = shingler.shingles(text(id));
                *size = u32::try_from(shingles.len()).unwrap_or(u32::MAX);
                if *size > 0 {
                    sketch(shingles, &mut values);
                    keys.iter_mut().zip(values.chunks(options.scheme.rows)).for_each(|(key, rows)| *key = band(rows));
                    if options.contained.is_some() {
                        runs::mark(shingles, id, &mut marks);
                    }
                }
            }
            marks
        })
        .collect();
    Sketches { bands, keys, sizes, runs: runs.concat() }
}

/// The MinHash values of a set that is not empty.
fn sketch(shingles: &[u64], values: &mut [u32]) {
    values.fill(UNSET);
    let count = values.len() as u64;
    for hash in shingles {
        let at = ((hash >> 32) * count) >> 32;
        let value = &mut values[at as usize];
        *value = (*value).min(*hash as u32 & (UNSET - 1));
    }
    lend(values);
}

/// Fills the values that no shingle chose.
fn lend(values: &mut [u32]) {
    let count = values.len() as u64;
    let own: Vec<bool> = values.iter().map(|value| *value != UNSET).collect();
    for at in 0..values.len() {
        let mut draw = at as u64;
        while !own[at] && values[at] == UNSET {
            draw = super::mix(draw.wrapping_add(0x9e37_79b9_7f4a_7c15));
            let from = (((draw >> 32) * count) >> 32) as usize;
            if own[from] {
                values[at] = values[from];
            }
        }
    }
}

fn band(rows: &[u32]) -> u32 {
    (super::mix(rows.iter().fold(0, |key: u64, row| (key ^ u64::from(*row)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))) >> 32)
        as u32
}

/// How many values of two sets agree.
#[cfg(test)]
pub(super) fn agreeing(a: &[u64], b: &[u64], count: usize) -> usize {
    let values = |set: &[u64]| {
        let mut values = vec![UNSET; count];
        sketch(set, &mut values);
        values
    };
    values(a).iter().zip(values(b)).filter(|(a, b)| **a == *b).count()
}
