//! Judges of the kernels: the same reference and cases; the list by expert against the one that the CPU makes.

use super::super::gpu::{STEP, Sorted, backward, backward_add, forward, listed, logits, sort};
use super::super::{Dims, Groups};
use super::{CASES, Inputs, reference};
use crate::cuda::tests::{LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::{Arena, Buffer, Gpu, Rows};
use std::sync::Arc;
use testkit::{Judge, Random, Truth, must_catch, wide};

type Logits<'a> = &'a dyn Fn(&Gpu, &Buffer<f32>, Rows, &Buffer<f32>, usize);
type Forward<'a> = &'a dyn Fn(&Gpu, &Buffer<u32>, &Buffer<f32>, &Buffer<f32>, Dims);
type Backward<'a> = &'a dyn Fn(&Gpu, &Buffer<f32>, &Buffer<f32>, &Buffer<f32>, &Buffer<u32>, Dims);

// Rows, width, experts.
const SHAPES: &[(usize, usize, usize)] = &[(1, 1, 1), (3, 7, 8), (130, 64, 4), (65, 1037, 5), (33, 4096, 8), (6, 264, 130)];

fn of<T: crate::cuda::Element>(gpu: &Arc<Gpu>, values: &[T]) -> Buffer<T> {
    Buffer::of(gpu, values).unwrap()
}

fn judge_logits(j: &mut Judge, gpu: &Arc<Gpu>, seed: u64, shape: (usize, usize, usize), lie: Lie, op: Logits) -> Result<(), String> {
    let (rows, width, experts) = shape;
    let mut random = Random::new(seed);
    let (x, w) = (rounded(&random.floats(rows * width, 1.0)), random.floats(experts * width, 1.0));
    let mut truth = Truth::zeros(rows * experts);
    for (row, x) in x.chunks(width).enumerate() {
        for (e, w) in w.chunks(width).enumerate() {
            x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).for_each(|v| truth.add(row * experts + e, v, v.abs()));
        }
    }
    let name = format!("{lie:?} {rows} rows of {width}, {experts} experts");
    let (x, w) = (Sheet::of(gpu, &x, width, lie), of(gpu, &w));
    let [found] = twice(&name, || {
        let out = of(gpu, &vec![f32::NAN; rows * experts + 1]);
        op(gpu, &out, x.rows(), &w, experts);
        let mut out = out.read().map_err(|e| e.to_string())?;
        let past = out.pop().is_some_and(f32::is_nan);
        if past { Ok([out]) } else { Err(format!("{name}: written past the end")) }
    })?;
    j.see("logits", &name, &found, &truth)
}

// Sizes as on the CPU; of logits the sum of the magnitudes of their terms. Not measured yet.
const BOUND: &[(&str, f64)] = &[("weights", 2.5), ("dlogits", 2.5), ("dlogits over 3", 1.2)];

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, i: &Inputs, f: Forward, b: Backward) -> Result<(), String> {
    let (d, name, pairs) = (i.d, &i.name, i.dw.len());
    let logits = of(gpu, &i.logits);
    let [chosen, weights, dlogits, over] = twice(name, || {
        let (chosen, weights) = (of(gpu, &vec![u32::MAX; pairs]), of(gpu, &vec![f32::NAN; pairs]));
        f(gpu, &chosen, &weights, &logits, d);
        let (dw, set, over) = (of(gpu, &i.dw), of(gpu, &vec![f32::NAN; i.logits.len()]), of(gpu, &vec![3f32; i.logits.len()]));
        b(gpu, &set, &dw, &weights, &chosen, d);
        backward_add(gpu, &over, &dw, &weights, &chosen, d);
        let chosen = chosen.read().map_err(|e| e.to_string())?.iter().map(|&e| e as f32).collect();
        Ok([chosen, weights.read().unwrap(), set.read().unwrap(), over.read().unwrap()])
    })?;
    let logits = wide(&i.logits);
    let (chosen_truth, weights_truth) = reference::forward(&logits, d);
    if let Some(at) = (0..pairs).find(|&at| chosen[at] != chosen_truth[at] as f32) {
        return Err(format!("route ({name}): pair {at} goes to {}, expected {}", chosen[at], chosen_truth[at]));
    }
    j.see("weights", name, &weights, &weights_truth)?;
    let truth = reference::backward(&wide(&i.dw), &logits, d);
    j.see("dlogits", name, &dlogits, &truth)?;
    j.see("dlogits over 3", name, &over, &truth.over(3.0))
}

