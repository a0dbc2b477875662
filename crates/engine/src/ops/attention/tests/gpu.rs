//! Judges of the kernels: the same trees and reference, inputs rounded to bf16, those of every GPU and those of Hopper.

use super::super::gpu::{Host, Seen, Version, backward, forward, version};
use super::{BRANCHED, Dims, FLAT, Inputs, ONE, OUTPUTS, SHARED, SINGLE, Tree, cases, dims, large_and_tiny, layout};
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::timer::Mark;
use crate::cuda::{Buffer, Gpu, Rows};
use crate::layout::Layout;
use std::sync::Arc;
use testkit::{Judge, Truth, must_catch};

type Forward<'a> = &'a dyn Fn(&Gpu, Rows, &Buffer<f32>, Rows, &Seen, Dims);
type Backward<'a> = &'a dyn Fn(&Gpu, Rows, Rows, &Buffer<f32>, (Rows, &Buffer<f32>), Rows, &Seen, Dims);

/// Inputs that bf16 has, and what they lead to.
struct Case {
    i: Inputs,
    truth: [Truth; 5],
}

/// The references of all cases at once: they take longer than the judgement.
fn judged(all: Vec<Inputs>) -> Vec<Case> {
    let one = |i: Inputs| {
        let i = Inputs { q: rounded(&i.q), k: rounded(&i.k), v: rounded(&i.v), d_o: rounded(&i.d_o), ..i };
        Case { truth: i.truth_in(HALF), i }
    };
    std::thread::scope(|s| {
        let threads: Vec<_> = all.into_iter().map(|i| s.spawn(move || one(i))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// The kernels that this GPU has for a case; Hopper's also as if it were one multiprocessor, when no tile of keys is shared.
fn versions(gpu: &Gpu, d: Dims) -> Vec<Version> {
    let mut all = vec![Version::General];
    if let own @ Version::Hopper { .. } = version(gpu.about(), d) {
        all.extend([own, Version::Hopper { multiprocessors: 1 }]);
    }
    all
}

fn seen(gpu: &Arc<Gpu>, layout: &Layout, d: Dims, version: Version) -> Seen {
    let host = Host::of(layout, d, version);
    host.seen(host.arrays().iter().map(|a| Buffer::of(gpu, a).unwrap()).collect())
}

/// Rows of `parts` side by side, each given with its width.
fn beside<const N: usize>(rows: usize, parts: [(&[f32], usize); N]) -> Vec<f32> {
    (0..rows).flat_map(|r| parts.iter().flat_map(move |(data, width)| &data[r * width..][..*width])).copied().collect()
}

/// Columns `from..from + width` of rows of `all`.
fn columns(data: &[f32], all: usize, from: usize, width: usize) -> Vec<f32> {
    data.chunks(all).flat_map(|row| &row[from..from + width]).copied().collect()
}

/// o, l, dq, dk, dv in the order of the reference, the same twice.
fn run(gpu: &Arc<Gpu>, i: &Inputs, (v, lie): (Version, Lie), name: &str, f: Forward, b: Backward) -> Result<[Vec<f32>; 5], String> {
    let (d, n, q, kv) = (i.d, i.layout.tokens(), i.d.q_width(), i.d.kv_width());
    let all = q + 2 * kv;
    let seen = seen(gpu, &i.layout, d, v);
    let qkv = Sheet::of(gpu, &beside(n, [(&i.q, q), (&i.k, kv), (&i.v, kv)]), all, lie);
    let d_o = Sheet::of(gpu, &i.d_o, q, lie);
    twice(name, || {
        let (o, dqkv) = (Sheet::unwritten(gpu, n, q, lie), Sheet::unwritten(gpu, n, all, lie));
        let unwritten = || Buffer::of(gpu, &vec![f32::NAN; n * d.heads]).unwrap();
        let (l, delta) = (unwritten(), unwritten());
        f(gpu, o.rows(), &l, qkv.rows(), &seen, d);
        b(gpu, dqkv.rows(), d_o.rows(), &delta, (o.rows(), &l), qkv.rows(), &seen, d);
        let (l, grads) = (l.read().map_err(|e| format!("{name}: {e}"))?, dqkv.read("dqkv")?);
        let l = (0..n).flat_map(|row| l.iter().skip(row).step_by(n)).copied().collect();
        Ok([o.read("o")?, l, columns(&grads, all, 0, q), columns(&grads, all, q, kv), columns(&grads, all, q + kv, kv)])
    })
}

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, c: &Case, how: (Version, Lie), f: Forward, b: Backward) -> Result<(), String> {
    let name = format!("{how:?} {}", c.i.name);
    for ((output, found), truth) in OUTPUTS.into_iter().zip(run(gpu, &c.i, how, &name, f, b)?).zip(&c.truth) {
        j.see(output, &name, &found, truth)?;
    }
    Ok(())
}

// Sizes as on the CPU. Probabilities, gradients of scores and every result are rounded to bf16: o and dv are off by two such
// roundings at most, gradients of scores by one of the whole and one of what cancels in them.
const BOUND: &[(&str, f64)] = &[("o", 2.0 * HALF), ("l", 3.0), ("dq", 1.2 * HALF), ("dk", 1.2 * HALF), ("dv", 2.0 * HALF)];

/// Those of the CPU, and every size of head that there are kernels for, as it is and filled up; groups of 1, 2, 3, 4 and 8.
fn all_cases() -> Vec<(Tree, Dims)> {
    let mut all = cases();
    all.extend([
        (ONE, dims(1, 1, 64, None)),
        (FLAT, dims(8, 2, 128, None)),
        (BRANCHED, dims(4, 1, 128, Some(100))),
        (BRANCHED, dims(3, 1, 128, None)),
        (SINGLE, dims(2, 2, 128, Some(2))),
        (BRANCHED, dims(6, 2, 64, None)),
        (BRANCHED, dims(4, 2, 64, Some(70))),
        (FLAT, dims(16, 2, 32, None)),
        (SHARED, dims(6, 2, 12, None)),
        (SHARED, dims(4, 1, 80, None)),
        (BRANCHED, dims(2, 2, 96, Some(5))),
        (BRANCHED, dims(6, 2, 8, Some(200))),
        (BRANCHED, dims(5, 1, 48, None)),
    ]);
    all
}

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("attention, GPU", BOUND);
    for c in judged((901..).zip(all_cases()).map(|(seed, (tree, d))| Inputs::new(seed, layout(tree), d, 1.0)).collect()) {
        for v in versions(&gpu, c.i.d) {
            // Hopper's kernels read rows at multiples of sixteen bytes only, as the fused buffers of a model lie.
            for lie in LIES.into_iter().filter(|&lie| v == Version::General || lie != Lie::Odd) {
                judge(&mut j, &gpu, &c, (v, lie), &forward, &backward).unwrap();
            }
        }
    }
    j.finish();
}

#[test]
fn large_and_tiny_scores() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("attention, GPU", BOUND);
    for c in judged(large_and_tiny()) {
        for v in versions(&gpu, c.i.d) {
            judge(&mut j, &gpu, &c, (v, Lie::Dense), &forward, &backward).unwrap();
        }
    }
}

#[test]
fn tiles_of_keys_are_shared_by_every_number_of_blocks() {
    // On any machine: the cases judged above, as an H100 would do them.
    let parts = |(tree, d): (Tree, Dims)| Host::of(&layout(tree), d, Version::Hopper { multiprocessors: 132 }).parts();
    let mut seen: Vec<usize> = all_cases().into_iter().filter(|(_, d)| d.head_dim % 8 == 0).map(parts).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [1, 2, 3, 4]);
}

