//! The matrix product: sums of `A·Bᵀ` with packed panels, cut into tiles that threads do whole.
//!
//! Never splits the sum over k between threads: each element of C is added up in one fixed order, so
//! the number of threads does not change a bit. Blocking after Goto and van de Geijn, "Anatomy of
//! high-performance matrix multiplication" (2008): k in blocks, A in strips of 8 rows, B in panels of 48.

use super::coded::{self, Coded, LINES, STRETCH, Turned};
use super::lanes::{Level, MR, NR, Part, Right, Step, tile};
use super::shared::Shared;
use super::strips::{Strips, with_strips};
pub use super::weight::Weight;
use super::weight::{Panelled, pack_transposed};
use super::{Cx, for_each};

/// Longest block of k between two visits of a C tile.
pub(super) const KC: usize = 576;
/// Rows of A that one task packs and keeps in its cache.
pub(super) const MC: usize = 256;
/// A block of at most so many steps is added up in one visit of a C tile with the long one before it: a LoRA update.
const SHORT: usize = 64;
/// Blocks that one visit of a C tile adds up, at most.
pub(super) const JOINED: usize = 2;
/// Floats of B packed at a time (4 MiB), so that what was packed is still near when it is used, and no product needs more.
const PACKED: usize = 1 << 20;

/// A view of a matrix: element (i, j) is `data[i * row_step + j * col_step]`.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_step: usize,
    pub(super) col_step: usize,
}

impl<'a> Mat<'a> {
    /// A row-major (rows, cols) matrix without gaps.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Mat<'a> {
        Mat::strided(data, rows, cols, cols)
    }

    /// A row-major (rows, cols) matrix whose rows begin `row_step` floats apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_step: usize) -> Mat<'a> {
        assert!(rows == 0 || cols == 0 || data.len() >= (rows - 1) * row_step + cols, "{rows} x {cols} does not fit {}", data.len());
        Mat { data, rows, cols, row_step, col_step: 1 }
    }

    /// Row `row` of a matrix whose rows lie in one piece.
    pub(crate) fn line(&self, row: usize) -> &'a [f32] {
        assert_eq!(self.col_step, 1);
        &self.data[row * self.row_step..][..self.cols]
    }

    /// Whether the kernel reads eight rows well where they lie: rows a multiple of 4 KiB apart would share the few lines
    /// of a first cache that such addresses have, and push each other out.
    fn spreads(&self) -> bool {
        const SAME_LINES: usize = 4096 / size_of::<f32>();
        !self.row_step.is_multiple_of(SAME_LINES)
    }

    /// The transpose, without moving data.
    pub fn t(self) -> Mat<'a> {
        Mat { rows: self.cols, cols: self.rows, row_step: self.col_step, col_step: self.row_step, ..self }
    }
}

/// The right operand of a product, always meant as (n, k).
#[derive(Clone, Copy)]
pub enum Rhs<'a> {
    /// Any matrix; packed at each call.
    Mat(Mat<'a>),
    /// A weight: n = outputs, k = inputs (forward).
    Weight(&'a Weight),
    /// A weight's transpose: n = inputs, k = outputs (gradient of the input).
    WeightT(&'a Weight),
}

impl Rhs<'_> {
    /// Whether the product reads it where it lies: panels made before, or rows of k that hold whole panels.
    fn in_place(&self, m: usize) -> bool {
        match self {
            Rhs::Weight(w) => w.code().is_none(),
            // Packing pays when several strips of A use what was packed.
            Rhs::Mat(b) => b.row_step == 1 && b.rows.is_multiple_of(NR) && m <= 4 * MR,
            Rhs::WeightT(_) => self.step() == Step::Pair,
        }
    }

    /// What a step of k is.
    fn step(&self) -> Step {
        match self {
            Rhs::Weight(Weight { panels: Panelled::Pairs { .. }, .. }) | Rhs::WeightT(Weight { panels: Panelled::Pairs { .. }, .. }) => {
                Step::Pair
            }
            _ => Step::Single,
        }
    }

    /// The storage of a coded weight that is to be turned: packed row by row, others panel by panel.
    fn turned(&self) -> Option<&dyn Coded> {
        match self {
            Rhs::WeightT(w) => w.code(),
            _ => None,
        }
    }

    /// Panels that were packed before, if it has them.
    fn packed(&self) -> Option<&[f32]> {
        match self {
            Rhs::Weight(Weight { panels: Panelled::Singles(all), .. }) => Some(all),
            Rhs::Weight(Weight { panels: Panelled::Pairs { forward, .. }, .. }) => Some(forward),
            Rhs::WeightT(Weight { panels: Panelled::Pairs { back, .. }, .. }) => Some(back),
            _ => None,
        }
    }

    fn shape(&self) -> (usize, usize) {
        match self {
            Rhs::Mat(m) => (m.rows, m.cols),
            Rhs::Weight(w) => (w.outputs, w.inputs),
            Rhs::WeightT(w) => (w.inputs, w.outputs),
        }
    }
}

/// One summand of a product: `a` (m, k) times the transpose of `b` (n, k).
#[derive(Clone, Copy)]
pub struct Term<'a> {
    /// Left operand, (m, k).
    pub a: Mat<'a>,
    /// Right operand, (n, k).
    pub b: Rhs<'a>,
}

