//! Judges of attention over a cache on the GPU: the reference of the other judges, over the rows that each sequence sees.

use super::super::gpu::decode::{Asks, PART, Parts, decode};
use super::{Dims, dims, reference};
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::timer::Mark;
use crate::cuda::{Arena, Buffer, Gpu, Rows};
use crate::ops::answer::{Cache, keep};
use crate::ops::rows::noise;
use std::sync::Arc;
use testkit::{Judge, Random, Truth, must_catch, same_bits, wide};

/// Sequences over a cache: each a length, and where its own rows begin.
struct Case {
    d: Dims,
    prefix: usize,
    lens: Vec<usize>,
    start: Vec<usize>,
    rows: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    name: String,
}

impl Case {
    /// Lengths are whole sequences, the prefix included; 0 asks nothing.
    fn new(seed: u64, d: Dims, prefix: usize, lens: &[usize]) -> Case {
        let mut random = Random::new(seed);
        let mut rows = prefix;
        let mut start = Vec::new();
        for &len in lens {
            rows += random.below(5); // gaps that nobody reads
            start.push(rows);
            rows += len.saturating_sub(prefix);
        }
        rows += 3;
        let mut of = |n: usize| rounded(&random.floats(n, 1.0));
        let (q, k, v) = (of(lens.len() * d.q_width()), of(rows * d.kv_width()), of(rows * d.kv_width()));
        Case { d, prefix, lens: lens.to_vec(), start, rows, q, k, v, name: format!("{d:?}, prefix {prefix}, {lens:?}, seed {seed}") }
    }

    /// The cache rows that sequence `i` sees, in the order of positions.
    fn seen(&self, i: usize) -> Vec<usize> {
        let own = self.start[i]..self.start[i] + self.lens[i].saturating_sub(self.prefix);
        reference::last((0..self.prefix.min(self.lens[i])).chain(own).collect(), self.d.window)
    }

    /// Those that ask something.
    fn asks(&self) -> Vec<usize> {
        (0..self.lens.len()).filter(|&i| self.lens[i] > 0).collect()
    }

    fn truth(&self) -> Truth {
        let queries: Vec<reference::Query> = self.asks().iter().map(|&i| (i, self.seen(i))).collect();
        reference::forward(&wide(&self.q), &wide(&self.k), &wide(&self.v), &queries, self.d, HALF).0
    }

    fn cache(&self, gpu: &Arc<Gpu>) -> Cache {
        let mut counted = Arena::counting();
        Cache::take(&mut counted, self.d, self.rows);
        let cache = Cache::take(&mut Arena::new(gpu, counted.given()).unwrap(), self.d, self.rows);
        let width = self.d.kv_width();
        let beside: Vec<f32> =
            (0..self.rows).flat_map(|r| [&self.k[r * width..][..width], &self.v[r * width..][..width]].concat()).collect();
        let index = Buffer::of(gpu, &(0..self.rows as u32).collect::<Vec<_>>()).unwrap();
        keep(gpu, &cache, Sheet::of(gpu, &beside, 2 * width, Lie::Dense).rows(), &index);
        cache
    }

    fn parts(&self, gpu: &Arc<Gpu>, longest: usize) -> Parts {
        let mut counted = Arena::counting();
        Parts::take(&mut counted, self.d, self.lens.len(), longest);
        Parts::take(&mut Arena::new(gpu, counted.given()).unwrap(), self.d, self.lens.len(), longest)
    }
}

type Op<'a> = &'a dyn Fn(&Gpu, Rows, Rows, &Cache, &Asks, &Parts, Dims);

