//! The same for the attention kernels of Hopper: their tiles, their launches, and how many blocks share a tile of keys.

use super::{Launch, Lists, Tile};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The compiled size that a head of `head_dim` columns runs at.
pub fn compiled_head(head_dim: usize) -> usize {
    if head_dim <= 64 { 64 } else { 128 }
}

/// Rows of a tile of the forward.
pub fn forward_tile(head: usize) -> Tile {
    Tile { queries: if head == 64 { 192 } else { 128 }, keys: 128 }
}

/// Rows of a tile of the kernel of dq.
pub const QUERIES: Tile = Tile { queries: 128, keys: 128 };
/// Rows of a tile of the kernel of dk and dv.
pub const KEYS: Tile = Tile { queries: 64, keys: 128 };

/// `attend_hopper_{head}`: a block a multiprocessor, or a head's tile.
pub fn forward(head: usize) -> Launch {
    if head == 64 { Launch { threads: 512, shared: 184_480 } } else { Launch { threads: 384, shared: 198_752 } }
}

/// `attend_hopper_dq_{head}`: likewise.
pub fn queries(head: usize) -> Launch {
    Launch { threads: 384, shared: if head == 64 { 100_432 } else { 198_736 } }
}

/// `attend_hopper_dkdv_{head}`: [`parts`] blocks a key head's tile.
pub fn keys(head: usize) -> Launch {
    Launch { threads: 384, shared: if head == 64 { 174_216 } else { 201_800 } }
}

/// Blocks that may share a tile, and what a tile costs each of them beside its pairs of tiles: half pairs, as measured on an H100.
const SHARED_COST: [(usize, u64); 4] = [(1, 5), (2, 10), (3, 13), (4, 15)];

/// How many blocks share a tile of keys, each with its share of the query heads that read a key head: as many as end soonest when
/// the tiles of `keys` are handed out heaviest first. The sums of dk and dv are added up by blocks, so their last bits depend on it:
/// it follows from the lists, the heads and the number of multiprocessors alone.
pub fn parts(keys: &Lists, (heads, kv_heads): (usize, usize), multiprocessors: usize) -> usize {
    let group = heads / kv_heads;
    let possible = SHARED_COST.iter().filter(|(parts, _)| group.is_multiple_of(*parts) && *parts <= multiprocessors);
    let end = |&&(parts, cost): &&(usize, u64)| {
        let mut free: BinaryHeap<Reverse<u64>> = (0..multiprocessors / parts).map(|_| Reverse(0)).collect();
        let mut last = 0;
        for &tile in &keys.order {
            let pairs = u64::from(keys.start[tile as usize + 1] - keys.start[tile as usize]);
            for _ in 0..kv_heads {
                let Reverse(start) = free.pop().unwrap_or_default();
                let end = start + 2 * pairs * (group / parts) as u64 + cost;
                last = last.max(end);
                free.push(Reverse(end));
            }
        }
        last
    };
    possible.min_by_key(end).map_or(1, |&(parts, _)| parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::kernels::SOURCES;
    use crate::cuda::tiles::{by_key, by_query, reach};
    use crate::layout::Layout;

    fn lists(sequences: &[usize]) -> Lists {
        let mut layout = Layout::new();
        sequences.iter().for_each(|&len| {
            layout.push(len, None);
        });
        by_key(&by_query(&layout, &reach(&layout), KEYS, None), layout.tokens(), KEYS)
    }

    #[test]
    fn few_tiles_are_shared_and_many_are_not() {
        let (few, many) = (lists(&[1024]), lists(&[2048; 32]));
        assert_eq!(parts(&few, (32, 8), 132), 4);
        assert_eq!(parts(&few, (9, 3), 132), 3);
        assert_eq!(parts(&few, (10, 5), 132), 2);
        assert_eq!(parts(&few, (8, 8), 132), 1);
        assert_eq!(parts(&many, (32, 8), 132), 1);
        assert_eq!(parts(&few, (32, 8), 1), 1);
        assert_eq!(parts(&lists(&[]), (32, 8), 132), 1);
    }

    #[test]
    fn the_shared_tile_that_ends_soonest_is_taken() {
        // Two key heads of one tile of 16 pairs, 4 query heads each, on 4 multiprocessors: alone each takes 2 * 64 + 5 half pairs,
        // in twos 2 * 32 + 10 at once, in fours 2 * 16 + 15 one after the other.
        let one = Lists { start: vec![0, 16], tiles: (0..16).collect(), order: vec![0] };
        assert_eq!(parts(&one, (8, 2), 4), 2);
        assert_eq!(parts(&one, (8, 2), 8), 4);
        assert_eq!(parts(&one, (8, 2), 2), 1);
    }

    #[test]
    fn kernels_ask_for_the_memory_that_they_were_compiled_with() {
        let text = |file: &str| SOURCES.iter().find(|s| s.file == file).expect("a source").text;
        let says = |file: &str, launch: Launch| text(file).contains(&format!("::BYTES == {}", launch.shared));
        for head in [64, 128] {
            assert!(says("attention_hopper", forward(head)));
            assert!(says("attention_hopper_back", queries(head)) && says("attention_hopper_back", keys(head)));
        }
    }
}
