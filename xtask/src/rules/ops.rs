//! Every op of the engine states its contract and is judged.

use super::{Finding, House, finding};
use crate::code::{Code, lines_with};

const FOLDER: &str = "crates/engine/src/ops/";
const WORDS: [&str; 6] = ["Forward", "Backward", "Shapes", "Writes", "Rounds", "Moves"];

/// The ops: their names and where their file lies.
fn ops(house: &House) -> Vec<(&str, &str)> {
    let name = |path: &'_ str| -> Option<usize> {
        let inner = path.strip_prefix(FOLDER)?;
        let stem = inner.strip_suffix("/mod.rs").or_else(|| inner.strip_suffix(".rs"))?;
        (stem != "mod" && !stem.contains('/')).then_some(stem.len())
    };
    house.tree.paths().filter_map(|path| Some((&path[FOLDER.len()..FOLDER.len() + name(path)?], path))).collect()
}

/// The six words of the header, in this order.
pub fn header(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, path) in ops(house) {
        let text = house.tree.text(path).unwrap_or_default();
        let doc: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim_start).collect();
        let line_of = |word: &str| doc.iter().position(|line| line.split_whitespace().next() == Some(word));
        let places: Vec<Option<usize>> = WORDS.iter().map(|word| line_of(word)).collect();
        let missing = WORDS.iter().zip(&places).filter(|(_, place)| place.is_none());
        findings.extend(missing.map(|(word, _)| finding(path, 1, format!("an op's header has a line `{word}`"))));
        if places.iter().all(Option::is_some) && !places.is_sorted() {
            findings.push(finding(path, 1, format!("an op's header has its lines in the order {}", WORDS.join(", "))));
        }
    }
    findings
}

/// A tests.rs with a reference and a canary.
pub fn judges(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, path) in ops(house) {
        let tests = format!("{FOLDER}{name}/tests.rs");
        let Some(text) = house.tree.text(&tests) else {
            findings.push(finding(path, 0, format!("an op has its judges in {tests}")));
            continue;
        };
        let code = Code::of(text).code;
        if !code.contains("reference") {
            findings.push(finding(&tests, 0, "an op is judged by a float64 `reference`"));
        }
        if lines_with(&code, "must_catch").is_empty() {
            findings.push(finding(&tests, 0, "a judge shows that it can refuse: plant bugs and call `must_catch`"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;

    const GOOD: &str = "//! Op.\n//!\n//! Forward  y\n//! Backward dx\n//! Shapes   x\n//! Writes   y\n//! Rounds   f32\n//! Moves    x\n";

    #[test]
    fn a_missing_word_and_a_wrong_order_are_found() {
        let lacking = GOOD.replace("//! Rounds   f32\n", "");
        let turned = "//! Op.\n//! Backward dx\n//! Forward y\n//! Shapes x\n//! Writes y\n//! Rounds f\n//! Moves x\n";
        let late = GOOD.replace("//! Moves    x\n", "fn a() {}\n//! Moves    x\n");
        let files = [
            ("crates/engine/src/ops/mod.rs", "//! Ops.\n"),
            ("crates/engine/src/ops/a.rs", GOOD),
            ("crates/engine/src/ops/b/mod.rs", &lacking),
            ("crates/engine/src/ops/b/tests.rs", "//! T.\n"),
            ("crates/engine/src/ops/c.rs", turned),
            ("crates/engine/src/ops/d.rs", &late),
        ];
        assert_eq!(
            said(header, &files),
            [
                "crates/engine/src/ops/b/mod.rs:1: an op's header has a line `Rounds`",
                "crates/engine/src/ops/c.rs:1: an op's header has its lines in the order Forward, Backward, Shapes, Writes, Rounds, Moves",
                "crates/engine/src/ops/d.rs:1: an op's header has a line `Moves`",
            ]
        );
    }

    #[test]
    fn an_op_without_judges_is_found() {
        let files = [
            ("crates/engine/src/ops/a.rs", GOOD),
            ("crates/engine/src/ops/a/tests.rs", "//! T.\nmod reference {}\nfn canary() { must_catch(\"x\", y); }\n"),
            ("crates/engine/src/ops/b.rs", GOOD),
            ("crates/engine/src/ops/c.rs", GOOD),
            ("crates/engine/src/ops/c/tests.rs", "//! A reference and must_catch, in words only.\n"),
        ];
        assert_eq!(
            said(judges, &files),
            [
                "crates/engine/src/ops/b.rs: an op has its judges in crates/engine/src/ops/b/tests.rs",
                "crates/engine/src/ops/c/tests.rs: an op is judged by a float64 `reference`",
                "crates/engine/src/ops/c/tests.rs: a judge shows that it can refuse: plant bugs and call `must_catch`",
            ]
        );
    }
}
