//! Trackers: reads the record of a run and sends it on to MLflow, Weights & Biases and TensorBoard.
//!
//! The record is the source. A tracker reads it from where it stopped, so one that is away
//! stops nothing and is told later what it missed. This room never writes outside of the
//! run's `track/` folder, never changes the record, has no clock (times follow the record),
//! and opens a connection only to the address that the recipe names.

mod curve;
mod duty;
mod error;
mod live;
mod mirror;
mod mlflow;
mod tensorboard;
mod wandb;
mod wire;

use std::time::Duration;

use record::{Recipe, RunFolder};

pub use error::{Error, Result};
pub use live::{Live, start};

/// Whom to tell, as whom, and how patiently.
#[derive(Clone)]
pub struct Options {
    pub mlflow: Option<Mlflow>,
    /// The project of the Weights & Biases file.
    pub wandb: Option<String>,
    pub tensorboard: bool,
    /// Every setting of the run as its file spells it.
    pub settings: Vec<(String, String)>,
    pub pace: Pace,
}

/// An MLflow server and what it is told beside the curves.
#[derive(Clone)]
pub struct Mlflow {
    /// `http://host:port`, without a slash at its end.
    pub uri: String,
    /// None: the run's name without its number.
    pub experiment: Option<String>,
    /// A finished adapter becomes a version of this registered model.
    pub model: Option<String>,
    /// The tag `mlflow.user`.
    pub user: Option<String>,
    pub login: Login,
}

/// How a server knows who sends.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    Nobody,
    Password { user: String, password: String },
    Token(String),
}

/// Times that decide how long anybody waits.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two looks at the record.
    pub tick: Duration,
    /// The longest wait for one answer, beside the time that a large file takes.
    pub answer: Duration,
    /// Before a tracker that is away is asked again; doubled with each failure.
    pub pause: Duration,
    /// The longest such pause.
    pub longest: Duration,
    /// How long a run waits at its end for what is still to be sent.
    pub grace: Duration,
}

/// What a tracker is told a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It goes on.
    Running,
    Finished,
    /// Asked to stop; it can be resumed.
    Stopped,
    /// An error or a kill.
    Failed,
}

/// What one tracker was told.
#[derive(Debug)]
pub struct Told {
    /// As in `MLflow`.
    pub name: &'static str,
    /// Where to look at it: an address or a path.
    pub place: String,
    /// Points of curves sent this time.
    pub points: u64,
    /// Whether it knows all that the record holds.
    pub complete: bool,
    /// What went wrong; a complete tracker may have refused a part.
    pub faults: Vec<Error>,
}

impl Options {
    /// What a recipe asks for; the caller knows the environment.
    pub fn of(recipe: &Recipe, user: Option<String>, login: Login) -> Options {
        let track = &recipe.track;
        let mlflow = track.mlflow.as_ref().map(|uri| Mlflow {
            uri: uri.trim_end_matches('/').to_string(),
            experiment: track.experiment.clone(),
            model: track.mlflow_model.clone(),
            user,
            login,
        });
        let settings = recipe.explain().into_iter().map(|line| (line.key.to_string(), line.value)).collect();
        Options { mlflow, wandb: track.wandb.clone(), tensorboard: track.tensorboard, settings, pace: Pace::usual() }
    }

    /// Whether nobody is to be told.
    pub fn is_empty(&self) -> bool {
        self.mlflow.is_none() && self.wandb.is_none() && !self.tensorboard
    }
}

impl Pace {
    /// For people: a curve moves each second, and a run ends at most 15 seconds late.
    pub fn usual() -> Pace {
        let seconds = Duration::from_secs;
        Pace { tick: seconds(1), answer: seconds(10), pause: seconds(1), longest: seconds(60), grace: seconds(15) }
    }
}

impl Ended {
    /// What the record says of a run that nobody writes.
    fn of(run: &RunFolder) -> Result<Ended> {
        let held = match run.lock() {
            Ok(_free) => false,
            Err(record::Error::Locked { .. }) => true,
            Err(error) => return Err(error.into()),
        };
        let events = record::event::read(&run.events())?.events;
        Ok(match events.last() {
            Some(record::Event::Finished { .. }) => Ended::Finished,
            _ if held => Ended::Running,
            Some(record::Event::Interrupted { .. }) => Ended::Stopped,
            _ => Ended::Failed,
        })
    }
}

/// Sends what is still missing, and closes the trackers of a run that has ended.
///
/// # Errors
/// [`Error::Busy`] when the run itself is sending; the record's own errors. A tracker's
/// failure is told in its [`Told`].
pub fn send(run: &RunFolder, options: &Options) -> Result<Vec<Told>> {
    let how = Ended::of(run)?;
    let mut duties = duty::Duties::new(run, options);
    duties.claim()?;
    Ok(duties.finish(how, None))
}