impl Term<'_> {
    /// Steps of k.
    fn steps(&self) -> usize {
        match self.b.step() {
            Step::Single => self.a.cols,
            Step::Pair => self.a.cols.div_ceil(2),
        }
    }

    /// Steps of a block of k: as equal as can be. Along the rows of a weight they are whole runs of every storage
    /// that such rows may have (256 or 32 elements), so that none is decoded twice and all storages add up alike.
    fn block(&self) -> usize {
        let k = self.steps();
        let len = k.div_ceil(k.div_ceil(KC).max(1)).max(1);
        match self.b {
            Rhs::Weight(_) if self.b.step() == Step::Pair => len,
            Rhs::Weight(_) if k.is_multiple_of(256) => 256,
            Rhs::Weight(_) if k.is_multiple_of(32) => len.next_multiple_of(32),
            _ => len,
        }
    }
}

// A block that is rounded up to runs of 32 is no longer than the longest.
const _: () = assert!(KC.is_multiple_of(32) && KC >= 256);

/// Whether a product overwrites its output or adds to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// C = ...
    Set,
    /// C += ...
    Add,
}

/// A block of k of one term; counted in steps.
#[derive(Clone, Copy)]
struct Block {
    term: usize,
    from: usize,
    len: usize,
    packed_at: usize, // in scratch, in floats; unused for a packed weight
}

/// Whether block `b`, which follows `a`, is added up in the same visit of a C tile.
fn joined(terms: &[Term], a: &Block, b: &Block) -> bool {
    let single = |b: &Block| terms[b.term].b.step() == Step::Single;
    single(a) && single(b) && a.len > SHORT && b.len <= SHORT
}

/// `c = sum of a·bᵀ` over the terms (or `c +=`), c (m, n) with rows `ldc` floats apart.
///
/// The terms are one product with a long k: a LoRA update costs no extra pass over `c`.
pub fn product(cx: &Cx, c: &mut [f32], ldc: usize, write: Write, terms: &[Term]) {
    let (m, n) = (terms[0].a.rows, terms[0].b.shape().0);
    assert!(ldc >= n && (m == 0 || c.len() >= (m - 1) * ldc + n), "{m} x {n} by {ldc} does not fit {}", c.len());
    for t in terms {
        assert!(t.a.rows == m && t.b.shape() == (n, t.a.cols), "({}, {}) times {:?} transposed", t.a.rows, t.a.cols, t.b.shape());
    }
    if m == 0 || n == 0 {
        return;
    }
    if write == Write::Set && terms.iter().all(|t| t.a.cols == 0) {
        c.chunks_mut(ldc).take(m).for_each(|line| line[..n].fill(0.0));
    }
    let panels = n.div_ceil(NR);
    let most = columns(terms, m, panels);
    for first in (0..panels).step_by(most) {
        let span = Span { first, count: most.min(panels - first) };
        let mut write = write;
        for group in groups(terms, m, span.count) {
            let packed = group.iter().map(|b| if terms[b.term].b.in_place(m) { 0 } else { b.len * NR * span.count }).sum();
            cx.with_scratch(packed, |scratch| {
                pack_group(cx, scratch, terms, &group, m, span);
                multiply_group(cx, (&mut *c, ldc), write, terms, &group, scratch, (m, n), span);
            });
            write = Write::Add;
        }
    }
}

/// Panels of columns that are done from the first to the last k before the next ones.
#[derive(Clone, Copy)]
struct Span {
    first: usize,
    count: usize,
}

/// How many panels a span has: so many that what is packed of a block of k has room in [`PACKED`], in whole stretches.
fn columns(terms: &[Term], m: usize, panels: usize) -> usize {
    const WHOLE: usize = STRETCH / NR;
    let longest = terms.iter().filter(|t| !t.b.in_place(m)).map(|t| t.block().min(t.steps())).max().unwrap_or(0);
    let longest = if terms.len() > 1 { longest + SHORT } else { longest };
    match PACKED / (longest * NR).max(1) {
        most if most >= panels => panels,
        most => (most / WHOLE).max(1) * WHOLE,
    }
}

