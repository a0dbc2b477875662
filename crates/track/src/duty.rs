//! The trackers of one run, each with its patience: who is asked now, who later, who no more.

use std::fs::{File, OpenOptions, TryLockError};
use std::time::{Duration, Instant};

use record::RunFolder;

use crate::error::{Error, Result};
use crate::mirror::Mirror;
use crate::mlflow::Server;
use crate::tensorboard::TensorBoard;
use crate::wandb::Wandb;
use crate::{Ended, Options, Pace, Told};

/// Attempts of the command that sends what is missing, before it says that a tracker is away.
const ATTEMPTS: u32 = 4;

/// A tracker.
pub(crate) trait Sink: Send {
    fn name(&self) -> &'static str;
    /// Where to look at it.
    fn place(&self) -> String;
    /// Points sent so far.
    fn points(&self) -> u64;
    /// No call may take longer than this moment.
    fn hurry(&mut self, _until: Option<Instant>) {}
    /// What was refused without stopping the rest; each is given once.
    fn refused(&mut self) -> Vec<Error> {
        Vec::new()
    }
    /// Sends what the record holds now, for about one tick.
    ///
    /// # Errors
    /// The first thing that stops it; the next call goes on from there.
    fn advance(&mut self) -> Result<()>;
    /// Sends all that the record holds, and says what the run came to.
    ///
    /// # Errors
    /// As [`Sink::advance`].
    fn close(&mut self, how: Ended) -> Result<()>;
}

/// All trackers of a run.
pub(crate) struct Duties {
    run: RunFolder,
    pace: Pace,
    duties: Vec<Duty>,
    /// Two processes that send for one run would send twice.
    lock: Option<File>,
    /// Why there is no lock, as it was told.
    said: Option<String>,
}

struct Duty {
    sink: Box<dyn Sink>,
    state: State,
    /// Failures in a row.
    failures: u32,
    faults: Vec<Error>,
}

enum State {
    Ready,
    /// Away; asked again then.
    Waits(Instant),
    /// Refused; asked no more by this process.
    Over,
}

impl Duties {
    pub fn new(run: &RunFolder, options: &Options) -> Duties {
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        if options.tensorboard {
            sinks.push(Box::new(Mirror::new(TensorBoard { settings: options.settings.clone() }, run)));
        }
        if let Some(project) = &options.wandb {
            sinks.push(Box::new(Mirror::new(Wandb::new(project, &options.settings), run)));
        }
        // The one that may be slow comes last.
        if let Some(mlflow) = &options.mlflow {
            sinks.push(Box::new(Server::new(mlflow, options, run)));
        }
        let duty = |sink| Duty { sink, state: State::Ready, failures: 0, faults: Vec::new() };
        Duties { run: run.clone(), pace: options.pace, duties: sinks.into_iter().map(duty).collect(), lock: None, said: None }
    }

    /// Takes the right to send for this run.
    pub fn claim(&mut self) -> Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        let folder = self.run.track();
        std::fs::create_dir_all(&folder).map_err(|source| Error::io("make the folder", &folder, source))?;
        let path = folder.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|source| Error::io("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { path: self.run.path().to_path_buf() }),
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path, source)),
        }
        Ok(())
    }

    /// One look at the record by everybody whose turn it is; returns what is worth a line.
    pub fn tick(&mut self) -> Vec<String> {
        match self.claim() {
            Ok(()) => {}
            // Whoever sends now will be done soon.
            Err(Error::Busy { .. }) => return Vec::new(),
            Err(error) => {
                let line = format!("trackers are told later: {error}");
                let new = self.said.as_ref() != Some(&line);
                self.said = Some(line.clone());
                return if new { vec![line] } else { Vec::new() };
            }
        }
        let pace = self.pace;
        self.duties.iter_mut().flat_map(|duty| duty.tick(&pace)).collect()
    }

    /// Sends what is missing and closes; `until` bounds it for a run that wants to end.
    pub fn finish(mut self, how: Ended, until: Option<Instant>) -> Vec<Told> {
        let mut fault = self.claim().err();
        let (claimed, pace) = (fault.is_none(), self.pace);
        let finish = |mut duty: Duty| {
            let complete = claimed && duty.finish(how, until, &pace);
            duty.faults.extend(fault.take());
            Told { name: duty.sink.name(), place: duty.sink.place(), points: duty.sink.points(), complete, faults: duty.faults }
        };
        self.duties.into_iter().map(finish).collect()
    }
}

impl Duty {
    fn tick(&mut self, pace: &Pace) -> Vec<String> {
        match self.state {
            State::Over => return Vec::new(),
            State::Waits(then) if Instant::now() < then => return Vec::new(),
            _ => {}
        }
        let done = self.sink.advance();
        self.keep_refusals();
        let mut lines = Vec::new();
        match done {
            Ok(()) => {
                if self.failures > 0 {
                    lines.push(format!("{} is back and is told what it missed", self.sink.name()));
                }
                (self.state, self.failures) = (State::Ready, 0);
            }
            Err(error) if error.passes() => {
                self.failures += 1;
                self.state = State::Waits(Instant::now() + pause(pace, self.failures));
                if self.failures == 1 {
                    lines.push(format!("{} is told later: {error}", self.sink.name()));
                }
            }
            Err(error) => {
                lines.push(format!("{} is told no more in this run: {error}", self.sink.name()));
                self.state = State::Over;
                self.faults.push(error);
            }
        }
        lines
    }

    /// Whether all was sent; a fault stays in `faults`.
    fn finish(&mut self, how: Ended, until: Option<Instant>, pace: &Pace) -> bool {
        if matches!(self.state, State::Over) {
            return false;
        }
        for attempt in 1.. {
            self.sink.hurry(until);
            let done = self.sink.close(how);
            self.keep_refusals();
            let Err(error) = done else { return true };
            let wait = pause(pace, attempt);
            // At a run's end the time decides, in the command the count.
            let patient = until.map_or(attempt < ATTEMPTS, |until| Instant::now() + wait < until);
            if !(error.passes() && patient) {
                self.faults.push(error);
                return false;
            }
            std::thread::sleep(wait);
        }
        false
    }

    /// Keeps the refusals of parts, each once; they are told at the end, since curves go on without them.
    fn keep_refusals(&mut self) {
        for error in self.sink.refused() {
            if !self.faults.iter().any(|known| known.to_string() == error.to_string()) {
                self.faults.push(error);
            }
        }
    }
}

/// Doubled with each failure, up to the longest.
fn pause(pace: &Pace, failures: u32) -> Duration {
    let doubled = pace.pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(pace.longest)
}
