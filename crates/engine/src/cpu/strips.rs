//! The left operand as the kernel reads it: strips of 8 rows side by side, packed by the thread that needs them.

use super::gemm::{KC, Mat};
use super::lanes::{Left, Level, MR, turn};
use super::pairs;
use std::cell::RefCell;

thread_local! {
    static STRIPS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's buffer for packed strips of A (room for `floats` and up to 7 rows of padding).
pub(super) fn with_strips<R>(floats: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = STRIPS.take();
    let need = floats + MR * KC;
    if buffer.len() < need {
        buffer.resize(need, 0.0);
    }
    let result = f(&mut buffer);
    STRIPS.replace(buffer);
    result
}

/// A block of A as the kernel reads it: strips of 8 rows, whole ones possibly where they lie.
pub(super) struct Strips<'a> {
    packed: &'a [f32],
    direct: Option<Left>,
    /// Steps of k.
    pub(super) k: usize,
}

impl<'a> Strips<'a> {
    pub(super) fn new(
        level: Level,
        room: &'a mut [f32],
        a: Mat,
        row: usize,
        height: usize,
        from: usize,
        k: usize,
        direct: bool,
    ) -> Strips<'a> {
        if !direct {
            pack_strips(level, room, a, row, height, from, k);
            return Strips { packed: room, direct: None, k };
        }
        let whole = height / MR * MR;
        if whole < height {
            pack_strips(level, &mut room[whole * k..], a, row + whole, height - whole, from, k);
        }
        let block = &a.data[row * a.row_step + from * a.col_step..][..(height - 1) * a.row_step + (k - 1) * a.col_step + 1];
        Strips { packed: room, direct: Some(Left { start: block.as_ptr(), row_step: a.row_step, k_step: a.col_step }), k }
    }

    /// As [`Strips::new`], in words of two; `from` and `k` count words.
    pub(super) fn of_pairs(level: Level, room: &'a mut [f32], a: Mat, row: usize, height: usize, from: usize, k: usize) -> Strips<'a> {
        let mut words = [[0f32; KC]; MR];
        for (strip, r0) in room.chunks_exact_mut(MR * k).zip((0..height).step_by(MR)) {
            for (i, line) in words.iter_mut().enumerate().take(height - r0) {
                pairs::row_of(level, &mut line[..k], a, row + r0 + i, from);
            }
            interleave(level, strip, words.each_ref().map(|w| &w[..k]), k);
        }
        Strips { packed: room, direct: None, k }
    }

    /// The strip that begins at row `row` of the block, `rows` of it real.
    pub(super) fn strip(&self, row: usize, rows: usize) -> Left {
        match self.direct {
            // SAFETY: `row` and the 7 after it lie inside the block that was sliced above.
            Some(left) if rows == MR => Left { start: unsafe { left.start.add(row * left.row_step) }, ..left },
            _ => Left { start: self.packed[row * self.k..][..MR * self.k].as_ptr(), row_step: 1, k_step: MR },
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
    if whole > 0 {
        turn(level, out, MR, lines.map(|l| &l[..whole]));
    }
    for (kk, o) in out[whole * MR..].chunks_exact_mut(MR).enumerate() {
        for (i, v) in o.iter_mut().enumerate() {
            *v = lines[i][whole + kk];
        }
    }
}
