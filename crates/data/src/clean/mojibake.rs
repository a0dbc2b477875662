//! UTF-8 that was read as Latin-1 or Windows-1252, even more than once: "donâ€™t" is "don’t".

/// The characters that Windows-1252 has for 0x80 to 0x9F; where it has none, Latin-1's control stands.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–',
    '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// The repaired text; nothing where it is sound.
pub(super) fn repair(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    // Each round undoes one wrong reading.
    let mut now = once(text)?;
    for _ in 0..3 {
        match once(&now) {
            Some(next) => now = next,
            None => break,
        }
    }
    Some(now)
}

/// The byte that was read as this character.
fn byte_of(c: char) -> Option<u8> {
    match c {
        '\u{80}'..='\u{ff}' => Some(c as u8),
        _ => WINDOWS.iter().position(|other| *other == c).map(|at| 0x80 + at as u8),
    }
}

fn once(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let found: Vec<(usize, usize, char, bool)> = (0..chars.len()).filter_map(|at| decode(&chars, at)).collect();
    // Rare letters are believed only in company: one pair may be meant, as a capital before a closing quote is.
    let company = found.len() > 1 || found.iter().any(|(.., certain)| *certain);
    let mut out = String::with_capacity(text.len());
    let (mut at, mut changed) = (0, false);
    let mut next = found.into_iter().peekable();
    while at < chars.len() {
        while next.peek().is_some_and(|(start, ..)| *start < at) {
            next.next();
        }
        match next.peek() {
            Some((start, length, c, certain)) if *start == at && (*certain || company) => {
                out.push(*c);
                at += length;
                changed = true;
            }
            _ => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    changed.then_some(out)
}

/// The character that begins here if the characters are its bytes: place, how many, what, and whether that is certain.
fn decode(chars: &[char], at: usize) -> Option<(usize, usize, char, bool)> {
    let lead = byte_of(chars[at])?;
    let length = match lead {
        // Western, Polish, Czech and Turkish letters, Greek, Cyrillic, Hebrew and Arabic; rarer ones are more often meant.
        0xC2..=0xC5 | 0xCE..=0xD1 | 0xD7..=0xDB => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => return None,
    };
    // A closing quote of three bytes often lost its last one, which Windows-1252 does not have.
    if lead == 0xE2
        && chars.get(at + 1) == Some(&'€')
        && chars.get(at + 2).is_none_or(|c| c.is_ascii_whitespace() || c.is_ascii_punctuation())
    {
        return Some((at, 2, '”', true));
    }
    let bytes: Vec<u8> = chars.get(at..at + length)?.iter().map(|c| byte_of(*c)).collect::<Option<_>>()?;
    let c = std::str::from_utf8(&bytes).ok()?.chars().next()?;
    // A capital before a closing quote or a dash is meant: "IRMÃ»".
    let after_capital = at > 0 && chars[at - 1].is_uppercase();
    if length == 2 && after_capital && matches!(chars[at + 1], '»' | '’' | '”' | '…' | '™') {
        return None;
    }
    let certain = matches!(lead, 0xC2 | 0xC3 | 0xE2 | 0xF0) && !c.is_control();
    (!c.is_control() || certain).then_some((at, length, c, certain))
}
