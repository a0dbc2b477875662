//! A file is there whole or not at all: temporary name, fsync, rename, fsync of the folder.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// What a temporary name begins with; such names are leftovers when nobody writes.
pub const TEMPORARY: &str = ".tmp-";

/// Tells writers of one process apart, so that two threads never share a temporary name.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Writes a whole file in place of `path`.
///
/// After a crash at any moment, `path` holds the old bytes or the new ones.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// As [`write`], for content that is produced piece by piece.
///
/// When `fill` fails, the temporary file is removed and `path` is as before.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut std::io::BufWriter<File>) -> std::io::Result<()>) -> Result<()> {
    let draft = temporary(path);
    let done = (|| {
        let file = File::create(&draft)?;
        let mut writer = std::io::BufWriter::with_capacity(1 << 16, file);
        fill(&mut writer)?;
        writer.flush()?;
        writer.get_ref().sync_all()?;
        std::fs::rename(&draft, path)
    })();
    if let Err(source) = done {
        // The reason is reported below; a temporary file that stays is found by its name.
        let _ = std::fs::remove_file(&draft);
        return Err(Error::io("write", path, source));
    }
    sync_folder(folder_of(path))
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|source| Error::io("sync", folder, source))
}

/// Free bytes for this user on the file system that holds `folder`.
pub fn free_bytes(folder: &Path) -> Result<u64> {
    let mut place = folder;
    // A folder that is yet to be made lies on the file system of its nearest parent.
    while !place.exists() {
        place = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    let facts = rustix::fs::statvfs(place).map_err(|errno| Error::io("measure the free space of", place, errno.into()))?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// Refuses a write for which the disk has too little room.
pub fn require_space(path: &Path, need: u64) -> Result<()> {
    let free = free_bytes(folder_of(path))?;
    if need > free {
        return Err(Error::NoSpace { path: path.to_path_buf(), need, free });
    }
    Ok(())
}

/// The folder of a file; `.` for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    folder_of(path).join(format!("{TEMPORARY}{name}-{process}-{number}"))
}

/// Makes a folder whole or not at all: `fill` writes into a temporary one beside `path`, which then takes its place.
///
/// When `fill` fails, the temporary folder is removed and `path` is as before.
///
/// # Errors
/// What `fill` says, or what the file system says.
pub fn replace_folder<E: From<Error>>(
    path: &Path,
    fill: &mut dyn FnMut(&Path) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let io = |what, path: &Path, source| E::from(Error::io(what, path, source));
    let draft = temporary(path);
    std::fs::create_dir_all(&draft).map_err(|e| io("make the folder", &draft, e))?;
    let filled = fill(&draft).and_then(|()| {
        for entry in std::fs::read_dir(&draft).map_err(|e| io("list", &draft, e))? {
            let file = entry.map_err(|e| io("list", &draft, e))?.path();
            File::open(&file).and_then(|f| f.sync_all()).map_err(|e| io("sync", &file, e))?;
        }
        sync_folder(&draft)?;
        Ok(())
    });
    if let Err(error) = filled {
        // The reason is reported; a temporary folder that stays is found by its name.
        let _ = std::fs::remove_dir_all(&draft);
        return Err(error);
    }
    // A folder cannot be renamed over a full one: the old one steps aside for a moment.
    let old = temporary(path);
    let replaced = path.exists();
    if replaced {
        std::fs::rename(path, &old).map_err(|e| io("rename", path, e))?;
    }
    std::fs::rename(&draft, path).map_err(|e| io("rename", &draft, e))?;
    sync_folder(folder_of(path))?;
    if replaced {
        std::fs::remove_dir_all(&old).map_err(|e| io("remove", &old, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write(&path, b"one").unwrap();
        let error = write_with(&path, |file| {
            file.write_all(b"half")?;
            Err(std::io::Error::other("cable pulled"))
        })
        .unwrap_err();
        assert!(error.to_string().ends_with("cable pulled"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_disk_is_named_with_need_and_free() {
        let path = Path::new("/dev/full-is-not-a-folder");
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let text = Error::io("write", path, full).to_string();
        assert!(text.contains("needs") && text.contains("free"), "{text}");
        let dir = tempfile::tempdir().unwrap();
        let error = require_space(&dir.path().join("x"), u64::MAX).unwrap_err();
        assert!(matches!(error, Error::NoSpace { need: u64::MAX, .. }));
        require_space(&dir.path().join("x"), 1).unwrap();
    }

    #[test]
    fn a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = write(&dir.path().join("no/a"), b"").unwrap_err().to_string();
        assert!(error.starts_with("cannot write") && error.contains("no/a"), "{error}");
    }
}
