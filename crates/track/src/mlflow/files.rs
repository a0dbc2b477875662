//! The files of a run as artifacts: small ones whole, large ones as a pointer with their hash.

use std::path::{Path, PathBuf};

use record::hash;
use serde_json::json;

use super::Server;
use super::web::quoted;
use crate::error::{Error, Result};

/// A server passes an upload through its own memory, so larger files only get a pointer.
const LARGEST: u64 = 64 << 20;
/// How a server says that it takes files itself.
const PROXY: &str = "mlflow-artifacts:/";

impl Server {
    /// Uploads what the server does not have: recipe, report and adapter, as far as they exist.
    pub(super) fn files(&mut self) -> Result<()> {
        let mut files = vec![("recipe.toml".to_string(), self.run.recipe()), ("report.html".to_string(), self.run.report())];
        files.extend(names(&self.run.adapter())?.into_iter().map(|(name, path)| (format!("adapter/{name}"), path)));
        for (name, path) in files.into_iter().filter(|(_, path)| path.is_file()) {
            self.file(&name, &path)?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, path: &Path) -> Result<()> {
        let (sum, length) = hash::sha256_file(path)?;
        let place = self.path();
        let Some(position) = &mut self.position else { return Ok(()) };
        if position.artifacts.get(name) == Some(&sum) {
            return Ok(());
        }
        let (sent_as, bytes) = if length <= LARGEST {
            (name.to_string(), std::fs::read(path).map_err(|source| Error::io("read", path, source))?)
        } else {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
            let pointer = json!({ "path": whole, "bytes": length, "sha256": sum });
            (format!("{name}.pointer.json"), format!("{pointer:#}\n").into_bytes())
        };
        let folder = folder(&position.artifact_uri)?;
        let target: Vec<String> = sent_as.split('/').map(quoted).collect();
        self.web.put(&format!("api/2.0/mlflow-artifacts/artifacts/{folder}/{}", target.join("/")), &bytes)?;
        position.artifacts.insert(name.to_string(), sum);
        position.write(&place)
    }
}

/// The path of a run's artifacts below the server's own store.
fn folder(uri: &str) -> Result<String> {
    let path = uri.strip_prefix(PROXY).filter(|path| !path.starts_with('/'));
    match path {
        Some(path) => Ok(path.split('/').map(quoted).collect::<Vec<_>>().join("/")),
        None => Err(Error::Store { found: uri.to_string() }),
    }
}

/// The files of a folder, by name; none when there is no folder.
fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |source| Error::io("read the folder", folder, source);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries.collect::<std::io::Result<Vec<_>>>().map_err(failed)?,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(failed(source)),
    };
    let mut names: Vec<(String, PathBuf)> =
        entries.into_iter().map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::folder;

    #[test]
    fn only_a_store_behind_the_server_is_written_to() {
        assert_eq!(folder("mlflow-artifacts:/7/ab c/artifacts").unwrap(), "7/ab%20c/artifacts");
        for other in ["s3://bucket/7", "/var/mlruns/7", "mlflow-artifacts://elsewhere:5000/7"] {
            let error = folder(other).unwrap_err().to_string();
            assert!(error.contains(other) && error.contains("expected `mlflow-artifacts:/"), "{error}");
        }
    }
}
