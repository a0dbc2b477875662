//! Activations with room behind each row: an adapter's inside lies there, so that base and update are one product.

use engine::cuda::bf16;
use engine::cuda::{Arena, Buffer, Rows};

/// Rows of `width` values, and `beside` more behind each.
#[derive(Clone)]
pub(crate) struct Wide {
    pub buffer: Buffer<bf16>,
    pub width: usize,
    pub beside: usize,
}

impl Wide {
    /// Takes `rows` rows.
    pub fn take(arena: &mut Arena, name: &'static str, why: &'static str, rows: usize, width: usize, beside: usize) -> Wide {
        Wide { buffer: arena.take(name, why, rows * (width + beside)), width, beside }
    }

    /// The rows from `first` on.
    pub fn after(&self, first: usize) -> Wide {
        Wide { buffer: self.buffer.part(first * self.stride()..self.buffer.len()), ..*self }
    }

    /// From row to row.
    pub fn stride(&self) -> usize {
        self.width + self.beside
    }

    /// The values of the first `rows` rows.
    pub fn own(&self, rows: usize) -> Rows {
        self.columns(rows, 0, self.width)
    }

    /// Columns `from..from + width`.
    pub fn columns(&self, rows: usize, from: usize, width: usize) -> Rows {
        self.buffer.rows(rows, from, width, self.stride())
    }

    /// The first `pad` columns behind the values.
    pub fn inside(&self, rows: usize, pad: usize) -> Rows {
        self.columns(rows, self.width, pad)
    }

    /// The values and the first `pad` columns behind them.
    pub fn both(&self, rows: usize, pad: usize) -> Rows {
        self.columns(rows, 0, self.width + pad)
    }
}
