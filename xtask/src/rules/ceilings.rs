//! The code stays below the ceilings of the ratchet.

use super::{Finding, House, finding};
use crate::ratchet::{FILE, Numbers, measure};

/// No number is above its ceiling, and every crate has one.
pub fn ratchet(house: &House) -> Vec<Finding> {
    let Some(text) = house.tree.text(FILE) else {
        return vec![finding(FILE, 0, "missing")];
    };
    let ceilings = match Numbers::parse(text) {
        Ok(ceilings) => ceilings,
        Err(what) => return vec![finding(FILE, 0, what)],
    };
    let found = measure(&house.tree, &house.workspace);
    let over = |name: &str, found: u64, ceiling: u64| {
        (found > ceiling)
            .then(|| finding(FILE, 0, format!("`{name}` is {found}, above its ceiling of {ceiling}: simplify, or raise it in this commit")))
    };
    let mut findings = Vec::new();
    findings.extend(over("longest_file", found.longest_file, ceilings.longest_file));
    findings.extend(over("dependencies", found.dependencies, ceilings.dependencies));
    for (name, lines) in &found.lines {
        match ceilings.lines.get(name) {
            Some(ceiling) => findings.extend(over(&format!("lines.{name}"), *lines, *ceiling)),
            None => findings.push(finding(
                FILE,
                0,
                format!("`lines.{name}` is missing; the crate has {lines} lines (`cargo run -p xtask -- ratchet` adds it)"),
            )),
        }
    }
    let gone = ceilings.lines.keys().filter(|name| !found.lines.contains_key(*name));
    findings.extend(gone.map(|name| finding(FILE, 0, format!("`lines.{name}`: there is no such crate"))));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(ceilings: &str, foreign: &[&str]) -> Vec<String> {
        let mut house = House::of(&[(FILE, ceilings), ("crates/a/src/lib.rs", "1\n2\n3\n"), ("crates/a/src/b.rs", "1\n2\n")]);
        let package = house.workspace.entry("a".to_string()).or_default();
        package.foreign = foreign.iter().map(ToString::to_string).collect();
        ratchet(&house).into_iter().map(|found| found.what).collect()
    }

    #[test]
    fn numbers_at_their_ceilings_hold() {
        assert!(judge("longest_file = 3\ndependencies = 1\n[lines]\na = 5\n", &["serde"]).is_empty());
    }

    #[test]
    fn every_number_above_its_ceiling_is_found() {
        let found = judge("longest_file = 2\ndependencies = 1\n[lines]\na = 4\ngone = 3\n", &["serde", "toml"]);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("`longest_file` is 3, above its ceiling of 2"), "{found:?}");
        assert!(
            found[1].starts_with("`dependencies` is 2") && found[2].starts_with("`lines.a` is 5") && found[3].contains("no such crate")
        );
    }

    #[test]
    fn a_crate_without_a_ceiling_and_a_missing_file_are_found() {
        assert_eq!(
            judge("longest_file = 3\ndependencies = 1\n[lines]\n", &[]),
            ["`lines.a` is missing; the crate has 5 lines (`cargo run -p xtask -- ratchet` adds it)"]
        );
        assert_eq!(ratchet(&House::of(&[])), [finding(FILE, 0, "missing")]);
    }
}
