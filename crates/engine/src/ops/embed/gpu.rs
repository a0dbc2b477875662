//! Embedding on the GPU; kernels in embed.cu and rows.cu.

use crate::cuda::product::{Number, Type};
use crate::cuda::{Buffer, Error, Gpu, Rows, args};
use crate::ops::rows;

const FILE: &str = "embed";

/// `x` from the table; a token past it gives a row of NaN.
pub fn forward(gpu: &Gpu, x: Rows, table: Rows, tokens: &Buffer<u32>) {
    rows::pick(gpu, x, table, tokens);
}

/// Which rows each token has, on the device.
pub struct Places {
    order: Buffer<u32>,
    tokens: Buffer<u32>,
    starts: Buffer<u32>,
    distinct: usize,
    rows: usize,
}

impl Places {
    /// Room for `most` rows.
    ///
    /// # Errors
    /// When the device has not the memory.
    pub fn new(gpu: &std::sync::Arc<Gpu>, most: usize) -> Result<Places, Error> {
        let room = |n| Buffer::new(gpu, n);
        Ok(Places { order: room(most)?, tokens: room(most)?, starts: room(most + 1)?, distinct: 0, rows: 0 })
    }

    /// Sorts the rows by token.
    ///
    /// # Errors
    /// When the copy to the device fails.
    pub fn set(&mut self, tokens: &[u32]) -> Result<(), Error> {
        let mut order: Vec<u32> = (0..tokens.len() as u32).collect();
        order.sort_by_key(|&row| tokens[row as usize]);
        let (mut own, mut starts) = (Vec::new(), Vec::new());
        for (at, &row) in order.iter().enumerate() {
            if own.last() != Some(&tokens[row as usize]) {
                own.push(tokens[row as usize]);
                starts.push(at as u32);
            }
        }
        starts.push(order.len() as u32);
        (self.distinct, self.rows) = (own.len(), order.len());
        self.order.write(&order)?;
        self.tokens.write(&own)?;
        self.starts.write(&starts)
    }
}

/// Adds to `dtable` (vocab, width), float32 or bf16, from `dx`; the host has seen that the table has the tokens of `places`.
pub fn backward<T: Number>(gpu: &Gpu, dtable: &Buffer<T>, dx: Rows, places: &Places) {
    assert!(places.rows == dx.rows && dtable.len().is_multiple_of(dx.width), "{dx:?} for {} rows", places.rows);
    assert!(T::TYPE != Type::F8, "no gradient has 8 bits");
    let name = if T::TYPE == Type::F32 { "embed_backward_f32" } else { "embed_backward_bf16" };
    let (order, tokens, starts) = (places.order.address(), places.tokens.address(), places.starts.address());
    gpu.launch(
        FILE,
        name,
        (places.distinct, dx.width.div_ceil(1024), 1),
        128,
        0,
        args![dtable.address(), dx.at, order, tokens, starts, dx.width as u32, dx.stride as u32],
    );
}
