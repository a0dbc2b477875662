//! Judges of the lists: the mask itself, pair by pair, over random trees, windows and sizes of tiles.

use super::*;
use testkit::Random;

/// Sees what `ancestor_rows` says; shares nothing with the lists.
fn mask(layout: &Layout, window: Option<usize>) -> Vec<Vec<bool>> {
    let rows = layout.tokens();
    let pos = layout.positions();
    let mut seen = vec![vec![false; rows]; rows];
    for (s, segment) in layout.segments().iter().enumerate() {
        let above = layout.ancestor_rows(s, 0);
        for i in segment.start..segment.start + segment.len {
            let own = (segment.start..=i).map(|j| j as u32);
            for j in above.iter().copied().chain(own) {
                seen[i][j as usize] = window.is_none_or(|w| ((pos[i] - pos[j as usize]) as usize) < w);
            }
        }
    }
    seen
}

/// The lists by looking at every pair.
fn brute(seen: &[Vec<bool>], tile: Tile, side: impl Fn(usize, usize) -> (usize, usize), tiles: (usize, usize)) -> Lists {
    let mut lists = Builder::default();
    for own in 0..tiles.0 {
        for other in 0..tiles.1 {
            let (queries, keys) = side(own, other);
            let (mut any, mut all) = (false, true);
            for i in queries * tile.queries..(queries + 1) * tile.queries {
                for j in keys * tile.keys..(keys + 1) * tile.keys {
                    let sees = seen.get(i).and_then(|row| row.get(j)).copied().unwrap_or(false);
                    any |= sees;
                    all &= sees;
                }
            }
            if any {
                lists.tiles.push(other as u32 * 2 + u32::from(!all));
            }
        }
        lists.close();
    }
    lists.finish()
}

/// A tree in depth-first order, some of its segments empty.
fn tree(random: &mut Random, segments: usize) -> Layout {
    let (mut layout, mut path) = (Layout::new(), Vec::new());
    for _ in 0..segments {
        path.truncate(path.len() - random.below(path.len() + 1).min(random.below(path.len() + 1)));
        let len = [0, 1, 1, 2, 5, 9, 16, 40][random.below(8)];
        path.push(layout.push(len, path.last().copied()));
    }
    layout
}

const TILES: [Tile; 5] = [
    Tile { queries: 16, keys: 8 },
    Tile { queries: 8, keys: 16 },
    Tile { queries: 7, keys: 5 },
    Tile { queries: 1, keys: 3 },
    Tile { queries: 64, keys: 64 },
];

#[test]
fn lists_are_those_of_the_mask() {
    let mut random = Random::new(7);
    for round in 0..120 {
        let segments = 1 + random.below(14);
        let layout = tree(&mut random, segments);
        let window = [None, Some(1), Some(6), Some(23)][round % 4];
        let (seen, reach, rows) = (mask(&layout, window), reach(&layout), layout.tokens());
        for tile in TILES {
            let (nq, nk) = (rows.div_ceil(tile.queries), rows.div_ceil(tile.keys));
            let queries = by_query(&layout, &reach, tile, window);
            assert_eq!(queries, brute(&seen, tile, |own, other| (own, other), (nq, nk)), "{layout:?} {tile:?} {window:?}");
            let keys = by_key(&queries, rows, tile);
            assert_eq!(keys, brute(&seen, tile, |own, other| (other, own), (nk, nq)), "{layout:?} {tile:?} {window:?}");
        }
    }
}

#[test]
fn a_row_reaches_what_continues_it() {
    let mut random = Random::new(11);
    for _ in 0..50 {
        let layout = tree(&mut random, 12);
        let (seen, reach) = (mask(&layout, None), reach(&layout));
        assert_eq!(reach.pos, layout.positions());
        for (i, row) in seen.iter().enumerate() {
            for (j, &sees) in row.iter().enumerate() {
                assert_eq!(sees, j <= i && i < reach.last[j] as usize, "{layout:?}: row {i}, key {j}");
            }
        }
    }
}

#[test]
fn a_shared_prefix_is_met_by_all_and_the_examples_by_themselves() {
    let mut layout = Layout::new();
    let prefix = layout.push(128, None);
    for _ in 0..2 {
        layout.push(64, Some(prefix));
    }
    let lists = by_query(&layout, &reach(&layout), Tile { queries: 64, keys: 64 }, None);
    assert_eq!(lists.start, [0, 1, 3, 6, 9]);
    assert_eq!(lists.tiles, [1, 0, 3, 0, 2, 5, 0, 2, 7]);
    assert_eq!(lists.order, [2, 3, 1, 0]);
    let keys = by_key(&lists, layout.tokens(), Tile { queries: 64, keys: 64 });
    assert_eq!(keys.start, [0, 4, 7, 8, 9]);
    assert_eq!(keys.tiles, [1, 2, 4, 6, 3, 4, 6, 5, 7]);
}

#[test]
fn kernels_fit_into_the_shared_memory_of_small_gpus() {
    const SMALL: u32 = 99 << 10;
    const LARGE: u32 = 227 << 10;
    for head_dim in [8, 32, 48, 64, 80, 96, 128] {
        let head = compiled_head(head_dim).unwrap();
        assert!(head >= head_dim);
        for launch in [forward(head), queries(head), keys(head, SMALL)] {
            assert!(launch.shared <= SMALL, "{head}: {launch:?}");
        }
    }
    assert_eq!(compiled_head(129), None);
    assert_eq!((keys(128, SMALL).threads, keys(128, LARGE).threads), (128, 256));
    assert_eq!((keys(64, SMALL).threads, keys(64, LARGE).threads), (256, 384));
    assert_eq!(forward(128), Launch { threads: 128, shared: 88_064 });
}

#[test]
fn an_empty_micro_batch_has_no_tiles() {
    let layout = Layout::new();
    let lists = by_query(&layout, &reach(&layout), TILES[0], None);
    assert_eq!((lists.start.as_slice(), lists.tiles.len(), lists.order.len()), ([0].as_slice(), 0, 0));
    assert_eq!(by_key(&lists, 0, TILES[0]), lists);
}

#[test]
#[should_panic(expected = "depth-first")]
fn a_branch_that_is_left_cannot_be_continued() {
    let mut layout = Layout::new();
    let root = layout.push(3, None);
    let a = layout.push(2, Some(root));
    layout.push(4, Some(root));
    layout.push(1, Some(a));
    reach(&layout);
}
