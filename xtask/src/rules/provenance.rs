//! Every golden file and fixture can be made again.

use super::{Finding, House, finding};
use std::collections::BTreeSet;

/// A folder `golden` holds a make.py that names every file in it, and by what it was made.
pub fn goldens(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parts = |path: &'_ str| path.rfind("/golden/").map(|at| at + "/golden/".len());
    let folders: BTreeSet<&str> = house.tree.paths().filter_map(|path| Some(&path[..parts(path)?])).collect();
    for folder in folders {
        let script = format!("{folder}make.py");
        let Some(text) = house.tree.text(&script) else {
            findings.push(finding(folder, 0, "golden files need the make.py that made them"));
            continue;
        };
        findings.extend(facts(&script, text));
        let files = house.tree.paths().filter_map(|path| path.strip_prefix(folder)).filter(|name| *name != "make.py");
        let unnamed = files.filter(|name| !text.contains(name.rsplit('/').next().unwrap_or(name)));
        findings.extend(unnamed.map(|name| finding(&format!("{folder}{name}"), 0, "make.py does not name this file")));
    }
    findings
}

/// A folder of fixtures is named by a script in oracle.
pub fn fixtures(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    let scripts: Vec<(&str, &str)> = house.tree.texts().filter(|(path, _)| path.starts_with("oracle/") && path.ends_with(".py")).collect();
    let inner = house.tree.paths().filter_map(|path| path.strip_prefix("fixtures/"));
    let folders: BTreeSet<&str> = inner.filter_map(|path| path.split('/').next()).collect();
    for folder in folders {
        match scripts.iter().find(|(_, text)| text.contains(folder)) {
            None => findings.push(finding(&format!("fixtures/{folder}"), 0, "no script in oracle names this fixture")),
            Some((path, text)) => findings.extend(facts(path, text)),
        }
    }
    findings.dedup();
    findings
}

/// What a script that makes expected values states: the versions it ran with, and the seed of anything random.
fn facts(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let digits =
        |word: &str| word.trim_matches(|c: char| !c.is_ascii_digit()).split('.').filter(|part| part.parse::<u32>().is_ok()).count() >= 3;
    if !text.contains("__version__") && !text.split_whitespace().any(digits) {
        findings.push(finding(path, 0, "names no version of what computed the values"));
    }
    let random = ["random", "rand(", "randn", "randint", "normal_", "uniform_", "shuffle"].iter().any(|word| text.contains(word));
    if random && !text.to_lowercase().contains("seed") {
        findings.push(finding(path, 0, "draws random numbers and names no seed"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;

    #[test]
    fn golden_files_without_their_maker_are_found() {
        let files = [
            ("crates/a/tests/golden/x.json", "{}"),
            ("crates/b/tests/golden/make.py", "torch 2.15.0, writes y.json"),
            ("crates/b/tests/golden/y.json", "{}"),
            ("crates/b/tests/golden/z.json", "{}"),
        ];
        assert_eq!(
            said(goldens, &files),
            [
                "crates/a/tests/golden/: golden files need the make.py that made them",
                "crates/b/tests/golden/z.json: make.py does not name this file"
            ]
        );
    }

    #[test]
    fn a_maker_without_version_or_seed_is_found() {
        let found = said(goldens, &[("crates/a/tests/golden/make.py", "import random\nx = 3.5 if y else 0\n")]);
        assert_eq!(found.len(), 2, "{found:?}");
        let good = [("crates/a/tests/golden/make.py", "gguf 0.19.0; random with seed 7\n")];
        assert!(said(goldens, &good).is_empty());
    }

    #[test]
    fn a_fixture_without_an_oracle_is_found() {
        let files =
            [("oracle/parity.py", "torch 2.15.0 parity-llama"), ("fixtures/parity-llama/model/x.json", ""), ("fixtures/lost/y", "")];
        assert_eq!(said(fixtures, &files), ["fixtures/lost: no script in oracle names this fixture"]);
    }
}
