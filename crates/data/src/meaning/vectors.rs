//! Texts as sparse unit vectors: masked words, pairs of words and pieces of words, weighted by how rare they are.

use std::collections::HashMap;

use rayon::prelude::*;

use super::words::{Kind, Token, tokens};

/// Sparse rows, each with its features in ascending order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    starts: Vec<usize>,
    cells: Vec<(u32, f32)>,
    /// How many features there are.
    pub width: usize,
}

impl Rows {
    /// Of rows that are there already.
    pub(crate) fn new(rows: Vec<Vec<(u32, f32)>>, width: usize) -> Self {
        let mut starts = vec![0];
        let mut cells = Vec::with_capacity(rows.iter().map(Vec::len).sum());
        for row in rows {
            cells.extend(row);
            starts.push(cells.len());
        }
        Self { starts, cells, width }
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn row(&self, index: usize) -> &[(u32, f32)] {
        &self.cells[self.starts[index]..self.starts[index + 1]]
    }
}

/// The cosine of two unit rows.
pub(crate) fn cosine(a: &[(u32, f32)], b: &[(u32, f32)]) -> f32 {
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while i < a.len() && j < b.len() {
        match a[i].0.cmp(&b[j].0) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                sum += a[i].1 * b[j].1;
                i += 1;
                j += 1;
            }
        }
    }
    sum
}

/// Which features are looked at, and how much each kind counts beside a word before the row gets length 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// Two words in a row.
    pub pair: f32,
    /// A piece of a word.
    pub piece: f32,
    /// Whether ids, numbers and dates are all the same.
    pub masked: bool,
}

/// For what texts ask: order and inflection count, numbers and names of orders do not.
pub(crate) const ASKED: Sight = Sight { pair: 0.7, piece: 0.35, masked: true };
/// For what texts are about: a version or the name of a class is what two reports have in common.
pub(crate) const ABOUT: Sight = Sight { pair: 0.0, piece: 0.22, masked: false };

/// Pieces of words have so many characters, with a mark at the word's ends.
const PIECES: std::ops::RangeInclusive<usize> = 3..=5;

/// Which features a set of texts has, and how rare each is.
pub(crate) struct Lexicon {
    index: HashMap<u64, u32>,
    rarity: Vec<f32>,
    sight: Sight,
}

impl Lexicon {
    /// Learns the features that at least two of the texts have (one, where there are few texts).
    pub(crate) fn learn(texts: &[String], sight: Sight) -> Self {
        let sets: Vec<Vec<u64>> = texts.par_iter().map(|text| features(text, sight).into_iter().map(|(key, _)| key).collect()).collect();
        let mut counts: HashMap<u64, u32> = HashMap::new();
        for key in sets.into_iter().flatten() {
            *counts.entry(key).or_default() += 1;
        }
        let least = if texts.len() < 200 { 1 } else { 2 };
        let mut kept: Vec<(u64, u32)> = counts.into_iter().filter(|(_, count)| *count >= least).collect();
        kept.sort_unstable();
        let all = texts.len() as f32;
        let rarity = kept.iter().map(|(_, count)| ((1.0 + all) / (1.0 + *count as f32)).ln() + 1.0).collect();
        let index = kept.iter().enumerate().map(|(place, (key, _))| (*key, place as u32)).collect();
        Self { index, rarity, sight }
    }

    /// The texts as unit rows. A text without any known feature is an empty row.
    pub(crate) fn rows(&self, texts: &[String]) -> Rows {
        let rows: Vec<Vec<(u32, f32)>> = texts.par_iter().map(|text| self.row(text)).collect();
        Rows::new(rows, self.rarity.len())
    }

    fn row(&self, text: &str) -> Vec<(u32, f32)> {
        let known = |(key, count): (u64, f32)| self.index.get(&key).map(|place| (*place, count * self.rarity[*place as usize]));
        let mut row: Vec<(u32, f32)> = features(text, self.sight).into_iter().filter_map(known).collect();
        row.sort_unstable_by_key(|(place, _)| *place);
        let length = row.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
        row.iter_mut().for_each(|(_, weight)| *weight /= length);
        row
    }
}

/// The features of a text, each once, with how much it counts.
fn features(text: &str, sight: Sight) -> Vec<(u64, f32)> {
    let tokens: Vec<Token> = tokens(text).into_iter().filter(|token| token.kind != Kind::Stop).collect();
    let word = |token: &'_ Token| if sight.masked { token.masked().to_string() } else { token.text.clone() };
    let mut found: Vec<(u64, f32)> = Vec::with_capacity(tokens.len() * 12);
    for (place, token) in tokens.iter().enumerate() {
        let own = word(token);
        found.push((key(1, own.as_bytes(), b""), 1.0));
        if let Some(next) = tokens.get(place + 1).filter(|_| sight.pair > 0.0) {
            found.push((key(2, own.as_bytes(), word(next).as_bytes()), sight.pair));
        }
        if token.kind == Kind::Word {
            pieces(&own, |piece| found.push((key(3, piece, b""), sight.piece)));
        }
    }
    found.sort_unstable_by_key(|(key, _)| *key);
    found.chunk_by(|a, b| a.0 == b.0).map(|same| (same[0].0, same[0].1 * (1.0 + (same.len() as f32).ln()))).collect()
}

fn pieces(word: &str, mut found: impl FnMut(&[u8])) {
    let marked = format!(" {word} ");
    let ends: Vec<usize> = marked.char_indices().map(|(at, _)| at).chain([marked.len()]).collect();
    for size in PIECES {
        for start in 0..(ends.len() - 1).saturating_sub(size - 1) {
            found(&marked.as_bytes()[ends[start]..ends[start + size]]);
        }
    }
}

/// FNV-1a over a tag and one or two texts.
fn key(tag: u8, first: &[u8], second: &[u8]) -> u64 {
    let bytes = [tag].into_iter().chain(first.iter().copied()).chain([0xff]).chain(second.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_texts_are_near_and_unlike_ones_are_not() {
        let texts: Vec<String> =
            ["Where is my order NW-1234?", "where is my ordre NW-99812", "The thermostat shows a blank display"].map(String::from).into();
        let rows = Lexicon::learn(&texts, ASKED).rows(&texts);
        let near = cosine(rows.row(0), rows.row(1));
        assert!(near > 0.5, "{near}");
        assert!(cosine(rows.row(0), rows.row(2)) < 0.1);
        assert!((cosine(rows.row(0), rows.row(0)) - 1.0).abs() < 1e-5);
    }
}
