//! Which tiles of a micro-batch's attention meet: the lists by which its kernels skip what no token sees, and their sizes.
//!
//! Segments lie in depth-first order, so the rows that continue row j are j's own followers and end at `last[j]`:
//! row i sees row j when `j <= i && i < last[j]`. Whether a whole pair of tiles is seen then needs three numbers of a
//! tile, and which tiles a tile meets is read off the branch that its first row continues: no mask is ever built.

use crate::layout::Layout;
use std::cmp::Reverse;

pub mod hopper;
#[cfg(test)]
mod tests;

/// What a kernel knows of every row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// One past the last row that continues this one.
    pub last: Vec<u32>,
    /// Position in its own sequence.
    pub pos: Vec<u32>,
}

/// Rows of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// On the side of the queries.
    pub queries: usize,
    /// On the side of the keys.
    pub keys: usize,
}

/// The tiles of the other side that each tile of one side meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists {
    /// Tile t's entries are `tiles[start[t]..start[t + 1]]`.
    pub start: Vec<u32>,
    /// Ascending: index * 2, plus 1 when some pair of rows is hidden or beyond the micro-batch.
    pub tiles: Vec<u32>,
    /// All tiles, those with the most entries first.
    pub order: Vec<u32>,
}

/// Rows of a tile of the forward.
pub const FORWARD: Tile = Tile { queries: 128, keys: 64 };
/// Rows of a tile of both kernels of the backward.
pub const BACKWARD: Tile = Tile { queries: 64, keys: 64 };

/// How a kernel of `ops/attention.cu` is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

/// The compiled size that a head of `head_dim` columns runs at: what it lacks is filled with zeros.
pub fn compiled_head(head_dim: usize) -> Option<usize> {
    [32, 64, 96, 128].into_iter().find(|&size| head_dim <= size)
}

/// `attention_forward_{head}` over heads and [`FORWARD`] tiles of queries.
pub fn forward(head: usize) -> Launch {
    Launch { threads: 128, shared: (FORWARD.queries * pitch(head) + 3 * FORWARD.keys * pitch(head) + 4 * FORWARD.keys * 4) as u32 }
}

/// `attention_queries_{head}` over heads and [`BACKWARD`] tiles of queries.
pub fn queries(head: usize) -> Launch {
    Launch { threads: 128, shared: (4 * BACKWARD.keys * pitch(head) + 2 * BACKWARD.keys * 4) as u32 }
}

/// `attention_keys_{head}` over key heads and [`BACKWARD`] tiles of keys: as many groups of warps share a block's work as
/// its registers and the `limit` bytes of shared memory that a block may have allow.
pub fn keys(head: usize, limit: u32) -> Launch {
    let group = (4 * BACKWARD.queries * (pitch(head) + 4)) as u32;
    let most = match head {
        32 => 4,
        64 => 3,
        _ => 2,
    };
    let groups = (limit / group).clamp(1, most);
    Launch { threads: 128 * groups, shared: group * groups }
}

/// Bytes from row to row of a tile in shared memory.
fn pitch(head: usize) -> usize {
    head * 2 + 16
}

/// How far each row is seen, and its position.
///
/// # Panics
/// When the segments are not in depth-first order: each directly after its parent or a descendant of its parent.
pub fn reach(layout: &Layout) -> Reach {
    let segments = layout.segments();
    let mut end: Vec<usize> = segments.iter().map(|s| s.start + s.len).collect();
    for (s, segment) in segments.iter().enumerate().rev() {
        if let Some(parent) = segment.parent {
            end[parent] = end[parent].max(end[s]);
        }
    }
    let mut branch = Branch::default();
    let mut last = Vec::with_capacity(layout.tokens());
    for (s, segment) in segments.iter().enumerate() {
        branch.turn_to(s, segment.parent);
        last.extend(std::iter::repeat_n(end[s] as u32, segment.len));
    }
    Reach { last, pos: layout.positions() }
}

/// For each tile of queries the tiles of keys that some of its rows see; with a window, a row sees itself and the
/// `window - 1` positions before it.
pub fn by_query(layout: &Layout, reach: &Reach, tile: Tile, window: Option<usize>) -> Lists {
    let rows = layout.tokens();
    let facts = Facts::new(reach, tile, window);
    let mut lists = Builder::default();
    let (mut branch, mut first, mut nearest) = (Branch::default(), 0, Vec::with_capacity(tile.queries));
    for (s, segment) in layout.segments().iter().enumerate() {
        branch.turn_to(s, segment.parent);
        while first < segment.start + segment.len {
            let past = rows.min(first + tile.queries);
            if window.is_some() {
                running_minima(&reach.pos[first..past], &mut nearest);
            }
            let mut next = 0; // key tiles below are listed or not met
            let mut list = |from: usize, to: usize, lists: &mut Builder| {
                for keys in next.max(from / tile.keys)..to.div_ceil(tile.keys) {
                    lists.tiles.push(facts.entry(first / tile.queries, keys));
                    next = keys + 1;
                }
            };
            for &ancestor in &branch.path {
                let old = &layout.segments()[ancestor];
                let (mut from, to) = (old.start, first.min(old.start + old.len));
                if from >= to {
                    continue;
                }
                if let Some(window) = window {
                    // Of the rows here that continue the ancestor, the one with the lowest position sees furthest back.
                    let continued = past.min(reach.last[old.start] as usize) - first;
                    let seen_from = (nearest[continued - 1] as usize + 1).saturating_sub(window);
                    from += seen_from.saturating_sub(layout.first_position(ancestor));
                }
                if from < to {
                    list(from, to, &mut lists);
                }
            }
            list(first, past, &mut lists);
            lists.close();
            first += tile.queries;
        }
    }
    lists.finish()
}

