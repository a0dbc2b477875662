//! What a check found: which examples, how it is known, and what to do about it.

use serde_json::{Value, json};

/// The checks, in the order in which they are made and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    Format,
    Length,
    Contradiction,
    LabelError,
    NearDuplicate,
    SemanticDuplicate,
    Template,
    Coverage,
    Leakage,
    PersonalData,
    Secret,
}

impl Check {
    /// As machines read it.
    pub fn name(self) -> &'static str {
        match self {
            Check::Format => "format",
            Check::Length => "length",
            Check::Contradiction => "contradiction",
            Check::LabelError => "label_error",
            Check::NearDuplicate => "near_duplicate",
            Check::SemanticDuplicate => "semantic_duplicate",
            Check::Template => "template",
            Check::Coverage => "coverage",
            Check::Leakage => "leakage",
            Check::PersonalData => "personal_data",
            Check::Secret => "secret",
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Look at it before training.
    Warning,
    /// Training on it, or measuring with it, goes wrong: the gate fails.
    Error,
}

impl Severity {
    /// As machines read it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub check: Check,
    pub severity: Severity,
    /// Names of the examples, as [`crate::Item::id`]; the one to look at first comes first.
    pub examples: Vec<String>,
    /// How sure or how bad, from 0 to 1; findings of one check are sorted by it.
    pub score: f64,
    /// What was found, in words that a reviewer understands, with the texts that show it.
    pub evidence: String,
    /// What to do.
    pub mend: String,
}

impl Finding {
    /// As machines read it.
    pub fn to_json(&self) -> Value {
        json!({
            "check": self.check.name(),
            "severity": self.severity.name(),
            "examples": self.examples,
            "score": self.score,
            "evidence": self.evidence,
            "mend": self.mend,
        })
    }
}
