//! Lines that repeat over many rows: counted over the file, told, and cut when that is asked.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Shorter lines repeat by chance.
const SHORTEST: usize = 20;
/// A line repeats if it is in at least so many rows, and in one of a hundred.
const LEAST: u64 = 5;
/// Lines that are counted; beyond that only known ones are, so that memory stays bounded.
const MOST: usize = 4_000_000;
/// Lines that are told.
const TOLD: usize = 50;

/// The lines of one text that may be boilerplate; a text of one line is itself.
pub(super) fn candidates(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.len() < 2 {
        return Vec::new();
    }
    lines.into_iter().filter(|line| line.len() >= SHORTEST).map(str::to_string).collect()
}

/// How often each line was seen; the text of those that were seen again.
#[derive(Default)]
pub(super) struct Repeats {
    counts: HashMap<u64, u64>,
    texts: HashMap<u64, String>,
    rows: u64,
}

impl Repeats {
    /// Counts the lines of one row, each once.
    pub(super) fn add(&mut self, mut lines: Vec<String>) {
        self.rows += 1;
        lines.sort();
        lines.dedup();
        for line in lines {
            let mut hasher = DefaultHasher::new();
            line.hash(&mut hasher);
            let hash = hasher.finish();
            if self.counts.len() >= MOST && !self.counts.contains_key(&hash) {
                continue;
            }
            let count = self.counts.entry(hash).or_default();
            *count += 1;
            if *count == LEAST {
                self.texts.insert(hash, line);
            }
        }
    }

    /// The lines that repeat, with their rows; the most frequent ones if there are many.
    pub(super) fn often(self) -> HashMap<String, u64> {
        let least = LEAST.max(self.rows / 100);
        let found = self.texts.into_iter().map(|(hash, line)| (line, self.counts[&hash]));
        let mut found: Vec<(String, u64)> = found.filter(|(_, count)| *count >= least).collect();
        found.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(TOLD);
        found.into_iter().collect()
    }
}

/// The text without lines that repeat, if anything is left.
pub(super) fn cut(text: &str, repeated: &HashMap<String, u64>) -> Option<String> {
    if candidates(text).iter().all(|line| !repeated.contains_key(line)) {
        return None;
    }
    let kept: Vec<&str> = text.lines().filter(|line| !repeated.contains_key(line.trim())).collect();
    let now = kept.join("\n").trim().to_string();
    (!now.is_empty()).then_some(now)
}
