//! Keys and tokens: the forms that vendors publish, and how random what they hold is.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;

use super::context::pattern;
use super::{Found, Kind};

/// One rule of `secrets.toml`.
struct Rule {
    name: &'static str,
    form: Regex,
    entropy: f64,
}

struct Rules {
    rules: Vec<Rule>,
    /// All hints, and the rule that each belongs to.
    hints: AhoCorasick,
    of: Vec<usize>,
}

static RULES: LazyLock<Rules> = LazyLock::new(rules);

/// The rules lie in the binary; a test reads them all.
fn rules() -> Rules {
    let table: toml::Table = include_str!("secrets.toml").parse().expect("secrets.toml is part of the binary");
    let (mut rules, mut hints, mut of) = (Vec::new(), Vec::new(), Vec::new());
    for rule in table["rule"].as_array().into_iter().flatten() {
        let text = |key: &str| rule[key].as_str().expect("a rule has a name and a form");
        for hint in rule["hints"].as_array().into_iter().flatten() {
            hints.push(hint.as_str().unwrap_or_default().to_string());
            of.push(rules.len());
        }
        let entropy = rule["entropy"].as_float().or_else(|| rule["entropy"].as_integer().map(|bits| bits as f64)).unwrap_or(0.0);
        rules.push(Rule { name: text("name").to_string().leak(), form: pattern(text("form")), entropy });
    }
    let hints = AhoCorasick::builder().ascii_case_insensitive(true).build(&hints).expect("hints are short");
    Rules { rules, hints, of }
}

/// Keys and tokens of a text.
pub(super) fn secrets(text: &str, found: &mut Vec<Found>) {
    let mut hinted = vec![false; RULES.rules.len()];
    for hint in RULES.hints.find_overlapping_iter(text) {
        hinted[RULES.of[hint.pattern().as_usize()]] = true;
    }
    for rule in RULES.rules.iter().zip(hinted).filter(|(_, hinted)| *hinted).map(|(rule, _)| rule) {
        for one in rule.form.captures_iter(text) {
            let Some(secret) = one.name("secret") else { continue };
            let random = rule.entropy == 0.0 || entropy(secret.as_str()) >= rule.entropy && !placeholder(secret.as_str());
            if random {
                found.push(Found::new(secret.range(), Kind::Secret, 0.995, rule.name));
            }
        }
    }
}

/// Shannon entropy in bits a character.
fn entropy(text: &str) -> f64 {
    let mut counts = [0u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let length = text.len() as f64;
    counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / length).map(|share| -share * share.log2()).sum()
}

/// What stands in instructions in the place of a key, and words joined by signs.
fn placeholder(text: &str) -> bool {
    let lower = text.to_lowercase();
    let said = ["example", "your_", "your-", "xxxx", "placeholder", "changeme", "redacted", "dummy", "sample", "insert"];
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    let upper = text.bytes().any(|byte| byte.is_ascii_uppercase()) && text.bytes().any(|byte| byte.is_ascii_lowercase());
    said.iter().any(|word| lower.contains(word)) || !digits && !upper
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_shannons() {
        assert_eq!(entropy("aaaa"), 0.0);
        assert_eq!(entropy("abcd"), 2.0);
        assert_eq!(entropy("aabb"), 1.0);
    }

    #[test]
    fn every_rule_of_the_file_is_read() {
        assert_eq!(RULES.rules.len(), include_str!("secrets.toml").matches("[[rule]]").count());
        assert!(RULES.of.iter().all(|of| *of < RULES.rules.len()));
    }
}
