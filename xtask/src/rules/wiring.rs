//! Every source is compiled: a file that no `mod` names is a test that never runs.

use super::{Finding, House, finding, names};
use crate::ratchet::crate_of;
use std::collections::BTreeSet;

/// Some source of the same crate declares each file that cargo does not find by itself.
pub fn modules(house: &House) -> Vec<Finding> {
    let named = |(path, text)| names::modules(text).into_iter().filter_map(move |(_, name)| Some((crate_of(path)?, name)));
    let declared: BTreeSet<(&str, String)> = house.tree.sources().flat_map(named).collect();
    let forgotten = |path: &str| crate_of(path).is_some_and(|owner| !is_root(path) && !declared.contains(&(owner, module_of(path))));
    let sources = house.tree.sources().filter(|(path, _)| forgotten(path));
    sources.map(|(path, _)| finding(path, 0, "no `mod` names this file, so it is never compiled")).collect()
}

/// The module that a file holds.
fn module_of(path: &str) -> String {
    let mut parts = path.rsplit('/');
    let file = parts.next().unwrap_or(path).trim_end_matches(".rs");
    if file == "mod" { parts.next().unwrap_or(file).to_string() } else { file.to_string() }
}

/// Files that cargo finds by itself.
fn is_root(path: &str) -> bool {
    let inner = match path.strip_prefix("crates/") {
        Some(rest) => rest.split_once('/').map_or(rest, |(_, inner)| inner),
        None => path.strip_prefix("xtask/").unwrap_or(path),
    };
    let alone = |name: &str| name.split_once('/').is_none_or(|(_, file)| file == "main.rs");
    let target = |folder: &str| inner.strip_prefix(folder).is_some_and(alone);
    matches!(inner, "src/lib.rs" | "src/main.rs" | "build.rs") || target("tests/") || target("examples/") || target("benches/")
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::modules;

    #[test]
    fn a_forgotten_file_is_found() {
        let files = [
            ("crates/a/src/lib.rs", "//! A.\nmod b;\n"),
            ("crates/a/src/b/mod.rs", "//! B.\n"),
            ("crates/a/src/c.rs", "//! C.\n"),
            ("crates/a/tests/all.rs", "//! T.\n#[path = \"all/d.rs\"]\nmod d;\n"),
            ("crates/a/tests/all/d.rs", "//! D.\n"),
            ("crates/a/tests/all/e.rs", "//! E.\n"),
            ("crates/a/tests/whole/main.rs", "//! W.\n"),
            ("crates/other/src/lib.rs", "//! O.\nmod c;\n"),
            ("crates/other/src/c.rs", "//! C.\n"),
        ];
        let found = said(modules, &files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("crates/a/src/c.rs: ") && found[1].starts_with("crates/a/tests/all/e.rs: "), "{found:?}");
    }
}
