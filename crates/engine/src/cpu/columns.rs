//! Sums over rows, one a column: rows are cut into fixed blocks, and the blocks' sums are added in their order.

use super::shared::Shared;
use super::{Cx, for_each};
use std::ops::Range;

/// Rows of one block; fixed, so that the order of a sum is. Short runs also keep the rounding of long sums small.
const ROWS: usize = 256;
/// Columns that one task does.
const COLUMNS: usize = 512;

/// `out[j] += sum over all rows`; `add(partial, rows, columns)` adds the terms of those rows to `partial`, one number a column.
pub(crate) fn add_sums(cx: &Cx, out: &mut [f32], rows: usize, add: impl Fn(&mut [f32], Range<usize>, Range<usize>) + Sync + Send) {
    let (width, down, across) = (out.len(), rows.div_ceil(ROWS), out.len().div_ceil(COLUMNS));
    if rows == 0 || width == 0 {
        return;
    }
    cx.with_scratch(down * width, |partial| {
        let shared = Shared::new(partial);
        for_each(cx, down * across, |i| {
            let (row, column) = (i / across * ROWS, i % across * COLUMNS);
            let (rows, columns) = (row..rows.min(row + ROWS), column..width.min(column + COLUMNS));
            // SAFETY: each (block, columns) has its own part.
            let part = unsafe { shared.part(i / across * width + column, columns.len()) };
            part.fill(0.0);
            add(part, rows, columns);
        });
        let (sum, rest) = partial.split_at_mut(width);
        for line in rest.chunks_exact(width).chain([&*out]) {
            sum.iter_mut().zip(line).for_each(|(s, v)| *s += v);
        }
        out.copy_from_slice(sum);
    });
}