/// For each tile of keys the tiles of queries that see some of its rows: the same pairs as `lists`, seen from the keys.
pub fn by_key(lists: &Lists, rows: usize, tile: Tile) -> Lists {
    let mut start = vec![0_u32; rows.div_ceil(tile.keys) + 1];
    for entry in &lists.tiles {
        start[(entry >> 1) as usize + 1] += 1;
    }
    for t in 1..start.len() {
        start[t] += start[t - 1];
    }
    let (mut free, mut tiles) = (start.clone(), vec![0; lists.tiles.len()]);
    for (queries, ends) in lists.start.windows(2).enumerate() {
        for entry in &lists.tiles[ends[0] as usize..ends[1] as usize] {
            let at = &mut free[(entry >> 1) as usize];
            tiles[*at as usize] = queries as u32 * 2 + (entry & 1);
            *at += 1;
        }
    }
    Lists { order: heaviest_first(&start), start, tiles }
}

/// The segments that the current one continues, outermost first, and itself.
#[derive(Default)]
struct Branch {
    path: Vec<usize>,
}

impl Branch {
    fn turn_to(&mut self, segment: usize, parent: Option<usize>) {
        while self.path.last().copied() != parent {
            let left = self.path.pop();
            assert!(left.is_some(), "segment {segment} does not follow its parent {parent:?} in depth-first order");
        }
        self.path.push(segment);
    }
}

/// What decides whether every pair of two tiles is seen.
struct Facts {
    tile: Tile,
    rows: usize,
    window: Option<usize>,
    /// Of the keys of a tile, the earliest end.
    earliest_end: Vec<u32>,
    /// Of the keys of a tile, the lowest position.
    lowest: Vec<u32>,
    /// Of the queries of a tile, the highest position.
    highest: Vec<u32>,
}

impl Facts {
    fn new(reach: &Reach, tile: Tile, window: Option<usize>) -> Facts {
        let least = |of: &[u32]| of.chunks(tile.keys).map(|c| c.iter().copied().fold(u32::MAX, u32::min)).collect();
        let highest = reach.pos.chunks(tile.queries).map(|c| c.iter().copied().fold(0, u32::max)).collect();
        Facts { tile, rows: reach.last.len(), window, earliest_end: least(&reach.last), lowest: least(&reach.pos), highest }
    }

    /// The entry of a tile of keys in the list of a tile of queries.
    fn entry(&self, queries: usize, keys: usize) -> u32 {
        let (first, past) = (queries * self.tile.queries, (queries + 1) * self.tile.queries);
        let past_key = (keys + 1) * self.tile.keys;
        // The last key is before every query, no key ends before the last query, and the furthest pair is within the window.
        let whole = past <= self.rows
            && past_key <= first + 1
            && past <= self.earliest_end[keys] as usize
            && self.window.is_none_or(|w| ((self.highest[queries] - self.lowest[keys]) as usize) < w);
        keys as u32 * 2 + u32::from(!whole)
    }
}

/// Lists under construction, tile after tile.
#[derive(Default)]
struct Builder {
    ends: Vec<u32>,
    tiles: Vec<u32>,
}

impl Builder {
    fn close(&mut self) {
        self.ends.push(self.tiles.len() as u32);
    }

    fn finish(self) -> Lists {
        let start: Vec<u32> = std::iter::once(0).chain(self.ends).collect();
        Lists { order: heaviest_first(&start), start, tiles: self.tiles }
    }
}

/// Equal tiles keep their order, so that the same micro-batch is launched in the same way.
fn heaviest_first(start: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..start.len() as u32 - 1).collect();
    order.sort_by_key(|&t| Reverse(start[t as usize + 1] - start[t as usize]));
    order
}

/// `to[n]` is the least of the first n + 1.
fn running_minima(of: &[u32], to: &mut Vec<u32>) {
    to.clear();
    to.extend(of.iter().scan(u32::MAX, |least, &x| {
        *least = x.min(*least);
        Some(*least)
    }));
}
