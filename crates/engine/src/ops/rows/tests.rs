//! Judges of the moves: a reference on the host by indices, to the bit, and planted bugs.

use super::*;
use crate::cuda::tests::{HALF, LIES, Lie, Sheet, gpu, rounded, twice};
use testkit::{Judge, Random, Truth, must_catch, same_bits, wide};

// Rows, rows of the other side, width.
const CASES: &[(usize, usize, usize)] = &[(1, 1, 1), (5, 9, 7), (130, 200, 64), (33, 40, 4096), (3, 3, 1037)];

mod reference {
    pub fn pick(x: &[f32], index: &[u32], width: usize) -> Vec<f32> {
        index.iter().flat_map(|&i| x[i as usize * width..][..width].to_vec()).collect()
    }

    pub fn put(mut out: Vec<f32>, x: &[f32], index: &[u32], width: usize) -> Vec<f32> {
        for (i, row) in index.iter().zip(x.chunks(width)) {
            out[*i as usize * width..][..width].copy_from_slice(row);
        }
        out
    }
}

/// `n` distinct numbers below `of`.
fn distinct(random: &mut Random, n: usize, of: usize) -> Vec<u32> {
    let mut all: Vec<u32> = (0..of as u32).collect();
    (0..n).for_each(|i| all.swap(i, i + random.below(of - i)));
    all.truncate(n);
    all
}

type Op<'a> = &'a dyn Fn(&Gpu, Rows, Rows, &Buffer<u32>);

fn judge(gpu: &Arc<Gpu>, seed: u64, (few, many, width): (usize, usize, usize), lie: Lie, pick: Op, put: Op) -> Result<(), String> {
    let mut random = Random::new(seed);
    let (large, small) = (rounded(&random.floats(many * width, 1.0)), rounded(&random.floats(few * width, 1.0)));
    let rows = distinct(&mut random, few, many);
    let index = Buffer::of(gpu, &rows).unwrap();
    let name = format!("{lie:?} {few} of {many} rows of {width}, seed {seed}");
    let [picked, filled] = twice(&name, || {
        let (out, all) = (Sheet::unwritten(gpu, few, width, lie), Sheet::threes(gpu, many, width, lie));
        pick(gpu, out.rows(), Sheet::of(gpu, &large, width, lie).rows(), &index);
        put(gpu, all.rows(), Sheet::of(gpu, &small, width, lie).rows(), &index);
        Ok([out.read("picked")?, all.read("filled")?])
    })?;
    same_bits(&format!("{name}: picked"), &reference::pick(&large, &rows, width), &picked)?;
    same_bits(&format!("{name}: filled"), &reference::put(vec![3.0; many * width], &small, &rows, width), &filled)
}

#[test]
fn rows_go_where_the_index_says() {
    let Some(gpu) = gpu() else { return };
    for (seed, &case) in (1..).zip(CASES) {
        for lie in LIES {
            judge(&gpu, seed, case, lie, &pick, &put).unwrap();
        }
    }
}

#[test]
fn rows_that_share_a_source_come_back_as_their_sum() {
    let Some(gpu) = gpu() else { return };
    // Measured worst on an H100: 1.00 HALF.
    let mut j = Judge::new("rows", &[("sum", 1.01 * HALF)]);
    for (seed, &(few, many, width)) in (41..).zip(CASES) {
        for lie in LIES {
            let mut random = Random::new(seed);
            let values = rounded(&random.floats(many * width, 1.0));
            // Some rows come back from none.
            let mut starts: Vec<u32> = (0..few).map(|_| random.below(many + 1) as u32).chain([0, many as u32]).collect();
            starts.sort_unstable();
            starts.remove(1);
            let mut truth = Truth::zeros(few * width);
            for row in 0..few {
                for from in starts[row] as usize..starts[row + 1] as usize {
                    (0..width)
                        .for_each(|c| truth.add(row * width + c, values[from * width + c].into(), values[from * width + c].abs().into()));
                }
            }
            let (x, index) = (Sheet::of(&gpu, &values, width, lie), Buffer::of(&gpu, &starts).unwrap());
            let name = format!("{lie:?} {many} to {few} rows of {width}");
            let [sum] = twice(&name, || {
                let out = Sheet::unwritten(&gpu, few, width, lie);
                put_back(&gpu, out.rows(), x.rows(), &index);
                Ok([out.read("sum")?])
            })
            .unwrap();
            j.see("sum", &name, &sum, &truth).unwrap();
        }
    }
    j.finish();
}

