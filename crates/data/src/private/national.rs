//! Numbers of persons and taxpayers, country by country: form, and check digits where the country has them.

use std::sync::LazyLock;

use regex::Regex;

use super::checksum::{digits, luhn, mod11_10, verhoeff, weighted};
use super::context::{alone, before, has_any, pattern};
use super::{Found, Kind};

/// The rules of one country.
struct National {
    form: &'static str,
    /// Whether the number, as it is written, can be one.
    lawful: fn(&str) -> bool,
    /// Whether the written form tells it from other numbers; else one of the words must stand before it.
    telling: fn(&str) -> bool,
    words: &'static [&'static str],
    why: &'static str,
}

const RULES: [National; 17] = [
    National {
        form: r"\d{3}[ \-]?\d{2}[ \-]?\d{4}",
        lawful: us_ssn,
        telling: |text| text.contains('-'),
        words: &["ssn", "social security", "social", "itin", "tax id", "ss number"],
        why: "form of a US social security number",
    },
    National {
        form: r"(?i)[a-z]{2} ?\d{2} ?\d{2} ?\d{2} ?[a-d]",
        lawful: uk_nino,
        telling: |_| true,
        words: &[],
        why: "form of a UK national insurance number",
    },
    National {
        form: r"\d{3}[ \-]?\d{3}[ \-]?\d{4}",
        lawful: uk_nhs,
        telling: |_| false,
        words: &["nhs", "health service"],
        why: "check digit of an NHS number",
    },
    National {
        form: r"\d{2} ?\d{3} ?\d{3} ?\d{3}",
        lawful: de_tax,
        telling: |text| text.contains(' '),
        words: &["steuer-id", "steuerid", "steuer", "idnr", "identifikationsnummer", "tin", "tax", "tax id"],
        why: "check digit of a German tax number",
    },
    National {
        form: r"(?i)[123478] ?\d{2} ?\d{2} ?(?:\d{2}|2[ab]) ?\d{3} ?\d{3} ?\d{2}",
        lawful: fr_nir,
        telling: |_| true,
        words: &[],
        why: "key of a French social security number",
    },
    National {
        form: r"(?i)(?:\d{8}|[xyz][ \-]?\d{7})[ \-]?[a-z]",
        lawful: es_dni,
        telling: |_| true,
        words: &[],
        why: "letter of a Spanish DNI or NIE",
    },
    National {
        form: r"(?i)[a-z]{6}[0-9lmnpqrstuv]{2}[abcdehlmprst][0-9lmnpqrstuv]{2}[a-z][0-9lmnpqrstuv]{3}[a-z]",
        lawful: it_fiscal,
        telling: |_| true,
        words: &[],
        why: "check letter of an Italian codice fiscale",
    },
    National {
        form: r"\d{4}[ .]?\d{2}[ .]?\d{3}|\d{9}",
        lawful: nl_bsn,
        telling: |_| false,
        words: &["bsn", "burgerservicenummer", "sofinummer", "sofi"],
        why: "check digit of a Dutch BSN",
    },
    National { form: r"\d{11}", lawful: pl_pesel, telling: |_| true, words: &["pesel"], why: "date and check digit of a Polish PESEL" },
    National {
        form: r"(?:19|20)?\d{6}[ \-+]?\d{4}",
        lawful: se_person,
        telling: |text| text.contains(['-', '+']),
        words: &["personnummer", "personal identity", "samordningsnummer", "pnr"],
        why: "date and check digit of a Swedish personnummer",
    },
    National {
        form: r"756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}",
        lawful: ch_ahv,
        telling: |_| true,
        words: &[],
        why: "check digit of a Swiss AHV number",
    },
    National {
        form: r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}",
        lawful: br_cpf,
        telling: |text| text.contains(['.', '-']),
        words: &["cpf"],
        why: "check digits of a Brazilian CPF",
    },
    National {
        form: r"[2-9]\d{3}[ \-]?\d{4}[ \-]?\d{4}",
        lawful: |text| verhoeff(&digits(text)),
        telling: |text| text.contains([' ', '-']),
        words: &["aadhaar", "aadhar", "adhar", "adhaar", "uidai", "uid"],
        why: "Verhoeff digit of an Aadhaar number",
    },
    National {
        form: r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]",
        lawful: |_| true,
        telling: |_| true,
        words: &[],
        why: "form of an Indian PAN",
    },
    National {
        form: r"\d{3}[ \-]?\d{3}[ \-]?\d{3}",
        lawful: |text| luhn(&digits(text)),
        telling: |_| false,
        words: &["sin", "social insurance"],
        why: "check digit of a Canadian SIN",
    },
    National {
        form: r"\d{2}\.?\d{2}\.?\d{2}[ \-]?\d{3}[. ]?\d{2}",
        lawful: be_national,
        telling: |text| text.contains('.') && text.contains('-'),
        words: &["rijksregister", "registre national", "national number", "insz", "niss"],
        why: "key of a Belgian national number",
    },
    National {
        form: r"\d{6}[\-+ABCDEFYXWVU]\d{3}[0-9A-FHJ-NPR-Y]",
        lawful: fi_hetu,
        telling: |_| true,
        words: &[],
        why: "check sign of a Finnish henkilötunnus",
    },
];