/// o of all sequences, the same twice.
fn run(gpu: &Arc<Gpu>, c: &Case, longest: usize, lie: Lie, op: Op) -> Result<Vec<f32>, String> {
    let (cache, parts) = (c.cache(gpu), c.parts(gpu, longest));
    let words = |v: &[usize]| Buffer::of(gpu, &v.iter().map(|&x| x as u32).collect::<Vec<_>>()).unwrap();
    let (len, start) = (words(&c.lens), words(&c.start));
    let [o] = twice(&c.name, || {
        let o = Sheet::unwritten(gpu, c.lens.len(), c.d.q_width(), lie);
        let asks = Asks { len: &len, start: &start, prefix: c.prefix };
        op(gpu, o.rows(), Sheet::of(gpu, &c.q, c.d.q_width(), lie).rows(), &cache, &asks, &parts, c.d);
        Ok([o.read("o")?])
    })?;
    Ok(o)
}

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, (c, truth): (&Case, &Truth), lie: Lie, op: Op) -> Result<(), String> {
    let longest = c.lens.iter().copied().max().unwrap_or(1);
    let found = run(gpu, c, longest, lie, op)?;
    let width = c.d.q_width();
    let asks = c.asks();
    for i in (0..c.lens.len()).filter(|i| !asks.contains(i)) {
        same_bits(&format!("{}: sequence {i} asks nothing", c.name), &vec![0.0; width], &found[i * width..][..width])?;
    }
    let found: Vec<f32> = asks.iter().flat_map(|&i| found[i * width..][..width].to_vec()).collect();
    j.see("o", &format!("{lie:?} {}", c.name), &found, truth)
}

// As attention's: probabilities and the result are rounded to bf16.
const BOUND: &[(&str, f64)] = &[("o", 2.0 * HALF)];

/// Every size of head, groups of 1 to 9 heads, lengths around the edges of tiles and parts, windows, prefixes shorter and longer
/// than a part.
fn cases() -> Vec<Case> {
    let lens: &[usize] = &[1, 15, 0, 16, 17, 255, 256, 257, 700];
    let behind = |prefix: usize| lens.iter().map(|&len| if len == 0 { 0 } else { len + prefix }).collect::<Vec<_>>();
    let mut all = Vec::new();
    for (seed, d) in (1001..).zip([
        dims(4, 2, 8, None),
        dims(4, 2, 12, Some(9)),
        dims(3, 1, 64, None),
        dims(8, 2, 128, None),
        dims(2, 2, 96, Some(300)),
        dims(9, 1, 64, None),
        dims(14, 2, 64, Some(256)),
        dims(2, 2, 80, None),
        dims(16, 1, 32, Some(1)),
        dims(32, 8, 128, Some(260)),
    ]) {
        for prefix in [0, 5, 300] {
            all.push(Case::new(seed + 100 * prefix as u64, d, prefix, &behind(prefix)));
        }
    }
    all
}

#[test]
fn gpu_agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("attention over a cache, GPU", BOUND);
    // The references of all cases at once: they take longer than the judgement.
    let cases: Vec<(Case, Truth)> = std::thread::scope(|s| {
        let threads: Vec<_> = cases().into_iter().map(|c| s.spawn(move || (c.truth(), c))).collect();
        threads.into_iter().map(|t| t.join().map(|(truth, c)| (c, truth)).unwrap()).collect()
    });
    for (c, truth) in &cases {
        for lie in LIES {
            judge(&mut j, &gpu, (c, truth), lie, &decode).unwrap();
        }
    }
    j.finish();
}

#[test]
fn gpu_large_and_tiny_scores() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("attention over a cache, GPU", BOUND);
    for (seed, size) in [(1201, 1e4), (1202, 30.0), (1203, 1e-20)] {
        let mut c = Case::new(seed, dims(6, 2, 64, None), 20, &[21, 300, 520]);
        c.q.iter_mut().for_each(|v| *v = rounded(&[*v * size])[0]);
        c.q[..64].fill(0.0);
        judge(&mut j, &gpu, (&c, &c.truth()), Lie::Dense, &decode).unwrap();
    }
}

#[test]
fn gpu_a_sequence_does_not_depend_on_its_company() {
    let Some(gpu) = gpu() else { return };
    let d = dims(8, 2, 64, Some(600));
    let c = Case::new(1301, d, 0, &[700, 3, 0, 513]);
    let together = run(&gpu, &c, 2000, Lie::Dense, &decode).unwrap();
    let width = d.q_width();
    for i in [0, 1, 3] {
        // Alone, and with its first tokens as the common prefix.
        for prefix in [0, 2, c.lens[i] - 1] {
            let mut rows = c.seen(i);
            rows.splice(0..0, (0..c.lens[i] - rows.len()).map(|at| c.start[i] + at));
            let pick = |x: &[f32]| rows.iter().flat_map(|&r| x[r * d.kv_width()..][..d.kv_width()].to_vec()).collect();
            let (q, k, v) = (c.q[i * width..][..width].to_vec(), pick(&c.k), pick(&c.v));
            let name = format!("sequence {i} alone, prefix {prefix}");
            let alone = Case { d, prefix, lens: vec![c.lens[i]], start: vec![prefix], rows: rows.len(), q, k, v, name };
            let o = run(&gpu, &alone, alone.lens[0], Lie::Dense, &decode).unwrap();
            same_bits(&alone.name, &together[i * width..][..width], &o).unwrap();
        }
    }
}

