//! Trackers beside a run: a thread of their own, so that none of them can slow a step.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use record::RunFolder;

use crate::duty::Duties;
use crate::error::{Error, Result};
use crate::{Ended, Options, Told};

/// Trackers that follow a run.
#[derive(Debug)]
pub struct Live {
    run: RunFolder,
    stop: Sender<Ended>,
    lines: Receiver<String>,
    thread: JoinHandle<Vec<Told>>,
}

/// Begins to follow the record of `run`, which need not have begun.
///
/// # Errors
/// The operating system gives no thread.
pub fn start(run: &RunFolder, options: &Options) -> Result<Live> {
    let (stop, stopped) = channel();
    let (line, lines) = channel();
    let (pace, mut duties) = (options.pace, Duties::new(run, options));
    let follow = move || loop {
        match stopped.recv_timeout(pace.tick) {
            Ok(how) => return duties.finish(how, Some(Instant::now() + pace.grace)),
            // Nobody said how it ended: the run's thread is gone.
            Err(RecvTimeoutError::Disconnected) => return duties.finish(Ended::Failed, Some(Instant::now() + pace.grace)),
            Err(RecvTimeoutError::Timeout) => {
                for text in duties.tick() {
                    // A run that no longer listens still gets its curves.
                    let _ = line.send(text);
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("track".to_string()).spawn(follow);
    let thread = thread.map_err(|source| Error::io("start a thread for", run.path(), source))?;
    Ok(Live { run: run.clone(), stop, lines, thread })
}

impl Live {
    /// What is worth a line since the last call; never waits.
    pub fn lines(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Sends what is missing, for the grace of the pace at most, and says what was told.
    ///
    /// # Errors
    /// [`Error::Lost`] when the thread had died.
    pub fn stop(self, how: Ended) -> Result<Vec<Told>> {
        let lost = || Error::Lost { path: self.run.path().to_path_buf() };
        self.stop.send(how).map_err(|_| lost())?;
        self.thread.join().map_err(|_| lost())
    }
}
