//! The documents name files that exist.

use super::{Finding, House, finding};

/// Documents that tell where things are; the logs tell what was.
const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "STYLE.md", "CONTRIBUTING.md", "oracle/README.md", "bench/README.md"];

/// Endings of paths that are ours; others in the text may be a user's.
const ENDINGS: &[&str] = &[".rs", ".py", ".sh", "/"];

/// Every relative link, and every path in backticks, leads to a file or folder.
pub fn places(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in DOCUMENTS {
        for (number, line) in house.tree.text(path).unwrap_or_default().lines().enumerate() {
            let targets = links(line).into_iter().filter(|target| !target.contains("://") && !target.starts_with('#'));
            let named = quoted(line).into_iter().filter(|word| is_place(word));
            let lost = targets.chain(named).filter(|target| !exists(house, path, target));
            findings.extend(lost.map(|target| finding(path, number + 1, format!("`{target}` leads nowhere"))));
        }
    }
    findings
}

fn links(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// A path of the repository: a source, a script, or a folder below a known one. Run folders and patterns are none.
fn is_place(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    let folder_of_ours = |word: &str| {
        word.contains("/src/")
            || ["oracle/", "fixtures/", "bench/", "examples/", "crates/", "xtask/"].iter().any(|top| word.starts_with(top))
    };
    plain && word.contains('/') && ENDINGS.iter().any(|ending| word.ends_with(ending)) && (!word.ends_with('/') || folder_of_ours(word))
}

/// Paths start at the root, at the document, or below `crates/`.
fn exists(house: &House, document: &str, target: &str) -> bool {
    let beside = document.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let target = target.trim_end_matches('/');
    ["", "crates/", &beside].iter().any(|start| {
        let whole = format!("{start}{target}");
        let below = format!("{whole}/");
        house.tree.paths().any(|path| path == whole || path.starts_with(&below))
    })
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::places;

    #[test]
    fn a_lost_link_and_a_lost_place_are_found() {
        let text = "[a](STYLE.md) [b](LOST.md) [c](https://x.y/z)\n`model/src/llama.rs` `model/src/lost.rs` `engine/src/ops/` `engine/src/gone/`\n`adapter/` `eval/outputs.jsonl` `fixtures/parity-*` `cargo run`\n";
        let files = [("README.md", text), ("STYLE.md", ""), ("crates/model/src/llama.rs", ""), ("crates/engine/src/ops/mod.rs", "")];
        assert_eq!(
            said(places, &files),
            [
                "README.md:1: `LOST.md` leads nowhere",
                "README.md:2: `model/src/lost.rs` leads nowhere",
                "README.md:2: `engine/src/gone/` leads nowhere"
            ]
        );
    }
}
