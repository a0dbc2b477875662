//! Products inside one thread, for attention: a right operand packed once, used whole or in part for several left ones.

use super::gemm::{JOINED, KC, MC, Mat, Write, column};
use super::lanes::{Level, NR, Right, Step, turn};
use super::strips::{Strips, with_strips};

/// Up to so many panels, the left operand is read where it lies: packing it costs more than it saves.
const DIRECT: usize = 3;

/// B (n, k) in panels that the kernel reads.
pub(crate) struct Panels {
    data: Vec<f32>, // (ceil(n / width), k, width), and room for a kernel that reads 48 where a panel is narrower
    n: usize,
    k: usize,
    width: usize,
}

impl Panels {
    pub(crate) fn empty() -> Panels {
        Panels { data: Vec::new(), n: 0, k: 0, width: NR }
    }

    /// Makes room, and answers the panels to be filled.
    fn reset(&mut self, n: usize, k: usize, width: usize) -> &mut [f32] {
        (self.n, self.k, self.width) = (n, k, width);
        let need = n.div_ceil(width) * k * width;
        if self.data.len() < need + NR {
            self.data.resize(need + NR, 0.0);
        }
        &mut self.data[..need]
    }

    /// Columns that can be asked for: n, and zeros up to a whole panel.
    pub(crate) fn columns(&self) -> usize {
        self.n.next_multiple_of(self.width)
    }

    /// B (n = listed rows, k = width): element (j, i) is `source[rows[j] * step + col + i]`.
    pub(crate) fn pack_rows(&mut self, level: Level, source: &[f32], step: usize, col: usize, width: usize, rows: &[u32]) {
        let whole = width / 8 * 8;
        let line = |r: u32| &source[r as usize * step + col..][..width];
        for (panel, list) in self.reset(rows.len(), width, NR).chunks_exact_mut(width * NR).zip(rows.chunks(NR)) {
            if list.len() < NR {
                panel.fill(0.0);
            }
            let (eights, rest) = list.as_chunks::<8>();
            let eights = if whole > 0 { eights } else { &[] };
            for (j, eight) in eights.iter().enumerate() {
                turn(level, &mut panel[8 * j..], NR, eight.map(|r| &line(r)[..whole]));
            }
            // What the square turns leave: the last rows, and the last elements of the others.
            let turned = list.len() - if whole > 0 { rest.len() } else { list.len() };
            for (j, &r) in list.iter().enumerate() {
                let from = if j < turned { whole } else { 0 };
                for (o, &v) in panel[from * NR..].iter_mut().skip(j).step_by(NR).zip(&line(r)[from..]) {
                    *o = v;
                }
            }
        }
    }

    /// B (n = width, k = listed rows): the transpose of [`Panels::pack_rows`].
    pub(crate) fn pack_columns(
        &mut self,
        source: &[f32],
        step: usize,
        col: usize,
        width: usize,
        rows: impl ExactSizeIterator<Item = usize>,
    ) {
        // A head of 64 is two panels of 32, which fill the kernel's registers better than 48 and 16.
        let across = if width.is_multiple_of(32) && (1..=16).contains(&(width % NR)) { 32 } else { NR };
        let k = rows.len();
        let panels = self.reset(width, k, across);
        for (kk, r) in rows.enumerate() {
            let line = &source[r * step + col..][..width];
            for (p, part) in line.chunks(across).enumerate() {
                let out = &mut panels[(p * k + kk) * across..][..across];
                out[..part.len()].copy_from_slice(part);
                out[part.len()..].fill(0.0);
            }
        }
    }

    /// `c (+)= a·bᵀ` on this thread, of the first `n` columns and the first k that `a` has; c has rows of `ldc` floats.
    pub(crate) fn multiply(&self, level: Level, c: &mut [f32], ldc: usize, write: Write, a: Mat, n: usize) {
        assert!(a.cols <= self.k && n <= self.columns() && ldc >= n && (a.rows == 0 || c.len() >= (a.rows - 1) * ldc + n));
        if write == Write::Set && a.cols == 0 {
            c.chunks_mut(ldc.max(1)).take(a.rows).for_each(|line| line[..n].fill(0.0));
        }
        let panels = n.div_ceil(self.width);
        let len = a.cols.div_ceil(a.cols.div_ceil(KC).max(1)).max(1);
        for row in (0..a.rows).step_by(MC) {
            let height = MC.min(a.rows - row);
            let mut write = write;
            for from in (0..a.cols).step_by(len) {
                let k = len.min(a.cols - from);
                with_strips(height * k, |strips| {
                    let left = [Strips::new(level, strips, a, row, height, from, k, panels <= DIRECT)];
                    for p in 0..panels {
                        let panel = &self.data[(p * self.k + from) * self.width..][..k * self.width + NR - self.width];
                        let right = Right { start: panel.as_ptr(), k_step: self.width };
                        let width = self.width.min(n - p * self.width);
                        let at = &mut c[row * ldc + p * self.width..];
                        // SAFETY: checked above: height rows of ldc floats with this panel's columns lie in c; the slice
                        // of the panel holds 48 floats from each of its k rows on.
                        unsafe { column(level, Step::Single, at.as_mut_ptr(), ldc, height, width, write, &left, [right; JOINED]) };
                    }
                });
                write = Write::Add;
            }
        }
    }
}

#[cfg(test)]
mod tests;
