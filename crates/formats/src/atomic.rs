//! Files that appear whole or not at all: a temporary name beside the target, made durable, then renamed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Error;

/// Tells the temporary files of one process apart.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A fresh temporary name in the target's folder; the ending stays, since readers go by it.
pub(crate) fn temporary_beside(path: &Path) -> Result<PathBuf, Error> {
    let name = path.file_name().ok_or_else(|| Error::malformed(path, "path", "no file name", "a file name"))?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(path.with_file_name(format!(".tmp-{}-{count}-{}", std::process::id(), name.to_string_lossy())))
}

/// Makes a rename durable. Only Unix lets a folder be opened for that.
pub(crate) fn sync_folder(file: &Path) -> Result<(), Error> {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) {
        fs::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io(folder, "sync", e))?;
    }
    Ok(())
}

/// Writes a small file whole.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = temporary_beside(path)?;
    let written = fs::File::create(&temporary).and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all()));
    if let Err(e) = written.and_then(|()| fs::rename(&temporary, path)) {
        let _ = fs::remove_file(&temporary);
        return Err(Error::io(path, "write", e));
    }
    sync_folder(path)
}
