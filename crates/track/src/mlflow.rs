//! MLflow over REST: one run at the server for each run here, and every point of it once.
//!
//! What was sent is noted by curve and step, because a resumed run cuts its log and repeats
//! steps (with the same bits). When an answer was lost, the server is asked which step it has.
//!
//! Facts (checked with MLflow 3.17.2): a batch holds at most 1000 metrics, 100 parameters and 100 tags;
//! a parameter never changes; numbers that JSON lacks are sent as words.

mod files;
mod position;
mod web;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use record::{Follow, RunFolder, hash};
use serde_json::{Value, json};

use crate::curve::{Row, Teller, plain, setting};
use crate::duty::Sink;
use crate::error::{Error, Result};
use crate::{Ended, Mlflow, Options};
use position::Position;
use web::{Web, is_code, quoted};

const METRICS: usize = 1000;
const PARAMETERS: usize = 100;
const TAGS: usize = 100;
/// The longest value of a parameter.
const PARAMETER_CHARS: usize = 6000;
/// The tag by which a run is found again.
const ID: &str = "tunesmith.id";
/// What a model version is called that has not proved itself yet.
const ALIAS: &str = "challenger";

/// One MLflow server.
pub(crate) struct Server {
    options: Mlflow,
    settings: Vec<(String, String)>,
    run: RunFolder,
    web: Web,
    follow: Follow,
    teller: Teller,
    started: Option<Row>,
    /// The time of the last row, for the end of the run.
    time: f64,
    points: VecDeque<Point>,
    /// Tags that the server does not have yet.
    tags: BTreeMap<String, String>,
    position: Option<Position>,
    /// Whether the server may know more than we noted.
    unsure: bool,
    refused: Vec<Error>,
    sent: u64,
    /// How long a look at the record may go on sending, so that a slow server cannot hold up the run's end.
    tick: Duration,
    turn: Option<Instant>,
}

struct Point {
    curve: String,
    step: u64,
    value: f64,
    /// Milliseconds since 1970.
    time: u64,
}

impl Server {
    pub fn new(mlflow: &Mlflow, options: &Options, run: &RunFolder) -> Server {
        Server {
            web: Web::new(mlflow, &options.pace),
            options: mlflow.clone(),
            settings: options.settings.clone(),
            run: run.clone(),
            follow: Follow::new(&run.events()),
            teller: Teller::default(),
            started: None,
            time: 0.0,
            points: VecDeque::new(),
            tags: BTreeMap::new(),
            position: None,
            unsure: true,
            refused: Vec::new(),
            sent: 0,
            tick: options.pace.tick,
            turn: None,
        }
    }

    fn path(&self) -> PathBuf {
        self.run.track().join("mlflow.json")
    }

    /// Takes new rows in when those before are sent; says whether the record holds more.
    fn read(&mut self) -> Result<bool> {
        let news = self.follow.look()?;
        if news.cut {
            (self.teller, self.started) = (Teller::default(), None);
            self.points.clear();
        }
        for event in &news.events {
            let row = self.teller.tell(event);
            self.time = row.time;
            self.tags.extend(row.words.iter().map(|(key, value)| (format!("tunesmith.{key}"), value.clone())));
            let point =
                |(curve, value): &(String, f64)| Point { curve: name(curve), step: row.step, value: *value, time: milliseconds(row.time) };
            self.points.extend(row.points.iter().map(point));
            if row.starts() {
                self.started = Some(row);
            }
        }
        Ok(news.more)
    }

    /// Finds or makes the run at the server.
    fn open(&mut self) -> Result<()> {
        let (path, uri) = (self.path(), self.options.uri.clone());
        if self.position.is_none() {
            self.position = Position::read(&path)?.filter(|position| position.uri == uri);
        }
        let Some(started) = self.started.clone().filter(|_| self.position.is_none()) else { return Ok(()) };
        let experiment = self.experiment()?;
        let id = self.id(&started);
        let info = match self.find(&experiment, &id)? {
            Some(info) => info,
            None => self.create(&experiment, &id, &started)?,
        };
        let text = |field: &str| info[field].as_str().map(str::to_string);
        let (Some(run_id), Some(artifacts), Some(status)) = (text("run_id"), text("artifact_uri"), text("status")) else {
            let (url, found) = (format!("{uri}/api/2.0/mlflow/runs/create"), "a run without run_id, artifact_uri and status".to_string());
            return Err(Error::Answer { url, status: 200, found, expected: "all three" });
        };
        let position = Position::new(&uri, &experiment, &run_id, &artifacts, &status);
        position.write(&path)?;
        self.position = Some(position);
        Ok(())
    }

    /// What this run is called for ever: the same record in the same place has the same name.
    fn id(&self, started: &Row) -> String {
        let place = std::path::absolute(self.run.path()).unwrap_or_else(|_| self.run.path().to_path_buf());
        hash::sha256(format!("{} {:?}", place.display(), started.words).as_bytes())[..32].to_string()
    }

