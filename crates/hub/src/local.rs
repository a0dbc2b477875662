//! A model that is already on this machine, used where it lies.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::{Kind, ModelPath, Source};

/// Takes a folder with `config.json`, a folder with one `.gguf`, or a `.gguf` file.
pub(crate) fn open(path: &Path) -> Result<ModelPath> {
    let refuse = |found: String| Err(Error::NotAModel { path: path.to_path_buf(), found });
    let facts = match std::fs::metadata(path) {
        Ok(facts) => facts,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return refuse("nothing".to_string()),
        Err(source) => return Err(Error::io("open", path, source)),
    };
    let found = |path: PathBuf, kind| Ok(ModelPath { path, kind, source: Source::InPlace });
    if facts.is_file() {
        return if is(path, "gguf") { found(path.to_path_buf(), Kind::Gguf) } else { refuse("another file".to_string()) };
    }
    let failed = |source| Error::io("read the folder", path, source);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    let with = |ending: &str| files.iter().filter(|file| is(file, ending)).cloned().collect::<Vec<_>>();
    let config = path.join("config.json").is_file();
    if config && !with("safetensors").is_empty() {
        return found(path.to_path_buf(), Kind::Folder);
    }
    match (with("gguf").as_slice(), config) {
        ([one], _) => found(one.clone(), Kind::Gguf),
        ([], true) => refuse("config.json without safetensors".to_string()),
        ([], false) => refuse("a folder without either".to_string()),
        (many, _) => refuse(format!("{} .gguf files", many.len())),
    }
}

fn is(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_used_where_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let refused = |path: &Path| open(path).unwrap_err().to_string();
        assert!(refused(&at("no")).contains("is no model: found nothing, expected config.json"));
        assert!(refused(dir.path()).contains("found a folder without either"));
        std::fs::write(at("a.gguf"), "").unwrap();
        let gguf = ModelPath { path: at("a.gguf"), kind: Kind::Gguf, source: Source::InPlace };
        assert_eq!(open(&at("a.gguf")).unwrap(), gguf);
        assert_eq!(open(dir.path()).unwrap(), gguf);
        std::fs::write(at("b.gguf"), "").unwrap();
        assert!(refused(dir.path()).contains("found 2 .gguf files"));
        std::fs::write(at("config.json"), "{}").unwrap();
        std::fs::write(at("model.safetensors"), "").unwrap();
        assert_eq!(open(dir.path()).unwrap().kind, Kind::Folder);
        assert!(refused(&at("config.json")).contains("found another file"));
    }
}
