//! What went wrong, as people and programs see it: kind, message, hints, exit code.

mod cost;
mod datasets;
mod files;
mod imports;
mod stages;

use serde_json::{Value, json};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;

/// Whose turn it is to mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something that the user gave.
    Yours,
    /// How the command was written.
    Usage,
    /// A check said no.
    Gate,
    /// Memory, disk, network.
    Machine,
    /// A bug.
    Ours,
}

impl Kind {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Kind::Yours => 1,
            Kind::Usage => 2,
            Kind::Gate => 3,
            Kind::Machine => 4,
            Kind::Ours => 5,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Yours => "input",
            Kind::Usage => "usage",
            Kind::Gate => "gate",
            Kind::Machine => "machine",
            Kind::Ours => "bug",
        }
    }

    /// A failure of the operating system: the user's path, or the machine.
    pub fn of_io(error: &std::io::Error) -> Kind {
        use std::io::ErrorKind as E;
        match error.kind() {
            E::NotFound | E::PermissionDenied | E::AlreadyExists | E::InvalidInput | E::InvalidData | E::UnexpectedEof => Kind::Yours,
            E::NotADirectory | E::IsADirectory | E::DirectoryNotEmpty | E::InvalidFilename | E::ReadOnlyFilesystem => Kind::Yours,
            _ => Kind::Machine,
        }
    }
}

/// One failure: fact, then advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub what: String,
    pub causes: Vec<String>,
    /// Each can be done, and mostly be pasted.
    pub hints: Vec<String>,
    /// What the command found before it failed: its result for programs.
    pub found: Option<Box<Value>>,
}

impl Fault {
    pub fn new(kind: Kind, what: impl fmt::Display) -> Fault {
        Fault { kind, what: what.to_string(), causes: Vec::new(), hints: Vec::new(), found: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hints.push(hint.into());
        self
    }

    pub fn cause(mut self, cause: impl Into<String>) -> Fault {
        self.causes.push(cause.into());
        self
    }

    /// What was found before it failed.
    pub fn found(mut self, found: Value) -> Fault {
        self.found = Some(Box::new(found));
        self
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let message = std::iter::once(&self.what).chain(&self.causes).cloned().collect::<Vec<_>>().join("; because: ");
        let error = json!({ "kind": self.kind.name(), "message": message, "hints": self.hints, "exit": self.kind.code() });
        let mut all = self.found.as_deref().and_then(Value::as_object).cloned().unwrap_or_default();
        all.insert("error".into(), error);
        all.into()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        self.causes.iter().try_for_each(|cause| write!(f, "\n  because: {cause}"))?;
        self.hints.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

/// From now on a panic is told as what it is: a bug of ours.
pub fn on_panic() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let at = info.location().map_or(String::new(), |l| format!(" ({}:{})", l.file(), l.line()));
        let what = format!("this is a bug in tunesmith {}: {}{at}", env!("CARGO_PKG_VERSION"), text.unwrap_or("a panic without words"));
        let fault = Fault::new(Kind::Ours, what).hint("report it with the command you ran and, if there is one, the run folder");
        crate::ui::warn(&fault.to_string());
        // Only where RUST_BACKTRACE asks for one.
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            crate::ui::warn(&trace.to_string());
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_fact_cause_and_hint() {
        let fault = Fault::new(Kind::Machine, "no room").cause("the disk has 3 bytes free").hint("free some").hint("or --out FOLDER");
        assert_eq!(fault.to_string(), "error: no room\n  because: the disk has 3 bytes free\nhint: free some\nhint: or --out FOLDER");
        let json = fault.to_json();
        assert_eq!((&json["error"]["kind"], &json["error"]["exit"]), (&json!("machine"), &json!(4)));
        assert_eq!(json["error"]["message"], "no room; because: the disk has 3 bytes free");
    }

    #[test]
    fn a_path_is_the_users_and_a_disk_the_machines() {
        let of = |kind: std::io::ErrorKind| Kind::of_io(&kind.into());
        assert_eq!(of(std::io::ErrorKind::NotFound), Kind::Yours);
        assert_eq!(of(std::io::ErrorKind::PermissionDenied), Kind::Yours);
        assert_eq!(of(std::io::ErrorKind::StorageFull), Kind::Machine);
        assert_eq!(of(std::io::ErrorKind::OutOfMemory), Kind::Machine);
    }
}
