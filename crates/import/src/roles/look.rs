//! What columns hold, from a look at some rows.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::shape::is_empty;
use crate::when;

/// Letters that a text has on average, from which it is prose and no word.
const PROSE: usize = 15;

/// A column, as its values in some rows show it.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub name: String,
    /// Rows in which it holds something.
    pub filled: usize,
    /// No value comes twice, and none is missing.
    pub unique: bool,
    /// The longest value, in bytes.
    pub longest: usize,
    /// Mostly sentences.
    pub prose: bool,
    /// Points in time.
    pub times: bool,
}

/// Looks at all columns, in the order in which they first come.
pub(super) fn look(rows: &[&Map<String, Value>]) -> Vec<Look> {
    let mut names: Vec<&String> = Vec::new();
    for row in rows {
        let new: Vec<&String> = row.keys().filter(|name| !names.contains(name)).collect();
        names.extend(new);
    }
    names.into_iter().map(|name| column(name, rows)).collect()
}

fn column(name: &str, rows: &[&Map<String, Value>]) -> Look {
    let filled: Vec<&Value> = rows.iter().filter_map(|row| row.get(name)).filter(|value| !is_empty(value)).collect();
    let texts: Vec<String> = filled.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string)).collect();
    let count = texts.len();
    let share = |test: fn(&&String) -> bool| texts.iter().filter(test).count();
    let letters: usize = texts.iter().map(|text| text.chars().count()).sum();
    let plain = filled.iter().all(|value| value.is_string());
    let different: HashSet<&String> = texts.iter().collect();
    let times = count > 0 && share(|text| when::parse(text).is_some()) * 10 >= count * 9;
    Look {
        name: name.to_string(),
        filled: count,
        unique: count == rows.len() && different.len() == count,
        longest: texts.iter().map(String::len).max().unwrap_or(0),
        prose: count > 0 && plain && !times && letters >= PROSE * count && share(|text| text.trim().contains(' ')) * 2 >= count,
        times,
    }
}
