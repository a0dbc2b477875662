//! An MLflow server of the calls that are used, on a port of this machine; it dies on request.
//!
//! It is stricter than the real one: a point that comes twice is kept twice, so that a test sees it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

/// What goes wrong with the next call whose path holds a word.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Does what was asked and dies before it answers.
    LoseAnswer,
    /// Keeps the first half of a batch and dies.
    HalfBatch,
    /// Answers with a status and a body.
    Status(u16, String),
}

#[derive(Debug, Default, Clone)]
pub struct Run {
    pub id: String,
    pub experiment: String,
    pub name: String,
    pub status: String,
    pub end: Option<u64>,
    pub tags: BTreeMap<String, String>,
    pub parameters: BTreeMap<String, String>,
    /// Name, value, milliseconds and step, as they came.
    pub metrics: Vec<(String, f64, u64, u64)>,
}

#[derive(Default)]
pub struct State {
    pub experiments: Vec<String>,
    pub runs: Vec<Run>,
    pub artifacts: BTreeMap<String, Vec<u8>>,
    /// Model, run and source of each version.
    pub versions: Vec<(String, String, String)>,
    pub aliases: BTreeMap<String, String>,
    /// Nobody is at home.
    pub down: bool,
    pub faults: Vec<(String, Fault)>,
    /// Before each answer.
    pub delay: Duration,
    /// Method and path of each call that was read.
    pub calls: Vec<String>,
    /// The header that each call must have.
    pub authorization: Option<String>,
    pub largest_batch: usize,
    /// What the paths of artifacts begin with.
    pub store: String,
}

pub struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Fake {
    pub fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { store: "mlflow-artifacts:/".into(), ..State::default() }));
        let shared = Arc::clone(&state);
        // The thread ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that went away is part of the game.
                let _ = serve(stream, &shared);
            }
        });
        Fake { address, state }
    }

    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn fault(&self, path: &str, fault: Fault) {
        self.state().faults.push((path.to_string(), fault));
    }

    /// The only run.
    pub fn run(&self) -> Run {
        let state = self.state();
        assert_eq!(state.runs.len(), 1, "one run here is one run there");
        state.runs[0].clone()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    if state.lock().unwrap().down {
        return Ok(());
    }
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or("").to_string(), words.next().unwrap_or("").to_string());
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => authorization = Some(value.trim().to_string()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let delay = state.lock().unwrap().delay;
    std::thread::sleep(delay);
    let mut state = state.lock().unwrap();
    // It may have died while it read.
    if state.down {
        return Ok(());
    }
    state.calls.push(format!("{method} {path}"));
    if state.authorization.is_some() && state.authorization != authorization {
        return answer(&mut stream, 401, &json!({ "message": "who are you?" }).to_string());
    }
    let at = state.faults.iter().position(|(word, _)| path.contains(word.as_str()));
    let fault = at.map(|at| state.faults.remove(at).1);
    if let Some(Fault::Status(status, text)) = &fault {
        return answer(&mut stream, *status, text);
    }
    let (status, value) = state.call(&method, &path, &body, matches!(fault, Some(Fault::HalfBatch)));
    match fault {
        // The real server answers an upload with nothing.
        None => answer(&mut stream, status, &if value.is_null() { String::new() } else { value.to_string() }),
        _ => Ok(()),
    }
}

