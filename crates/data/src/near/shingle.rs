//! A text to the set of its shingles: three words in a row, five characters where words have no spaces.

use super::mask::masked;
use super::words::{Slots, Words};

/// Words in a shingle, and characters of a script without spaces.
const WORDS: usize = 3;
const CHARS: usize = 5;
/// Texts of at most this many words are compared by characters too.
pub(super) const SHORT: usize = 12;

/// Hashes of shingles, sorted, each once.
pub type Set = Vec<u32>;

/// Cuts texts; it keeps its buffers from one to the next.
#[derive(Debug, Clone)]
pub struct Shingler {
    slots: Slots,
    chars: bool,
    words: Words,
    shingles: Vec<u64>,
}

impl Shingler {
    /// By words.
    pub fn words(slots: Slots) -> Self {
        Self { slots, chars: false, words: Words::default(), shingles: Vec::new() }
    }

    /// By characters, for texts of a few words.
    pub fn chars(slots: Slots) -> Self {
        Self { chars: true, ..Self::words(slots) }
    }

    /// How many words a text has.
    pub fn count(&mut self, text: &str) -> usize {
        // What has this many bytes a word is not short; most texts need not be read to know it.
        if text.len() > SHORT * 64 {
            return usize::MAX;
        }
        self.words.read(text, self.slots);
        self.words.hashes.len()
    }

    /// The shingles of a text in its order, repeated ones too.
    pub fn shingles(&mut self, text: &str) -> &[u64] {
        self.shingles.clear();
        if self.chars {
            self.characters(text);
            return &self.shingles;
        }
        self.words.read(text, self.slots);
        let width = if self.words.unspaced * 2 > self.words.hashes.len() { CHARS } else { WORDS };
        fill(&mut self.shingles, &self.words.hashes, width);
        &self.shingles
    }

    fn characters(&mut self, text: &str) {
        let text = match self.slots {
            Slots::Masked => masked(text),
            Slots::Kept => super::parts(text).iter().map(|part| part.word.as_str()).collect::<Vec<_>>().join(" "),
        };
        self.words.hashes.clear();
        self.words.hashes.extend(text.chars().map(|c| super::mix(u64::from(c) + 1)));
        fill(&mut self.shingles, &self.words.hashes, CHARS);
    }

    /// The set of a text.
    pub fn set(&mut self, text: &str) -> Set {
        let mut set: Set = self.shingles(text).iter().map(|hash| (hash >> 32) as u32).collect();
        set.sort_unstable();
        set.dedup();
        set
    }
}

impl Shingler {
    /// The share of the smaller text's words that the larger one holds, whatever their order; none of characters.
    pub(super) fn words_held(&mut self, a: &str, b: &str) -> f32 {
        if self.chars {
            return 0.0;
        }
        let mut set = |text: &str| {
            self.words.read(text, self.slots);
            let mut set: Set = self.words.hashes.iter().map(|hash| (hash >> 32) as u32).collect();
            set.sort_unstable();
            set.dedup();
            set
        };
        let (a, b) = (set(a), set(b));
        contained(&a, &b)
    }
}

/// Hashes of `width` in a row; fewer than that are one shingle.
fn fill(shingles: &mut Vec<u64>, units: &[u64], width: usize) {
    let hash =
        |units: &[u64]| super::mix(units.iter().fold(0, |hash: u64, unit| hash.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ unit));
    match units.len() {
        0 => {}
        1.. if units.len() < width => shingles.push(hash(units)),
        _ => shingles.extend(units.windows(width).map(hash)),
    }
}

/// How many both hold.
fn common(a: &[u32], b: &[u32]) -> usize {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        common += usize::from(a[i] == b[j]);
        let (x, y) = (a[i], b[j]);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    common
}

/// What both hold as a share of what either holds.
pub fn jaccard(a: &[u32], b: &[u32]) -> f32 {
    let common = common(a, b);
    let either = a.len() + b.len() - common;
    if either == 0 { 0.0 } else { common as f32 / either as f32 }
}

/// What both hold as a share of the smaller one.
pub fn contained(a: &[u32], b: &[u32]) -> f32 {
    let smaller = a.len().min(b.len());
    if smaller == 0 { 0.0 } else { common(a, b) as f32 / smaller as f32 }
}