#[test]
fn gpu_judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("attention over a cache, GPU", BOUND);
    let c = Case::new(1401, dims(6, 2, 64, Some(PART)), 40, &[300, 41, 600]);
    let (truth, firsts) = (c.truth(), Buffer::of(&gpu, &[40u32; 3]).unwrap());
    let mut see = |op: Op| judge(&mut j, &gpu, (&c, &truth), Lie::Even, op);
    see(&decode).unwrap();
    let window: Op = &|gpu, o, q, cache, asks, parts, d| decode(gpu, o, q, cache, asks, parts, Dims { window: Some(PART + 1), ..d });
    must_catch("a window that is one too wide", see(window));
    let scale: Op = &|gpu, o, q, cache, asks, parts, d| decode(gpu, o, q, cache, asks, parts, Dims { scale: d.scale * 1.05, ..d });
    must_catch("another scale", see(scale));
    let prefix: Op = &|gpu, o, q, cache, asks, parts, d| decode(gpu, o, q, cache, &Asks { prefix: 39, ..*asks }, parts, d);
    must_catch("a prefix that is one too short", see(prefix));
    let start: Op = &|gpu, o, q, cache, asks, parts, d| decode(gpu, o, q, cache, &Asks { start: &firsts, ..*asks }, parts, d);
    must_catch("another's rows", see(start));
}

#[test]
#[ignore = "measures: needs an idle GPU"]
fn gpu_decode_speed() {
    let Some(gpu) = gpu() else { return };
    for (n, len, heads, kv_heads, width) in
        [(64, 576, 32, 8, 128), (64, 2048, 32, 8, 128), (1, 4096, 32, 8, 128), (64, 576, 9, 3, 64), (64, 576, 32, 32, 96)]
    {
        let d = dims(heads, kv_heads, width, None);
        let rows = n * len;
        let (sets, mut counted) = (4, Arena::counting());
        let take = |arena: &mut Arena| {
            let caches: Vec<Cache> = (0..sets).map(|_| Cache::take(arena, d, rows)).collect();
            (caches, Parts::take(arena, d, n, len))
        };
        take(&mut counted);
        let (caches, parts) = take(&mut Arena::new(&gpu, counted.given()).unwrap());
        caches.iter().for_each(|c| [&c.k, &c.v].iter().for_each(|b| noise(&gpu, b, 1, 1.0)));
        let q: Buffer<crate::cuda::bf16> = Buffer::new(&gpu, 2 * n * d.q_width()).unwrap();
        noise(&gpu, &q, 2, 1.0);
        let words = |f: &dyn Fn(usize) -> usize| Buffer::of(&gpu, &(0..n).map(|i| f(i) as u32).collect::<Vec<_>>()).unwrap();
        let (lens, start) = (words(&|_| len), words(&|i| i * len));
        let of = |i: usize| q.part(i * n * d.q_width()..(i + 1) * n * d.q_width()).rows(n, 0, d.q_width(), d.q_width());
        let call = |i: usize| decode(&gpu, of(1), of(0), &caches[i % sets], &Asks { len: &lens, start: &start, prefix: 0 }, &parts, d);
        (0..sets).for_each(call);
        let from = Mark::now(&gpu).unwrap();
        (0..5 * sets).for_each(call);
        let ms = f64::from(Mark::now(&gpu).unwrap().since(&from).unwrap()) / (5 * sets) as f64;
        gpu.wait().unwrap();
        let bytes = 4.0 * (rows * d.kv_width()) as f64;
        eprintln!("{n} x {len}, {heads}/{kv_heads} heads of {width}: {:.1} us, {:.0} GB/s", ms * 1e3, bytes / ms / 1e6);
    }
}
