//! Inputs put together by likeness: spherical k-means with a settled start, then groups that are alike become one.

use rayon::prelude::*;

use crate::meaning::vectors::Rows;

/// Rounds of k-means.
const ROUNDS: usize = 12;
/// Groups whose centres have this cosine are one.
const ALIKE: f32 = 0.6;
/// A member's cosine with its centre, at least.
const LOOSE: f32 = 0.15;

/// Groups of at least `least` of the picked rows, the most typical row first.
pub(crate) fn groups(rows: &Rows, picked: &[usize], least: usize) -> Vec<Vec<usize>> {
    if picked.len() < least {
        return Vec::new();
    }
    // Twice as many centres as there can be gaps; what belongs together is joined afterwards.
    let wanted = (2 * picked.len() / least).clamp(1, 256);
    let mut centres = starts(rows, picked, wanted);
    let mut own = assign(rows, picked, &centres);
    for _ in 0..ROUNDS {
        centres = means(rows, picked, &own, centres.len());
        let next = assign(rows, picked, &centres);
        if next.iter().zip(&own).all(|(a, b)| a.0 == b.0) {
            break;
        }
        own = next;
    }
    let joined = join(&centres);
    own.iter_mut().for_each(|(centre, _)| *centre = joined[*centre]);
    let centres = means(rows, picked, &own, centres.len());
    let mut groups: Vec<Vec<(usize, f32)>> = vec![Vec::new(); centres.len()];
    for (row, (centre, _)) in picked.iter().zip(&own) {
        groups[*centre].push((*row, dot(rows.row(*row), &centres[*centre])));
    }
    let tidy = |mut group: Vec<(usize, f32)>| {
        group.retain(|(_, likeness)| *likeness >= LOOSE);
        group.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        group.into_iter().map(|(row, _)| row).collect::<Vec<_>>()
    };
    groups.into_iter().map(tidy).filter(|group| group.len() >= least).collect()
}

/// The first centre is the first row; each further one the row that is least like all centres so far.
fn starts(rows: &Rows, picked: &[usize], wanted: usize) -> Vec<Vec<f32>> {
    let mut centres = vec![dense(rows, picked[0])];
    let mut best: Vec<f32> = picked.par_iter().map(|row| dot(rows.row(*row), &centres[0])).collect();
    while centres.len() < wanted {
        let Some(place) = (0..picked.len()).min_by(|a, b| best[*a].total_cmp(&best[*b])).filter(|place| best[*place] < 0.999) else {
            break;
        };
        let centre = dense(rows, picked[place]);
        best.par_iter_mut().zip(picked).for_each(|(best, row)| *best = best.max(dot(rows.row(*row), &centre)));
        centres.push(centre);
    }
    centres
}

fn assign(rows: &Rows, picked: &[usize], centres: &[Vec<f32>]) -> Vec<(usize, f32)> {
    let best = |row: &usize| {
        let likeness = centres.iter().map(|centre| dot(rows.row(*row), centre)).enumerate();
        likeness.fold((0, f32::MIN), |best, next| if next.1 > best.1 { next } else { best })
    };
    picked.par_iter().map(best).collect()
}

/// The unit means of the groups; an empty group has a centre of zeros.
fn means(rows: &Rows, picked: &[usize], own: &[(usize, f32)], count: usize) -> Vec<Vec<f32>> {
    let mut centres = vec![vec![0.0; rows.width]; count];
    for (row, (centre, _)) in picked.iter().zip(own) {
        rows.row(*row).iter().for_each(|(feature, weight)| centres[*centre][*feature as usize] += weight);
    }
    for centre in &mut centres {
        let length = centre.iter().map(|weight| weight * weight).sum::<f32>().sqrt();
        if length > 0.0 {
            centre.iter_mut().for_each(|weight| *weight /= length);
        }
    }
    centres
}

/// For each centre the first one that it is alike to.
fn join(centres: &[Vec<f32>]) -> Vec<usize> {
    let like = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let mut joined: Vec<usize> = (0..centres.len()).collect();
    for one in 0..centres.len() {
        if let Some(first) = (0..one).find(|first| joined[*first] == *first && like(&centres[*first], &centres[one]) >= ALIKE) {
            joined[one] = first;
        }
    }
    joined
}

fn dense(rows: &Rows, row: usize) -> Vec<f32> {
    let mut centre = vec![0.0; rows.width];
    rows.row(row).iter().for_each(|(feature, weight)| centre[*feature as usize] = *weight);
    centre
}

fn dot(row: &[(u32, f32)], centre: &[f32]) -> f32 {
    row.iter().map(|(feature, weight)| weight * centre[*feature as usize]).sum()
}
