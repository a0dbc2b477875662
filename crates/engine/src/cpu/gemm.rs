//! The matrix product: sums of `A·Bᵀ` with packed panels, cut into tiles that threads do whole.
//!
//! Never splits the sum over k between threads: each element of C is added up in one fixed order, so
//! the number of threads does not change a bit. Blocking after Goto and van de Geijn, "Anatomy of
//! high-performance matrix multiplication" (2008): k in blocks, A in strips of 8 rows, B in panels of 48.

use super::lanes::{Left, Level, MR, NR, Right, tile, turn};
use super::shared::Shared;
use super::{Cx, for_each};
use std::cell::RefCell;

/// Longest block of k between two visits of a C tile.
const KC: usize = 288;
/// Rows of A that one task packs and keeps in its cache.
const MC: usize = 256;
/// Floats of B packed at a time (4 MiB), so that what was packed is still near when it is used.
const PACKED: usize = 1 << 20;

/// A view of a matrix: element (i, j) is `data[i * row_step + j * col_step]`.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
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

    /// The transpose, without moving data.
    pub fn t(self) -> Mat<'a> {
        Mat { rows: self.cols, cols: self.rows, row_step: self.col_step, col_step: self.row_step, ..self }
    }
}

/// A frozen weight (outputs, inputs), held only in the panels that the product reads.
pub struct Weight {
    panels: Vec<f32>, // (ceil(outputs / 48), inputs, 48), zero beyond `outputs`
    outputs: usize,
    inputs: usize,
}

impl Weight {
    /// Packs a row-major (outputs, inputs) matrix.
    pub fn pack(cx: &Cx, data: &[f32], outputs: usize, inputs: usize) -> Weight {
        assert_eq!(data.len(), outputs * inputs);
        let count = outputs.div_ceil(NR);
        let mut panels = vec![0f32; count * inputs * NR];
        let shared = Shared::new(&mut panels);
        let source = Mat::new(data, outputs, inputs);
        for_each(cx, count, |p| {
            // SAFETY: panel p is written by this task alone.
            let panel = unsafe { shared.part(p * inputs * NR, inputs * NR) };
            pack_panel(panel, source, p * NR, 0, inputs);
        });
        Weight { panels, outputs, inputs }
    }

    /// (outputs, inputs).
    pub fn shape(&self) -> (usize, usize) {
        (self.outputs, self.inputs)
    }

