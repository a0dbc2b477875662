//! What is wrong with inputs and prices: facts, without advice.

use std::fmt;

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// Why nothing is counted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read as what it should be.
    #[error("{file}: {why}")]
    File {
        /// Its name.
        file: String,
        /// What the parser says.
        why: String,
    },
    /// A word that names nothing.
    #[error("{place}: there is no {kind} `{found}`{}; known: {}", meant(nearest), known.join(", "))]
    Unknown {
        /// Where it stands.
        place: String,
        /// What it should name.
        kind: &'static str,
        /// The word.
        found: String,
        /// What was most likely meant.
        nearest: Option<String>,
        /// All that would do.
        known: Vec<String>,
    },
    /// A value that makes no sense.
    #[error("{place}: `{name}` is {found}, expected {expected}")]
    Absurd {
        /// Where it stands.
        place: String,
        /// The input.
        name: String,
        /// What was given.
        found: String,
        /// What would do.
        expected: String,
    },
    /// Facts that only the team knows.
    #[error("these have to be given, and have no default: {}", Facts(facts))]
    Needed {
        /// Name and meaning of each.
        facts: Vec<(String, String)>,
    },
    /// A price or a throughput that no file has.
    #[error("no figure for {}: the price file has {of}", Facts(facts))]
    Missing {
        /// Name and meaning of each.
        facts: Vec<(String, String)>,
        /// What it has instead.
        of: String,
    },
    /// Inputs that contradict each other.
    #[error("{what}")]
    Contradiction {
        /// Both, and why they do not go together.
        what: String,
    },
}

struct Facts<'a>(&'a [(String, String)]);

impl fmt::Display for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(name, what)| format!("{name} ({what})")).collect();
        f.write_str(&all.join(", "))
    }
}

fn meant(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |word| format!(", did you mean `{word}`?"))
}
