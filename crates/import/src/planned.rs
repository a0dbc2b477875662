//! What an import will read: every source opened, looked at and known by its content before the first row is written.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::conversation::Unanswered;
use crate::error::{Error, Result};
use crate::records::{self, Asking};
use crate::roles::{Role, Roles};
use crate::rows::Rows;
use crate::source::{Kind, Source, file_of, kind_of};
use crate::threads::{self, Talk};

/// What the user decides.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Columns by their roles; an empty column takes a guessed role away.
    pub roles: Vec<(Role, String)>,
    /// What databases are asked.
    pub asking: Asking,
    /// How mails and tickets become conversations.
    pub talk: Talk,
    /// The kind of all sources, where it shall not be told by their contents.
    pub kind: Option<Kind>,
}

/// Sources that are open and understood.
pub struct Plan {
    pub sources: Vec<Planned>,
    /// What must be the same when an interrupted import goes on.
    pub(crate) identity: Map<String, Value>,
}

/// One source, opened.
pub struct Planned {
    /// As people see it: without a password, with the sheet.
    pub name: String,
    pub kind: Kind,
    /// Its size on disk, and the hash of its bytes; nothing of a server.
    pub bytes: u64,
    pub sha256: Option<String>,
    pub roles: Roles,
    /// The columns of its first rows.
    pub columns: Vec<String>,
    /// The shape of most rows, where they have one.
    pub shape: Option<&'static str>,
    /// Encoding, delimiter and the like.
    pub facts: Map<String, Value>,
    pub(crate) source: Box<dyn Source>,
}

/// Opens all sources; none that is broken lets the import begin.
///
/// # Errors
/// A source that cannot be opened, that is of no known kind, or whose columns nobody understands.
pub fn plan(names: &[String], options: &Options) -> Result<Plan> {
    let mut sources: Vec<Planned> = Vec::new();
    for name in names {
        let kind = options.kind.map_or_else(|| kind_of(name), Ok)?;
        for part in records::parts(name, kind)? {
            let planned = open(&part, kind, options, &sources)?;
            sources.push(planned);
        }
    }
    let known = |planned: &Planned| json!({ "name": planned.name, "kind": planned.kind.name(), "sha256": planned.sha256 });
    let told = |(role, column): &(Role, String)| json!([role.name(), column]);
    let identity = Map::from_iter([
        ("sources".to_string(), sources.iter().map(known).collect()),
        ("roles".to_string(), options.roles.iter().map(told).collect()),
        ("query".to_string(), json!(options.asking.query)),
        ("agents".to_string(), json!(options.talk.agents)),
        ("unanswered".to_string(), json!(options.talk.unanswered == Unanswered::Text)),
        ("mapping".to_string(), json!(options.talk.mapping)),
    ]);
    Ok(Plan { sources, identity })
}

fn open(name: &str, kind: Kind, options: &Options, before: &[Planned]) -> Result<Planned> {
    let shown = records::shown(name, kind);
    let path = file_of(name);
    let (bytes, sha256) = match kind {
        _ if kind.is_server() => (0, None),
        _ if path.is_dir() => folder(&path)?,
        _ => identity(&path, before)?,
    };
    if kind.is_talk() {
        let opened = threads::open(&path, kind, &options.talk, bytes)?;
        let (roles, columns, shape) = (Roles::default(), Vec::new(), None);
        return Ok(Planned { name: shown, kind, bytes, sha256, roles, columns, shape, facts: opened.facts, source: opened.source });
    }
    let records = records::open(name, kind, &options.asking)?;
    let rows = Rows::of(&shown, records, &options.roles, prefix(&shown, before), kind.is_database())?;
    Ok(Planned {
        name: shown,
        kind,
        bytes,
        sha256,
        roles: rows.roles().clone(),
        columns: rows.columns(),
        shape: rows.shape.map(|shape| shape.name),
        facts: rows.facts(),
        source: Box::new(rows),
    })
}

/// Size and hash of a file; the sheets of a workbook share theirs.
fn identity(path: &Path, before: &[Planned]) -> Result<(u64, Option<String>)> {
    if let Some(same) = before.last().filter(|one| one.kind == Kind::Xlsx && file_of(&one.name) == path) {
        return Ok((same.bytes, same.sha256.clone()));
    }
    let (sha256, bytes) = record::hash::sha256_file(path)?;
    if bytes == 0 {
        let found = "an empty file".to_string();
        return Err(Error::Unreadable { name: path.display().to_string(), found, expected: "rows" });
    }
    Ok((bytes, Some(sha256)))
}

/// Size and hash of a folder: of the names, sizes and times of all files below, since their contents may be too much to read twice.
fn folder(path: &Path) -> Result<(u64, Option<String>)> {
    let (mut all, mut bytes) = (String::new(), 0);
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let io = |e| Error::io("read", &folder, e);
        let mut entries: Vec<_> = std::fs::read_dir(&folder).map_err(io)?.collect::<std::result::Result<_, _>>().map_err(io)?;
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let about = entry.metadata().map_err(io)?;
            if about.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let changed = about.modified().ok();
            all.push_str(&format!("{} {} {changed:?}\n", entry.path().display(), about.len()));
            bytes += about.len();
        }
    }
    Ok((bytes, Some(record::hash::sha256(all.as_bytes()))))
}

/// What names of rows begin with: the file's own name, with a number where an earlier source has the same.
fn prefix(shown: &str, before: &[Planned]) -> String {
    let own = |name: &str| name.rsplit('/').next().unwrap_or(name).to_string();
    match before.iter().filter(|one| own(&one.name) == own(shown)).count() {
        0 => own(shown),
        n => format!("{}~{}", own(shown), n + 1),
    }
}
