//! Names that say nothing, and names that hide a crate.

use super::{Finding, House, finding};
use crate::code::Code;
use crate::ratchet::crate_of;

const BANNED: &[&str] =
    &["utils", "util", "common", "helpers", "helper", "misc", "core", "base", "types", "manager", "handler", "processor", "service"];

/// No file, folder or module has a name that fits everything.
pub fn banned(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in house.tree.paths().filter(|path| crate_of(path).is_some()) {
        let stems = path.split('/').map(|part| part.split('.').next().unwrap_or(part));
        findings.extend(
            stems.filter(|stem| BANNED.contains(stem)).map(|stem| finding(path, 0, format!("`{stem}` fits everything; name what it does"))),
        );
    }
    for (path, text) in house.tree.sources() {
        let modules = modules(text).into_iter().filter(|(_, name)| BANNED.contains(&name.as_str()));
        findings.extend(modules.map(|(line, name)| finding(path, line, format!("`mod {name}` fits everything; name what it does"))));
    }
    findings
}

/// No module is called like a crate of the workspace: inside its parent it would hide the crate.
pub fn shadows(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in house.tree.sources() {
        // A command's file has the command's name; nothing but the dispatch lies in their parent.
        if path.starts_with("crates/cli/src/commands") {
            continue;
        }
        let modules = modules(text).into_iter().filter(|(_, name)| house.workspace.contains_key(name));
        findings.extend(modules.map(|(line, name)| finding(path, line, format!("`mod {name}` hides the crate `{name}`"))));
    }
    findings
}

/// The modules that a source declares, with their lines.
pub(super) fn modules(text: &str) -> Vec<(usize, String)> {
    let code = Code::of(text).code;
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = words.iter().position(|word| *word == "mod").and_then(|at| words.get(at + 1));
        if let Some(name) = after {
            found.push((number + 1, name.trim_end_matches([';', '{', '}']).to_string()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;
    use crate::metadata::{Package, Workspace};

    #[test]
    fn empty_names_are_found_as_file_folder_and_module() {
        let files = [
            ("crates/a/src/utils.rs", "//! A.\n"),
            ("crates/a/src/core/x.rs", "//! A.\n"),
            ("crates/a/src/lib.rs", "//! A.\npub(crate) mod helpers {}\nmod based;\n// mod misc;\n"),
            ("examples/common/x.md", ""),
        ];
        let found = said(banned, &files);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[2].starts_with("crates/a/src/lib.rs:2: `mod helpers`"), "{found:?}");
    }

    #[test]
    fn a_module_that_hides_a_crate_is_found() {
        let files = [("crates/a/src/lib.rs", "//! A.\nmod data;\nmod other;\n"), ("crates/cli/src/commands/mod.rs", "//! A.\nmod data;\n")];
        let house = House { workspace: Workspace::from([("data".to_string(), Package::default())]), ..House::of(&files) };
        assert_eq!(shadows(&house), [finding("crates/a/src/lib.rs", 2, "`mod data` hides the crate `data`")]);
    }
}
