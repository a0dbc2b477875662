//! The house rules, each a function from the house to what it found.

mod arrows;
mod ceilings;
mod leftovers;
mod map;
mod names;
mod opening;
mod ops;
mod provenance;
mod rooms;
mod wiring;
mod wording;

use crate::metadata::{self, Workspace};
use crate::tree::Tree;
use std::fmt;
use std::path::Path;

/// Everything that a rule may look at.
pub struct House {
    /// The files.
    pub tree: Tree,
    /// The crates and their arrows.
    pub workspace: Workspace,
}

impl House {
    /// Reads the repository.
    pub fn open(root: &Path) -> Result<House, String> {
        Ok(House { tree: Tree::read(root)?, workspace: metadata::read(root)? })
    }

    /// A house of texts, to plant violations in.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> House {
        House { tree: Tree::of(files), workspace: Workspace::new() }
    }
}

/// A broken rule and where.
#[derive(Debug, PartialEq)]
pub struct Finding {
    /// The file.
    pub path: String,
    /// From 1; 0: the file as a whole.
    pub line: usize,
    /// What is there and what should be.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.what),
            line => write!(out, "{}:{line}: {}", self.path, self.what),
        }
    }
}

fn finding(path: &str, line: usize, what: impl Into<String>) -> Finding {
    Finding { path: path.to_string(), line, what: what.into() }
}

/// A rule.
pub type Rule = fn(&House) -> Vec<Finding>;

/// Every rule, in the order in which STYLE.md lists what is checked.
pub const RULES: &[Rule] = &[
    opening::first_line,
    arrows::table,
    map::places,
    rooms::unsafe_code,
    rooms::lints,
    rooms::printing,
    rooms::environment,
    rooms::exits,
    rooms::network,
    rooms::clock,
    names::banned,
    names::shadows,
    leftovers::marks,
    ops::header,
    ops::judges,
    wiring::modules,
    provenance::goldens,
    provenance::fixtures,
    ceilings::ratchet,
    wording::product_only,
];

/// What all rules find.
pub fn all(house: &House) -> Vec<Finding> {
    RULES.iter().flat_map(|rule| rule(house)).collect()
}

/// What a rule says about planted files, one line each.
#[cfg(test)]
fn said(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    rule(&House::of(files)).iter().map(ToString::to_string).collect()
}
