//! What differs between two versions of a dataset: rows added, removed, changed, moved between the sides, and labels that shift.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::content::content;
use super::loaded::{Loaded, Side};
use super::words::{Piece, word_diff};
use crate::item::Item;
use crate::labels::labels;

/// A row that both versions have, with another content.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub id: String,
    /// Its lines in both.
    pub lines: [u32; 2],
    pub prompt: Vec<Piece>,
    pub answer: Vec<Piece>,
    /// Other fields that differ.
    pub fields: Vec<String>,
}

/// A row that stands on the other side now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub id: String,
    pub from: Side,
    pub to: Side,
}

/// A label's share of both versions.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    pub label: String,
    pub counts: [usize; 2],
    pub shares: [f64; 2],
}

/// The whole comparison.
#[derive(Debug, Clone)]
pub struct Diff {
    pub names: [String; 2],
    pub rows: [usize; 2],
    pub same: usize,
    pub added: Vec<Item>,
    pub removed: Vec<Item>,
    pub changed: Vec<Change>,
    pub moved: Vec<Moved>,
    pub labels_from: Option<String>,
    /// The largest shift first.
    pub shares: Vec<Share>,
    /// Half the sum of all shifts: the share of examples that would have to change their label.
    pub shift: f64,
}

/// Compares two versions: rows are found again by id, then by content, then by prompt.
pub fn diff(old: &Loaded, new: &Loaded, label: Option<&str>) -> Diff {
    let pairs = matched(old, new);
    let (mut same, mut changed, mut moved) = (0, Vec::new(), Vec::new());
    for &(a, b) in &pairs {
        let ((before, from), (after, to)) = (&old.rows[a], &new.rows[b]);
        match change(before, after) {
            Some(change) => changed.push(change),
            None => same += 1,
        }
        if from != to && *from != Side::Whole && *to != Side::Whole {
            moved.push(Moved { id: after.id.clone(), from: *from, to: *to });
        }
    }
    let rest = |rows: &[(Item, Side)], taken: Vec<usize>| {
        let mut kept = vec![true; rows.len()];
        taken.into_iter().for_each(|at| kept[at] = false);
        rows.iter().zip(kept).filter(|(_, kept)| *kept).map(|((item, _), _)| item.clone()).collect::<Vec<Item>>()
    };
    let removed = rest(&old.rows, pairs.iter().map(|pair| pair.0).collect());
    let added = rest(&new.rows, pairs.iter().map(|pair| pair.1).collect());
    let (labels_from, shares) = shares(old, new, label);
    let shift = shares.iter().map(|share| (share.shares[0] - share.shares[1]).abs()).sum::<f64>() / 2.0;
    let names = [old.name.clone(), new.name.clone()];
    Diff { names, rows: [old.rows.len(), new.rows.len()], same, added, removed, changed, moved, labels_from, shares, shift }
}

/// By what two rows are known to be the same one; nothing of a row that cannot be known so.
type Key = fn(&Item) -> Option<String>;

/// Rows that are the same one in both versions, in the order of the new one.
fn matched(old: &Loaded, new: &Loaded) -> Vec<(usize, usize)> {
    let own_id: Key = |item| item.tag("id").map(|_| item.id.clone());
    let by_content: Key = |item| Some(content(item));
    let by_prompt: Key = |item| Some(item.prompt()).filter(|prompt| !prompt.trim().is_empty());
    let keys: [Key; 3] = [own_id, by_content, by_prompt];
    let mut pairs = Vec::new();
    let mut free: [Vec<usize>; 2] = [(0..old.rows.len()).collect(), (0..new.rows.len()).collect()];
    for (pass, key) in keys.into_iter().enumerate() {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for &at in free[0].iter().rev() {
            if let Some(key) = key(&old.rows[at].0) {
                places.entry(key).or_default().push(at);
            }
        }
        // An id that stands twice names no row.
        let unique = pass > 0;
        let mut counts: HashMap<String, usize> = HashMap::new();
        if !unique {
            free[1].iter().filter_map(|&at| key(&new.rows[at].0)).for_each(|key| *counts.entry(key).or_default() += 1);
        }
        let before = pairs.len();
        for &at in &free[1] {
            let Some(key) = key(&new.rows[at].0) else { continue };
            let Some(list) = places.get_mut(&key) else { continue };
            if !unique && (list.len() != 1 || counts[&key] != 1) {
                continue;
            }
            pairs.extend(list.pop().map(|old| (old, at)));
        }
        let taken: [std::collections::HashSet<usize>; 2] =
            [pairs[before..].iter().map(|pair| pair.0).collect(), pairs[before..].iter().map(|pair| pair.1).collect()];
        free.iter_mut().zip(&taken).for_each(|(free, taken)| free.retain(|at| !taken.contains(at)));
    }
    pairs.sort_unstable_by_key(|pair| pair.1);
    pairs
}

