//! Examples by chance, from every cell in proportion, spread over what is alike inside of it.

use std::collections::BTreeMap;

use crate::freeze::shares;

/// A part of the data that is drawn from by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub name: String,
    /// Examples in it.
    pub rows: usize,
    /// How many of them are drawn.
    pub drawn: usize,
}

/// What is known of an example before it is drawn.
pub(super) struct Candidate {
    /// Its place among the examples.
    pub at: usize,
    pub cell: String,
    /// What is alike has the same number: such examples stand beside each other, and steps pass over them.
    pub cluster: u64,
    pub rank: u64,
}

/// Draws `count` examples. Gives their places with the number of their cell, and the cells.
pub(super) fn by_chance(candidates: Vec<Candidate>, count: usize, start: &dyn Fn(&str) -> f64) -> (Vec<(usize, usize)>, Vec<Cell>) {
    let all = candidates.len();
    let count = count.min(all);
    let mut cells: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        cells.entry(candidate.cell.clone()).or_default().push(candidate);
    }
    let mut cells = pooled(cells, all, count);
    let counts: Vec<usize> = cells.values().map(Vec::len).collect();
    let wanted = at_least_one(shares(&counts, count));
    let (mut drawn, mut told) = (Vec::new(), Vec::new());
    for (number, ((name, rows), wanted)) in cells.iter_mut().zip(&wanted).enumerate() {
        rows.sort_by_key(|row| (row.cluster, row.rank, row.at));
        // Every row has the same chance: the first by chance inside of the first step, then a step each.
        let step = rows.len() as f64 / (*wanted).max(1) as f64;
        let first = start(name) * step;
        let places = (0..*wanted).map(|k| ((first + k as f64 * step) as usize).min(rows.len() - 1));
        drawn.extend(places.map(|place| (rows[place].at, number)));
        told.push(Cell { name: name.clone(), rows: rows.len(), drawn: *wanted });
    }
    (drawn, told)
}

/// Cells that are too small for one example are drawn from together.
fn pooled(cells: BTreeMap<String, Vec<Candidate>>, all: usize, count: usize) -> BTreeMap<String, Vec<Candidate>> {
    let (large, small): (BTreeMap<_, _>, BTreeMap<_, _>) = cells.into_iter().partition(|(_, rows)| rows.len() * count >= all);
    let mut cells = large;
    if !small.is_empty() {
        let name = if small.len() == 1 { small.keys().next().cloned().unwrap_or_default() } else { format!("{} small parts", small.len()) };
        cells.entry(name).or_default().extend(small.into_values().flatten());
    }
    cells
}

/// No cell stays unseen while another has more than one.
fn at_least_one(mut wanted: Vec<usize>) -> Vec<usize> {
    while let Some(empty) = wanted.iter().position(|wanted| *wanted == 0) {
        match (0..wanted.len()).max_by_key(|at| wanted[*at]).filter(|at| wanted[*at] > 1) {
            Some(most) => {
                wanted[most] -= 1;
                wanted[empty] += 1;
            }
            None => break,
        }
    }
    wanted
}