static FORMS: LazyLock<Vec<Regex>> = LazyLock::new(|| RULES.iter().map(|rule| pattern(rule.form)).collect());

/// Words that say that a number is somebody's, whatever the country.
const GENERAL: [&str; 7] = ["national id", "id number", "identity number", "tax number", "tax id", "personal number", "citizen"];

/// National numbers of every country that we know.
pub(super) fn national(text: &str, found: &mut Vec<Found>) {
    for (rule, form) in RULES.iter().zip(FORMS.iter()) {
        for one in form.find_iter(text).filter(|one| alone(text, one.range()) && (rule.lawful)(one.as_str())) {
            let said = before(text, one.start(), 40);
            let named = has_any(&said, rule.words) || has_any(&said, &GENERAL);
            if named || (rule.telling)(one.as_str()) {
                let sure = if named { 0.98 } else { 0.93 };
                found.push(Found::new(one.range(), Kind::NationalId, sure, rule.why));
            }
        }
    }
}

/// Whether a text is a lawful number of the country that `why` names.
pub(crate) fn lawful(why: &str, text: &str) -> Option<bool> {
    RULES.iter().find(|rule| rule.why == why).map(|rule| (rule.lawful)(text))
}

fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase()
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(*digit))
}

/// Area not 000, 666 or 9xx, group not 00, serial not 0000; of the area 9xx only taxpayers' groups. Numbers that were printed as
/// examples are none.
fn us_ssn(text: &str) -> bool {
    let d = digits(text);
    let (area, group, serial) = (number(&d[..3]), number(&d[3..5]), number(&d[5..]));
    let taxpayer = (900..1000).contains(&area) && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99);
    let person = area != 0 && area != 666 && area < 900;
    (person || taxpayer) && group != 0 && serial != 0 && ![78_051_120, 219_099_999].contains(&number(&d))
}

fn uk_nino(text: &str) -> bool {
    let t = plain(text);
    let (first, second) = (t.as_bytes()[0], t.as_bytes()[1]);
    !b"DFIQUV".contains(&first) && !b"DFIOQUV".contains(&second) && !["BG", "GB", "NK", "KN", "TN", "NT", "ZZ"].contains(&&t[..2])
}

