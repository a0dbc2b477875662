//! The way of rows to the experts and back on the GPU; kernels in experts.cu. What is weighed is weighed by swiglu.

use crate::cuda::{Buffer, Gpu, Rows, args, eights};
use crate::ops::route::Dims;

const FILE: &str = "experts";

/// Row i of `packed` = the row of `x` whose pair is `list[i]`; zero where there is none.
pub fn gather(gpu: &Gpu, packed: Rows, x: Rows, list: &Buffer<u32>, d: Dims) {
    assert!(packed.width == x.width && x.rows == d.rows && list.len() >= packed.rows, "{packed:?} from {x:?}");
    let [rows, width, to, from] = [packed.rows, x.width, packed.stride, x.stride].map(|n| n as u32);
    let (top, pairs) = (d.top as u32, (d.rows * d.top) as u32);
    let args = args![packed.at, x.at, list.address(), rows, width, to, from, top, pairs];
    gpu.launch(FILE, "experts_gather", eights(packed.rows, x.width), 256, 0, args);
}

/// `out` = `x` + the rows of `y` that its pairs have in the list.
pub fn combine(gpu: &Gpu, out: Rows, x: Rows, y: Rows, places: &Buffer<u32>, d: Dims) {
    assert!(out.rows == d.rows && x.rows == d.rows && out.width == x.width && x.width == y.width, "{out:?} from {x:?} and {y:?}");
    assert!(places.len() >= d.rows * d.top);
    let [rows, width, to, from, packed, top] = [d.rows, x.width, out.stride, x.stride, y.stride, d.top].map(|n| n as u32);
    let args = args![out.at, x.at, y.at, places.address(), rows, width, to, from, packed, top];
    gpu.launch(FILE, "experts_combine", eights(d.rows, x.width), 256, 0, args);
}

/// `out` = `dlogits`·`router` + the rows of `dx` that its pairs have in the list: the gradient of what router and experts read.
pub fn back(gpu: &Gpu, out: Rows, dx: Rows, places: &Buffer<u32>, dlogits: &Buffer<f32>, router: &Buffer<f32>, d: Dims) {
    assert!(out.rows == d.rows && out.width == dx.width && router.len() == d.experts * dx.width, "{out:?} from {dx:?}");
    assert!(places.len() >= d.rows * d.top && dlogits.len() >= d.rows * d.experts);
    let [rows, width, to, packed, top, experts] = [d.rows, dx.width, out.stride, dx.stride, d.top, d.experts].map(|n| n as u32);
    let args = args![out.at, dx.at, places.address(), dlogits.address(), router.address(), rows, width, to, packed, top, experts];
    gpu.launch(FILE, "experts_back", eights(d.rows.div_ceil(4), dx.width), 256, 0, args);
}
