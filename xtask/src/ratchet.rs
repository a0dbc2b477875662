//! Ceilings that may fall freely; to raise one, edit `xtask/ratchet.toml` in the commit that needs it.

use crate::metadata::Workspace;
use crate::rules::House;
use crate::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Where the ceilings stand.
pub const FILE: &str = "xtask/ratchet.toml";

const HEAD: &str =
    "# Ceilings. They may fall freely (`cargo run -p xtask -- ratchet`); to raise one, edit it here in the commit that needs it.\n";

/// Room above the measured lines of a crate, so that a small change needs no edit here.
const SLACK_LINES: u64 = 100;
/// The same for the longest file.
const SLACK_LONGEST: u64 = 20;

/// Ceilings, or what was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Lines of the longest Rust file.
    pub longest_file: u64,
    /// Foreign crates that the workspace names.
    pub dependencies: u64,
    /// Lines of Rust by crate, tests included.
    pub lines: BTreeMap<String, u64>,
}

/// What the code needs now.
pub fn measure(tree: &Tree, workspace: &Workspace) -> Numbers {
    let mut numbers = Numbers::default();
    for (path, text) in tree.sources() {
        let lines = text.lines().count() as u64;
        numbers.longest_file = numbers.longest_file.max(lines);
        if let Some(name) = crate_of(path) {
            *numbers.lines.entry(name.to_string()).or_default() += lines;
        }
    }
    let foreign: BTreeSet<&String> = workspace.values().flat_map(|package| &package.foreign).collect();
    numbers.dependencies = foreign.len() as u64;
    numbers
}

/// The crate that a path belongs to.
pub fn crate_of(path: &str) -> Option<&str> {
    let mut parts = path.split('/');
    match parts.next()? {
        "crates" => parts.next(),
        "xtask" => Some("xtask"),
        _ => None,
    }
}

impl Numbers {
    /// Reads the file.
    pub fn parse(text: &str) -> Result<Numbers, String> {
        let table: toml::Table = text.parse().map_err(|cause| format!("{FILE}: {cause}"))?;
        let whole = |value: Option<&toml::Value>, name: &str| {
            let found = value.and_then(toml::Value::as_integer).and_then(|n| u64::try_from(n).ok());
            found.ok_or_else(|| format!("{FILE}: `{name}` is missing or no whole number"))
        };
        let lines = table.get("lines").and_then(toml::Value::as_table).ok_or_else(|| format!("{FILE}: `[lines]` is missing"))?;
        Ok(Numbers {
            longest_file: whole(table.get("longest_file"), "longest_file")?,
            dependencies: whole(table.get("dependencies"), "dependencies")?,
            lines: lines.iter().map(|(name, value)| Ok((name.clone(), whole(Some(value), name)?))).collect::<Result<_, String>>()?,
        })
    }

    fn text(&self) -> String {
        let lines: String = self.lines.iter().map(|(name, lines)| format!("{name} = {lines}\n")).collect();
        format!("{HEAD}longest_file = {}\ndependencies = {}\n\n[lines]\n{lines}", self.longest_file, self.dependencies)
    }

    /// These ceilings, lowered to `measured` with a little room. None is raised; a new crate gets its first one.
    fn lowered(&self, measured: &Numbers) -> Numbers {
        let room = |lines: u64| (lines + SLACK_LINES).next_multiple_of(SLACK_LINES);
        let ceiling = |name: &String, lines: u64| self.lines.get(name).map_or(room(lines), |known| room(lines).min(*known));
        let lines = measured.lines.iter().map(|(name, lines)| (name.clone(), ceiling(name, *lines)));
        Numbers {
            longest_file: self.longest_file.min(measured.longest_file.next_multiple_of(SLACK_LONGEST)),
            dependencies: self.dependencies.min(measured.dependencies),
            lines: lines.collect(),
        }
    }
}

/// Lowers the ceilings of the file.
pub fn lower(root: &Path) -> Result<String, String> {
    let house = House::open(root)?;
    let before = Numbers::parse(house.tree.text(FILE).ok_or_else(|| format!("{FILE} is missing"))?)?;
    let after = before.lowered(&measure(&house.tree, &house.workspace));
    if after == before {
        return Ok("ratchet: nothing to lower".to_string());
    }
    std::fs::write(root.join(FILE), after.text()).map_err(|cause| format!("{FILE}: {cause}"))?;
    Ok(format!("ratchet: {FILE} lowered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(longest_file: u64, dependencies: u64, lines: &[(&str, u64)]) -> Numbers {
        Numbers { longest_file, dependencies, lines: lines.iter().map(|(name, n)| (name.to_string(), *n)).collect() }
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let some = numbers(500, 20, &[("engine", 4000), ("text", 300)]);
        assert_eq!(Numbers::parse(&some.text()).unwrap(), some);
        assert!(Numbers::parse("longest_file = 3").unwrap_err().contains("`[lines]` is missing"));
        assert!(Numbers::parse("dependencies = -1\nlongest_file = 3\n[lines]\n").unwrap_err().contains("`dependencies`"));
    }

    #[test]
    fn ceilings_fall_and_never_rise() {
        let ceilings = numbers(500, 20, &[("a", 4000), ("b", 300), ("gone", 10)]);
        let measured = numbers(450, 25, &[("a", 1234), ("b", 900), ("new", 5)]);
        assert_eq!(ceilings.lowered(&measured), numbers(460, 20, &[("a", 1400), ("b", 300), ("new", 200)]));
    }

    #[test]
    fn all_lines_of_a_crate_count() {
        let tree = Tree::of(&[
            ("crates/a/src/lib.rs", "1\n2\n"),
            ("crates/a/tests/all.rs", "1\n"),
            ("xtask/src/main.rs", "1\n2\n3"),
            ("x.md", "1"),
        ]);
        assert_eq!(measure(&tree, &Workspace::new()), numbers(3, 0, &[("a", 3), ("xtask", 3)]));
    }
}
