//! A temporary project with a tiny model, and the binary run in it.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// Intents of the twelve training examples and four held-out ones.
const INTENTS: [&str; 3] = ["refund", "invoice", "delivery"];

/// A folder with data, a recipe and a model.
pub struct Bench {
    folder: TempDir,
}

/// What a command did.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Bench {
    /// Twelve training examples, four held-out ones, three steps.
    pub fn new() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        let row = |n: usize, ask: &str| {
            let intent = INTENTS[n % 3];
            format!(
                "{{\"instruction\": \"{ask} {n} about {intent}\", \"response\": \"{{\\\"intent\\\": \\\"{intent}\\\", \\\"urgent\\\": {}}}\"}}\n",
                n.is_multiple_of(2)
            )
        };
        bench.write("train.jsonl", &(0..12).map(|n| row(n, "ticket")).collect::<String>());
        bench.write("eval.jsonl", &(0..4).map(|n| row(n, "question")).collect::<String>());
        bench.write("system.txt", "Answer with JSON: intent and urgent.\n");
        let model = fixture("tiny-chat");
        bench.recipe(&model, "batch = 4\nepochs = 1\nlr = 1e-2\n");
        bench
    }

    /// Writes `tunesmith.toml` for `model`, with these lines in its [train] section.
    pub fn recipe(&self, model: &Path, train: &str) {
        let text = format!(
            "[model]\nbase = {:?}\n[data]\ntrain = \"train.jsonl\"\neval = \"eval.jsonl\"\nsystem = \"system.txt\"\n\
             [train]\n{train}[eval]\nfew_shot = 2\nmax_new_tokens = 8\n",
            model.display().to_string()
        );
        self.write("tunesmith.toml", &text);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// `votes.jsonl`: the answer of each training row preferred to one that says nothing.
    pub fn votes(&self) {
        let pair = |line: &str| {
            let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
            row["prompt"] = row["instruction"].take();
            row["chosen"] = row["response"].take();
            row["rejected"] = "I do not know.".into();
            row.to_string()
        };
        self.write("votes.jsonl", &self.read("train.jsonl").lines().map(pair).collect::<Vec<_>>().join("\n"));
    }

    /// A copy of the tiny model that may be broken, as `model`; the recipe names it.
    pub fn own_model(&self) -> PathBuf {
        let model = self.path("model");
        copy(&fixture("tiny-chat"), &model);
        self.recipe(&model, "batch = 4\nepochs = 1\n");
        model
    }

    /// The names in a folder, sorted; none if there is no such folder.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(folder)) else { return Vec::new() };
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tunesmith"));
        command.args(args);
        self.at_home(command)
    }

    /// A command in this folder, with an environment of its own.
    fn at_home(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path());
        // No cache, token or setting of whoever runs the tests may matter.
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("HF_HUB_OFFLINE", "1")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// Runs the command to its end, with these lines on its standard input.
    pub fn run_with(&self, args: &[&str], input: &str) -> Done {
        self.write(".input", input);
        let file = std::fs::File::open(self.path(".input")).unwrap();
        let done = Bench::finish(self.command(args).stdin(file));
        std::fs::remove_file(self.path(".input")).unwrap();
        done
    }

    /// Runs the command by way of a shell that has done `first`; `$0` stands for the program.
    pub fn run_after(&self, first: &str, args: &str) -> Done {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{first}; exec \"$0\" {args}"), env!("CARGO_BIN_EXE_tunesmith")]);
        Bench::finish(&mut self.at_home(shell))
    }

    fn finish(command: &mut Command) -> Done {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
    }

    /// Runs the command to its end.
    pub fn run(&self, args: &[&str]) -> Done {
        self.run_with(args, "")
    }

    /// Runs a command that must succeed and returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{args:?}\n{}\n{}", done.out, done.err);
        done.out
    }

    /// Runs a command that must succeed, with `--json`, and returns its object.
    pub fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[args, &["--json"]].concat());
        assert_eq!(out.lines().count(), 1, "one object and nothing else: {out}");
        serde_json::from_str(&out).unwrap()
    }

    /// Runs a command that must fail with `code`, in words and as JSON; returns its error text.
    pub fn fails(&self, args: &[&str], code: i32) -> String {
        let done = self.run(&[args, &["--json"]].concat());
        assert_eq!(done.code, code, "{args:?}\n{}\n{}", done.out, done.err);
        let json: Value = serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {}", done.out));
        let kinds = ["input", "usage", "gate", "machine", "bug"];
        assert_eq!(json["error"]["kind"], kinds[code as usize - 1], "{json}");
        assert!(!json["error"]["hints"].as_array().unwrap().is_empty(), "a hint must be given: {json}");
        // Seen with `cargo test -p cli -- --nocapture`: every fault as a user reads it.
        println!("$ tunesmith {} (exit {code})\n{}", args.join(" "), done.err.replace(&self.path("").display().to_string(), ""));
        done.err
    }

    /// Starts a command and leaves it running.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The steps in a run's event log, in order.
    pub fn steps(&self, run: &str) -> Vec<u64> {
        let text = std::fs::read_to_string(self.path(run).join("events.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let events = whole.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        events.filter(|e| e["event"] == "step").map(|e| e["step"].as_u64().unwrap()).collect()
    }

    /// The trained adapter's bytes.
    pub fn adapter(&self, run: &str) -> Vec<u8> {
        std::fs::read(self.path(run).join("adapter/adapter_model.safetensors")).unwrap()
    }
}

/// A folder below `fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name).canonicalize().unwrap()
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // Bytes are copied, not permissions: a copy can be changed.
        std::fs::write(to.join(entry.file_name()), std::fs::read(entry.path()).unwrap()).unwrap();
    }
}