/// Cuts all k of all terms into blocks, and the blocks into groups that are packed together; joined ones stay together,
/// however they are stored.
fn groups(terms: &[Term], m: usize, panels: usize) -> Vec<Vec<Block>> {
    let size = |b: &Block| if terms[b.term].b.in_place(m) { 0 } else { b.len * NR * panels };
    let mut all: Vec<Vec<Block>> = vec![Vec::new()];
    let mut used = 0;
    let mut blocks = terms
        .iter()
        .enumerate()
        .flat_map(|(term, t)| {
            let (k, len) = (t.steps(), t.block());
            (0..k).step_by(len).map(move |from| Block { term, from, len: len.min(k - from), packed_at: 0 })
        })
        .peekable();
    while let Some(mut b) = blocks.next() {
        let follows = all.last().and_then(|g| g.last()).is_some_and(|a| joined(terms, a, &b));
        let with_next = blocks.peek().filter(|next| joined(terms, &b, next)).map_or(0, size);
        if used > 0 && !follows && used + size(&b) + with_next > PACKED {
            all.push(Vec::new());
            used = 0;
        }
        b.packed_at = used;
        used += size(&b);
        if let Some(group) = all.last_mut() {
            group.push(b);
        }
    }
    all
}

fn pack_group(cx: &Cx, scratch: &mut [f32], terms: &[Term], group: &[Block], m: usize, span: Span) {
    let shared = Shared::new(scratch);
    let blocks = group.iter().map(|b| (b, terms[b.term].b)).filter(|(_, rhs)| !rhs.in_place(m));
    let pieces: Vec<(&Block, Rhs, usize)> = blocks
        .flat_map(|(b, rhs)| {
            let count = if rhs.turned().is_some() { b.len.div_ceil(LINES) } else { span.count };
            (0..count).map(move |i| (b, rhs, i))
        })
        .collect();
    for_each(cx, pieces.len(), |i| {
        let (b, rhs, piece) = pieces[i];
        if let Some(weight) = rhs.turned() {
            let block = Turned { weight, column: span.first * NR, panels: span.count, from: b.from, k: b.len, at: b.packed_at };
            return block.pack_lines(&shared, piece * LINES);
        }
        // SAFETY: each (block, panel) has its own range of the scratch.
        let panel = unsafe { shared.part(b.packed_at + piece * b.len * NR, b.len * NR) };
        let row = (span.first + piece) * NR;
        match rhs {
            Rhs::Mat(mat) => pack_panel(panel, mat, row, b.from, b.len),
            Rhs::WeightT(w) => pack_transposed(cx.level(), panel, w, row, b.from, b.len),
            Rhs::Weight(w) => {
                if let Some(code) = w.code() {
                    coded::pack_rows(cx.level(), panel, code, row, b.from, b.len);
                }
            }
        }
    });
}

fn multiply_group(
    cx: &Cx,
    (c, ldc): (&mut [f32], usize),
    write: Write,
    terms: &[Term],
    group: &[Block],
    scratch: &[f32],
    (m, n): (usize, usize),
    span: Span,
) {
    let row_blocks = m.div_ceil(MC);
    // Few rows: cut the columns too, so that every thread has work.
    let splits = (8 * cx.threads()).div_ceil(row_blocks).clamp(1, span.count);
    let per_split = span.count.div_ceil(splits);
    let shared = Shared::new(c);
    for_each(cx, row_blocks * splits, |i| {
        let (rows, cols) = (i / splits * MC, i % splits * per_split);
        let height = MC.min(m - rows);
        let mut write = write;
        for blocks in group.chunk_by(|a, b| joined(terms, a, b)) {
            let step = terms[blocks[0].term].b.step();
            let rooms = blocks.iter().map(|b| height.next_multiple_of(MR) * b.len).sum();
            with_strips(rooms, |mut rest| {
                let left: Vec<Strips> =
                    blocks.iter().map(|b| left_of(cx.level(), &mut rest, &terms[b.term], b, rows, height, span)).collect();
                for i in cols..(cols + per_split).min(span.count) {
                    let p = span.first + i;
                    let right = |b: &Block| right_of(&terms[b.term], b, scratch, m, p, i);
                    let right: [Right; JOINED] = std::array::from_fn(|i| right(&blocks[i.min(blocks.len() - 1)]));
                    let width = NR.min(n - p * NR);
                    // SAFETY: rows..rows+height by this panel's columns belong to this task alone.
                    let at = unsafe { shared.at(rows * ldc + p * NR) };
                    // SAFETY: the tile column lies inside c; edges go through a spare tile.
                    unsafe { column(cx.level(), step, at, ldc, height, width, write, &left, right) };
                }
            });
            write = Write::Add;
        }
    });
}