#[test]
fn gpu_logits_agree_with_reference() {
    let Some(gpu) = gpu() else { return };
    // Not measured yet.
    let mut j = Judge::new("route, GPU", &[("logits", 1.5)]);
    for (seed, &shape) in (971..).zip(SHAPES) {
        LIES.into_iter().for_each(|lie| judge_logits(&mut j, &gpu, seed, shape, lie, &logits).unwrap());
    }
    j.finish();
}

#[test]
fn gpu_agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("route, GPU", BOUND);
    for (seed, &case) in (901..).zip(CASES) {
        judge(&mut j, &gpu, &Inputs::new(seed, case, 1.0), &forward, &backward).unwrap();
        judge(&mut j, &gpu, &Inputs::new(seed + 50, case, 30.0), &forward, &backward).unwrap();
    }
    j.finish();
}

#[test]
fn gpu_takes_of_equals_the_lower_index_and_nothing_twice() {
    let Some(gpu) = gpu() else { return };
    let (d, inf) = (Dims { rows: 5, experts: 4, top: 3 }, f32::INFINITY);
    #[rustfmt::skip]
    let logits = [
        1.0, 2.0, 2.0, 1.0,
        0.0, 0.0, 0.0, 0.0,
        f32::NAN, 1.0, f32::NAN, 2.0,
        -inf, -1e30, 5.0, -inf,
        f32::NAN, f32::NAN, f32::NAN, f32::NAN,
    ];
    let (chosen, weights) = (of(&gpu, &[9u32; 15]), of(&gpu, &[f32::NAN; 15]));
    forward(&gpu, &chosen, &weights, &of(&gpu, &logits), d);
    let (chosen, weights) = (chosen.read().unwrap(), weights.read().unwrap());
    let cx = crate::Cx::new(1).unwrap();
    let (mut chosen_there, mut weights_there) = ([9; 15], [f32::NAN; 15]);
    super::super::forward(&cx, &mut chosen_there, &mut weights_there, &logits, d);
    assert_eq!(chosen, chosen_there);
    assert_eq!((weights[3], weights[4], weights[5]), (1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0));
    assert_eq!(weights[9..12], [1.0, 0.0, 0.0]);
    assert!(weights.iter().zip(&weights_there).all(|(a, b)| a.is_nan() == b.is_nan()), "{weights:?} {weights_there:?}");
}

/// Choices of distinct experts, none of them expert `never`.
fn choices(seed: u64, d: Dims, never: usize) -> Vec<u32> {
    let mut random = Random::new(seed);
    let mut row = || {
        let mut all: Vec<u32> = (0..d.experts as u32).filter(|&e| e as usize != never || d.top == d.experts).collect();
        let n = all.len();
        (0..d.top).for_each(|i| all.swap(i, i + random.below(n - i)));
        all.truncate(d.top);
        all
    };
    (0..d.rows).flat_map(|_| row()).collect()
}

/// The list and the places that the CPU's groups mean.
fn expected(chosen: &[u32], d: Dims) -> (Vec<u32>, Vec<u32>, Vec<usize>) {
    let mut groups = Groups::new(d);
    groups.sort(chosen, d);
    let (mut list, mut places, mut rows) = (Vec::new(), vec![u32::MAX; chosen.len()], Vec::new());
    for e in 0..d.experts {
        let pairs = groups.of(e).pairs;
        pairs.iter().enumerate().for_each(|(i, &p)| places[p as usize] = (list.len() + i) as u32);
        list.extend_from_slice(pairs);
        list.resize(list.len().next_multiple_of(STEP), u32::MAX);
        rows.push(pairs.len().next_multiple_of(STEP));
    }
    (list, places, rows)
}

fn room(gpu: &Arc<Gpu>, d: Dims) -> Sorted {
    let mut counting = Arena::counting();
    Sorted::take(&mut counting, d);
    Sorted::take(&mut Arena::new(gpu, counting.given()).unwrap(), d)
}

