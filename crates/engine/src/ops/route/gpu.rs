//! The router on the GPU, and the list of rows by expert; kernels in route.cu.

use super::Dims;
use crate::cuda::{Arena, Buffer, Gpu, Rows, args};

const FILE: &str = "route";

/// The rows of an expert begin at a multiple of this in the list, and those up to the next are rows of zeros: so products of few
/// distinct sizes serve them, and addresses are as aligned as the buffers are.
pub const STEP: usize = 64;

/// Rows of the list that `d` needs at most, whatever is chosen.
pub fn listed(d: Dims) -> usize {
    (d.rows * d.top + d.experts * (STEP - 1)) / STEP * STEP
}

/// What was sent where. Rows of the list that belong to no pair hold `u32::MAX`.
pub struct Sorted {
    /// (experts): pairs of each.
    pub counts: Buffer<u32>,
    /// (listed rows): expert after expert, its pairs in order.
    pub list: Buffer<u32>,
    /// (rows, top): where each pair lies in the list.
    pub places: Buffer<u32>,
}

impl Sorted {
    /// Takes the buffers, of arbitrary contents, for calls up to `d`.
    pub fn take(arena: &mut Arena, d: Dims) -> Sorted {
        let mut take = |n| arena.take("routing", "which expert does which rows, of each layer", n);
        Sorted { counts: take(d.experts), list: take(listed(d)), places: take(d.rows * d.top) }
    }

    /// Rows of each expert in the list, those of zeros included; waits for the device. On a failure, which the next wait tells,
    /// nobody has any.
    pub fn rows(&self, d: Dims) -> Vec<usize> {
        let counts = self.counts.part(0..d.experts).peek();
        // What a failed call left may be anything.
        if counts.iter().map(|&n| n as usize).sum::<usize>() != d.rows * d.top {
            return vec![0; d.experts];
        }
        counts.into_iter().map(|n| (n as usize).next_multiple_of(STEP)).collect()
    }
}

/// `out` = `x`·`w`ᵀ: logits in f32, of a router (experts, width) in f32.
pub fn logits(gpu: &Gpu, out: &Buffer<f32>, x: Rows, w: &Buffer<f32>, experts: usize) {
    assert!(w.len() == experts * x.width && out.len() >= x.rows * experts, "{experts} experts of {x:?}");
    let sizes = [x.rows, x.width, x.stride, experts].map(|n| n as u32);
    let (blocks, [rows, width, stride, experts]) = (x.rows.div_ceil(4 * 8), sizes);
    gpu.launch(FILE, "route_logits", (blocks, 1, 1), 256, 0, args![out.address(), x.at, w.address(), rows, width, stride, experts]);
}

/// `chosen` and their `weights` from `logits`.
pub fn forward(gpu: &Gpu, chosen: &Buffer<u32>, weights: &Buffer<f32>, logits: &Buffer<f32>, d: Dims) {
    check(d, logits, weights, chosen);
    let [rows, experts, top] = sizes(d);
    gpu.launch(
        FILE,
        "route_choose",
        (d.rows.div_ceil(256), 1, 1),
        256,
        0,
        args![chosen.address(), weights.address(), logits.address(), rows, experts, top],
    );
}

/// Sorts the pairs of `chosen` by expert, as [`super::Groups::sort`].
pub fn sort(gpu: &Gpu, to: &Sorted, chosen: &Buffer<u32>, d: Dims) {
    let pairs = d.rows * d.top;
    let room = to.counts.len() >= d.experts && to.list.len() >= listed(d) && to.places.len() >= pairs;
    assert!(room && chosen.len() >= pairs && pairs < 1 << 31, "choices of {d:?}");
    let (counts, chosen, grid) = (to.counts.address(), chosen.address(), (d.experts, 1, 1));
    gpu.launch(FILE, "route_count", grid, 1024, 0, args![counts, chosen, pairs as u32]);
    let (list, places) = (to.list.address(), to.places.address());
    gpu.launch(FILE, "route_sort", grid, 1024, 0, args![list, places, counts, chosen, pairs as u32, STEP as u32]);
}

/// `dlogits` from `dw`, and from `weights` and `chosen` as the forward pass left them.
pub fn backward(gpu: &Gpu, dlogits: &Buffer<f32>, dw: &Buffer<f32>, weights: &Buffer<f32>, chosen: &Buffer<u32>, d: Dims) {
    back(gpu, dlogits, (dw, weights, chosen), d, 0);
}

/// As [`backward`], added to `dlogits`.
pub fn backward_add(gpu: &Gpu, dlogits: &Buffer<f32>, dw: &Buffer<f32>, weights: &Buffer<f32>, chosen: &Buffer<u32>, d: Dims) {
    back(gpu, dlogits, (dw, weights, chosen), d, 1);
}

fn back(gpu: &Gpu, dlogits: &Buffer<f32>, (dw, weights, chosen): (&Buffer<f32>, &Buffer<f32>, &Buffer<u32>), d: Dims, adds: u32) {
    check(d, dlogits, weights, chosen);
    assert!(dw.len() >= d.rows * d.top);
    let [rows, experts, top] = sizes(d);
    gpu.launch(
        FILE,
        "route_backward",
        (d.rows.div_ceil(256), 1, 1),
        256,
        0,
        args![dlogits.address(), dw.address(), weights.address(), chosen.address(), rows, experts, top, adds],
    );
}

fn sizes(d: Dims) -> [u32; 3] {
    [d.rows, d.experts, d.top].map(|n| n as u32)
}

fn check(d: Dims, logits: &Buffer<f32>, weights: &Buffer<f32>, chosen: &Buffer<u32>) {
    let pairs = d.rows * d.top;
    assert!(0 < d.top && d.top <= d.experts, "{d:?}");
    assert!(logits.len() >= d.rows * d.experts && weights.len() >= pairs && chosen.len() >= pairs, "router of {d:?}");
}