/// The rows of A that a task has, as the kernel reads them, in the first part of `rest`.
fn left_of<'a>(level: Level, rest: &mut &'a mut [f32], t: &Term, b: &Block, rows: usize, height: usize, span: Span) -> Strips<'a> {
    let (room, more) = std::mem::take(rest).split_at_mut(height.next_multiple_of(MR) * b.len);
    *rest = more;
    match t.b.step() {
        // One panel uses each strip once: then packing never pays.
        Step::Single => {
            let direct = t.a.col_step == 1 && (span.count == 1 || t.a.spreads());
            Strips::new(level, room, t.a, rows, height, b.from, b.len, direct)
        }
        Step::Pair => Strips::of_pairs(level, room, t.a, rows, height, b.from, b.len),
    }
}

/// Panel `p` of a block, number `i` of those packed.
fn right_of(t: &Term, b: &Block, scratch: &[f32], m: usize, p: usize, i: usize) -> Right {
    match (t.b.packed(), t.b) {
        (Some(all), _) => packed_panel(all, p * t.steps() + b.from, b.len),
        (None, Rhs::Mat(mat)) if t.b.in_place(m) => rows_panel(mat, p * NR, b.from, b.len),
        _ => packed_panel(&scratch[b.packed_at..], i * b.len, b.len),
    }
}

/// A packed panel that begins `at` rows of 48 into `data`.
fn packed_panel(data: &[f32], at: usize, k: usize) -> Right {
    let panel = &data[at * NR..][..k * NR];
    Right { start: panel.as_ptr(), k_step: NR }
}

/// 48 rows of B (n, k) from `row` on, whose elements along n lie side by side.
fn rows_panel(b: Mat, row: usize, from: usize, k: usize) -> Right {
    let panel = &b.data[row + from * b.col_step..][..(k - 1) * b.col_step + NR];
    Right { start: panel.as_ptr(), k_step: b.col_step }
}

/// All strips of one A block against one panel of B.
///
/// # Safety
/// `c` points to `height` rows of `ldc` floats of which `width` columns may be written; each of `right` has the k of its `left`.
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn column(
    level: Level,
    step: Step,
    c: *mut f32,
    ldc: usize,
    height: usize,
    width: usize,
    write: Write,
    left: &[Strips],
    right: [Right; JOINED],
) {
    // The portable kernel writes all 48 columns.
    let whole_vectors = width == NR || width.is_multiple_of(16) && step == Step::Single && level != Level::Portable;
    for row in (0..height).step_by(MR) {
        let rows = MR.min(height - row);
        let parts: [Part; JOINED] = std::array::from_fn(|i| {
            let l = &left[i.min(left.len() - 1)];
            Part { a: l.strip(row, rows), b: right[i], k: l.k }
        });
        let parts = &parts[..left.len()];
        // SAFETY: each a holds 8 rows of k, right k rows of 48; c by the caller's promise.
        unsafe {
            let at = c.add(row * ldc);
            if rows == MR && whole_vectors {
                tile(level, step, width, parts, at, ldc, write == Write::Add);
            } else {
                let mut spare = [0f32; MR * NR];
                tile(level, step, width, parts, spare.as_mut_ptr(), NR, false);
                for (i, line) in spare.chunks_exact(NR).enumerate().take(rows) {
                    let out = std::slice::from_raw_parts_mut(at.add(i * ldc), width);
                    for (o, &v) in out.iter_mut().zip(line) {
                        *o = if write == Write::Add { v + *o } else { v };
                    }
                }
            }
        }
    }
}

/// Packs rows `row..row+48` of B (n, k), columns `from..from+k`: k by k, 48 rows; zeros past the last row.
pub(super) fn pack_panel(out: &mut [f32], b: Mat, row: usize, from: usize, k: usize) {
    let rows = NR.min(b.rows - row);
    if rows < NR {
        out.fill(0.0);
    }
    let start = row * b.row_step + from * b.col_step;
    if b.row_step == 1 {
        for (kk, o) in out.chunks_exact_mut(NR).enumerate().take(k) {
            o[..rows].copy_from_slice(&b.data[start + kk * b.col_step..][..rows]);
        }
        return;
    }
    for k0 in (0..k).step_by(16) {
        let len = 16.min(k - k0);
        for i in 0..rows {
            let line = start + i * b.row_step + k0 * b.col_step;
            for kk in 0..len {
                out[(k0 + kk) * NR + i] = b.data[line + kk * b.col_step];
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