fn judge_sort(gpu: &Arc<Gpu>, chosen: &[u32], d: Dims) -> Result<(), String> {
    let sorted = room(gpu, Dims { rows: d.rows + 9, ..d });
    sorted.list.fill_bytes(7);
    sort(gpu, &sorted, &of(gpu, chosen), d);
    let rows = sorted.rows(d);
    let (list, places) = (sorted.list.read().unwrap(), sorted.places.read().unwrap());
    let (list_there, places_there, rows_there) = expected(chosen, d);
    let all = list_there.len();
    if all > listed(d) || rows != rows_there || list[..all] != list_there || places[..chosen.len()] != places_there {
        return Err(format!("{d:?}: {rows:?} rows for {rows_there:?}, {:?} for {:?}", &list[..all.min(80)], &list_there[..all.min(80)]));
    }
    if list[all..].iter().any(|&v| v != 0x0707_0707) { Err(format!("{d:?}: written past the end")) } else { Ok(()) }
}

#[test]
fn gpu_lists_hold_every_pair_once_in_order() {
    let Some(gpu) = gpu() else { return };
    let cases = [(1, 1, 1), (1, 8, 2), (5, 4, 2), (64, 2, 1), (700, 8, 2), (3000, 8, 2), (513, 5, 5), (2100, 128, 8)];
    for (seed, (rows, experts, top)) in (981..).zip(cases) {
        let d = Dims { rows, experts, top };
        // The last expert gets nothing, where the others suffice.
        let never = if experts > top { experts - 1 } else { usize::MAX };
        judge_sort(&gpu, &choices(seed, d, never), d).unwrap();
        judge_sort(&gpu, &choices(seed, d, usize::MAX), d).unwrap();
    }
    // All rows to one expert, which is neither the first nor the last.
    let one = Dims { rows: 1500, experts: 5, top: 1 };
    judge_sort(&gpu, &vec![3; 1500], one).unwrap();
    let refused = Dims { rows: 1500, experts: 3, top: 1 };
    let sorted = room(&gpu, refused);
    sort(&gpu, &sorted, &of(&gpu, &[3u32; 1500]), refused);
    assert_eq!(sorted.rows(refused), [0; 3], "counts that lack rows are not believed");
}

#[test]
fn gpu_judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("route, GPU", &[("logits", 1.5)]);
    let shape = (130, 72, 8);
    judge_logits(&mut j, &gpu, 990, shape, Lie::Even, &logits).unwrap();
    let narrow: Logits = &|gpu, out, x, w, e| logits(gpu, out, Rows { width: 64, ..x }, &w.part(0..e * 64), e);
    must_catch("columns are left out", judge_logits(&mut j, &gpu, 990, shape, Lie::Even, narrow));
    let fewer: Logits = &|gpu, out, x, w, e| logits(gpu, out, Rows { rows: 129, ..x }, w, e);
    must_catch("the last row is left out", judge_logits(&mut j, &gpu, 990, shape, Lie::Even, fewer));

    let mut j = Judge::new("route, GPU", BOUND);
    let i = Inputs::new(991, (40, 8, 2), 1.0);
    let mut see = |f: Forward, b: Backward| judge(&mut j, &gpu, &i, f, b);
    see(&forward, &backward).unwrap();
    let shifted: Forward = &|_, c, w, l, d| {
        let (gpu, others) = (crate::cuda::tests::gpu().unwrap(), l.read().unwrap().into_iter().rev().collect::<Vec<f32>>());
        forward(&gpu, c, w, &of(&gpu, &others), d);
    };
    must_catch("the logits of other experts", see(shifted, &backward));
    let weights: Backward = &|gpu, out, dw, w, c, d| backward(gpu, out, w, dw, c, d);
    must_catch("weights for their gradients", see(&forward, weights));
    let added: Backward = &|gpu, out, dw, w, c, d| {
        out.fill_bytes(0);
        backward(gpu, out, dw, w, c, d);
        backward_add(gpu, out, dw, w, c, d);
    };
    must_catch("added twice", see(&forward, added));
}
