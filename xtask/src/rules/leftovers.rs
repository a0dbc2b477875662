//! What a finished file has none of.

use super::{Finding, House, finding};
use crate::code::{Code, lines_with};

/// No notes to ourselves, no debug output, nothing left out.
pub fn marks(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in house.tree.sources() {
        let parts = Code::of(text);
        for mark in ["FIXME", "TODO", "XXX"] {
            let lines = lines_with(&parts.comments, mark).into_iter().chain(lines_with(&parts.code, mark));
            findings.extend(lines.map(|line| finding(path, line, format!("`{mark}`: do it, or open an issue"))));
        }
        for mark in ["dbg!", "todo!", "unimplemented!"] {
            let lines = lines_with(&parts.code, mark);
            findings.extend(lines.into_iter().map(|line| finding(path, line, format!("`{mark}` is for a moment, not for main"))));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::marks;

    #[test]
    fn every_mark_is_found_and_strings_are_not() {
        let source = "//! A.\n// TODO later\nfn a() { dbg!(1); todo!() }\n/* FIXME */\nfn b() { unimplemented!() } // XXX\nconst C: &str = \"TODO\";\n";
        let mut found: Vec<String> = said(marks, &[("crates/a/src/lib.rs", source)]);
        found.sort();
        let places: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
        let at = |line: usize| format!("crates/a/src/lib.rs:{line}");
        assert_eq!(places, [at(2), at(3), at(3), at(4), at(5), at(5)]);
    }
}
