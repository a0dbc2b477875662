//! Training and held-out examples: nothing that belongs together stands on both sides, and every label has its share.

use std::collections::BTreeMap;

use super::error::{Error, Result};
use super::select::{newest, stratified};
use super::units::{Units, named, units};
use super::when::seconds;
use crate::error::RowFault;
use crate::interval::{needed, wilson};
use crate::item::{Content, Item};
use crate::labels::labels;

/// Fewer held-out examples tell too little.
const FEWEST: usize = 50;
/// Of small sets no more than one in so many is held out.
const PART: usize = 5;

/// How many examples are held out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// As many as a rate needs to be known to so much to either side, and a fifth at most.
    Auto {
        half_width: f64,
    },
    Rows(usize),
    /// A share of all, from 0 to 1.
    Share(f64),
}

/// How to split.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitOptions {
    pub size: Size,
    pub seed: u64,
    /// The field whose equal values stay together; without one, `group` where there is any.
    pub group: Option<String>,
    /// The field that names the label; without one, answers that repeat.
    pub label: Option<String>,
    /// Whether the newest are held out, in place of some by chance.
    pub by_time: bool,
}

/// Which examples are held out, and how that came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// One an example: whether it is held out.
    pub held: Vec<bool>,
    pub facts: Facts,
}

/// A label's examples on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelCount {
    pub label: String,
    pub train: usize,
    pub eval: usize,
}

/// How a split came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    pub train: usize,
    pub eval: usize,
    /// Held-out examples that were wanted.
    pub wanted: usize,
    /// Units that stay together, single examples too.
    pub units: usize,
    /// Examples of the largest one.
    pub largest: usize,
    pub group: String,
    pub groups: usize,
    pub grouped: usize,
    pub clusters: usize,
    pub clustered: usize,
    /// What labels were taken from.
    pub labels_from: Option<String>,
    pub labels: Vec<LabelCount>,
    /// Of a split by time: the moment in seconds from which on all is held out.
    pub cutoff: Option<i64>,
    /// The interval of a rate of 80 % on the held-out examples.
    pub at_80: (f64, f64),
}

/// Splits.
///
/// # Errors
/// A row that cannot be trained on, a field that no row has, a time that is missing, or a size that cannot be.
pub fn split(items: &[Item], options: &SplitOptions) -> Result<Split> {
    refuse_broken(items)?;
    let group = options.group.clone().unwrap_or_else(|| "group".into());
    if options.group.is_some() && !items.iter().any(|item| named(item, &group).is_some()) {
        return Err(Error::NoField { field: group });
    }
    let labels = labels(items, options.label.as_deref());
    if let (Some(field), None) = (&options.label, &labels.from) {
        return Err(Error::NoField { field: field.clone() });
    }
    let wanted = wanted(options.size, items.len());
    if wanted * 2 > items.len() || wanted == 0 {
        return Err(Error::TooMany { wanted, rows: items.len() });
    }
    let found = units(items, &group, options.seed);
    if found.all.len() < 2 {
        return Err(Error::OneUnit { rows: items.len() });
    }
    let (chosen, cutoff) = if options.by_time {
        let (chosen, cutoff) = newest(&found.all, &times(items, &found)?, wanted);
        (chosen, Some(cutoff))
    } else {
        (stratified(&found.all, &labels.of, wanted), None)
    };
    let mut held = vec![false; items.len()];
    for (unit, _) in found.all.iter().zip(&chosen).filter(|(_, chosen)| **chosen) {
        unit.rows.iter().for_each(|row| held[*row] = true);
    }
    let eval = held.iter().filter(|held| **held).count();
    if eval == 0 || eval == items.len() {
        return Err(Error::OneUnit { rows: items.len() });
    }
    let facts = Facts {
        train: items.len() - eval,
        eval,
        wanted,
        units: found.all.len(),
        largest: found.all.iter().map(|unit| unit.rows.len()).max().unwrap_or(0),
        group,
        groups: found.groups,
        grouped: found.grouped,
        clusters: found.clusters,
        clustered: found.clustered,
        labels: if labels.from.is_some() { counted(&labels.of, &held) } else { Vec::new() },
        labels_from: labels.from,
        cutoff,
        at_80: wilson(0.8, eval as f64),
    };
    Ok(Split { held, facts })
}

/// Training refuses such rows too.
fn refuse_broken(items: &[Item]) -> Result<()> {
    let faults = items.iter().filter_map(|item| match &item.content {
        Content::Broken(fault) => Some((item, RowFault { line: item.line, fault: fault.clone() })),
        _ => None,
    });
    let (broken, faults): (Vec<&Item>, Vec<RowFault>) = faults.unzip();
    let Some(first) = broken.first() else { return Ok(()) };
    let of_file = |item: &&Item| item.file == first.file;
    let rows = items.iter().filter(of_file).count();
    let faults = broken.iter().zip(faults).filter(|(item, _)| of_file(item)).map(|(_, fault)| fault).collect();
    Err(crate::Error::Rows { path: first.file.clone(), rows, faults }.into())
}

fn wanted(size: Size, rows: usize) -> usize {
    match size {
        Size::Rows(rows) => rows,
        Size::Share(share) => ((rows as f64 * share).round() as usize).max(1),
        // Of few examples a third, so that training keeps most.
        Size::Auto { half_width } => needed(0.5, half_width).min(rows / PART).max(FEWEST.min(rows / 3)),
    }
}

/// The latest moment of each unit.
fn times(items: &[Item], units: &Units) -> Result<Vec<i64>> {
    let time = |item: &Item| item.tag("at").and_then(serde_json::Value::as_str).and_then(seconds);
    let missing: Vec<&Item> = items.iter().filter(|item| time(item).is_none()).collect();
    if let Some(first) = missing.first() {
        let first = format!("{} line {}", first.file.display(), first.line);
        return Err(Error::NoTime { count: missing.len(), rows: items.len(), first });
    }
    Ok(units.all.iter().map(|unit| unit.rows.iter().filter_map(|row| time(&items[*row])).max().unwrap_or(i64::MIN)).collect())
}

fn counted(labels: &[Option<String>], held: &[bool]) -> Vec<LabelCount> {
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (label, held) in labels.iter().zip(held) {
        counts.entry(label.as_deref().unwrap_or("(none)")).or_default()[usize::from(*held)] += 1;
    }
    counts.into_iter().map(|(label, [train, eval])| LabelCount { label: label.into(), train, eval }).collect()
}
