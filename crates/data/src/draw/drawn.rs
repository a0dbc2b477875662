//! Which examples are drawn, and the file that remembers it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use record::hash::{canonical, sha256, sha256_file};
use serde_json::{Value, json};
use text::Message;

use super::chance::{Candidate, Cell, by_chance};
use super::error::{Error, Result};
use super::risk::{Noted, riskiest};
use crate::freeze::{rank, units};
use crate::item::{Content, Item};
use crate::labels::labels;

const FORMAT: &str = "tunesmith.sample";
const VERSION: u64 = 1;

/// What to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawOptions {
    /// Examples in all.
    pub size: usize,
    /// How many of them by risk; a third where findings are given and nothing is said.
    pub risk: Option<usize>,
    pub seed: u64,
    pub label: Option<String>,
}

/// Why an example was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stratum {
    Random,
    Risk,
}

impl Stratum {
    /// As machines read it.
    pub fn name(self) -> &'static str {
        match self {
            Stratum::Random => "random",
            Stratum::Risk => "risk",
        }
    }
}

/// A drawn example.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnRow {
    /// Its name on the sheet; it names the sample too.
    pub name: String,
    pub stratum: Stratum,
    pub id: String,
    pub line: u32,
    /// The number of its cell; of what was drawn by risk none.
    pub cell: Option<usize>,
    pub prompt: String,
    pub answer: String,
    /// Of what was drawn by risk: the check and its evidence.
    pub why: String,
}

/// A sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// Names it: a hash of all that was drawn.
    pub hash: String,
    /// In the order of the sheet, which tells nothing of the stratum.
    pub rows: Vec<DrawnRow>,
    pub cells: Vec<Cell>,
    /// Examples that could be drawn.
    pub of: usize,
    /// Rows that cannot be read, and were not drawn.
    pub broken: usize,
    /// What labels were taken from.
    pub labels_from: Option<String>,
    pub source: Value,
}

/// Draws from the rows of a file.
///
/// # Errors
/// A file without a row that can be read.
pub fn draw(path: &Path, items: &[Item], findings: &[Noted], options: &DrawOptions) -> Result<Drawn> {
    let good: Vec<Item> = items.iter().filter(|item| !matches!(item.content, Content::Broken(_))).cloned().collect();
    if good.is_empty() {
        return Err(Error::Nothing { path: path.to_path_buf(), rows: items.len() });
    }
    let risk = options.risk.unwrap_or(if findings.is_empty() { 0 } else { options.size / 3 });
    let labels = labels(&good, options.label.as_deref());
    let units = units(&good, "group", options.seed);
    let mut clusters = vec![0u64; good.len()];
    units.all.iter().for_each(|unit| unit.rows.iter().for_each(|row| clusters[*row] = unit.rank));
    let candidate = |(at, item): (usize, &Item)| Candidate {
        at,
        cell: cell(item, labels.of[at].as_deref()),
        cluster: clusters[at],
        rank: rank(options.seed, &format!("{} {}", item.line, item.id)),
    };
    let candidates = good.iter().enumerate().map(candidate).collect();
    let start = |name: &str| rank(options.seed, &format!("cell {name}")) as f64 / (u64::MAX as f64 + 1.0);
    let (random, cells) = by_chance(candidates, options.size.saturating_sub(risk), &start);
    let known: HashMap<&str, usize> = good.iter().enumerate().map(|(at, item)| (item.id.as_str(), at)).collect();
    let taken: HashSet<usize> = random.iter().map(|(at, _)| *at).collect();
    let risky = riskiest(findings, risk, &known, &taken);
    let mut rows: Vec<DrawnRow> = random.iter().map(|(at, cell)| row(&good[*at], Stratum::Random, Some(*cell), String::new())).collect();
    rows.extend(risky.iter().map(|(at, found)| row(&good[*at], Stratum::Risk, None, format!("{}: {}", found.check, found.evidence))));
    rows.sort_by_key(|row| rank(options.seed, &format!("sheet {} {}", row.line, row.id)));
    let (hash, bytes) = sha256_file(path)?;
    let source = json!({ "file": path.display().to_string(), "sha256": hash, "bytes": bytes, "rows": items.len(), "seed": options.seed });
    let mut drawn =
        Drawn { hash: String::new(), rows, cells, of: good.len(), broken: items.len() - good.len(), labels_from: labels.from, source };
    drawn.name();
    Ok(drawn)
}

/// The part of the data that an example belongs to.
fn cell(item: &Item, label: Option<&str>) -> String {
    let source = item.tag("source").and_then(|source| source.get("file")).and_then(Value::as_str);
    match (source, label) {
        (Some(source), Some(label)) => format!("{label} in {source}"),
        (Some(source), None) => source.to_string(),
        (None, Some(label)) => label.to_string(),
        (None, None) => "all".into(),
    }
}

fn row(item: &Item, stratum: Stratum, cell: Option<usize>, why: String) -> DrawnRow {
    let (prompt, answer) = shown(item);
    DrawnRow { name: String::new(), stratum, id: item.id.clone(), line: item.line, cell, prompt, answer, why }
}

