//! A file that is a function of the record: made anew when a process starts, then added to.
//!
//! So nothing has to be remembered of what was written: whatever a killed process left, the
//! next one writes the file again from the record, beside it, and renames it into place.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use record::{Follow, RunFolder};

use crate::Ended;
use crate::curve::{Row, Teller};
use crate::duty::Sink;
use crate::error::{Error, Result};

/// The draft's name; readers of event files must not take it for one.
const DRAFT: &str = ".tmp-new";

/// A foreign file format.
pub(crate) trait Form: Send {
    fn name(&self) -> &'static str;
    /// Where the file of this run belongs, given what is known of its end; its folder is made.
    ///
    /// # Errors
    /// What the disk says.
    fn place(&mut self, run: &RunFolder, started: &Row, how: Ended) -> Result<PathBuf>;
    /// The bytes before the first event.
    fn head(&mut self, run: &RunFolder, started: &Row) -> Vec<u8>;
    /// The bytes of one event.
    fn row(&mut self, row: Row) -> Vec<u8>;
    /// The bytes after the last event.
    fn tail(&mut self, how: Ended) -> Vec<u8>;
    /// Follows the rename: removes what the new file replaces.
    ///
    /// # Errors
    /// What the disk says.
    fn settle(&mut self, _path: &Path) -> Result<()> {
        Ok(())
    }
}

/// Keeps a file of some form up to date.
pub(crate) struct Mirror<F: Form> {
    form: F,
    run: RunFolder,
    follow: Follow,
    teller: Teller,
    open: Option<Open>,
    points: u64,
}

struct Open {
    file: File,
    path: PathBuf,
    /// Set while the file lies under the draft's name.
    draft: Option<PathBuf>,
    closed: bool,
}

impl<F: Form> Mirror<F> {
    pub fn new(form: F, run: &RunFolder) -> Mirror<F> {
        Mirror { form, run: run.clone(), follow: Follow::new(&run.events()), teller: Teller::default(), open: None, points: 0 }
    }

    /// Writes what is new in the record.
    fn read(&mut self, how: Ended) -> Result<()> {
        loop {
            let news = self.follow.look()?;
            if news.cut {
                // The file holds rows that the record no longer has.
                self.open = None;
                self.teller = Teller::default();
            }
            let mut bytes = Vec::new();
            for event in &news.events {
                let row = self.teller.tell(event);
                self.points += row.points.len() as u64;
                if row.starts() && self.open.is_none() {
                    let path = self.form.place(&self.run, &row, how)?;
                    let draft = path.with_file_name(DRAFT);
                    let file = File::create(&draft).map_err(|source| Error::io("write", &draft, source))?;
                    self.open = Some(Open { file, path, draft: Some(draft), closed: false });
                    bytes = self.form.head(&self.run, &row);
                }
                bytes.extend(self.form.row(row));
            }
            if let Some(open) = &mut self.open {
                open.write(&bytes)?;
            }
            if !news.more {
                return Ok(());
            }
        }
    }

    /// Gives a draft its name.
    fn publish(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let Some(draft) = open.draft.take() else { return Ok(()) };
        open.file.sync_all().map_err(|source| Error::io("sync", &draft, source))?;
        if same(&draft, &open.path) {
            // Nothing changed, so marks that others set on the file still hold.
            std::fs::remove_file(&draft).map_err(|source| Error::io("remove", &draft, source))?;
            open.file = OpenOptions::new().append(true).open(&open.path).map_err(|source| Error::io("open", &open.path, source))?;
            return Ok(());
        }
        std::fs::rename(&draft, &open.path).map_err(|source| Error::io("rename", &draft, source))?;
        if let Some(folder) = open.path.parent() {
            record::atomic::sync_folder(folder)?;
        }
        self.form.settle(&open.path)
    }
}

impl Open {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = self.draft.as_ref().unwrap_or(&self.path);
        self.file.write_all(bytes).map_err(|source| Error::io("write", path, source))
    }
}

impl<F: Form> Sink for Mirror<F> {
    fn name(&self) -> &'static str {
        self.form.name()
    }

    fn place(&self) -> String {
        self.open.as_ref().map_or_else(|| self.run.track(), |open| open.path.clone()).display().to_string()
    }

    fn points(&self) -> u64 {
        self.points
    }

    fn advance(&mut self) -> Result<()> {
        self.read(Ended::Running)?;
        self.publish()
    }

    fn close(&mut self, how: Ended) -> Result<()> {
        self.read(how)?;
        if let Some(open) = self.open.as_mut().filter(|open| !open.closed && how != Ended::Running) {
            open.write(&self.form.tail(how))?;
            open.file.sync_all().map_err(|source| Error::io("sync", &open.path, source))?;
            open.closed = true;
        }
        self.publish()
    }
}

fn same(a: &Path, b: &Path) -> bool {
    let length = |path: &Path| std::fs::metadata(path).map(|facts| facts.len()).ok();
    length(a) == length(b) && matches!((std::fs::read(a), std::fs::read(b)), (Ok(a), Ok(b)) if a == b)
}
