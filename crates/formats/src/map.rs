//! A file's bytes, mapped into memory read-only.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Error;

/// The bytes of one file and its path; the path is kept for error messages.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub path: PathBuf,
    map: Option<memmap2::Mmap>,
}

impl Mapped {
    /// Maps a file; an empty file gives an empty slice.
    pub fn open(path: &Path) -> Result<Mapped, Error> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let meta = file.metadata().map_err(|e| Error::io(path, "read the size of", e))?;
        if meta.is_dir() {
            return Err(Error::malformed(path, "path", "a folder", "a file"));
        }
        if meta.len() == 0 {
            return Ok(Mapped { path: path.to_path_buf(), map: None });
        }
        // SAFETY: the mapping is private and read-only, and only plain bytes are read through it, so no content can
        // break an invariant. Another program that shortens the file while it is mapped would stop this one with a
        // bus error; every reader of mapped weights has this limit, and our own writers replace files, never shorten
        // them.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, "map", e))?;
        Ok(Mapped { path: path.to_path_buf(), map: Some(map) })
    }

    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }

    /// Gives the pages that were read back to the system, which reads them again if they are asked for again.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Some(map) = &self.map {
            // SAFETY: the mapping is read-only and of a file, so a page that is dropped holds nothing that the file does
            // not hold. A system that refuses only keeps the pages.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
}