/// What a reviewer reads: of several turns it is said who speaks, and of a pair both answers.
fn shown(item: &Item) -> (String, String) {
    let asked = |messages: &[Message]| {
        let turns: Vec<&Message> = messages[..messages.len() - 1].iter().filter(|m| !crate::read::check::is_instruction(&m.role)).collect();
        match turns[..] {
            [one] => one.content.clone(),
            _ => turns.iter().map(|m| format!("{}: {}", m.role, said(m))).collect::<Vec<_>>().join("\n\n"),
        }
    };
    let answer = |messages: &[Message]| messages.last().map(said).unwrap_or_default();
    match &item.content {
        Content::Chat { messages, .. } => (asked(messages), answer(messages)),
        Content::Pair(pair) => {
            let [better, worse] = [&pair.chosen.messages, &pair.rejected.messages].map(|messages| answer(messages));
            (asked(&pair.chosen.messages), format!("better: {better}\n\nworse: {worse}"))
        }
        Content::Text { text, .. } => (text.clone(), String::new()),
        Content::Broken(_) => (String::new(), String::new()),
    }
}

fn said(message: &Message) -> String {
    match message.extra.get("tool_calls") {
        Some(calls) if !calls.is_null() => format!("{} {calls}", message.content).trim().to_string(),
        _ => message.content.clone(),
    }
}

impl Drawn {
    /// Hashes what was drawn, and names the rows after it.
    fn name(&mut self) {
        let rows: Vec<Value> = self.rows.iter().map(|row| json!([row.stratum.name(), row.id, row.line, row.prompt, row.answer])).collect();
        self.hash = sha256(canonical(&json!({ "source": self.source, "rows": rows })).as_bytes())[..16].to_string();
        for (number, row) in self.rows.iter_mut().enumerate() {
            // The letter keeps spreadsheets from reading a number or a date.
            row.name = format!("s{}-{:03}", &self.hash[..8], number + 1);
        }
    }

    /// The examples that were drawn for one reason.
    pub fn of_stratum(&self, stratum: Stratum) -> impl Iterator<Item = &DrawnRow> {
        self.rows.iter().filter(move |row| row.stratum == stratum)
    }

    /// As it is remembered.
    pub fn to_json(&self) -> Value {
        let cells: Vec<Value> = self.cells.iter().map(|c| json!({ "name": c.name, "rows": c.rows, "drawn": c.drawn })).collect();
        let row = |r: &DrawnRow| json!({ "ref": r.name, "stratum": r.stratum.name(), "id": r.id, "line": r.line, "cell": r.cell, "why": r.why, "prompt": r.prompt, "answer": r.answer });
        json!({
            "format": FORMAT,
            "version": VERSION,
            "draw": self.hash,
            "source": self.source,
            "of": self.of,
            "broken": self.broken,
            "labels_from": self.labels_from,
            "cells": cells,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// Reads what was drawn.
///
/// # Errors
/// A file that is something else, or was changed.
pub fn read_draw(path: &Path) -> Result<Drawn> {
    let not = |why: &str| Error::NotADraw { path: path.to_path_buf(), why: why.into() };
    let text = std::fs::read_to_string(path).map_err(|why| crate::Error::Read { path: path.to_path_buf(), why })?;
    let value: Value = serde_json::from_str(&text).map_err(|e| not(&format!("no JSON ({e})")))?;
    if value["format"] != FORMAT || value["version"] != VERSION {
        return Err(not(&format!("`format` is {} {}, expected {FORMAT} {VERSION}", value["format"], value["version"])));
    }
    let drawn = parsed(&value).ok_or_else(|| not("a field is missing"))?;
    if value["draw"] != drawn.hash {
        return Err(not("it was changed: its hash does not fit"));
    }
    Ok(drawn)
}

fn parsed(value: &Value) -> Option<Drawn> {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let row = |row: &Value| {
        let stratum = if row["stratum"] == "risk" { Stratum::Risk } else { Stratum::Random };
        let (prompt, answer) = (text(&row["prompt"])?, text(&row["answer"])?);
        let line = u32::try_from(row["line"].as_u64()?).ok()?;
        Some(DrawnRow {
            name: String::new(),
            stratum,
            id: text(&row["id"])?,
            line,
            cell: number(&row["cell"]),
            prompt,
            answer,
            why: text(&row["why"])?,
        })
    };
    let cell = |cell: &Value| Some(Cell { name: text(&cell["name"])?, rows: number(&cell["rows"])?, drawn: number(&cell["drawn"])? });
    let mut drawn = Drawn {
        hash: String::new(),
        rows: value["rows"].as_array()?.iter().map(row).collect::<Option<_>>()?,
        cells: value["cells"].as_array()?.iter().map(cell).collect::<Option<_>>()?,
        of: number(&value["of"])?,
        broken: number(&value["broken"])?,
        labels_from: text(&value["labels_from"]),
        source: value["source"].clone(),
    };
    let cells = drawn.cells.len();
    if drawn.rows.iter().any(|row| row.cell.is_some_and(|cell| cell >= cells) || (row.cell.is_none() && row.stratum == Stratum::Random)) {
        return None;
    }
    drawn.name();
    Some(drawn)
}
