//! The table of arrows in ARCHITECTURE.md says what cargo says.

use super::{Finding, House, finding};
use crate::metadata::Package;
use std::collections::BTreeSet;

const FILE: &str = "ARCHITECTURE.md";
const BEGIN: &str = "<!-- arrows -->";
const END: &str = "<!-- /arrows -->";

/// Every crate has a row, and its row names exactly the crates that it and its tests use.
pub fn table(house: &House) -> Vec<Finding> {
    let Some(text) = house.tree.text(FILE) else {
        return vec![finding(FILE, 0, "missing")];
    };
    let rows = match rows(text) {
        Ok(rows) => rows,
        Err(found) => return vec![found],
    };
    let mut findings = Vec::new();
    for (line, name, written) in &rows {
        match house.workspace.get(name) {
            None => findings.push(finding(FILE, *line, format!("`{name}` is no crate of the workspace"))),
            Some(found) => {
                findings.extend(differs(*line, name, "uses", &written.uses, &found.uses));
                findings.extend(differs(*line, name, "uses in tests", &written.tests_use, &found.tests_use));
            }
        }
    }
    let missing = |name: &&String| rows.iter().filter(|(_, row, _)| row == *name).count() != 1;
    let count =
        house.workspace.keys().filter(missing).map(|name| finding(FILE, 0, format!("`{name}` needs one row in the table of arrows")));
    findings.extend(count);
    findings
}

fn differs(line: usize, name: &str, verb: &str, written: &BTreeSet<String>, found: &BTreeSet<String>) -> Option<Finding> {
    let list =
        |set: &BTreeSet<String>| if set.is_empty() { "nothing".to_string() } else { set.iter().cloned().collect::<Vec<_>>().join(", ") };
    (written != found).then(|| finding(FILE, line, format!("says that `{name}` {verb} {}; cargo says {}", list(written), list(found))))
}

/// The rows `| crate | uses | in tests | why |` between the two marks, with their lines.
fn rows(text: &str) -> Result<Vec<(usize, String, Package)>, Finding> {
    let begin = text.lines().position(|line| line.trim() == BEGIN);
    let end = text.lines().position(|line| line.trim() == END);
    let (Some(begin), Some(end)) = (begin, end) else {
        return Err(finding(FILE, 0, format!("the table of arrows stands between {BEGIN} and {END}")));
    };
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate().take(end).skip(begin + 1) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if line.trim().is_empty() || cells[0] == "crate" || cells[0].starts_with("--") {
            continue;
        }
        let [name, uses, tests_use, _why] = cells.as_slice() else {
            return Err(finding(FILE, number + 1, "a row has four cells: crate, uses, in tests, why"));
        };
        let set = |cell: &str| cell.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_string).collect();
        rows.push((number + 1, name.to_string(), Package { uses: set(uses), tests_use: set(tests_use), ..Package::default() }));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Workspace;

    const TABLE: &str = "# A\n<!-- arrows -->\n| crate | uses | in tests | why |\n|---|---|---|---|\n| model | engine, text | testkit | x |\n| engine | | | y |\n| text | | | z |\n| testkit | | | q |\n<!-- /arrows -->\n";

    fn judge(text: &str, packages: &[(&str, &[&str], &[&str])]) -> Vec<String> {
        let house = House { workspace: workspace(packages), ..House::of(&[(FILE, text)]) };
        table(&house).iter().map(ToString::to_string).collect()
    }

    fn workspace(packages: &[(&str, &[&str], &[&str])]) -> Workspace {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        packages
            .iter()
            .map(|(name, uses, tests)| (name.to_string(), Package { uses: set(uses), tests_use: set(tests), ..Package::default() }))
            .collect()
    }

    #[test]
    fn a_true_table_is_not_found() {
        assert_eq!(
            judge(TABLE, &[("model", &["engine", "text"], &["testkit"]), ("engine", &[], &[]), ("text", &[], &[]), ("testkit", &[], &[])]),
            [""; 0]
        );
    }

    #[test]
    fn a_new_arrow_a_lost_one_and_a_new_crate_are_found() {
        let found = judge(TABLE, &[("model", &["engine"], &[]), ("engine", &["text"], &[]), ("text", &[], &[]), ("hub", &[], &[])]);
        assert_eq!(
            found,
            [
                "ARCHITECTURE.md:5: says that `model` uses engine, text; cargo says engine",
                "ARCHITECTURE.md:5: says that `model` uses in tests testkit; cargo says nothing",
                "ARCHITECTURE.md:6: says that `engine` uses nothing; cargo says text",
                "ARCHITECTURE.md:8: `testkit` is no crate of the workspace",
                "ARCHITECTURE.md: `hub` needs one row in the table of arrows",
            ]
        );
    }

    #[test]
    fn a_missing_or_broken_table_is_found() {
        assert!(judge("# A\n", &[])[0].contains("stands between"));
        assert!(judge("<!-- arrows -->\n| a | b |\n<!-- /arrows -->", &[])[0].contains(":2: a row has four cells"));
        assert_eq!(table(&House::of(&[])), [finding(FILE, 0, "missing")]);
    }
}
