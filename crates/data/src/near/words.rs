//! A text to hashes of its words: case, punctuation and spaces do not count.

use unicode_normalization::UnicodeNormalization;

/// Whether ids, numbers and addresses are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slots {
    /// Each is itself.
    Kept,
    /// All are one mark; several in a row too.
    Masked,
}

/// The mark of a slot.
const SLOT: u64 = 0x5107;

/// What a byte is: 0 between words, 1 dropped, else the lower-case byte.
const CLASS: [u8; 128] = {
    let mut class = [0; 128];
    let mut at = 0;
    while at < 128 {
        let byte = at as u8;
        if byte.is_ascii_alphanumeric() {
            class[at] = byte.to_ascii_lowercase();
        }
        at += 1;
    }
    class[b'\'' as usize] = 1;
    class
};

/// The words of a text; `unspaced` counts those that are single characters of a script without spaces.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    pub hashes: Vec<u64>,
    pub unspaced: usize,
    /// The first word of the run of characters between two spaces.
    run: usize,
    address: bool,
}

/// A word while it is read.
struct Open {
    hash: u64,
    bytes: u32,
    digit: bool,
    /// Holds more than the letter x: what redacted it leaves.
    other: bool,
}

const FRESH: Open = Open { hash: 0x9e37_79b9_7f4a_7c15, bytes: 0, digit: false, other: false };

impl Open {
    fn push(&mut self, byte: u8) {
        self.hash = (self.hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        self.bytes += 1;
        self.digit |= byte.is_ascii_digit();
        self.other |= byte != b'x';
    }
}

impl Words {
    /// Reads a text; what was read before is forgotten.
    pub fn read(&mut self, text: &str, slots: Slots) {
        self.hashes.clear();
        (self.unspaced, self.run, self.address) = (0, 0, false);
        if text.is_ascii() { self.ascii(text.as_bytes(), slots) } else { self.unicode(text, slots) }
    }

    fn ascii(&mut self, text: &[u8], slots: Slots) {
        let mut open = FRESH;
        for (at, &byte) in text.iter().enumerate() {
            match CLASS[usize::from(byte & 127)] {
                0 => {
                    self.close(&mut open, slots);
                    match byte {
                        b' ' | b'\n' | b'\t' | b'\r' => self.space(slots),
                        b'@' => self.address |= at > 0 && text[at - 1].is_ascii_alphanumeric(),
                        b':' => self.address |= text[at + 1..].starts_with(b"//"),
                        _ => {}
                    }
                }
                1 => {}
                lower => open.push(lower),
            }
        }
        self.close(&mut open, slots);
        self.space(slots);
    }

    fn unicode(&mut self, text: &str, slots: Slots) {
        let mut open = FRESH;
        let mut bytes = [0; 4];
        let mut last = ' ';
        for c in text.nfkc() {
            if is_unspaced(c) {
                self.close(&mut open, slots);
                self.unspaced += 1;
                c.encode_utf8(&mut bytes).bytes().for_each(|byte| open.push(byte));
                self.close(&mut open, slots);
            } else if c.is_alphanumeric() {
                for lower in c.to_lowercase() {
                    lower.encode_utf8(&mut bytes).bytes().for_each(|byte| open.push(byte));
                }
                open.digit |= c.is_numeric();
            } else if c != '\'' && c != '\u{2019}' {
                self.close(&mut open, slots);
                match c {
                    '@' => self.address |= last.is_alphanumeric(),
                    '/' => self.address |= last == '/',
                    c if c.is_whitespace() => self.space(slots),
                    _ => {}
                }
            }
            last = c;
        }
        self.close(&mut open, slots);
        self.space(slots);
    }

    /// The end of a word.
    fn close(&mut self, open: &mut Open, slots: Slots) {
        if open.bytes == 0 {
            return;
        }
        let slot = slots == Slots::Masked && (open.digit || (!open.other && open.bytes > 1));
        let hash = super::mix(open.hash);
        *open = FRESH;
        if slot { self.slot() } else { self.hashes.push(hash) }
    }

    /// A space: what came before it may have been an address.
    fn space(&mut self, slots: Slots) {
        if self.address && slots == Slots::Masked {
            self.hashes.truncate(self.run);
            self.slot();
        }
        self.address = false;
        self.run = self.hashes.len();
    }

    fn slot(&mut self) {
        if self.hashes.last() != Some(&SLOT) {
            self.hashes.push(SLOT);
        }
    }
}

/// Scripts that write words without spaces between them.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff)
        && c.is_alphanumeric()
}
