//! One pseudonym for one value: of the same kind and length, a function of a secret key.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::place_names::{KEPT, STREETS, TOWNS};
use crate::private::{Kind, Lexicon, iban_check, lawful, luhn_check};

/// An endless stream of numbers that follows from a key and a message.
pub(super) struct Stream {
    key: [u8; 32],
    message: Vec<u8>,
    block: Vec<u8>,
    blocks: u32,
}

impl Stream {
    pub(super) fn new(key: [u8; 32], parts: &[&str], attempt: u32) -> Stream {
        // A sign that is in no part keeps ("ab", "c") and ("a", "bc") apart.
        let mut message = parts.join("\u{0}").into_bytes();
        message.extend(attempt.to_le_bytes());
        Stream { key, message, block: Vec::new(), blocks: 0 }
    }

    /// A number below `count`, each as likely as the other to one part in a million.
    pub(super) fn below(&mut self, count: usize) -> usize {
        let mut number = 0u64;
        for _ in 0..8 {
            number = number << 8 | u64::from(self.byte());
        }
        (number % count.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        if self.block.is_empty() {
            let mut message = self.message.clone();
            message.extend(self.blocks.to_le_bytes());
            self.blocks += 1;
            self.block = mac(&self.key, &message).to_vec();
        }
        self.block.pop().unwrap_or_default()
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// A sign of the same class; a first digit is not made zero, nor a zero something else.
    fn alike(&mut self, c: char, first: bool) -> char {
        match c {
            '0' if first => '0',
            '0'..='9' => char::from(b'0' + if first { 1 + self.below(9) } else { self.below(10) } as u8),
            'a'..='z' => char::from(b'a' + self.below(26) as u8),
            'A'..='Z' => char::from(b'A' + self.below(26) as u8),
            _ => c,
        }
    }
}

/// HMAC-SHA-256.
pub(super) fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// A value of the kind, in the layout of `value`. Names are drawn word by word, elsewhere.
pub(super) fn draw(value: &str, kind: Kind, why: &str, valid: bool, stream: &mut Stream) -> String {
    match kind {
        Kind::Card => card(value, valid, stream),
        Kind::Iban => iban(value, valid, stream),
        Kind::NationalId => national(value, why, stream),
        Kind::Email => email(value, stream),
        Kind::Phone => phone(value, stream),
        Kind::Ip => ip(value, stream),
        Kind::Mac => machine(value, stream),
        Kind::Url => format!("https://example.com/{}", hexadecimal(16, stream)),
        Kind::BirthDate => date(value, stream),
        Kind::Address => address(value, stream),
        Kind::Secret => secret(value, stream),
        Kind::Account | Kind::Name => numbers(value, stream),
    }
}

/// Letters and digits one by one, as they lie in `value`.
fn laid(value: &str, mut new: impl Iterator<Item = char>) -> String {
    value.chars().map(|c| if c.is_ascii_alphanumeric() { new.next().unwrap_or(c) } else { c }).collect()
}

fn each(value: &str, keep: usize, stream: &mut Stream) -> String {
    let mut at = 0;
    let mut new = |c: char| {
        let place = at;
        at += usize::from(c.is_ascii_alphanumeric());
        if place < keep { c } else { stream.alike(c, place == 0) }
    };
    value.chars().map(&mut new).collect()
}

/// Digits alone.
fn numbers(value: &str, stream: &mut Stream) -> String {
    let mut first = true;
    let mut new = |c: char| {
        let new = if c.is_ascii_digit() { stream.alike(c, first) } else { c };
        first &= !c.is_ascii_digit();
        new
    };
    value.chars().map(&mut new).collect()
}

/// The issuer's first digit stays; the check digit is right or wrong as it was chosen.
fn card(value: &str, valid: bool, stream: &mut Stream) -> String {
    let drawn = each(value, 1, stream);
    let mut digits: Vec<u8> = drawn.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect();
    let last = digits.len() - 1;
    let right = luhn_check(&digits[..last]);
    digits[last] = if valid { right } else { (right + 1 + stream.below(9) as u8) % 10 };
    laid(value, digits.into_iter().map(|digit| char::from(b'0' + digit)))
}

fn iban(value: &str, valid: bool, stream: &mut Stream) -> String {
    let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let account = each(&plain[4..], 0, stream);
    let right = iban_check(&plain[..2], &account).unwrap_or(0);
    let check = if valid { right } else { (right + 1 + stream.below(90) as u32) % 97 + 2 };
    let check = if !valid && check == right { right + 1 } else { check };
    let lower = !value.chars().any(|c| c.is_ascii_uppercase());
    let whole = format!("{}{check:02}{account}", &plain[..2]);
    laid(value, if lower { whole.to_ascii_lowercase() } else { whole }.chars())
}

/// Of the same form, and no lawful number, so that it is nobody's.
fn national(value: &str, why: &str, stream: &mut Stream) -> String {
    for _ in 0..64 {
        let drawn = each(value, 0, stream);
        if lawful(why, &drawn) != Some(true) {
            return drawn;
        }
    }
    numbers(value, stream)
}

fn email(value: &str, stream: &mut Stream) -> String {
    let (given, family) = (stream.pick(Lexicon::given_names()), stream.pick(Lexicon::family_names()));
    let number = 10 + stream.below(990);
    if value.contains('@') { format!("{given}.{family}{number}@example.com") } else { format!("{given}{family} {number} examplecom") }
}

/// The country and the first digits of an area stay.
fn phone(value: &str, stream: &mut Stream) -> String {
    let keep = if value.starts_with('+') || value.starts_with("00") { 4 } else { 2 };
    let mut at = 0;
    let mut new = |c: char| {
        let place = at;
        at += usize::from(c.is_ascii_digit());
        if !c.is_ascii_digit() || place < keep { c } else { stream.alike(c, false) }
    };
    value.chars().map(&mut new).collect()
}

/// Ranges that no machine has: RFC 2544 and RFC 3849.
fn ip(value: &str, stream: &mut Stream) -> String {
    if value.contains('.') && !value.contains(':') {
        return format!("198.{}.{}.{}", 18 + stream.below(2), stream.below(256), 1 + stream.below(254));
    }
    let groups: Vec<String> = (0..6).map(|_| format!("{:x}", 1 + stream.below(0xffff))).collect();
    format!("2001:db8:{}", groups.join(":"))
}

/// An address of those that everybody may give to a machine of his own.
fn machine(value: &str, stream: &mut Stream) -> String {
    let upper = value.chars().any(|c| c.is_ascii_uppercase());
    let digits: String = format!("02{}", hexadecimal(10, stream));
    laid(value, if upper { digits.to_uppercase() } else { digits }.chars())
}

fn hexadecimal(count: usize, stream: &mut Stream) -> String {
    (0..count).map(|_| char::from(b"0123456789abcdef"[stream.below(16)])).collect()
}

/// Another day, month and near year, wherever they stand.
fn date(value: &str, stream: &mut Stream) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in value.chars().chain(['\u{0}']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        match digits.len() {
            0 => {}
            1 | 2 => {
                let number = 1 + stream.below(12);
                out.push_str(&if digits.len() == 2 { format!("{number:02}") } else { number.min(9).to_string() });
            }
            4 => {
                let year = digits.parse::<usize>().unwrap_or(1970);
                out.push_str(
                    &if stream.below(2) == 0 { year + 1 + stream.below(3) } else { year - 1 - stream.below(3).min(year - 1) }.to_string(),
                );
            }
            _ => out.push_str(&each(&digits, 0, stream)),
        }
        digits.clear();
        if c != '\u{0}' {
            out.push(c);
        }
    }
    out
}

/// Other names and numbers, and the words for street, floor and country as they are.
fn address(value: &str, stream: &mut Stream) -> String {
    let mut out = String::new();
    let mut commas = 0;
    for piece in value.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let word = piece.trim_end_matches(|c: char| !c.is_alphanumeric());
        let rest = &piece[word.len()..];
        let lower = word.to_lowercase();
        let code = word.bytes().any(|byte| byte.is_ascii_digit());
        if code {
            out.push_str(&each(word, 0, stream));
        } else if word.chars().count() < 3 || KEPT.split_whitespace().any(|kept| kept == lower) {
            out.push_str(word);
        } else {
            let list: &[&str] = if commas == 0 { &STREETS } else { &TOWNS };
            let drawn = stream.pick(list);
            let street = ["straße", "strasse", "gasse", "allee", "platz", "weg", "straat", "laan", "gatan", "vägen"]
                .iter()
                .find(|end| lower.ends_with(*end));
            let drawn = street.map_or(drawn.to_string(), |end| format!("{drawn}{end}"));
            let lowly = word.chars().all(|c| !c.is_uppercase());
            out.push_str(&if lowly { drawn.to_lowercase() } else { drawn });
        }
        commas += usize::from(rest.contains([',', '\n']));
        out.push_str(rest);
    }
    out
}

/// A password keeps its form; a key becomes a name that no rule takes for one.
fn secret(value: &str, stream: &mut Stream) -> String {
    if value.len() < 16 { each(value, 0, stream) } else { format!("secret-{}", hexadecimal(12, stream)) }
}
