//! Attention on Hopper; kernels in attention_hopper.cu and attention_hopper_back.cu.

use super::{Attend, Backward, Dims, Seen, heads, with_lists};
use crate::cuda::tiles::{Tile, hopper as kernels};
use crate::cuda::{Error, Gpu, Map, Rows, args};

const FORWARD: &str = "attention_hopper";
const BACKWARD: &str = "attention_hopper_back";

/// Rows of a box of q, o and do, and of k and v.
const BOX: [u32; 2] = [64, 128];

/// Tiles of the forward pass, by key and by query of the backward pass.
pub(super) fn tiles(d: Dims) -> [Tile; 3] {
    [kernels::forward_tile(kernels::compiled_head(d.head_dim)), kernels::KEYS, kernels::QUERIES]
}

/// What all three kernels read.
struct Maps {
    q: Map,
    k: Map,
    v: Map,
    o: Map,
    last: Map,
    pos: Map,
}

impl Maps {
    fn of(gpu: &Gpu, qkv: Rows, o: Rows, seen: &Seen, d: Dims) -> Result<Maps, Error> {
        let [q, k, v] = heads(qkv, d);
        let map = |of, rows| Map::heads(gpu, of, d.head_dim, rows);
        let list = |which: usize| Map::list(gpu, &seen.arrays[which], seen.how.rows, BOX[1]);
        Ok(Maps { q: map(q, BOX[0])?, k: map(k, BOX[1])?, v: map(v, BOX[1])?, o: map(o, BOX[0])?, last: list(0)?, pos: list(1)? })
    }
}

/// Blocks that stay and take one tile of queries of a head after another: one a multiprocessor.
fn blocks(gpu: &Gpu, d: Dims, rows: usize, tile: Tile) -> (usize, usize, usize) {
    ((rows.div_ceil(tile.queries) * d.heads).min(gpu.about().multiprocessors as usize), 1, 1)
}

/// As [`super::forward`].
pub(super) fn forward(gpu: &Gpu, a: Attend, qkv: Rows, o: Rows, seen: &Seen, d: Dims) -> Result<(), Error> {
    if o.rows == 0 {
        return Ok(());
    }
    let (m, head) = (Maps::of(gpu, qkv, o, seen, d)?, kernels::compiled_head(d.head_dim));
    let (name, launch) = (if head == 64 { "attend_hopper_64" } else { "attend_hopper_128" }, kernels::forward(head));
    let grid = blocks(gpu, d, o.rows, kernels::forward_tile(head));
    gpu.launch(FORWARD, name, grid, launch.threads as usize, launch.shared as usize, args![m.q, m.k, m.v, m.o, m.last, m.pos, a]);
    Ok(())
}

/// As [`super::backward`]: first dq, whose kernel also writes what the other reads of delta, then dk and dv.
pub(super) fn backward(gpu: &Gpu, b: Backward, d_o: Rows, (o, qkv): (Rows, Rows), seen: &Seen, d: Dims) -> Result<(), Error> {
    if o.rows == 0 {
        return Ok(());
    }
    let (m, head) = (Maps::of(gpu, qkv, o, seen, d)?, kernels::compiled_head(d.head_dim));
    let d_o = Map::heads(gpu, d_o, d.head_dim, BOX[0])?;
    let (name, launch) = (if head == 64 { "attend_hopper_dq_64" } else { "attend_hopper_dq_128" }, kernels::queries(head));
    let (grid, by_query) = (blocks(gpu, d, o.rows, kernels::QUERIES), Backward { at: with_lists(b.at, seen, 2), ..b });
    let args = args![m.q, m.k, m.v, m.o, d_o, m.last, m.pos, by_query];
    gpu.launch(BACKWARD, name, grid, launch.threads as usize, launch.shared as usize, args);
    let (name, launch) = (if head == 64 { "attend_hopper_dkdv_64" } else { "attend_hopper_dkdv_128" }, kernels::keys(head));
    let (parts, by_key) = (seen.how.parts, Backward { at: with_lists(b.at, seen, 1), ..b });
    let grid = (o.rows.div_ceil(kernels::KEYS.keys) * d.kv_heads * parts, 1, 1);
    let args = args![m.q, m.k, m.v, d_o, m.pos, by_key];
    gpu.launch_clusters(BACKWARD, name, (grid, parts), launch.threads as usize, launch.shared as usize, args);
    Ok(())
}
