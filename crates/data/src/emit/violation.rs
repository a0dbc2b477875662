//! What is wrong with a row for a platform: where, what was found, what was expected, how to mend it.

use serde_json::{Value, json};

/// What follows from a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The platform refuses it, or learns something else than the row says.
    Refused,
    /// The file as it is would be refused; what is written here is right, and nothing that is learned is lost.
    Mended,
    /// The platform takes it; it is seldom meant.
    Advice,
}

impl Level {
    /// As machines read it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Refused => "refused",
            Level::Mended => "mended",
            Level::Advice => "advice",
        }
    }
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub level: Level,
    /// From 1; nothing where the file as a whole is meant.
    pub line: Option<u32>,
    /// Such as `messages[2].tool_calls[0].function.arguments`; empty for the whole row.
    pub field: String,
    /// Short name of the rule.
    pub rule: &'static str,
    pub found: String,
    pub expected: String,
    pub mend: String,
    /// How many further lines have the same; only of what is mended.
    pub more: usize,
}

impl Violation {
    /// As machines read it.
    pub fn to_json(&self) -> Value {
        json!({
            "level": self.level.name(),
            "line": self.line,
            "field": self.field,
            "rule": self.rule,
            "found": self.found,
            "expected": self.expected,
            "mend": self.mend,
            "more_lines": self.more,
        })
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}")?,
            None => write!(f, "file")?,
        }
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": found {}, expected {}", self.found, self.expected)?;
        if self.mend.is_empty() { Ok(()) } else { write!(f, "; {}", self.mend) }
    }
}

/// Where violations of one row are gathered.
pub(super) struct Found<'a> {
    pub line: u32,
    pub all: &'a mut Vec<Violation>,
}

impl Found<'_> {
    /// Notes a violation.
    pub fn add(
        &mut self,
        level: Level,
        rule: &'static str,
        field: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let (field, found, expected, mend) = (field.into(), found.into(), expected.into(), mend.into());
        self.all.push(Violation { level, line: Some(self.line), field, rule, found, expected, mend, more: 0 });
    }

    /// Notes what the platform refuses.
    pub fn refuse(
        &mut self,
        rule: &'static str,
        field: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Level::Refused, rule, field, found, expected, mend);
    }

    /// Notes what is written otherwise than it was read.
    pub fn mended(&mut self, rule: &'static str, field: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) {
        self.add(Level::Mended, rule, field, found, expected, "");
    }
}
