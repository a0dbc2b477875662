//! Judges of the kernels: the products in f64 of what bf16 has, and planted bugs.

use super::super::gpu::{Gradient, Shares, gradients};
use crate::cuda::tests::{LIES, Lie, Sheet, gpu, rounded, twice};
use crate::cuda::{Arena, Buffer, Gpu};
use std::ops::Range;
use std::sync::Arc;
use testkit::{Judge, Random, Truth, must_catch};

/// Rows, the width of u, and of each product its width, its columns of u, and whether it lies turned.
type Case = (usize, usize, &'static [(usize, Range<usize>, bool)]);

const CASES: &[Case] = &[
    (1, 8, &[(1, 0..1, false)]),
    (63, 8, &[(7, 2..6, false), (129, 0..8, true)]),
    (700, 48, &[(576, 0..48, true), (576, 0..16, false), (192, 16..32, false), (192, 32..48, false)]),
    (1500, 16, &[(1536, 0..16, true), (130, 3..14, false)]),
    (900, 136, &[(264, 0..136, true), (96, 60..132, false)]),
    (4096, 32, &[(1024, 0..32, true), (14_336, 0..16, false), (64, 16..32, false)]),
];

struct Inputs {
    u: Vec<f32>,
    ys: Vec<Vec<f32>>,
}

impl Inputs {
    fn new(seed: u64, &(rows, narrow, products): &Case) -> Inputs {
        let mut random = Random::new(seed);
        let u = rounded(&random.floats(rows * narrow, 1.0));
        Inputs { u, ys: products.iter().map(|(width, ..)| rounded(&random.floats(rows * width, 1.0))).collect() }
    }
}

/// 3 + 0.5 * yᵀ·u and the sizes that errors are measured by, with where they lie in `out`; of wide ones some columns only.
fn reference(y: &[f32], u: &[f32], (width, narrow): (usize, usize), columns: &Range<usize>, turned: bool) -> (Vec<usize>, Truth) {
    let (mut places, mut truth) = (Vec::new(), Truth::new());
    for i in (0..width).step_by((width / 100).max(1)) {
        for c in columns.clone() {
            let terms = y.iter().skip(i).step_by(width).zip(u.iter().skip(c).step_by(narrow));
            let (sum, size) = terms.fold((3.0, 3.0), |(sum, size), (&a, &b)| {
                let term = 0.5 * f64::from(a) * f64::from(b);
                (sum + term, size + term.abs())
            });
            let c = c - columns.start;
            places.push(if turned { c * width + i } else { i * columns.len() + c });
            truth.values.push(sum);
            truth.sizes.push(size);
        }
    }
    (places, truth)
}

type Op<'a> = &'a dyn Fn(&Gpu, &Shares, &[Gradient]);

fn judge(j: &mut Judge, gpu: &Arc<Gpu>, i: &Inputs, case: &Case, lie: Lie, op: Op) -> Result<(), String> {
    let &(rows, narrow, products) = case;
    let name = format!("{lie:?} {rows} rows of {narrow}");
    let mut counted = Arena::counting();
    Shares::take(&mut counted);
    let shares = Shares::take(&mut Arena::new(gpu, counted.given()).unwrap());
    shares.clear();
    let u = Sheet::of(gpu, &i.u, narrow, lie);
    let ys: Vec<_> = i.ys.iter().zip(products).map(|(y, p)| Sheet::of(gpu, y, p.0, lie)).collect();
    let [found] = twice(&name, || {
        let outs: Vec<_> = products.iter().map(|(w, c, _)| Buffer::of(gpu, &vec![3f32; w * c.len()]).unwrap()).collect();
        let all = ys.iter().zip(products).zip(&outs).map(|((y, (_, columns, turned)), out)| Gradient {
            y: y.rows(),
            u: u.rows(),
            columns: columns.clone(),
            out,
            turned: *turned,
            scale: 0.5,
        });
        op(gpu, &shares, &all.collect::<Vec<_>>());
        Ok([outs.iter().flat_map(|out| out.read().unwrap()).collect()])
    })?;
    let mut from = 0;
    for ((width, columns, turned), y) in products.iter().zip(&i.ys) {
        let (places, truth) = reference(y, &i.u, (*width, narrow), columns, *turned);
        let own: Vec<f32> = places.iter().map(|at| found[from + at]).collect();
        j.see("gradient", &format!("{name}, {width} by {columns:?}"), &own, &truth)?;
        from += width * columns.len();
    }
    Ok(())
}

// Products of bf16 are exact in f32; a share adds up to some hundreds of them, sixteen at a time. Measured worst on an H200: 0.9.
const BOUND: &[(&str, f64)] = &[("gradient", 2.0)];

#[test]
fn agrees_with_reference() {
    let Some(gpu) = gpu() else { return };
    let mut j = Judge::new("gradients of factors, GPU", BOUND);
    for (seed, case) in (1801..).zip(CASES) {
        for lie in LIES {
            judge(&mut j, &gpu, &Inputs::new(seed, case), case, lie, &gradients).unwrap();
        }
    }
    j.finish();
}

#[test]
fn bugs_are_caught() {
    let Some(gpu) = gpu() else { return };
    let case = &CASES[2];
    let i = Inputs::new(1811, case);
    let with = |op: Op| judge(&mut Judge::new("gradients of factors, GPU", BOUND), &gpu, &i, case, Lie::Even, op);
    must_catch("one product is forgotten", with(&|gpu, shares, all| gradients(gpu, shares, &all[1..])));
    must_catch("they are added twice", with(&|gpu, shares, all| [0, 1].iter().for_each(|_| gradients(gpu, shares, all))));
    let altered = |change: fn(&mut Gradient)| {
        with(&|gpu, shares, all| {
            let mut all = all.to_vec();
            change(&mut all[1]);
            gradients(gpu, shares, &all);
        })
    };
    must_catch("columns are another module's", altered(|g| g.columns = 16..32));
    must_catch("it lies turned", altered(|g| g.turned = true));
    must_catch("the scale is left out", altered(|g| g.scale = 1.0));
}
