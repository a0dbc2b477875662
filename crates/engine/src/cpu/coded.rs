//! A weight that stays as a file holds it: its numbers are decoded while the product packs its panels.

use super::gemm::KC;
use super::lanes::{Level, MR, NR, turn};
use super::shared::Shared;

/// A (outputs, inputs) matrix in a storage that the engine does not know: 4-bit, 8-bit, halves.
///
/// `decode` is called from many threads and gives the same bits each time.
pub trait Coded: Send + Sync {
    /// Rows.
    fn outputs(&self) -> usize;
    /// Columns.
    fn inputs(&self) -> usize;
    /// Writes elements `from..from + out.len()` of row `row`.
    fn decode(&self, row: usize, from: usize, out: &mut [f32]);
    /// A run of a row costs least when it begins and ends at multiples of this, which divides 256.
    fn align(&self) -> usize;
    /// Bytes held.
    fn bytes(&self) -> usize;
}

/// Rows that one task decodes for the transpose.
pub(super) const LINES: usize = 8;
/// Columns of a row decoded at a time: whole panels (48), and whole runs (256).
pub(super) const STRETCH: usize = 768;

/// Packs outputs `row..row+48` as rows, inputs `from..from+k` as k: as packing the decoded matrix would.
pub(super) fn pack_rows(level: Level, out: &mut [f32], w: &dyn Coded, row: usize, from: usize, k: usize) {
    let rows = NR.min(w.outputs() - row);
    if rows < NR {
        out.fill(0.0);
    }
    let mut lines = [[0f32; KC]; MR];
    for first in (0..rows).step_by(MR) {
        let count = MR.min(rows - first);
        for (i, line) in lines.iter_mut().enumerate().take(count) {
            w.decode(row + first + i, from, &mut line[..k]);
        }
        let whole = if count == MR { k / 8 * 8 } else { 0 };
        if whole > 0 {
            turn(level, &mut out[first..], NR, lines.each_ref().map(|l| &l[..whole]));
        }
        for (kk, o) in out.chunks_exact_mut(NR).enumerate().take(k).skip(whole) {
            for (v, line) in o[first..].iter_mut().zip(&lines[..count]) {
                *v = line[kk];
            }
        }
    }
}

/// A block of k of a transposed weight, and where its panels lie.
pub(super) struct Turned<'a> {
    pub(super) weight: &'a dyn Coded,
    /// First input, a multiple of [`STRETCH`], and how many panels of inputs.
    pub(super) column: usize,
    pub(super) panels: usize,
    /// Outputs that are the block's k.
    pub(super) from: usize,
    pub(super) k: usize,
    /// Where the first panel begins; they follow each other.
    pub(super) at: usize,
}

impl Turned<'_> {
    /// Packs lines `first..first + LINES` of k into all panels, so that each row is decoded once.
    pub(super) fn pack_lines(&self, out: &Shared, first: usize) {
        let width = (self.weight.inputs() - self.column).min(self.panels * NR);
        let mut stretch = [0f32; STRETCH];
        for line in first..(first + LINES).min(self.k) {
            for start in (0..width).step_by(STRETCH) {
                let part = &mut stretch[..STRETCH.min(width - start)];
                self.weight.decode(self.from + line, self.column + start, part);
                for (p, columns) in part.chunks(NR).enumerate() {
                    let panel = start / NR + p;
                    // SAFETY: line `line` of each panel is written by this task alone.
                    let o = unsafe { out.part(self.at + (panel * self.k + line) * NR, NR) };
                    o[..columns.len()].copy_from_slice(columns);
                    o[columns.len()..].fill(0.0);
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