#[test]
fn there_is_room_for_the_lists_of_every_version() {
    for tree in [ONE, FLAT, SHARED, BRANCHED] {
        for (d, v) in [64, 128]
            .map(|w| dims(4, 2, w, None))
            .into_iter()
            .flat_map(|d| [Version::General, Version::Hopper { multiprocessors: 132 }].map(|v| (d, v)))
        {
            let host = Host::of(&layout(tree), d, v);
            let words: usize = host.arrays().iter().map(Vec::len).sum();
            assert!(words <= Host::words(layout(tree).tokens()), "{tree:?} {v:?}: {words}");
        }
    }
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("attention, GPU", BOUND);
    let i = Inputs::new(971, layout(BRANCHED), dims(6, 2, 64, Some(100)), 1.0);
    let c = judged(vec![i]).remove(0);
    for v in versions(&gpu, c.i.d) {
        let mut see = |f: Forward, b: Backward| judge(&mut j, &gpu, &c, (v, Lie::Even), f, b);
        see(&forward, &backward).unwrap();
        let window: Forward = &|gpu, o, l, qkv, seen, d| forward(gpu, o, l, qkv, seen, Dims { window: Some(101), ..d });
        must_catch("a window that is one too wide", see(window, &backward));
        let divisor: Forward = &|gpu, o, l, qkv, seen, d| forward(gpu, o, l, qkv, seen, Dims { scale: 1.0 / 65f32.sqrt(), ..d });
        must_catch("a wrong divisor of the scores", see(divisor, &backward));
        let mut wrong = Layout::new();
        BRANCHED.iter().enumerate().for_each(|(s, &(len, parent))| {
            wrong.push(len, if s == 3 { Some(0) } else { parent });
        });
        let wrong = seen(&gpu, &wrong, c.i.d, v);
        let cousin: Forward = &|gpu, o, l, qkv, _, d| forward(gpu, o, l, qkv, &wrong, d);
        must_catch("a branch hangs on its grandparent", see(cousin, &backward));
        let cousin: Backward = &|gpu, dqkv, d_o, delta, saved, qkv, _, d| backward(gpu, dqkv, d_o, delta, saved, qkv, &wrong, d);
        must_catch("the same on the way back", see(&forward, cousin));
        let drop: Backward = &|gpu, dqkv, d_o, delta, (_, l), qkv, seen, d| backward(gpu, dqkv, d_o, delta, (d_o, l), qkv, seen, d);
        must_catch("do . do for do . o", see(&forward, drop));
        let factor: Backward = &|gpu, dqkv, d_o, delta, saved, qkv, seen, d| {
            backward(gpu, dqkv, d_o, delta, saved, qkv, seen, Dims { scale: d.scale * 1.05, ..d });
        };
        must_catch("another scale on the way back", see(&forward, factor));
    }
}

