//! Judges of what generation does beside attention: a reference on the host by indices, to the bit, and planted bugs.

use super::*;
use crate::cuda::tests::{LIES, Lie, Sheet, gpu, rounded, twice};
use std::sync::Arc;
use testkit::{Random, must_catch, same_bits};

// Rows, rows of the cache, key heads, width of a head.
const CASES: &[(usize, usize, usize, usize)] = &[(1, 1, 1, 1), (5, 9, 2, 12), (130, 200, 3, 64), (33, 40, 8, 128), (7, 30, 2, 80)];

mod reference {
    /// A cache (heads, limit, pitch) of one of k and v, whose rows `index` were given; others hold `before`.
    pub fn keep(x: &[f32], index: &[u32], (heads, head_dim): (usize, usize), (limit, pitch): (usize, usize), before: f32) -> Vec<f32> {
        let mut cache = vec![before; heads * limit * pitch];
        for (i, &to) in index.iter().enumerate().filter(|(_, to)| (**to as usize) < limit) {
            for head in 0..heads {
                let line = &mut cache[(head * limit + to as usize) * pitch..][..pitch];
                line.fill(0.0);
                line[..head_dim].copy_from_slice(&x[(i * heads + head) * head_dim..][..head_dim]);
            }
        }
        cache
    }

    /// The first of the greatest.
    pub fn best(logits: &[f32], width: usize) -> Vec<u32> {
        let first = |row: &[f32]| {
            let most = row.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
            row.iter().position(|v| *v == most).unwrap() as u32
        };
        logits.chunks(width).map(first).collect()
    }
}

fn dims(kv_heads: usize, head_dim: usize) -> attention::Dims {
    attention::Dims { heads: kv_heads, kv_heads, head_dim, window: None, scale: 1.0 }
}

fn cache(gpu: &Arc<Gpu>, d: attention::Dims, rows: usize) -> Cache {
    let mut arena = Arena::counting();
    Cache::take(&mut arena, d, rows);
    Cache::take(&mut Arena::new(gpu, arena.given()).unwrap(), d, rows)
}

type Keep<'a> = &'a dyn Fn(&Gpu, &Cache, Rows, &Buffer<u32>);

/// Rows kept in a cache whose bytes are all 0x33, and fetched again.
fn judge(gpu: &Arc<Gpu>, seed: u64, (n, limit, heads, head_dim): (usize, usize, usize, usize), lie: Lie, keep: Keep) -> Result<(), String> {
    let name = format!("{lie:?} {n} rows into {limit}, {heads} heads of {head_dim}");
    let (mut random, d) = (Random::new(seed), dims(heads, head_dim));
    let [k, v] = [0, 1].map(|_| rounded(&random.floats(n * heads * head_dim, 1.0)));
    let mut index: Vec<u32> = (0..limit as u32).collect();
    (0..n).for_each(|i| index.swap(i, i + random.below(limit - i)));
    index.truncate(n);
    if n > 4 {
        index[3] = u32::MAX; // one that asks nothing
    }
    let width = heads * head_dim;
    let beside: Vec<f32> = (0..n).flat_map(|i| [&k[i * width..][..width], &v[i * width..][..width]].concat()).collect();
    let [kept_k, kept_v, back] = twice(&name, || {
        let (cache, index) = (cache(gpu, d, limit), Buffer::of(gpu, &index).unwrap());
        cache.k.fill_bytes(0x33);
        cache.v.fill_bytes(0x33);
        keep(gpu, &cache, Sheet::of(gpu, &beside, 2 * width, lie).rows(), &index);
        let back = Sheet::unwritten(gpu, limit, 2 * width, lie);
        fetch(gpu, back.rows(), &cache);
        let read = |b: &Buffer<bf16>| b.read().unwrap().iter().map(|v| v.to_f32()).collect();
        Ok([read(&cache.k), read(&cache.v), back.read("fetched")?])
    })?;
    let (pitch, before) = (pitch(head_dim), bf16::from_bits(0x3333).to_f32());
    let of = |x: &[f32]| reference::keep(x, &index, (heads, head_dim), (limit, pitch), before);
    let (k, v) = (of(&k), of(&v));
    same_bits(&format!("{name}: k"), &k, &kept_k)?;
    same_bits(&format!("{name}: v"), &v, &kept_v)?;
    let head = |cache: &[f32], row: usize, h: usize| cache[(h * limit + row) * pitch..][..head_dim].to_vec();
    let rows = (0..limit).flat_map(|row| [&k, &v].map(|c| (0..heads).flat_map(|h| head(c, row, h)).collect::<Vec<_>>()).concat());
    same_bits(&format!("{name}: fetched"), &rows.collect::<Vec<_>>(), &back)
}

#[test]
fn gpu_keys_and_values_come_back_from_the_cache() {
    let Some(gpu) = gpu() else { return };
    for (seed, &case) in (1..).zip(CASES) {
        for lie in LIES {
            judge(&gpu, seed, case, lie, &keep).unwrap();
        }
    }
}

#[test]
fn gpu_the_best_is_the_first_of_the_greatest() {
    let Some(gpu) = gpu() else { return };
    for (seed, (rows, vocab)) in (70..).zip([(1, 1), (5, 7), (9, 4097), (3, 4096), (3, 49_152), (2, 128_256)]) {
        // Few distinct values, all below 0, so that equals are common and what is not a token is never best.
        let mut random = Random::new(seed);
        let values: Vec<f32> = (0..rows * vocab).map(|_| -1.0 - random.below(50 * vocab) as f32 / (vocab as f32 / 4.0)).collect();
        let (x, found) = (Buffer::of(&gpu, &values).unwrap(), Buffer::of(&gpu, &vec![u32::MAX; rows]).unwrap());
        best(&gpu, &found, &x, rows);
        assert_eq!(found.read().unwrap(), reference::best(&values, vocab), "{rows} of {vocab}");
    }
    let (x, found) = (Buffer::of(&gpu, &[f32::NAN; 9]).unwrap(), Buffer::of(&gpu, &[7u32]).unwrap());
    best(&gpu, &found, &x, 1);
    assert_eq!(found.read().unwrap(), [0], "a row of no numbers still gives a token");
}

#[test]
fn gpu_those_that_ask_nothing_stand_still() {
    let Some(gpu) = gpu() else { return };
    let of = |v: &[u32]| Buffer::of(&gpu, v).unwrap();
    let (len, angles, rows) = (of(&[3, 0, 1]), of(&[9, 8, 7]), of(&[5, u32::MAX, 6]));
    next(&gpu, &len, &angles, &rows);
    assert_eq!([len, angles, rows].map(|b| b.read().unwrap()), [vec![4, 0, 2], vec![10, 8, 8], vec![6, u32::MAX, 7]]);
}

#[test]
fn gpu_judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let see = |keep: Keep| judge(&gpu, 41, (20, 64, 2, 64), Lie::Even, keep);
    see(&keep).unwrap();
    let turned: Keep = &|gpu, cache, kv, index| {
        let half = kv.width / 2;
        let swapped = Cache { k: cache.v.clone(), v: cache.k.clone(), ..*cache };
        assert!(half > 0);
        keep(gpu, &swapped, kv, index);
    };
    must_catch("values for keys", see(turned));
    let short: Keep = &|gpu, cache, kv, index| keep(gpu, cache, Rows { rows: kv.rows - 1, ..kv }, index);
    must_catch("the last row is missing", see(short));
}
