#!/usr/bin/env python3
"""Training steps on one GPU with random weights: speed, the device's memory against the plan, and a peer beside it.

    cargo build --release -p model --example gpu_step
    python3 bench/gpu.py target/release/examples/gpu_step [--only WORDS] [--peer LORA_PY]

LORA_PY is a script of a peer that takes MODE BATCH CHECKPOINTING and ends with a line of JSON that has `tok_s` and
`peak_gib`; it is run right before our case of the same work, and once more after it. Nothing else may run on the GPU.
"""
import argparse
import json
import subprocess
import threading
import time

CASES = [  # name, what gpu_step is asked, what the peer is asked for the same work
    ("Llama-3.1-8B LoRA bf16", "llama-3.1-8b 8192 2048 0 7", "bf16 4 false"),
    ("Llama-3.1-8B LoRA bf16, low memory", "llama-3.1-8b 2048 2048 32 5 --times=4", "bf16 4 unsloth"),
    ("Llama-3.1-8B LoRA FP8", "llama-3.1-8b 8192 2048 0 7 --hold=fp8", None),
    ("Llama-3.1-8B LoRA FP8, low memory", "llama-3.1-8b 2048 2048 27 5 --times=4 --hold=fp8", None),
    ("Llama-3.1-8B LoRA NF4", "llama-3.1-8b 8192 2048 0 7 --hold=nf4", "nf4 4 false"),
    ("Llama-3.1-8B LoRA NF4, low memory", "llama-3.1-8b 2048 2048 31 5 --times=4 --hold=nf4", "nf4 4 unsloth"),
    ("Llama-3.1-8B full", "llama-3.1-8b 8192 2048 0 4 --full", None),
    ("Llama-3.1-8B full, 4,096 tokens a step", "llama-3.1-8b 4096 2048 0 4 --full", None),
    ("SmolLM2-135M LoRA bf16", "smollm2-135m 8192 1024 0 20", None),
    ("Llama-3.1-70B LoRA NF4", "llama-3.1-70b 4096 2048 0 3 --hold=nf4", None),
]


class Memory(threading.Thread):
    """The most memory that the device had in use, as its driver counts it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.over = 0, False

    def run(self):
        while not self.over:
            said = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True)
            self.most = max(self.most, int(said.stdout.split()[0]))
            time.sleep(0.05)


def run(command):
    memory = Memory()
    memory.start()
    done = subprocess.run(command, capture_output=True, text=True)
    memory.over = True
    memory.join()
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return None, f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()[-400:]}"
    return json.loads(lines[-1]) | {"device_gib": memory.most / 1024}, None


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("step")
    ask.add_argument("--only", default="", help="cases whose name holds these words")
    ask.add_argument("--peer", help="a script that measures a peer")
    wish = ask.parse_args()
    print("| case | tokens/s | of light | planned GiB | device GiB | peer tokens/s | peer GiB | times as fast |\n|---|---|---|---|---|---|---|---|")
    for name, ours, peers in CASES:
        if wish.only not in name:
            continue
        theirs = []
        for turn in range(2):
            if wish.peer and peers:
                found, fault = run(["python3", wish.peer, *peers.split()])
                theirs.append(found)
                if fault:
                    print(f"peer: {fault}")
            if turn == 0:
                own, fault = run([wish.step, *ours.split()])
        if fault or own is None:
            print(f"| {name} | {fault} |")
            continue
        row = [name, f"{own['tokens_s']}", f"{own['light_percent']:.0f} %", f"{own['planned_gib']:.2f}", f"{own['device_gib']:.2f}"]
        theirs = [t for t in theirs if t]
        if theirs:
            rates = [t["tok_s"] for t in theirs]
            row += ["-".join(f"{r:.0f}" for r in sorted(rates)), f"{max(t['peak_gib'] for t in theirs):.1f}"]
            row += [f"{own['tokens_s'] / (sum(rates) / len(rates)):.2f}"]
        print(f"| {' | '.join(row)} |", flush=True)
        print(json.dumps({"case": name, "ours": own, "peer": theirs}), flush=True)


if __name__ == "__main__":
    main()