fn answer(stream: &mut TcpStream, status: u16, text: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

fn refused(status: u16, code: &str) -> (u16, Value) {
    (status, json!({ "error_code": code, "message": format!("the fake says {code}") }))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is missing in {value}")).to_string()
}

impl State {
    fn call(&mut self, method: &str, path: &str, body: &[u8], half: bool) -> (u16, Value) {
        if let Some(name) = path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/") {
            assert_eq!(method, "PUT");
            self.artifacts.insert(name.to_string(), body.to_vec());
            return (200, Value::Null);
        }
        let call = path.strip_prefix("/api/2.0/mlflow/").unwrap_or_else(|| panic!("{path}"));
        let (call, query) = call.split_once('?').unwrap_or((call, ""));
        let query = unquoted(query.split_once('=').unwrap_or_default().1);
        let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap() };
        match call {
            "experiments/get-by-name" => match self.experiments.iter().position(|name| *name == query) {
                Some(at) => (200, json!({ "experiment": { "experiment_id": at.to_string(), "name": query } })),
                None => refused(404, "RESOURCE_DOES_NOT_EXIST"),
            },
            "experiments/create" if self.experiments.contains(&text(&body, "name")) => refused(400, "RESOURCE_ALREADY_EXISTS"),
            "experiments/create" => {
                self.experiments.push(text(&body, "name"));
                (200, json!({ "experiment_id": (self.experiments.len() - 1).to_string() }))
            }
            "runs/create" => self.create(&body),
            "runs/search" => {
                let id = text(&body, "filter").split('\'').nth(1).unwrap().to_string();
                let found = self.runs.iter().filter(|run| run.tags.get("tunesmith.id") == Some(&id));
                (200, json!({ "runs": found.map(|run| self.info(run)).collect::<Vec<_>>() }))
            }
            "runs/get" => match self.runs.iter().find(|run| run.id == query) {
                Some(run) => (200, json!({ "run": self.info(run) })),
                None => refused(404, "RESOURCE_DOES_NOT_EXIST"),
            },
            "runs/log-batch" => self.log(&body, half),
            "runs/update" => {
                let run = self.runs.iter_mut().find(|run| run.id == body["run_id"]).unwrap();
                (run.status, run.end) = (text(&body, "status"), body["end_time"].as_u64());
                (200, json!({}))
            }
            _ => self.registry(call, &query, &body),
        }
    }

    fn create(&mut self, body: &Value) -> (u16, Value) {
        let tags = body["tags"].as_array().unwrap().iter().map(|tag| (text(tag, "key"), text(tag, "value"))).collect();
        let (id, experiment) = (format!("run{}", self.runs.len()), text(body, "experiment_id"));
        let run = Run { id, experiment, name: text(body, "run_name"), status: "RUNNING".into(), tags, ..Run::default() };
        let answer = json!({ "run": self.info(&run) });
        self.runs.push(run);
        (200, answer)
    }

    /// A run with the last value of each metric, as the real one gives it.
    fn info(&self, run: &Run) -> Value {
        let mut last: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
        for (key, value, _, step) in &run.metrics {
            let entry = last.entry(key).or_insert((*step, *value));
            *entry = if *step >= entry.0 { (*step, *value) } else { *entry };
        }
        let metrics: Vec<Value> = last.iter().map(|(key, (step, value))| json!({ "key": key, "value": value, "step": step })).collect();
        let place = format!("{}{}/{}/artifacts", self.store, run.experiment, run.id);
        json!({ "info": { "run_id": run.id, "artifact_uri": place, "status": run.status }, "data": { "metrics": metrics } })
    }

    fn log(&mut self, body: &Value, half: bool) -> (u16, Value) {
        let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
        let (metrics, parameters, tags) = (list("metrics"), list("params"), list("tags"));
        if metrics.len() > 1000 || parameters.len() > 100 || tags.len() > 100 {
            return refused(400, "INVALID_PARAMETER_VALUE");
        }
        self.largest_batch = self.largest_batch.max(metrics.len());
        let Some(run) = self.runs.iter_mut().find(|run| run.id == body["run_id"]) else {
            return refused(404, "RESOURCE_DOES_NOT_EXIST");
        };
        for parameter in parameters {
            let (key, value) = (text(&parameter, "key"), text(&parameter, "value"));
            if run.parameters.get(&key).is_some_and(|old| *old != value) {
                return refused(400, "INVALID_PARAMETER_VALUE");
            }
            run.parameters.insert(key, value);
        }
        run.tags.extend(tags.iter().map(|tag| (text(tag, "key"), text(tag, "value"))));
        let count = if half { metrics.len() / 2 } else { metrics.len() };
        for metric in &metrics[..count] {
            let number = |field: &str| metric[field].as_u64().unwrap();
            run.metrics.push((text(metric, "key"), metric["value"].as_f64().unwrap(), number("timestamp"), number("step")));
        }
        (200, json!({}))
    }

    fn registry(&mut self, call: &str, query: &str, body: &Value) -> (u16, Value) {
        match call {
            "registered-models/create" if self.versions.iter().any(|(name, ..)| *name == text(body, "name")) => {
                refused(400, "RESOURCE_ALREADY_EXISTS")
            }
            "registered-models/create" => (200, json!({})),
            "model-versions/search" => {
                let known = |run: &str| query.contains(&format!("run_id='{run}'"));
                let at = self.versions.iter().position(|(_, run, _)| known(run));
                (200, at.map_or(json!({}), |at| json!({ "model_versions": [{ "version": (at + 1).to_string() }] })))
            }
            "model-versions/create" => {
                self.versions.push((text(body, "name"), text(body, "run_id"), text(body, "source")));
                (200, json!({ "model_version": { "version": self.versions.len().to_string() } }))
            }
            "registered-models/alias" => {
                self.aliases.insert(format!("{}@{}", text(body, "name"), text(body, "alias")), text(body, "version"));
                (200, json!({}))
            }
            other => panic!("no call {other}"),
        }
    }
}

fn unquoted(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let two: Vec<u8> = rest.by_ref().take(2).collect();
            bytes.push(u8::from_str_radix(std::str::from_utf8(&two).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}
