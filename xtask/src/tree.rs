//! The files of the repository, by path.

use std::collections::BTreeMap;
use std::path::Path;

/// What is judged; everything else at the root is somebody's own.
const TOPS: &[&str] = &["crates", "xtask", "oracle", "fixtures", "examples", "bench", ".ci"];

/// Files by their path from the root, with `/` between folders.
#[derive(Default)]
pub struct Tree {
    files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// Reads the files at the root and all files of its known folders.
    pub fn read(root: &Path) -> Result<Tree, String> {
        let mut tree = Tree::default();
        for entry in entries(root)? {
            if entry.is_file() {
                tree.take(root, &entry)?;
            }
        }
        for top in TOPS {
            tree.walk(root, &root.join(top))?;
        }
        Ok(tree)
    }

    fn walk(&mut self, root: &Path, folder: &Path) -> Result<(), String> {
        if !folder.is_dir() {
            return Ok(());
        }
        for entry in entries(folder)? {
            let made = entry.file_name().is_some_and(|name| name == "target" || name == "__pycache__");
            if entry.is_dir() && !made {
                self.walk(root, &entry)?;
            } else if entry.is_file() {
                self.take(root, &entry)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, root: &Path, path: &Path) -> Result<(), String> {
        let bytes = std::fs::read(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
        let inner = path.strip_prefix(root).unwrap_or(path);
        let name: Vec<_> = inner.iter().map(|part| part.to_string_lossy()).collect();
        self.files.insert(name.join("/"), bytes);
        Ok(())
    }

    /// A tree of texts, to plant violations in.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(path, text)| (path.to_string(), text.as_bytes().to_vec())).collect() }
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Every path.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A file's text; none when it is missing or not UTF-8.
    pub fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.files.get(path)?).ok()
    }

    /// Every file that is text, with its path.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, bytes)| Some((path.as_str(), std::str::from_utf8(bytes).ok()?)))
    }

    /// Every Rust source.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| path.ends_with(".rs"))
    }
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>, String> {
    let failed = |cause: std::io::Error| format!("{}: {cause}", folder.display());
    std::fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_and_what_is_foreign_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["crates/a/src/lib.rs", "crates/a/target/x.rs", "venv/y.py", "README.md"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "text").unwrap();
        }
        let tree = Tree::read(folder.path()).unwrap();
        assert_eq!(tree.paths().collect::<Vec<_>>(), ["README.md", "crates/a/src/lib.rs"]);
    }
}
