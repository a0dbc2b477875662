"""Planned memory against measured, on the CPU: trains a few steps under several settings and compares.

    python3 bench/peak.py TUNESMITH MODEL FOLDER [BINARY'S OPTIONS ...]

TUNESMITH is the binary, MODEL a model's folder or .gguf file, FOLDER a place for the projects. Each configuration is
planned (`train --plan --json`), then run (`train --json`), and the highest resident size that the process saw (VmHWM)
is set against the plan. Prints one line a configuration and the deviations; ends with 1 if a plan is below what was
measured, or more than 3 % above it.
Python 3.9 or later, no packages. Linux, since VmHWM is Linux's.
"""

import json
import pathlib
import shutil
import subprocess
import sys

LIMIT = 0.03

# (examples a step, words of an example, threads, other settings); a word is 3 to 4 tokens.
CONFIGURATIONS = [
    (1, 10, 2, {}),
    (4, 25, 2, {"train.micro_tokens": 512}),
    (16, 25, 1, {"train.micro_tokens": 2048}),
    (16, 60, 2, {"train.share_prefix": "false"}),
    (16, 60, 2, {"train.share_prefix": "false", "train.recompute": "12"}),
    (16, 60, 2, {"train.share_prefix": "false", "train.recompute": "all"}),
    (8, 25, 2, {"adapter.rank": 64, "train.share_prefix": "false"}),
    (2, 350, 2, {"train.precision": "bf16"}),
    (8, 25, 2, {"model.storage": "nf4"}),
    (4, 100, 2, {"model.storage": "nf4", "train.share_prefix": "false"}),
    (8, 25, 2, {"model.storage": "int8"}),
    (8, 25, 2, {"model.storage": "stored"}),
    (8, 25, 2, {"train.method": "dora"}),
    (8, 25, 2, {"train.method": "full", "train.lr": 1e-5}),
]


def project(folder, model, examples, words):
    """So many training examples of about `words` words, and one held out."""
    folder.mkdir(parents=True, exist_ok=True)

    def row(number):
        text = " ".join(f"word{(number * 37 + i * i) % 997}" for i in range(words))
        return json.dumps({"instruction": f"Ticket {number}: {text[: len(text) // 2]}", "response": text[len(text) // 2 :]})

    (folder / "train.jsonl").write_text("".join(row(n) + "\n" for n in range(examples)))
    (folder / "eval.jsonl").write_text(row(99) + "\n")
    (folder / "tunesmith.toml").write_text(
        f"[model]\nbase = {json.dumps(str(model))}\n[data]\ntrain = \"train.jsonl\"\neval = \"eval.jsonl\"\n"
    )


def call(binary, folder, args):
    done = subprocess.run([binary, *args, "--json"], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(args)}: exit {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    binary, model, place = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
    extra = sys.argv[4:]
    deviations = []
    print(f"{'batch':>5} {'words':>5} {'thr':>3} {'planned MiB':>11} {'measured':>9} {'off':>7}")
    for number, (batch, words, threads, settings) in enumerate(CONFIGURATIONS):
        folder = place / str(number)
        # One step: every micro-batch of the run is seen, the largest too.
        project(folder, model, batch, words)
        settings = {"train.batch": batch, "train.epochs": 1, **settings}
        args = ["train", "--threads", str(threads), *(w for k, v in settings.items() for w in ("--set", f"{k}={v}")), *extra]
        plan = call(binary, folder, [*args, "--plan"])
        run = call(binary, folder, args)
        # A checkpoint of all weights takes three times the model.
        shutil.rmtree(folder)
        planned, measured = plan["peak_bytes"], run["peak_bytes"]
        off = planned / measured - 1
        deviations.append(off)
        own = " ".join(f"{k}={v}" for k, v in settings.items() if k not in ("train.batch", "train.epochs"))
        print(
            f"{batch:5} {words:5} {threads:3} {planned / 2**20:11.1f} {measured / 2**20:9.1f} {100 * off:+6.1f} %"
            f"  {plan['when']}  {own}",
            flush=True,
        )
    low, high = min(deviations), max(deviations)
    print(f"{100 * low:+.1f} to {100 * high:+.1f} %, 0 to {100 * LIMIT:.0f} % wanted")
    sys.exit(low < 0 or high > LIMIT)


if __name__ == "__main__":
    main()
