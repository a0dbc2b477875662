"""Do a real MLflow server, `wandb sync` and TensorBoard's reader show the curves of the run's own record, and what does a
server cost that is killed in the middle?

Usage: python bench/trackers.py FOLDER [STEPS]     (TUNESMITH: the binary, default target/release/tunesmith)
Set-up: python3 -m venv venv && venv/bin/pip install mlflow==3.17.2 wandb==0.31.0 tensorboard==2.21.0

Four runs on fixtures/tiny-chat: without trackers; with all three, the server killed and started again in the middle; killed
together with the server and resumed; with the server away until `tunesmith track`. The data are twelve fixed lines.
"""

import atexit, gzip, hashlib, json, os, pathlib, signal, socket, statistics, subprocess, sys, threading, time, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow, numpy, tensorboard, wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("TUNESMITH", ROOT / "target/release/tunesmith")).resolve()
TOOLS = pathlib.Path(sys.executable).parent
CURVES = ["loss", "lr", "grad_norm", "supervised_tokens_per_second"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A real MLflow server that can be killed."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [TOOLS / "mlflow", "server", "--host", "127.0.0.1", "--port", self.port, "--workers", "1", "--serve-artifacts"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--artifacts-destination", self.folder / "artifacts"]
        env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        log = open(self.folder / "mlflow.log", "a")
        self.process = subprocess.Popen(list(map(str, command)), env=env, stdout=log, stderr=log, start_new_session=True)
        for _ in range(600):
            try:
                return urllib.request.urlopen(self.uri + "/health", timeout=1).read()
            except OSError:
                time.sleep(0.2)
        raise SystemExit("the MLflow server does not start; see mlflow.log")

    def kill(self):
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Stub(BaseHTTPRequestHandler):
    """What `wandb sync` asks of a server."""

    protocol_version = "HTTP/1.1"
    rows, facts, files = {}, {}, {}

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionResetError:
            pass  # The client has what it wants.

    def body(self):
        if self.headers.get("content-length"):
            data = self.rfile.read(int(self.headers["content-length"]))
        else:
            data = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return gzip.decompress(data) if self.headers.get("content-encoding") == "gzip" else data

    def reply(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self):
        Stub.files[self.path.removeprefix("/upload/")] = self.body()
        self.reply({})

    def do_POST(self):
        data = json.loads(self.body())
        if self.path != "/graphql":
            name = self.path.split("/")[-2]
            part = data.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
            rows = Stub.rows.setdefault(name, {})
            for at, row in enumerate(part["content"], part["offset"]):
                rows[at] = json.loads(row)
            Stub.facts.setdefault(name, {}).update({k: v for k, v in data.items() if k in ("complete", "exitcode")})
            return self.reply({})
        given = data["variables"]
        if data.get("operationName") == "CreateRunFiles":
            host = f"http://{self.headers['host']}/upload/{given['run']}/"
            files = [{"name": n, "uploadUrl": host + n} for n in given["files"]]
            return self.reply({"data": {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}})
        name = given["name"]
        Stub.facts.setdefault(name, {})["config"] = json.loads(given.get("config") or "{}")
        project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "team"}}
        bucket = {"id": name, "name": name, "displayName": given.get("displayName"), "project": project, "historyLineCount": len(Stub.rows.get(name, {}))}
        self.reply({"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}})


def project(folder, steps):
    intents = ["refund", "invoice", "delivery"]
    row = lambda ask, n: {"instruction": f"{ask} {n} about {intents[n % 3]}", "response": json.dumps({"intent": intents[n % 3], "urgent": n % 2 == 0})}
    (folder / "train.jsonl").write_text("".join(json.dumps(row("ticket", n)) + "\n" for n in range(12)))
    (folder / "eval.jsonl").write_text("".join(json.dumps(row("question", n)) + "\n" for n in range(4)))
    base = ROOT / "fixtures/tiny-chat"
    text = f'[model]\nbase = "{base}"\n[data]\ntrain = "train.jsonl"\neval = "eval.jsonl"\n'
    (folder / "tunesmith.toml").write_text(text + f"[train]\nbatch = 4\nepochs = {steps // 3}\nlr = 1e-3\ncheckpoint_every = 300\n")


def tunesmith(folder, *words):
    return subprocess.Popen([str(BIN), *map(str, words), "--quiet"], cwd=folder, stdout=subprocess.DEVNULL, stderr=open(folder / "stderr.log", "a"))


def events(run):
    path = run / "events.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def wait_for(run, steps, process):
    while (run / "events.jsonl").exists() is False or (run / "events.jsonl").read_bytes().count(b'"event":"step"') < steps:
        assert process.poll() is None, "the run ended too early: give it more STEPS"
        time.sleep(0.01)


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def truth(run):
    """Each curve of the record as {step: number}."""
    steps = [e for e in events(run) if e["event"] == "step"]
    assert [e["step"] for e in steps] == list(range(1, len(steps) + 1))
    rate = lambda e: e["supervised_tokens"] / (e["step_ms"] / 1e3)
    return {c: {e["step"]: rate(e) if c.endswith("per_second") else e[c] for e in steps} for c in CURVES}


def compare(want, got, same, free):
    """Points missing, points that came twice, points that differ; those at the steps in `free` may."""
    steps = [step for step, _ in got]
    return len(want) - len(set(steps)), len(steps) - len(set(steps)), sum(not same(want[s], v) for s, v in got if s not in free)


def sync(run):
    """Sends the run's file to the stub and returns the rows that the stub then has, and what it knows of the run."""
    folders = sorted((run / "track/wandb").glob("offline-run-*"))
    url = f"http://127.0.0.1:{stub.server_address[1]}"
    env = {**os.environ, "WANDB_BASE_URL": url, "WANDB_API_KEY": "l" * 40, "WANDB_ERROR_REPORTING": "false"}
    done = subprocess.run([str(TOOLS / "wandb"), "sync", "--yes", "--skip-synced", *map(str, folders)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    name = folders[0].name.split("-")[-1]
    return Stub.rows[name].values(), Stub.facts[name]


def judge(run, server, label, repeated=range(0)):
    """`repeated`: steps that were told before a kill and then done again: the same bits in another time, and the first stays."""
    want = truth(run)
    client = mlflow.MlflowClient(server.uri)
    position = json.loads((run / "track/mlflow.json").read_text())
    seen = client.get_run(position["run_id"])
    board = EventAccumulator(str(run / "track/tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    rows, facts = sync(run)
    print(f"\n{label}: {len(want['loss'])} steps; MLflow {seen.info.status}; W&B exit {facts.get('exitcode')}")
    print(f"{'curve':32} {'tracker':12} {'points':>7} {'missing':>8} {'twice':>6} {'differ':>7}")
    total = 0
    for curve in CURVES:
        exact = lambda a, b: a == b
        free = repeated if curve.endswith("second") else range(0)
        metrics = [(m.step, m.value) for m in client.get_metric_history(position["run_id"], f"train/{curve}")]
        by_sync = [(r["_step"], r[f"train/{curve}"]) for r in rows if f"train/{curve}" in r]
        by_board = [(s.step, s.value) for s in board.Scalars(f"train/{curve}")]
        single = lambda a, b: float(numpy.float32(a)) == b
        for tracker, got, same in [("MLflow", metrics, exact), ("wandb sync", by_sync, exact), ("TensorBoard", by_board, single)]:
            missing, twice, differ = compare(want[curve], got, same, free)
            total += missing + twice + differ
            print(f"{curve:32} {tracker:12} {len(got):7} {missing:8} {twice:6} {differ:7}")
    for file in ["recipe.toml", "adapter/adapter_model.safetensors"]:
        copy = client.download_artifacts(position["run_id"], file, str(FOLDER))
        total += sha(pathlib.Path(copy)) != sha(run / file)
    version = client.get_model_version_by_alias("ticket-router", "challenger")
    total += version.run_id != position["run_id"]
    print(f"artifacts equal; registered ticket-router version {version.version}; {len(seen.data.params)} parameters, e.g. train.lr = {seen.data.params['train.lr']}")
    return total


FOLDER = pathlib.Path(sys.argv[1]).resolve()
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 6000
FOLDER.mkdir(parents=True)
project(FOLDER, STEPS)
stub = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
threading.Thread(target=stub.serve_forever, daemon=True).start()
server = Server(FOLDER)
atexit.register(server.kill)
print(f"mlflow {mlflow.__version__}, wandb {wandb.__version__}, tensorboard {tensorboard.__version__}; {STEPS} steps; {BIN}")
server.start()
sets = [w for s in [f"mlflow={server.uri}", "mlflow_model=ticket-router", "wandb=tickets", "tensorboard=true"] for w in ("--set", f"track.{s}")]

assert tunesmith(FOLDER, "train", "--out", "plain").wait() == 0

run = FOLDER / "server-killed"
process = tunesmith(FOLDER, "train", "--out", run, *sets)
wait_for(run, STEPS // 4, process)
server.kill()
wait_for(run, STEPS // 2, process)
# However slowly a server starts here, it does so in the middle of the run.
process.send_signal(signal.SIGSTOP)
server.start()
process.send_signal(signal.SIGCONT)
assert process.wait() == 0
middle = lambda run, a, b: statistics.median(e["step_ms"] for e in events(run) if e["event"] == "step" and a < e["step"] <= b)
up, down = (middle(run, 10, STEPS // 4), middle(run, STEPS // 4, STEPS // 2))
print(f"median step: without trackers {middle(FOLDER / 'plain', 10, STEPS):.2f} ms, the server there {up:.2f} ms, killed {down:.2f} ms")
faults = judge(run, server, "the server killed in the middle and started again")
faults += sha(FOLDER / "plain/adapter/adapter_model.safetensors") != sha(run / "adapter/adapter_model.safetensors")

run = FOLDER / "both-killed"
process = tunesmith(FOLDER, "train", "--out", run, *sets)
wait_for(run, STEPS // 3 + 50, process)
server.kill()
process.kill()
process.wait()
killed, saved = max(truth(run)["loss"]), max(os.listdir(run / "checkpoints"))
print(f"\nkilled after {killed} steps, newest checkpoint {saved}")
assert tunesmith(FOLDER, "track", run).wait() == 4
rows, facts = sync(run)
print(f"the killed run's file was closed and synced: {len(rows)} rows, exit {facts.get('exitcode')}")
process = tunesmith(FOLDER, "train", "--resume", run)
wait_for(run, STEPS // 2, process)
process.send_signal(signal.SIGSTOP)
server.start()
process.send_signal(signal.SIGCONT)
assert process.wait() == 0
faults += judge(run, server, "run and server killed together, then resumed", range(int(saved.split("-")[1]) + 1, killed + 1))
faults += sha(FOLDER / "plain/adapter/adapter_model.safetensors") != sha(run / "adapter/adapter_model.safetensors")

run = FOLDER / "server-away"
server.kill()
assert tunesmith(FOLDER, "train", "--out", run, *sets).wait() == 0
assert tunesmith(FOLDER, "track", run).wait() == 4, "a server that is away is the machine's fault"
server.start()
assert tunesmith(FOLDER, "track", run).wait() == 0
faults += judge(run, server, "the server away for the whole run, told by `tunesmith track`")
faults += sha(FOLDER / "plain/adapter/adapter_model.safetensors") != sha(run / "adapter/adapter_model.safetensors")
print(f"\nfaults in all: {faults}")
sys.exit(faults != 0)
