//! The nearest rows of each row: exact by an inverted index, with bounded lists where there are very many rows.

use rayon::prelude::*;

use super::vectors::{Rows, cosine};

/// A neighbour and its cosine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Near {
    pub index: u32,
    pub cosine: f32,
}

/// Whether a row may be its own neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// Queries and rows are the same list: row i is no neighbour of query i.
    Left,
    /// They are two lists.
    Kept,
}

/// Up to so many rows every shared feature is followed.
const EXACT: usize = 50_000;
/// Beyond, features that more rows have are not followed to find candidates; the candidates' cosines stay exact.
const FOLLOWED: usize = 2_000;

/// The `k` nearest of `rows` for each query, best first; ties go to the lower index. Rows without any common feature are none.
pub(crate) fn nearest(rows: &Rows, queries: &Rows, k: usize, own: Own) -> Vec<Vec<Near>> {
    let lists = inverted(rows);
    let follow = if rows.len() <= EXACT { usize::MAX } else { FOLLOWED };
    let one = |(sums, touched): &mut (Vec<f32>, Vec<u32>), query: usize| {
        let row = queries.row(query);
        for (feature, weight) in row {
            let list = &lists[*feature as usize];
            if list.len() > follow {
                continue;
            }
            for (index, other) in list {
                let sum = &mut sums[*index as usize];
                if *sum == 0.0 {
                    touched.push(*index);
                }
                *sum += weight * other;
            }
        }
        let found = touched.drain(..).map(|index| Near { index, cosine: std::mem::take(&mut sums[index as usize]) });
        let mut found: Vec<Near> = found.filter(|near| own == Own::Kept || near.index as usize != query).collect();
        best(&mut found, if follow == usize::MAX { k } else { 4 * k });
        if follow != usize::MAX {
            found.iter_mut().for_each(|near| near.cosine = cosine(row, rows.row(near.index as usize)));
            best(&mut found, k);
        }
        found
    };
    (0..queries.len()).into_par_iter().map_init(|| (vec![0.0; rows.len()], Vec::new()), one).collect()
}

/// For each feature the rows that have it.
fn inverted(rows: &Rows) -> Vec<Vec<(u32, f32)>> {
    let mut lists = vec![Vec::new(); rows.width];
    for index in 0..rows.len() {
        for (feature, weight) in rows.row(index) {
            lists[*feature as usize].push((index as u32, *weight));
        }
    }
    lists
}

fn best(found: &mut Vec<Near>, k: usize) {
    let order = |a: &Near, b: &Near| b.cosine.total_cmp(&a.cosine).then(a.index.cmp(&b.index));
    if found.len() > k && k > 0 {
        found.select_nth_unstable_by(k - 1, order);
    }
    found.truncate(k);
    found.sort_unstable_by(order);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_no_row_is_its_own() {
        let row = |cells: &[(u32, f32)]| cells.to_vec();
        let rows = Rows::new(vec![row(&[(0, 1.0)]), row(&[(0, 0.6), (1, 0.8)]), row(&[(1, 1.0)]), row(&[])], 2);
        let near = nearest(&rows, &rows, 2, Own::Left);
        let plain = |list: &[Near]| list.iter().map(|near| near.index).collect::<Vec<_>>();
        assert_eq!(plain(&near[0]), [1]);
        assert_eq!(plain(&near[1]), [2, 0]);
        assert_eq!(plain(&near[3]), [0; 0]);
        assert_eq!(plain(&nearest(&rows, &rows, 1, Own::Kept)[2]), [2]);
    }
}