#[test]
#[ignore = "measures: needs an idle GPU"]
fn speed() {
    let Some(gpu) = gpu() else { return };
    eprintln!("{:?}", gpu.about());
    for (heads, kv_heads, width, sequences, len) in
        [(32, 8, 128, 4, 2048), (32, 32, 96, 4, 2048), (32, 8, 64, 4, 2048), (9, 3, 64, 8, 1024), (32, 8, 128, 1, 8192)]
    {
        let d = dims(heads, kv_heads, width, None);
        let mut batch = Layout::new();
        (0..sequences).for_each(|_| {
            batch.push(len, None);
        });
        let (n, q, all) = (batch.tokens(), d.q_width(), d.q_width() + 2 * d.kv_width());
        let sets: Vec<[Buffer<crate::cuda::bf16>; 4]> =
            (0..3).map(|_| [all, q, q, all].map(|w| Buffer::new(&gpu, n * w).unwrap())).collect();
        for (set, [qkv, _, d_o, _]) in sets.iter().enumerate() {
            crate::ops::rows::noise(&gpu, qkv, set as u64, 1.0);
            crate::ops::rows::noise(&gpu, d_o, set as u64 + 9, 1.0);
        }
        let floats = || Buffer::new(&gpu, n * heads).unwrap();
        let (l, delta) = (floats(), floats());
        for v in [Version::General, version(gpu.about(), d)] {
            let seen = seen(&gpu, &batch, d, v);
            let median = |call: &dyn Fn(&[Buffer<crate::cuda::bf16>; 4])| {
                let mut times: Vec<f32> = (0..12)
                    .map(|at| {
                        let start = Mark::now(&gpu).unwrap();
                        call(&sets[at % 3]);
                        Mark::now(&gpu).unwrap().since(&start).unwrap()
                    })
                    .collect();
                times.drain(..3);
                times.sort_by(f32::total_cmp);
                times[times.len() / 2]
            };
            let there = median(&|[qkv, o, ..]| forward(&gpu, o.rows(n, 0, q, q), &l, qkv.rows(n, 0, all, all), &seen, d));
            let back = median(&|[qkv, o, d_o, dqkv]| {
                let saved = (o.rows(n, 0, q, q), &l);
                backward(&gpu, dqkv.rows(n, 0, all, all), d_o.rows(n, 0, q, q), &delta, saved, qkv.rows(n, 0, all, all), &seen, d);
            });
            gpu.wait().unwrap();
            eprintln!("{sequences} x {len}, {heads}/{kv_heads} heads of {width}, {v:?}: forward {there:.3} ms, backward {back:.3} ms");
        }
    }
}