#[test]
fn judge_catches_planted_bugs() {
    let Some(gpu) = gpu() else { return };
    let see = |pick: Op, put: Op| judge(&gpu, 11, (9, 20, 40), Lie::Even, pick, put);
    see(&pick, &put).unwrap();
    must_catch("rows in their own order", see(&|gpu, out, x, _| copy(gpu, out, Rows { rows: out.rows, ..x }), &put));
    must_catch("the last row is left out", see(&pick, &|gpu, out, x, index| put(gpu, out, Rows { rows: x.rows - 1, ..x }, index)));
    let zeroed: Op = &|gpu, out, x, index| {
        zero(gpu, out);
        put(gpu, out, x, index);
    };
    must_catch("rows that are not named are cleared", see(&pick, zeroed));
    let narrower: Op = &|gpu, out, x, index| pick(gpu, Rows { width: 39, ..out }, Rows { width: 39, ..x }, index);
    must_catch("the last column is left out", see(narrower, &put));
}

#[test]
fn copies_zeros_and_types() {
    let Some(gpu) = gpu() else { return };
    // Measured worst on an H100: 0.99 HALF.
    let mut j = Judge::new("rows", &[("narrow", 1.01 * HALF)]);
    for (seed, &(rows, _, width)) in (21..).zip(CASES) {
        for (lie, other) in LIES.into_iter().zip([Lie::Even, Lie::Odd, Lie::Even]) {
            let name = format!("{lie:?} to {other:?}, {rows} x {width}, seed {seed}");
            let floats = Random::new(seed).floats(rows * width, 1.0);
            let values = rounded(&floats);
            let (x, out) = (Sheet::of(&gpu, &values, width, lie), Sheet::unwritten(&gpu, rows, width, other));
            copy(&gpu, out.rows(), x.rows());
            same_bits(&name, &values, &out.read("copy").unwrap()).unwrap();
            zero(&gpu, out.rows());
            same_bits(&name, &vec![0.0; values.len()], &out.read("zero").unwrap()).unwrap();
            let long = Buffer::of(&gpu, &vec![f32::NAN; values.len() + 1]).unwrap();
            widen(&gpu, &long.part(0..values.len()), x.rows());
            let long = long.read().unwrap();
            same_bits(&name, &values, &long[..values.len()]).unwrap();
            assert!(long[values.len()].is_nan(), "{name}: written past the end");
            narrow(&gpu, out.rows(), &Buffer::of(&gpu, &floats).unwrap(), 0.3);
            let truth: Vec<f64> = wide(&floats).iter().map(|v| v * f64::from(0.3f32)).collect();
            let sizes = truth.iter().map(|v| v.abs()).collect();
            j.see("narrow", &name, &out.read("narrow").unwrap(), &Truth { values: truth, sizes }).unwrap();
        }
    }
    j.finish();
}

#[test]
fn a_list_of_matrices_is_written_as_each_alone() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(31);
    let mut matrix = |rows: usize, width: usize| (Buffer::of(&gpu, &random.floats(rows * width, 1.0)).unwrap(), rows, width);
    // B of two modules beside each other, A below: as in an extended weight; and one that takes more than 64 blocks.
    let all = [(matrix(40, 16), 0, 64, 2.0), (matrix(24, 8), 40, 80, 0.5), (matrix(16, 64), 64, 0, 1.0), (matrix(300, 4096), 100, 8, 1.5)];
    let run = |together: bool| {
        let sheet = Sheet::threes(&gpu, 420, 4200, Lie::Even);
        let whole = sheet.rows();
        let place = |(rows, width): (usize, usize), row: usize, column: usize| Rows {
            at: whole.at + 2 * (row * whole.stride + column) as u64,
            rows,
            width,
            stride: whole.stride,
        };
        let entries: Vec<Entry> = all
            .iter()
            .map(|((x, rows, width), row, column, scale)| Entry { out: place((*rows, *width), *row, *column), x: x.clone(), scale: *scale })
            .collect();
        match together {
            true => Spread::new(&gpu, &entries).unwrap().run(&gpu),
            false => entries.iter().for_each(|e| narrow(&gpu, e.out, &e.x, e.scale)),
        }
        gpu.wait().unwrap();
        sheet.read("spread").unwrap()
    };
    let (together, alone) = (run(true), run(false));
    same_bits("spread", &alone, &together).unwrap();
    assert_ne!(alone[64], 3.0);
}

#[test]
fn noise_has_the_moments_of_normals() {
    let Some(gpu) = gpu() else { return };
    let n = 200_003;
    let fill = |seed| {
        let out = Buffer::new(&gpu, n).unwrap();
        noise(&gpu, &out, seed, 0.5);
        out.read().unwrap().iter().map(|v| v.to_f64() / 0.5).collect::<Vec<f64>>()
    };
    let x = fill(1);
    let moment = |k: i32| x.iter().map(|v| v.powi(k)).sum::<f64>() / n as f64;
    // Standard errors at 2e5 draws: 0.0022, 0.003; the fourth moment of a sum of four uniform numbers is 2.7.
    assert!(moment(1).abs() < 0.012 && (moment(2) - 1.0).abs() < 0.015 && (moment(4) - 2.7).abs() < 0.1);
    assert!(x == fill(1) && x != fill(2));
}
