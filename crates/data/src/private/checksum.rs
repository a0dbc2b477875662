//! Check digits, as their standards define them.

/// The digits of a text, whatever stands between them.
pub(crate) fn digits(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect()
}

/// ISO/IEC 7812: every second digit from the right is doubled, and the sum of all digits is a multiple of ten.
pub(crate) fn luhn(digits: &[u8]) -> bool {
    digits.len() > 1 && luhn_sum(digits, false).is_multiple_of(10)
}

/// The digit that makes `digits` right by [`luhn`] when it is put behind them.
pub(crate) fn luhn_check(digits: &[u8]) -> u8 {
    ((10 - luhn_sum(digits, true) % 10) % 10) as u8
}

fn luhn_sum(digits: &[u8], first_doubled: bool) -> u32 {
    let value = |(place, digit): (usize, &u8)| {
        let doubled = (place % 2 == 1) != first_doubled;
        let value = u32::from(*digit) * if doubled { 2 } else { 1 };
        if value > 9 { value - 9 } else { value }
    };
    digits.iter().rev().enumerate().map(value).sum()
}

/// ISO 7064 MOD 97-10 of letters and digits, letters being 10 to 35. Nothing for other signs.
pub(crate) fn mod97(text: &str) -> Option<u32> {
    text.bytes().try_fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => Some((rest * 10 + u32::from(byte - b'0')) % 97),
        b'A'..=b'Z' => Some((rest * 100 + u32::from(byte - b'A') + 10) % 97),
        _ => None,
    })
}

/// The check digits of an IBAN (ISO 13616) for a country and the account behind it.
pub(crate) fn iban_check(country: &str, account: &str) -> Option<u32> {
    Some(98 - mod97(&format!("{account}{country}00"))?)
}

/// Sum of digits times weights.
pub(crate) fn weighted(digits: &[u8], weights: &[i32]) -> i32 {
    digits.iter().zip(weights).map(|(digit, weight)| i32::from(*digit) * weight).sum()
}

/// ISO 7064 MOD 11,10: the check digit is the last one.
pub(crate) fn mod11_10(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else { return false };
    let product = rest.iter().fold(10u32, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(*check)
}

/// Verhoeff's scheme over the dihedral group of ten elements.
pub(crate) fn verhoeff(digits: &[u8]) -> bool {
    !digits.is_empty() && digits.iter().rev().enumerate().fold(0, |sum, (place, digit)| turn(sum, permuted(place, *digit))) == 0
}

/// The product of two elements: 0 to 4 are turns, 5 to 9 are reflections.
fn turn(a: u8, b: u8) -> u8 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - b) % 5 + 5,
        (false, false) => (5 + a - b) % 5,
    }
}

/// The permutation of Verhoeff, applied as often as the place from the right says.
fn permuted(place: usize, digit: u8) -> u8 {
    const ONCE: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    (0..place % 8).fold(digit, |digit, _| ONCE[usize::from(digit)])
}
