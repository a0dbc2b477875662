//! What cargo knows of the workspace: crates, and who uses whom.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// One crate of the workspace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Package {
    /// Crates of the workspace that it uses.
    pub uses: BTreeSet<String>,
    /// Crates of the workspace that only its tests and examples use.
    pub tests_use: BTreeSet<String>,
    /// Foreign crates that it names, for whatever purpose.
    pub foreign: BTreeSet<String>,
}

/// The crates of the workspace by name.
pub type Workspace = BTreeMap<String, Package>;

/// Asks cargo, without the network.
pub fn read(root: &Path) -> Result<Workspace, String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .output()
        .map_err(|cause| format!("cannot run {}: {cause}", env!("CARGO")))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let json = serde_json::from_slice(&output.stdout).map_err(|cause| format!("cargo metadata: {cause}"))?;
    of(&json).ok_or_else(|| "cargo metadata: a package without name or dependencies".to_string())
}

/// The workspace that cargo's answer describes.
fn of(json: &Value) -> Option<Workspace> {
    let mut all = Workspace::new();
    for package in json["packages"].as_array()? {
        let mut found = Package::default();
        for dependency in package["dependencies"].as_array()? {
            let name = dependency["name"].as_str()?.to_string();
            let set = match (dependency["path"].as_str(), dependency["kind"].as_str()) {
                (None, _) => &mut found.foreign,
                (Some(_), Some("dev")) => &mut found.tests_use,
                (Some(_), _) => &mut found.uses,
            };
            set.insert(name);
        }
        all.insert(package["name"].as_str()?.to_string(), found);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_are_ours_and_dev_is_for_tests() {
        let answer = json!({"packages": [{"name": "a", "dependencies": [
            {"name": "b", "path": "/x/b", "kind": null},
            {"name": "c", "path": "/x/c", "kind": "dev"},
            {"name": "d", "path": "/x/d", "kind": "build"},
            {"name": "serde", "kind": null},
        ]}]});
        let a = &of(&answer).unwrap()["a"];
        assert_eq!(a.uses, ["b".to_string(), "d".to_string()].into());
        assert_eq!(a.tests_use, ["c".to_string()].into());
        assert_eq!(a.foreign, ["serde".to_string()].into());
    }
}