    fn experiment(&self) -> Result<String> {
        let own = self.run.name();
        let stem = own.rsplit_once('-').filter(|(_, number)| number.parse::<u64>().is_ok()).map_or(own.as_str(), |(stem, _)| stem);
        let name = self.options.experiment.as_deref().unwrap_or(stem);
        let find = || self.web.get(&format!("experiments/get-by-name?experiment_name={}", quoted(name)));
        let found = match find() {
            Err(error) if is_code(&error, "RESOURCE_DOES_NOT_EXIST") => match self.web.post("experiments/create", &json!({ "name": name }))
            {
                // Another run made it since we looked.
                Err(error) if is_code(&error, "RESOURCE_ALREADY_EXISTS") => find()?,
                made => return required(&made?["experiment_id"], "experiments/create"),
            },
            found => found?,
        };
        required(&found["experiment"]["experiment_id"], "experiments/get-by-name")
    }

    /// The run that an earlier process made, though its answer may have been lost.
    fn find(&self, experiment: &str, id: &str) -> Result<Option<Value>> {
        let filter = format!("tags.`{ID}` = '{id}'");
        let found = self.web.post("runs/search", &json!({ "experiment_ids": [experiment], "filter": filter, "max_results": 1 }))?;
        Ok(found["runs"].get(0).map(|run| run["info"].clone()))
    }

    fn create(&self, experiment: &str, id: &str, started: &Row) -> Result<Value> {
        let user = self.options.user.as_deref().map(|user| ("mlflow.user", user));
        let own = [(ID, id), ("mlflow.source.name", "tunesmith train"), ("mlflow.source.type", "LOCAL")];
        let mut tags: Vec<Value> = own.into_iter().chain(user).map(|(key, value)| json!({ "key": key, "value": value })).collect();
        tags.extend(started.words.iter().map(|(key, value)| json!({ "key": format!("tunesmith.{key}"), "value": value })));
        let body = json!({
            "experiment_id": experiment, "run_name": self.run.name(), "start_time": milliseconds(started.time), "tags": tags,
        });
        Ok(self.web.post("runs/create", &body)?["run"]["info"].clone())
    }

    /// Asks the server which step it has of each curve, when it may know more than we noted.
    fn compare(&mut self) -> Result<()> {
        let path = self.path();
        let Some(position) = self.position.as_mut().filter(|_| self.unsure) else { return Ok(()) };
        let run = self.web.get(&format!("runs/get?run_id={}", quoted(&position.run_id)))?;
        for metric in run["run"]["data"]["metrics"].as_array().into_iter().flatten() {
            // Steps are numbers, or texts where a server spells 64 bits so.
            let step = metric["step"].as_u64().or_else(|| metric["step"].as_str()?.parse().ok());
            if let (Some(curve), Some(step)) = (metric["key"].as_str(), step) {
                let noted = position.sent.entry(curve.to_string()).or_insert(step);
                *noted = step.max(*noted);
            }
        }
        position.write(&path)?;
        self.unsure = false;
        Ok(())
    }

    /// The settings; a server that refuses them still gets the curves.
    fn parameters(&mut self) -> Result<()> {
        let path = self.path();
        let Some(position) = self.position.as_mut().filter(|position| !position.parameters) else { return Ok(()) };
        let spelled = |value: &str| plain(&setting(value)).chars().take(PARAMETER_CHARS).collect::<String>();
        let all: Vec<Value> = self.settings.iter().map(|(key, value)| json!({ "key": name(key), "value": spelled(value) })).collect();
        for some in all.chunks(PARAMETERS) {
            match self.web.post("runs/log-batch", &json!({ "run_id": position.run_id, "params": some })) {
                Err(error @ Error::Refused { .. }) => self.refused.push(error),
                sent => drop(sent?),
            }
        }
        position.parameters = true;
        position.write(&path)
    }

    /// One batch of the points that the server does not have.
    fn batch(&mut self) -> Result<()> {
        let path = self.path();
        let Some(position) = self.position.as_mut() else { return Ok(()) };
        let has = |point: &Point| position.sent.get(&point.curve).is_some_and(|sent| point.step <= *sent);
        self.points.retain(|point| !has(point));
        let count = self.points.len().min(METRICS);
        if count == 0 {
            return Ok(());
        }
        let metrics: Vec<Value> = self.points.iter().take(count).map(Point::to_json).collect();
        if let Err(error) = self.web.post("runs/log-batch", &json!({ "run_id": position.run_id, "metrics": metrics })) {
            // It may have come to the server although no answer came from there.
            self.unsure = true;
            return Err(error);
        }
        for point in self.points.drain(..count) {
            position.sent.insert(point.curve, point.step);
        }
        self.sent += count as u64;
        position.write(&path)
    }

    /// The words of the record, the newest of each kind.
    fn tag(&mut self) -> Result<()> {
        let Some(position) = &self.position else { return Ok(()) };
        let all: Vec<Value> = self.tags.iter().map(|(key, value)| json!({ "key": name(key), "value": value })).collect();
        for some in all.chunks(TAGS) {
            self.web.post("runs/log-batch", &json!({ "run_id": position.run_id, "tags": some }))?;
        }
        self.tags.clear();
        Ok(())
    }

