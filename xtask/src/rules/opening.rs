//! The first line of a source says its job.

use super::{Finding, House, finding};

/// Every source begins with `//!` and words.
pub fn first_line(house: &House) -> Vec<Finding> {
    let says = |text: &str| text.lines().next().and_then(|line| line.strip_prefix("//! ")).is_some_and(|words| !words.trim().is_empty());
    house
        .tree
        .sources()
        .filter(|(_, text)| !says(text))
        .map(|(path, _)| finding(path, 1, "begin with `//!` and the file's job in one sentence"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::first_line;

    #[test]
    fn a_file_without_its_job_is_found() {
        let files = [
            ("crates/a/src/lib.rs", "//! Does a.\n"),
            ("crates/a/src/b.rs", "use x;\n//! Late.\n"),
            ("crates/a/src/c.rs", "//!\n"),
            ("crates/a/src/d.rs", ""),
        ];
        let found = said(first_line, &files);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("crates/a/src/b.rs:1: begin with"), "{found:?}");
    }
}
