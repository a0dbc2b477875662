//! Payment cards and bank accounts: issuer or country, length, check digits.

use std::sync::LazyLock;

use regex::Regex;

use super::checksum::{digits, luhn, mod97};
use super::context::{alone, pattern};
use super::{Found, Kind};

/// The length of an IBAN by country, from the registry of ISO 13616.
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 \
    FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 \
    MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SD18 SE24 SI19 SK24 SM27 ST25 SV28 TL23 \
    TN24 TR26 UA29 VA22 VG24 XK20";

static CARD: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d(?:[ .\-]?\d){11,18}"));
static IBAN: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b[a-z]{2}\d{2}(?:[ \-]?[a-z0-9]){11,30}"));

/// Cards: a length and a beginning that an issuer has, and Luhn's digit.
pub(super) fn cards(text: &str, found: &mut Vec<Found>) {
    for one in CARD.find_iter(text).filter(|one| alone(text, one.range())) {
        let number = digits(one.as_str());
        if issued(&number) && luhn(&number) && !same(&number) && even_groups(one.as_str()) {
            found.push(Found::new(one.range(), Kind::Card, 0.99, "issuer and check digit of a card"));
        }
    }
}

/// Whether an issuer gives numbers of this beginning and length.
fn issued(number: &[u8]) -> bool {
    let head = |count: usize| number[..count].iter().fold(0u32, |head, digit| head * 10 + u32::from(*digit));
    match number.len() {
        13 => number[0] == 4,
        14 => matches!(head(3), 300..=305) || matches!(head(2), 36 | 38 | 39),
        15 => matches!(head(2), 34 | 37),
        16 => {
            number[0] == 4
                || matches!(head(2), 51..=55 | 65 | 35 | 60 | 62 | 50 | 81 | 82)
                || matches!(head(4), 2221..=2720 | 2200..=2204)
                || matches!(head(3), 644..=649 | 636..=639 | 560..=589 | 670..=679)
        }
        17..=19 => matches!(head(2), 62 | 50 | 63 | 67 | 56..=58) || number[0] == 4 && number.len() == 19,
        12 => matches!(head(2), 50 | 56..=58 | 63 | 67),
        _ => false,
    }
}

fn same(number: &[u8]) -> bool {
    number.iter().all(|digit| *digit == number[0])
}

/// A card is written in one piece or in groups of at least three; a list of small numbers is none.
fn even_groups(text: &str) -> bool {
    text.split([' ', '.', '-']).all(|group| group.len() >= 3)
}

/// Bank accounts: a country, its length, and 1 as the rest of 97.
pub(super) fn ibans(text: &str, found: &mut Vec<Found>) {
    for one in IBAN.find_iter(text) {
        if let Some(length) = iban(one.as_str()) {
            found.push(Found::new(one.start()..one.start() + length, Kind::Iban, 1.0, "country, length and check digits of an IBAN"));
        }
    }
}

/// How many bytes of a candidate are the IBAN; words behind it were matched too.
fn iban(candidate: &str) -> Option<usize> {
    let country = candidate.get(..2)?.to_ascii_uppercase();
    let length: usize = IBAN_LENGTHS.split_whitespace().find_map(|entry| entry.strip_prefix(country.as_str())?.parse().ok())?;
    let mut places = candidate.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric());
    let end = places.nth(length - 1)?.0 + 1;
    let plain: String = candidate[..end].chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let whole = candidate[end..].chars().next().is_none_or(|next| !next.is_ascii_alphanumeric());
    (whole && mod97(&format!("{}{}", &plain[4..], &plain[..4]))? == 1).then_some(end)
}