/// What differs between two rows; nothing where they say the same.
fn change(before: &Item, after: &Item) -> Option<Change> {
    if content(before) == content(after) {
        return None;
    }
    let none = Map::new();
    let fields = |item: &Item| item.raw.as_object().cloned().unwrap_or_else(|| none.clone());
    let (a, b) = (fields(before), fields(after));
    let told = |name: &&String| !["id", "source", "fixed"].contains(&name.as_str());
    let mut names: Vec<String> = a.keys().chain(b.keys()).filter(told).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| a.get(name) != b.get(name));
    Some(Change {
        id: after.id.clone(),
        lines: [before.line, after.line],
        prompt: word_diff(&before.prompt(), &after.prompt()),
        answer: word_diff(before.answer().unwrap_or_default(), after.answer().unwrap_or_default()),
        fields: names,
    })
}

fn shares(old: &Loaded, new: &Loaded, label: Option<&str>) -> (Option<String>, Vec<Share>) {
    // Labels are taken from both together, so that a rare answer is a label in both or in none.
    let items: Vec<Item> = old.rows.iter().chain(&new.rows).map(|(item, _)| item.clone()).collect();
    let labels = labels(&items, label);
    if labels.from.is_none() {
        return (None, Vec::new());
    }
    let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for (at, label) in labels.of.into_iter().enumerate() {
        counts.entry(label.unwrap_or_else(|| "(none)".into())).or_default()[usize::from(at >= old.rows.len())] += 1;
    }
    let all = [old.rows.len().max(1) as f64, new.rows.len().max(1) as f64];
    let share =
        |(label, counts): (String, [usize; 2])| Share { label, counts, shares: [counts[0] as f64 / all[0], counts[1] as f64 / all[1]] };
    let mut shares: Vec<Share> = counts.into_iter().map(share).collect();
    shares.sort_by(|a, b| (b.shares[0] - b.shares[1]).abs().total_cmp(&(a.shares[0] - a.shares[1]).abs()));
    (labels.from, shares)
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && self.moved.is_empty()
    }

    /// As machines read it.
    pub fn to_json(&self) -> Value {
        let row = |item: &Item| json!({ "id": item.id, "line": item.line, "prompt": item.prompt(), "answer": item.answer() });
        let rows = |items: &[Item]| items.iter().map(row).collect::<Vec<_>>();
        let pieces = |pieces: &[Piece]| pieces.iter().map(piece).collect::<Vec<_>>();
        let change = |c: &Change| json!({ "id": c.id, "lines": c.lines, "fields": c.fields, "prompt": pieces(&c.prompt), "answer": pieces(&c.answer) });
        let moved = |m: &Moved| json!({ "id": m.id, "from": m.from.name(), "to": m.to.name() });
        json!({
            "old": self.names[0],
            "new": self.names[1],
            "rows": self.rows,
            "same": self.same,
            "added": rows(&self.added),
            "removed": rows(&self.removed),
            "changed": self.changed.iter().map(change).collect::<Vec<_>>(),
            "moved": self.moved.iter().map(moved).collect::<Vec<_>>(),
            "labels_from": self.labels_from,
            "labels": self.shares.iter().map(|s| json!({ "label": s.label, "counts": s.counts, "shares": s.shares })).collect::<Vec<_>>(),
            "label_shift": self.shift,
        })
    }
}

fn piece(piece: &Piece) -> Value {
    match piece {
        Piece::Same(text) => json!({ "same": text }),
        Piece::Gone(text) => json!({ "gone": text }),
        Piece::New(text) => json!({ "new": text }),
    }
}
