//! What an MLflow server was told, kept in the run's folder.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The version of the file.
const VERSION: u64 = 1;

/// How far a server is. Each field is set after the server agreed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    v: u64,
    pub uri: String,
    pub experiment_id: String,
    pub run_id: String,
    pub artifact_uri: String,
    /// `RUNNING`, `FINISHED`, `KILLED` or `FAILED`.
    pub status: String,
    pub parameters: bool,
    /// The last step sent, by curve.
    pub sent: BTreeMap<String, u64>,
    /// SHA-256 of each file sent, by its path at the server.
    pub artifacts: BTreeMap<String, String>,
    /// The version in the registry, as `name/3`.
    pub registered: Option<String>,
}

impl Position {
    pub fn new(uri: &str, experiment_id: &str, run_id: &str, artifact_uri: &str, status: &str) -> Position {
        Position {
            v: VERSION,
            uri: uri.to_string(),
            experiment_id: experiment_id.to_string(),
            run_id: run_id.to_string(),
            artifact_uri: artifact_uri.to_string(),
            status: status.to_string(),
            parameters: false,
            sent: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            registered: None,
        }
    }

    /// None when there is no file.
    ///
    /// # Errors
    /// [`Error::Position`] when it is not ours.
    pub fn read(path: &Path) -> Result<Option<Position>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("read", path, source)),
        };
        let bad = |message: String| Error::Position { path: path.to_path_buf(), message };
        let position: Position = serde_json::from_slice(&bytes).map_err(|cause| bad(cause.to_string()))?;
        if position.v != VERSION {
            return Err(bad(format!("it has version {}, not {VERSION}", position.v)));
        }
        Ok(Some(position))
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|cause| Error::io("write", path, cause.into()))?;
        Ok(record::atomic::write(path, text.as_bytes())?)
    }
}
