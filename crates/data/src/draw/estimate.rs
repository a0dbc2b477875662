//! From verdicts to rates: of the sample by chance for the whole data, of the sample by risk for itself alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::drawn::{Drawn, Stratum};
use super::review::{Reviewed, Verdict};
use crate::interval::{half_width, needed, wilson};

/// A share of defects.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    pub name: String,
    pub reviewed: usize,
    pub defects: usize,
    /// Weighted where parts were drawn from unevenly.
    pub share: f64,
    pub interval: (f64, f64),
}

/// What a review tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Of the whole data, by the sample by chance.
    pub random: Rate,
    /// By how many unweighted examples the same would be known.
    pub effective: f64,
    /// The same of each part of the data.
    pub cells: Vec<Rate>,
    /// The same of each kind of defect.
    pub kinds: Vec<Rate>,
    /// Of the sample by risk; its share says nothing of the whole.
    pub risk: Option<Rate>,
    /// Kinds among the defects of the sample by risk.
    pub risk_kinds: Vec<(String, usize)>,
    /// Rows without a verdict.
    pub open: usize,
    /// Parts of which no row has a verdict, which the rate leaves out.
    pub unseen: Vec<String>,
    /// How far the interval reaches to one side on average.
    pub half_width: f64,
    /// Further examples by chance for the wanted width; nothing where it is reached.
    pub more: usize,
}

/// Estimates. `half` is the wanted half width of the interval, as a share.
pub fn estimate(drawn: &Drawn, reviewed: &Reviewed, half: f64) -> Estimate {
    let seen = |stratum: Stratum| {
        let rows = drawn.rows.iter().enumerate().filter(move |(_, row)| row.stratum == stratum);
        rows.filter_map(|(at, row)| Some((row, reviewed.verdicts[at]? == Verdict::Defect, reviewed.kinds[at].as_str()))).collect::<Vec<_>>()
    };
    let random = seen(Stratum::Random);
    let mut in_cell = vec![0usize; drawn.cells.len()];
    random.iter().filter_map(|(row, ..)| row.cell).for_each(|cell| in_cell[cell] += 1);
    // Each row stands for the examples of its part that were not looked at.
    let weight = |cell: Option<usize>| cell.map_or(0.0, |cell| drawn.cells[cell].rows as f64 / in_cell[cell] as f64);
    let total: f64 = random.iter().map(|(row, ..)| weight(row.cell)).sum();
    let squares: f64 = random.iter().map(|(row, ..)| weight(row.cell).powi(2)).sum();
    let effective = if squares > 0.0 { total * total / squares } else { 0.0 };
    let rate = |name: &str, counts: &dyn Fn(&str) -> bool| {
        let hits: Vec<f64> = random.iter().filter(|(_, defect, kind)| *defect && counts(kind)).map(|(row, ..)| weight(row.cell)).collect();
        let share = if total > 0.0 { (hits.iter().sum::<f64>() / total).clamp(0.0, 1.0) } else { 0.0 };
        Rate { name: name.into(), reviewed: random.len(), defects: hits.len(), share, interval: wilson(share, effective) }
    };
    let mut kinds: BTreeMap<&str, Rate> = BTreeMap::new();
    for (_, _, kind) in random.iter().filter(|(_, defect, _)| *defect) {
        kinds.entry(kind).or_insert_with(|| rate(kind, &|of| of == *kind));
    }
    let mut kinds: Vec<Rate> = kinds.into_values().collect();
    kinds.sort_by(|a, b| b.share.total_cmp(&a.share));
    let of_cell = |(number, cell): (usize, &super::chance::Cell)| {
        let rows: Vec<bool> = random.iter().filter(|(row, ..)| row.cell == Some(number)).map(|(_, defect, _)| *defect).collect();
        plain(&cell.name, &rows)
    };
    let all = rate("all", &|_| true);
    let risky = seen(Stratum::Risk);
    let mut risk_kinds: BTreeMap<String, usize> = BTreeMap::new();
    risky.iter().filter(|(_, defect, _)| *defect).for_each(|(_, _, kind)| *risk_kinds.entry((*kind).into()).or_default() += 1);
    let verdicts: Vec<bool> = risky.iter().map(|(_, defect, _)| *defect).collect();
    let reached = half_width(all.share, effective);
    Estimate {
        effective,
        cells: drawn.cells.iter().enumerate().map(of_cell).collect(),
        kinds,
        risk: (!verdicts.is_empty()).then(|| plain("by risk", &verdicts)),
        risk_kinds: risk_kinds.into_iter().collect(),
        open: reviewed.verdicts.iter().filter(|verdict| verdict.is_none()).count(),
        unseen: drawn.cells.iter().zip(&in_cell).filter(|(_, seen)| **seen == 0).map(|(cell, _)| cell.name.clone()).collect(),
        half_width: reached,
        more: if reached <= half { 0 } else { needed(all.share, half).saturating_sub(effective.floor() as usize) },
        random: all,
    }
}

fn plain(name: &str, defects: &[bool]) -> Rate {
    let hits = defects.iter().filter(|defect| **defect).count();
    let share = if defects.is_empty() { 0.0 } else { hits as f64 / defects.len() as f64 };
    Rate { name: name.into(), reviewed: defects.len(), defects: hits, share, interval: wilson(share, defects.len() as f64) }
}

impl Rate {
    fn to_json(&self) -> Value {
        json!({ "name": self.name, "reviewed": self.reviewed, "defects": self.defects, "share": self.share, "interval": [self.interval.0, self.interval.1] })
    }
}

impl Estimate {
    /// As machines read it.
    pub fn to_json(&self) -> Value {
        let all = |rates: &[Rate]| rates.iter().map(Rate::to_json).collect::<Vec<_>>();
        json!({
            "random": self.random.to_json(),
            "effective": self.effective,
            "cells": all(&self.cells),
            "kinds": all(&self.kinds),
            "risk": self.risk.as_ref().map(Rate::to_json),
            "risk_kinds": self.risk_kinds.iter().map(|(kind, count)| (kind.clone(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "open": self.open,
            "unseen": self.unseen,
            "half_width": self.half_width,
            "more_needed": self.more,
        })
    }
}