    /// Copies row `row` into `out` (inputs floats): the embedding table is read this way.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.outputs && out.len() == self.inputs);
        let panel = &self.panels[row / NR * self.inputs * NR..][..self.inputs * NR];
        for (o, chunk) in out.iter_mut().zip(panel.chunks_exact(NR)) {
            *o = chunk[row % NR];
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.panels.len() * size_of::<f32>()
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
            Rhs::Weight(_) => true,
            // Packing pays when several strips of A use what was packed.
            Rhs::Mat(b) => b.row_step == 1 && b.rows.is_multiple_of(NR) && m <= 4 * MR,
            Rhs::WeightT(_) => false,
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

/// Whether a product overwrites its output or adds to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// C = ...
    Set,
    /// C += ...
    Add,
}

/// A block of k of one term.
#[derive(Clone, Copy)]
struct Block {
    term: usize,
    from: usize,
    len: usize,
    packed_at: usize, // in scratch, in floats; unused for a packed weight
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
    let count = n.div_ceil(NR);
    let mut write = write;
    for group in groups(terms, m, count) {
        let packed = group.iter().map(|b| if terms[b.term].b.in_place(m) { 0 } else { b.len * NR * count }).sum();
        cx.with_scratch(packed, |scratch| {
            pack_group(cx, scratch, terms, &group, m, count);
            multiply_group(cx, (&mut *c, ldc), write, terms, &group, scratch, (m, n));
        });
        write = Write::Add;
    }
}

/// Cuts all k of all terms into blocks, and the blocks into groups that are packed together.
fn groups(terms: &[Term], m: usize, panels: usize) -> Vec<Vec<Block>> {
    let mut all = vec![Vec::new()];
    let mut used = 0;
    for (term, t) in terms.iter().enumerate() {
        let k = t.a.cols;
        let len = k.div_ceil(k.div_ceil(KC).max(1)).max(1);
        for from in (0..k).step_by(len) {
            let len = len.min(k - from);
            let size = if t.b.in_place(m) { 0 } else { len * NR * panels };
            if used > 0 && used + size > PACKED {
                all.push(Vec::new());
                used = 0;
            }
            if let Some(group) = all.last_mut() {
                group.push(Block { term, from, len, packed_at: used });
            }
            used += size;
        }
    }
    all
}

fn pack_group(cx: &Cx, scratch: &mut [f32], terms: &[Term], group: &[Block], m: usize, panels: usize) {
    let shared = Shared::new(scratch);
    let blocks: Vec<&Block> = group.iter().filter(|b| !terms[b.term].b.in_place(m)).collect();
    for_each(cx, blocks.len() * panels, |i| {
        let (b, p) = (blocks[i / panels], i % panels);
        // SAFETY: each (block, panel) has its own range of the scratch.
        let panel = unsafe { shared.part(b.packed_at + p * b.len * NR, b.len * NR) };
        match terms[b.term].b {
            Rhs::Mat(mat) => pack_panel(panel, mat, p * NR, b.from, b.len),
            Rhs::WeightT(w) => pack_transposed(panel, w, p * NR, b.from, b.len),
            Rhs::Weight(_) => {}
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
) {
    let panels = n.div_ceil(NR);
    let row_blocks = m.div_ceil(MC);
    // Few rows: cut the columns too, so that every thread has work.
    let splits = (8 * cx.threads()).div_ceil(row_blocks).clamp(1, panels);
    let per_split = panels.div_ceil(splits);
    let shared = Shared::new(c);
    for_each(cx, row_blocks * splits, |i| {
        let (rows, cols) = (i / splits * MC, i % splits * per_split);
        let height = MC.min(m - rows);
        let mut write = write;
        for b in group {
            let t = &terms[b.term];
            // One panel uses each strip once: then A is read where it lies.
            let direct = panels == 1 && t.a.col_step == 1;
            with_strips(height * b.len, |strips| {
                let left = Strips::new(cx.level(), strips, t.a, rows, height, b.from, b.len, direct);
                for p in cols..(cols + per_split).min(panels) {
                    let right = match t.b {
                        Rhs::Weight(w) => packed_panel(&w.panels, p * w.inputs + b.from, b.len),
                        Rhs::Mat(mat) if t.b.in_place(m) => rows_panel(mat, p * NR, b.from, b.len),
                        _ => packed_panel(&scratch[b.packed_at..], p * b.len, b.len),
                    };
                    let width = NR.min(n - p * NR);
                    // SAFETY: rows..rows+height by this panel's columns belong to this task alone.
                    let at = unsafe { shared.at(rows * ldc + p * NR) };
                    // SAFETY: the tile column lies inside c; edges go through a spare tile.
                    unsafe { column(cx.level(), at, ldc, height, width, write, &left, right, b.len) };
                }
            });
            write = Write::Add;
        }
    });
}

thread_local! {
    static STRIPS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's buffer for packed strips of A (room for `floats` and up to 7 rows of padding).
fn with_strips<R>(floats: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = STRIPS.take();
    let need = floats * 2 + MR * KC * 2;
    if buffer.len() < need {
        buffer.resize(need, 0.0);
    }
    let result = f(&mut buffer);
    STRIPS.replace(buffer);
    result
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

/// A block of A as the kernel reads it: strips of 8 rows, whole ones possibly where they lie.
struct Strips<'a> {
    packed: &'a [f32],
    direct: Option<Left>,
    k: usize,
}

impl<'a> Strips<'a> {
    fn new(level: Level, room: &'a mut [f32], a: Mat, row: usize, height: usize, from: usize, k: usize, direct: bool) -> Strips<'a> {
        if !direct {
            pack_strips(level, room, a, row, height, from, k);
            return Strips { packed: room, direct: None, k };
        }
        let whole = height / MR * MR;
        if whole < height {
            pack_strips(level, &mut room[whole * k..], a, row + whole, height - whole, from, k);
        }
        let block = &a.data[row * a.row_step + from..][..(height - 1) * a.row_step + k];
        Strips { packed: room, direct: Some(Left { start: block.as_ptr(), row_step: a.row_step, k_step: 1 }), k }
    }

    /// The strip that begins at row `row` of the block, `rows` of it real.
    fn strip(&self, row: usize, rows: usize) -> Left {
        match self.direct {
            // SAFETY: `row` and the 7 after it lie inside the block that was sliced above.
            Some(left) if rows == MR => Left { start: unsafe { left.start.add(row * left.row_step) }, ..left },
            _ => Left { start: self.packed[row * self.k..][..MR * self.k].as_ptr(), row_step: 1, k_step: MR },
        }
    }
}

/// All strips of one A block against one panel of B.
///
/// # Safety
/// `c` points to `height` rows of `ldc` floats of which `width` columns may be written; `right` has `k` rows.
unsafe fn column(level: Level, c: *mut f32, ldc: usize, height: usize, width: usize, write: Write, left: &Strips, right: Right, k: usize) {
    let whole_vectors = width.is_multiple_of(16) && (width == NR || level != Level::Portable);
    for row in (0..height).step_by(MR) {
        let rows = MR.min(height - row);
        let a = left.strip(row, rows);
        // SAFETY: a holds 8 rows of k, right k rows of 48; c by the caller's promise.
        unsafe {
            let at = c.add(row * ldc);
            if rows == MR && whole_vectors {
                tile(level, k, width, a, right, at, ldc, write == Write::Add);
            } else {
                let mut spare = [0f32; MR * NR];
                tile(level, k, width, a, right, spare.as_mut_ptr(), NR, false);
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

/// Packs rows `row..row+height`, columns `from..from+k` of A: strip by strip, k by k, 8 rows; zeros below the last row.
fn pack_strips(level: Level, out: &mut [f32], a: Mat, row: usize, height: usize, from: usize, k: usize) {
    for (s, r0) in (0..height).step_by(MR).enumerate() {
        let strip = &mut out[s * MR * k..][..MR * k];
        let rows = MR.min(height - r0);
        let start = (row + r0) * a.row_step + from * a.col_step;
        if rows < MR {
            strip.fill(0.0);
        }
        if a.col_step == 1 && rows == MR {
            let line = |i: usize| &a.data[start + i * a.row_step..][..k];
            let lines: [&[f32]; MR] = std::array::from_fn(line);
            interleave(level, strip, lines, k);
        } else if a.col_step == 1 {
            for i in 0..rows {
                let line = &a.data[start + i * a.row_step..][..k];
                for (o, &v) in strip[i..].iter_mut().step_by(MR).zip(line) {
                    *o = v;
                }
            }
        } else if a.row_step == 1 && rows == MR {
            for (kk, o) in strip.chunks_exact_mut(MR).enumerate() {
                o.copy_from_slice(&a.data[start + kk * a.col_step..][..MR]);
            }
        } else {
            for (kk, o) in strip.chunks_exact_mut(MR).enumerate() {
                for (i, v) in o.iter_mut().enumerate().take(rows) {
                    *v = a.data[start + i * a.row_step + kk * a.col_step];
                }
            }
        }
    }
}

/// Writes eight lines side by side: `out[k * 8 + i] = lines[i][k]`.
fn interleave(level: Level, out: &mut [f32], lines: [&[f32]; MR], k: usize) {
    let whole = k / 8 * 8;
    turn(level, &mut out[..whole * MR], lines.map(|l| &l[..whole]));
    for (kk, o) in out[whole * MR..].chunks_exact_mut(MR).enumerate() {
        for (i, v) in o.iter_mut().enumerate() {
            *v = lines[i][whole + kk];
        }
    }
}

/// Packs rows `row..row+48` of B (n, k), columns `from..from+k`: k by k, 48 rows; zeros past the last row.
fn pack_panel(out: &mut [f32], b: Mat, row: usize, from: usize, k: usize) {
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

/// Packs inputs `row..row+48` of a weight as rows, outputs `from..from+k` as k: its panels turned by 90 degrees.
fn pack_transposed(out: &mut [f32], w: &Weight, row: usize, from: usize, k: usize) {
    let cols = NR.min(w.inputs - row);
    if cols < NR {
        out.fill(0.0);
    }
    let mut done = 0;
    while done < k {
        let output = from + done;
        let (panel, lane) = (output / NR, output % NR);
        let run = (NR - lane).min(k - done);
        let source = &w.panels[(panel * w.inputs + row) * NR..][..cols * NR];
        for l in 0..run {
            let o = &mut out[(done + l) * NR..][..cols];
            for (j, v) in o.iter_mut().enumerate() {
                *v = source[j * NR + lane + l];
            }
        }
        done += run;
    }
}

/// Products inside one thread, for attention: B packed once, used for several A.
pub(crate) struct Panels {
    data: Vec<f32>, // (ceil(n / 48), k, 48)
    n: usize,
    k: usize,
}

impl Panels {
    pub(crate) fn empty() -> Panels {
        Panels { data: Vec::new(), n: 0, k: 0 }
    }

    fn reset(&mut self, n: usize, k: usize) {
        (self.n, self.k) = (n, k);
        let need = n.div_ceil(NR) * k * NR;
        if self.data.len() < need {
            self.data.resize(need, 0.0);
        }
    }

    /// B (n = listed rows, k = width): element (j, i) is `source[rows[j] * step + col + i]`.
    pub(crate) fn pack_rows(&mut self, source: &[f32], step: usize, col: usize, width: usize, rows: &[u32]) {
        self.reset(rows.len(), width);
        for (panel, list) in self.data.chunks_exact_mut(width * NR).zip(rows.chunks(NR)) {
            if list.len() < NR {
                panel.fill(0.0);
            }
            for (j, &r) in list.iter().enumerate() {
                let line = &source[r as usize * step + col..][..width];
                for (o, &v) in panel[j..].iter_mut().step_by(NR).zip(line) {
                    *o = v;
                }
            }
        }
    }

    /// B (n = width, k = listed rows): the transpose of [`Panels::pack_rows`].
    pub(crate) fn pack_columns(&mut self, source: &[f32], step: usize, col: usize, width: usize, rows: &[u32]) {
        self.reset(width, rows.len());
        for (p, panel) in self.data.chunks_exact_mut((rows.len() * NR).max(1)).enumerate().take(width.div_ceil(NR)) {
            let cols = NR.min(width - p * NR);
            for (o, &r) in panel.chunks_exact_mut(NR).zip(rows) {
                o[..cols].copy_from_slice(&source[r as usize * step + col + p * NR..][..cols]);
                o[cols..].fill(0.0);
            }
        }
    }

    /// `c (+)= a·bᵀ` on this thread; c has rows of `ldc` floats.
    pub(crate) fn multiply(&self, level: Level, c: &mut [f32], ldc: usize, write: Write, a: Mat) {
        assert!(a.cols == self.k && ldc >= self.n && (a.rows == 0 || c.len() >= (a.rows - 1) * ldc + self.n));
        let len = self.k.div_ceil(self.k.div_ceil(KC).max(1)).max(1);
        for row in (0..a.rows).step_by(MC) {
            let height = MC.min(a.rows - row);
            let mut write = write;
            for from in (0..self.k).step_by(len) {
                let k = len.min(self.k - from);
                with_strips(height * k, |strips| {
                    let left = Strips::new(level, strips, a, row, height, from, k, false);
                    for p in 0..self.n.div_ceil(NR) {
                        let right = packed_panel(&self.data, p * self.k + from, k);
                        let width = NR.min(self.n - p * NR);
                        let at = &mut c[row * ldc + p * NR..];
                        // SAFETY: checked above: height rows of ldc floats with this panel's columns lie in c.
                        unsafe { column(level, at.as_mut_ptr(), ldc, height, width, write, &left, right, k) };
                    }
                });
                write = Write::Add;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