    /// All that the record holds now, or as much as one turn allows; what is left is first in the next call.
    fn catch_up(&mut self) -> Result<()> {
        let mut more = true;
        while more {
            more = !self.points.is_empty() || self.read()?;
            if self.started.is_none() {
                return Ok(());
            }
            self.open()?;
            self.compare()?;
            self.parameters()?;
            while !self.points.is_empty() {
                self.batch()?;
                if self.turn.is_some_and(|turn| Instant::now() >= turn) {
                    return Ok(());
                }
            }
        }
        self.tag()
    }

    fn status(&mut self, how: Ended) -> Result<()> {
        let path = self.path();
        let Some(position) = &mut self.position else { return Ok(()) };
        let word = match how {
            Ended::Running => "RUNNING",
            Ended::Finished => "FINISHED",
            Ended::Stopped => "KILLED",
            Ended::Failed => "FAILED",
        };
        if position.status == word {
            return Ok(());
        }
        let mut body = json!({ "run_id": position.run_id, "status": word });
        if how != Ended::Running {
            body["end_time"] = milliseconds(self.time).into();
        }
        self.web.post("runs/update", &body)?;
        position.status = word.to_string();
        position.write(&path)
    }

    /// Runs a part whose refusal does not stop the rest.
    fn beside(&mut self, part: fn(&mut Server) -> Result<()>) -> Result<()> {
        match part(self) {
            Err(error @ (Error::Refused { .. } | Error::Denied { .. } | Error::Answer { .. } | Error::Store { .. })) => {
                self.refused.push(error);
                Ok(())
            }
            done => done,
        }
    }

    /// The adapter as a version of the registered model that the recipe names.
    fn register(&mut self) -> Result<()> {
        let path = self.path();
        let (Some(model), Some(position)) = (self.options.model.clone(), &mut self.position) else { return Ok(()) };
        if position.registered.is_some() {
            return Ok(());
        }
        match self.web.post("registered-models/create", &json!({ "name": model })) {
            Err(error) if is_code(&error, "RESOURCE_ALREADY_EXISTS") => {}
            made => drop(made?),
        }
        let filter = format!("name='{model}' and run_id='{}'", position.run_id);
        let found = self.web.get(&format!("model-versions/search?filter={}", quoted(&filter)))?;
        let version = match found["model_versions"].get(0) {
            Some(version) => version["version"].clone(),
            None => {
                let source = format!("{}/adapter", position.artifact_uri);
                let body = json!({ "name": model, "source": source, "run_id": position.run_id });
                self.web.post("model-versions/create", &body)?["model_version"]["version"].clone()
            }
        };
        let version = required(&version, "model-versions/create")?;
        self.web.post("registered-models/alias", &json!({ "name": model, "alias": ALIAS, "version": version }))?;
        position.registered = Some(format!("{model}/{version}"));
        position.write(&path)
    }
}

impl Sink for Server {
    fn name(&self) -> &'static str {
        "MLflow"
    }

    fn place(&self) -> String {
        match &self.position {
            Some(position) => format!("{}/#/experiments/{}/runs/{}", position.uri, position.experiment_id, position.run_id),
            None => self.options.uri.clone(),
        }
    }

    fn points(&self) -> u64 {
        self.sent
    }

    fn hurry(&mut self, until: Option<Instant>) {
        self.web.until = until;
    }

    fn refused(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.refused)
    }

    fn advance(&mut self) -> Result<()> {
        self.turn = Some(Instant::now() + self.tick);
        self.catch_up()?;
        self.status(Ended::Running)
    }

    fn close(&mut self, how: Ended) -> Result<()> {
        self.turn = None;
        self.catch_up()?;
        if how == Ended::Running {
            return self.status(how);
        }
        self.beside(Server::files)?;
        if how == Ended::Finished {
            self.beside(Server::register)?;
        }
        self.status(how)
    }
}

impl Point {
    fn to_json(&self) -> Value {
        let word = if self.value.is_nan() {
            "NaN"
        } else if self.value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        let value = serde_json::Number::from_f64(self.value).map_or_else(|| word.into(), Value::Number);
        json!({ "key": self.curve, "value": value, "timestamp": self.time, "step": self.step })
    }
}

/// A name as MLflow takes it.
fn name(text: &str) -> String {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | ':' | '/');
    text.chars().map(|c| if fits(c) { c } else { '_' }).take(250).collect()
}

/// Times of a record lie far below 2^53 milliseconds.
fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1e3).round() as u64
}

fn required(value: &Value, call: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(Error::Answer { url: call.to_string(), status: 200, found: "no identifier".to_string(), expected: "one" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_lacks_are_words() {
        let of = |value| Point { curve: "a".into(), step: 1, value, time: 2 }.to_json()["value"].clone();
        assert_eq!([of(f64::NAN), of(f64::INFINITY), of(f64::NEG_INFINITY)], ["NaN", "Infinity", "-Infinity"].map(Value::from));
        assert_eq!(of(0.25), json!(0.25));
    }

    #[test]
    fn names_keep_what_mlflow_takes() {
        assert_eq!(name("validation/loss@de (%)"), "validation/loss_de ___");
        assert_eq!(name(&"x".repeat(300)).len(), 250);
    }
}
