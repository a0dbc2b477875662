//! Gradients of an adapter's factors on the GPU; kernels in linear.cu.

use crate::cuda::{Arena, Arg, Buffer, Gpu, Rows, args};
use std::ops::Range;

const FILE: &str = "linear";

/// Columns of y, and rows brought at a time, as in linear.cu.
const COLUMNS: usize = 128;
const STEP: usize = 32;
const STAGES: usize = 4;

/// Blocks that a launch is shared over where it has fewer tiles: the same for every GPU, so that sums do not depend on it.
const BLOCKS: usize = 528;

/// The most eights of columns of u that a block has.
const NARROW_MAX: usize = 8;

/// Products of one launch.
pub const TOGETHER: usize = 4;

/// One product: out += scale * yᵀ·u, over the columns `columns` of u.
#[derive(Clone)]
pub struct Gradient<'a> {
    /// (rows, width): the wide one.
    pub y: Rows,
    /// (rows, …): the narrow one, whose rows are filled up to a multiple of eight.
    pub u: Rows,
    /// Which columns of u are meant.
    pub columns: Range<usize>,
    /// Where to.
    pub out: &'a Buffer<f32>,
    /// Whether `out` is (columns, width) as an A lies, or (width, columns) as a B.
    pub turned: bool,
    /// Times this.
    pub scale: f32,
}

/// Where the shares of a tile wait for each other.
pub struct Shares {
    sums: Buffer<f32>,
    done: Buffer<u32>,
}

impl Shares {
    /// Takes the memory; [`Shares::clear`] must follow once it exists.
    pub fn take(arena: &mut Arena) -> Shares {
        let why = "of the adapter's gradients";
        Shares { sums: arena.take("shares", why, BLOCKS * 8 * NARROW_MAX * 128), done: arena.take("shares", why, BLOCKS) }
    }

    /// Nobody waits.
    pub fn clear(&self) {
        self.done.fill_bytes(0);
    }
}

/// The same struct as in linear.cu.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Job {
    y: u64,
    u: u64,
    out: u64,
    ldy: u32,
    ldu: u32,
    width: u32,
    from: u32,
    count: u32,
    step_i: u32,
    step_c: u32,
    tiles: u32,
    scale: f32,
    _end: u32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Jobs {
    jobs: [Job; TOGETHER],
    shares: u64,
    done: u64,
    rows: u32,
    each: u32,
}

impl Arg for Jobs {}

/// Adds all of `gradients`, which have their rows in common and nothing else, each to its own.
pub fn gradients(gpu: &Gpu, shares: &Shares, gradients: &[Gradient]) {
    assert!(gradients.len() <= TOGETHER);
    let Some(first) = gradients.first() else { return };
    let rows = first.y.rows;
    let eights = |g: &Gradient| g.columns.end.div_ceil(8) - g.columns.start / 8;
    let narrow = gradients.iter().map(eights).max().unwrap_or(0).next_multiple_of(2).min(NARROW_MAX);
    if narrow == 0 || rows == 0 {
        return;
    }
    let mut all = Jobs { shares: shares.sums.address(), done: shares.done.address(), rows: rows as u32, ..Jobs::default() };
    for (to, g) in all.jobs.iter_mut().zip(gradients) {
        let (width, count) = (g.y.width, g.columns.len());
        assert!(g.y.rows == rows && g.u.rows == rows && g.columns.end <= g.u.width && g.out.len() == width * count, "{:?}, {:?}", g.y, g.u);
        let (step_i, step_c) = if g.turned { (1, width) } else { (count, 1) };
        *to = Job {
            y: g.y.at,
            u: g.u.at,
            out: g.out.address(),
            ldy: g.y.stride as u32,
            ldu: g.u.stride as u32,
            width: width as u32,
            from: g.columns.start as u32,
            count: count as u32,
            step_i: step_i as u32,
            step_c: step_c as u32,
            tiles: (width.div_ceil(COLUMNS) * eights(g).div_ceil(narrow)) as u32,
            scale: g.scale,
            _end: 0,
        };
    }
    let tiles: usize = all.jobs.iter().map(|j| j.tiles as usize).sum();
    let (parts, each) = parts(tiles, rows);
    all.each = each as u32;
    let names = ["linear_gradients_2", "linear_gradients_4", "linear_gradients_6", "linear_gradients_8"];
    let shared = STAGES * STEP * (COLUMNS * 2 + 16 + narrow * 16 + 16);
    gpu.launch(FILE, names[narrow / 2 - 1], (tiles, parts, 1), 128, shared, args![all]);
}

/// The most shares of a tile: one block adds them all, which takes longer with each.
const PARTS_MAX: usize = 8;

/// Shares of each tile, and rows of a share: enough blocks, none with less than a few steps.
fn parts(tiles: usize, rows: usize) -> (usize, usize) {
    let wanted = (BLOCKS / tiles.max(1)).clamp(1, rows.div_ceil(4 * STEP).min(PARTS_MAX));
    let each = rows.div_ceil(wanted).next_multiple_of(STEP);
    (rows.div_ceil(each), each)
}