fn uk_nhs(text: &str) -> bool {
    let d = digits(text);
    let check = (11 - weighted(&d[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    check < 10 && check == i32::from(d[9])
}

/// Among the first ten digits one comes twice or three times, all others at most once.
fn de_tax(text: &str) -> bool {
    let d = digits(text);
    let mut counts = [0; 10];
    d[..10].iter().for_each(|digit| counts[usize::from(*digit)] += 1);
    let repeated = counts.iter().filter(|count| **count > 1).count();
    d[0] != 0 && repeated == 1 && counts.iter().all(|count| *count <= 3) && mod11_10(&d)
}

fn fr_nir(text: &str) -> bool {
    let t = plain(text);
    let month: u32 = t[3..5].parse().unwrap_or(0);
    // Corsica's departments have a letter.
    let (body, less) = match &t[5..7] {
        "2A" => (t[..13].replace('A', "0"), 1_000_000),
        "2B" => (t[..13].replace('B', "0"), 2_000_000),
        _ => (t[..13].to_string(), 0),
    };
    let (Ok(body), Ok(key)) = (body.parse::<u64>(), t[13..].parse::<u64>()) else { return false };
    matches!(month, 1..=12 | 20..=42 | 50..=99) && &t[5..7] != "00" && 97 - (body - less) % 97 == key
}

fn es_dni(text: &str) -> bool {
    let t = plain(text).replacen('X', "0", 1).replacen('Y', "1", 1).replacen('Z', "2", 1);
    let whole = plain(text);
    // Only a leading letter stands for a digit.
    let leading = whole.as_bytes()[0].is_ascii_alphabetic();
    let body = if leading { t[..8].to_string() } else { whole[..8].to_string() };
    body.parse::<usize>().is_ok_and(|body| b"TRWAGMYFPDXBNJZSQVHLCKE"[body % 23] == whole.as_bytes()[whole.len() - 1])
}

/// Letters and digits at odd places have values of their own.
fn it_fiscal(text: &str) -> bool {
    const ODD: [u32; 26] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let t = plain(text);
    let value = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
    let sum: u32 = t.bytes().take(15).enumerate().map(|(at, byte)| if at % 2 == 0 { ODD[value(byte) as usize] } else { value(byte) }).sum();
    b'A' + (sum % 26) as u8 == t.as_bytes()[15]
}

fn nl_bsn(text: &str) -> bool {
    let d = digits(text);
    number(&d) > 0 && weighted(&d, &[9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 == 0
}

/// The century is in the month: 80 before 1900, 20 from 2000.
fn pl_pesel(text: &str) -> bool {
    let d = digits(text);
    let (month, day) = (number(&d[2..4]), number(&d[4..6]));
    let dated = matches!(month % 20, 1..=12) && (1..=31).contains(&day) && !(40..=80).contains(&month);
    dated && (10 - weighted(&d[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10 == i32::from(d[10])
}

fn se_person(text: &str) -> bool {
    let d = digits(text);
    let d = &d[d.len() - 10..];
    let (month, day) = (number(&d[2..4]), number(&d[4..6]) % 60);
    (1..=12).contains(&month) && (1..=31).contains(&day) && luhn(d)
}

/// The check digit of EAN-13.
fn ch_ahv(text: &str) -> bool {
    let d = digits(text);
    (10 - weighted(&d[..12], &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]) % 10) % 10 == i32::from(d[12])
}

fn br_cpf(text: &str) -> bool {
    let d = digits(text);
    let check = |count: usize| {
        let weights: Vec<i32> = (2..=count as i32 + 1).rev().collect();
        weighted(&d[..count], &weights) * 10 % 11 % 10 == i32::from(d[count])
    };
    d.iter().any(|digit| *digit != d[0]) && check(9) && check(10)
}

fn be_national(text: &str) -> bool {
    let d = digits(text);
    let (body, key, month) = (number(&d[..9]), number(&d[9..]), number(&d[2..4]));
    let day = number(&d[4..6]);
    (1..=12).contains(&month) && (1..=31).contains(&day) && (97 - body % 97 == key || 97 - (2_000_000_000 + body) % 97 == key)
}

fn fi_hetu(text: &str) -> bool {
    let t = plain(text);
    let d = digits(&text[..6]);
    let (day, month) = (number(&d[..2]), number(&d[2..4]));
    let serial = &text[7..10];
    let Ok(rest) = format!("{}{serial}", &text[..6]).parse::<usize>() else { return false };
    (1..=31).contains(&day) && (1..=12).contains(&month) && b"0123456789ABCDEFHJKLMNPRSTUVWXY"[rest % 31] == t.as_bytes()[t.len() - 1]
}
