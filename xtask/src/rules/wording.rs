//! The text of the product speaks of the product alone.

use super::{Finding, House, finding};

/// Words of a workplace: who made something, and where on whose machine.
const FOREIGN: &[&str] = &["helper-", "/work/", "farm-", "shared/", "/root/", "/scratch/"];

/// No source, script or document names the place where it was written.
pub fn product_only(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in house.tree.texts() {
        // This list itself, and what customers wrote.
        if path == "xtask/src/rules/wording.rs" || path.ends_with(".jsonl") || path == "Cargo.lock" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let found = FOREIGN.iter().filter(|word| stands(line, word));
            findings.extend(found.map(|word| finding(path, number + 1, format!("`{word}` speaks of a workplace, not of the product"))));
        }
    }
    findings
}

/// Whether `word` begins a word of the line.
fn stands(line: &str, word: &str) -> bool {
    let free = |at: usize| word.starts_with('/') || !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| free(at))
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::product_only;

    #[test]
    fn places_and_persons_of_a_workplace_are_found() {
        let text = "//! Made by helper-3.\n// see ../shared/notes.md\n// in /work/main\n// a wind farm-house? unshared/shared\n";
        let found = said(product_only, &[("crates/a/src/lib.rs", text), ("examples/x.jsonl", "/work/")]);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(said(product_only, &[("README.md", "unshared/part, network/x, shared prefixes")]).is_empty());
    }
}
