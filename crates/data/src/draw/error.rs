//! What can be wrong with a sample or its review, as facts.

use std::path::PathBuf;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Problems of a sheet that are told in full.
const SHOWN: usize = 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Data(#[from] crate::Error),
    #[error(transparent)]
    Record(#[from] record::Error),
    /// No row can be looked at.
    #[error("{}: none of {rows} rows can be read", path.display())]
    Nothing { path: PathBuf, rows: usize },
    /// A file of findings that is none.
    #[error("{}: {why}, expected what `tunesmith data check --json` prints", path.display())]
    Findings { path: PathBuf, why: String },
    /// A file that is no drawn sample.
    #[error("{} is no drawn sample: {why}", path.display())]
    NotADraw { path: PathBuf, why: String },
    /// A sheet that cannot be read.
    #[error("{}: {why}", path.display())]
    Sheet { path: PathBuf, why: String },
    /// A sheet that does not belong to the sample, or not any more.
    #[error("{} does not fit the sample that was drawn:{}", path.display(), listed(problems))]
    Mismatch { path: PathBuf, problems: Vec<String> },
    /// Nobody has looked yet.
    #[error("{}: none of {rows} rows has a verdict, expected ok or defect", path.display())]
    NoVerdict { path: PathBuf, rows: usize },
}

fn listed(problems: &[String]) -> String {
    let shown = problems.iter().take(SHOWN).map(|problem| format!("\n  {problem}")).collect::<String>();
    match problems.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}\n  and {more} more"),
    }
}
