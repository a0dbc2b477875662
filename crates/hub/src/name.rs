//! What a model's name can be.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The name of the small model with two sources.
pub(crate) const SMOLLM2: &str = "smollm2-135m-instruct";

/// A name, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// Something on this machine.
    Path(PathBuf),
    /// A repository of a Hugging Face hub.
    Id(Id),
    /// `smollm2-135m-instruct`.
    SmolLm2,
}

/// A repository and its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    /// `org/name`.
    pub repo: String,
    /// A branch, tag or commit; `main` when none was given.
    pub revision: String,
}

impl std::fmt::Display for Id {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.revision.as_str() {
            "main" => write!(out, "{}", self.repo),
            revision => write!(out, "{}@{revision}", self.repo),
        }
    }
}

impl Name {
    /// What exists on disk is a path; then the known name; then an id.
    pub fn parse(text: &str) -> Result<Name> {
        let path = Path::new(text);
        // The known name beats an unrelated folder that happens to be called so.
        if text.eq_ignore_ascii_case(SMOLLM2) && !path.join("config.json").is_file() {
            return Ok(Name::SmolLm2);
        }
        let marked = path.is_absolute() || text.starts_with('.') || text.to_ascii_lowercase().ends_with(".gguf");
        if !text.is_empty() && (marked || path.exists()) {
            return Ok(Name::Path(path.to_path_buf()));
        }
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let whole = repo.split_once('/').is_some_and(|(org, name)| is_plain(org) && is_plain(name));
        // A revision becomes a path in the cache, so it must stay inside of it.
        if !whole || !revision.split('/').all(is_plain) {
            return Err(Error::BadName { found: text.to_string() });
        }
        Ok(Name::Id(Id { repo: repo.to_string(), revision: revision.to_string() }))
    }
}

/// Letters, digits, `-`, `_` and `.`, not starting with a dot: harmless in paths and addresses.
pub(crate) fn is_plain(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= 200 && !text.starts_with('.') && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        let id = |repo: &str, revision: &str| Name::Id(Id { repo: repo.into(), revision: revision.into() });
        assert_eq!(Name::parse("SmolLM2-135M-Instruct").unwrap(), Name::SmolLm2);
        assert_eq!(Name::parse("org/My_model-1.5").unwrap(), id("org/My_model-1.5", "main"));
        assert_eq!(Name::parse("org/name@refs/pr/3").unwrap(), id("org/name", "refs/pr/3"));
        assert_eq!(Name::parse("missing.gguf").unwrap(), Name::Path("missing.gguf".into()));
        assert_eq!(Name::parse("/missing").unwrap(), Name::Path("/missing".into()));
        assert_eq!(Name::parse("src").unwrap(), Name::Path("src".into()));
    }

    #[test]
    fn what_is_no_name_says_what_one_is() {
        for text in ["", "gpt2", "a/b/c", "org/name@", "org/name@../../x", "org/na me", "org/name@a?b", "/"] {
            let found = Name::parse(text);
            if text == "/" {
                assert_eq!(found.unwrap(), Name::Path("/".into()));
                continue;
            }
            let error = found.unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` names no model")), "{error}");
        }
    }
}
