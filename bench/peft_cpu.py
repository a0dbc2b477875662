"""One LoRA training step on the CPU: PEFT's own loop (padded batches) against Tunesmith, alternating.

    venv/bin/python bench/peft_cpu.py PROJECT MODEL_FOLDER --tunesmith target/release/tunesmith [--rounds 3] [--examples 64] [--batch 16]

PROJECT is a Tunesmith project (bench/banking77.py); MODEL_FOLDER the same base in float32 for transformers.
Both train the same first examples for one epoch, float32, 2 threads. Printed per round: supervised tokens a
second, and (without sharing, and counting real tokens only) plain tokens a second; then the medians and their ratios.
"""
import argparse, json, os, pathlib, shutil, statistics, subprocess, tempfile, time
os.environ.setdefault("OMP_NUM_THREADS", "2")
import torch, transformers, peft
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BATCH = 16


def peft_steps(model, optimizer, examples):
    model.train()
    tokens = supervised = 0
    began = time.perf_counter()
    for at in range(0, len(examples), BATCH):
        part = examples[at:at + BATCH]
        width = max(len(e["ids"]) for e in part)
        ids = torch.full((len(part), width), 2); labels = torch.full((len(part), width), -100); mask = torch.zeros((len(part), width), dtype=torch.long)
        for k, e in enumerate(part):
            n = len(e["ids"])
            ids[k, :n] = torch.tensor(e["ids"]); mask[k, :n] = 1
            labels[k, :n] = torch.tensor([t if l else -100 for t, l in zip(e["ids"], e["learned"])])
            tokens += n; supervised += sum(e["learned"])
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step(); optimizer.zero_grad()
    return supervised, tokens, time.perf_counter() - began


def ours(recipe, share):
    run = pathlib.Path(tempfile.mkdtemp()) / "run"
    command = [args.tunesmith, "train", str(recipe), "--out", str(run), "--threads", "2", "--quiet", "--set", f"train.share_prefix={share}",
               "--set", "train.epochs=1", "--set", "train.checkpoint_every=1000", "--set", f"train.batch={BATCH}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    steps = [e for e in map(json.loads, open(run / "events.jsonl")) if e["event"] == "step"][1:]  # the first step warms caches up
    shutil.rmtree(run.parent)
    seconds = sum(e["step_ms"] for e in steps) / 1e3
    total = lambda k: sum(e[k] for e in steps)
    return total("supervised_tokens") / seconds, total("unshared_tokens") / seconds, total("computed_tokens"), total("unshared_tokens"), seconds / len(steps)


def main():
    global args, BATCH
    p = argparse.ArgumentParser()
    p.add_argument("project", type=pathlib.Path); p.add_argument("model")
    p.add_argument("--tunesmith", default="target/release/tunesmith"); p.add_argument("--rounds", type=int, default=3); p.add_argument("--examples", type=int, default=64); p.add_argument("--batch", type=int, default=16)
    args = p.parse_args()
    BATCH = args.batch
    torch.set_num_threads(2)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}, {torch.get_num_threads()} threads")
    small = pathlib.Path(tempfile.mkdtemp())
    for f in args.project.iterdir():
        if f.is_file(): shutil.copy(f, small / f.name)
    lines = (args.project / "train.jsonl").read_text().splitlines(True)[:args.examples]
    (small / "train.jsonl").write_text("".join(lines))
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    system = (args.project / "system.txt").read_text().rstrip()
    examples = []
    for line in lines:
        row = json.loads(line)
        chat = [{"role": "system", "content": system}, {"role": "user", "content": row["instruction"]}]
        prompt = tokenizer.encode(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False), add_special_tokens=False)
        answer = tokenizer.encode(row["response"] + "<|im_end|>", add_special_tokens=False)
        examples.append(dict(ids=prompt + answer, learned=[False] * len(prompt) + [True] * len(answer)))
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=TARGETS, lora_dropout=0.0, task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([q for q in model.parameters() if q.requires_grad], lr=1e-3, weight_decay=0.0)
    peft_steps(model, optimizer, examples[:BATCH])
    rows = dict(peft_supervised=[], peft_plain=[], shared_supervised=[], unshared_plain=[], shared_step=[], unshared_step=[])
    for round in range(args.rounds):
        s, n, t = peft_steps(model, optimizer, examples[BATCH:])
        rows["peft_supervised"].append(s / t); rows["peft_plain"].append(n / t)
        a = ours(small / "tunesmith.toml", "true"); b = ours(small / "tunesmith.toml", "false")
        rows["shared_supervised"].append(a[0]); rows["shared_step"].append(a[4]); rows["unshared_plain"].append(b[1]); rows["unshared_step"].append(b[4])
        print(f"round {round}: PEFT {s / t:.1f} supervised/s {n / t:.0f} tokens/s; shared {a[0]:.1f} supervised/s ({a[2]} of {a[3]} tokens, {a[4]:.2f} s a step); unshared {b[1]:.0f} tokens/s ({b[4]:.2f} s a step)", flush=True)
    m = {k: statistics.median(v) for k, v in rows.items()}
    print(json.dumps(dict(m, supervised_ratio=m["shared_supervised"] / m["peft_supervised"], plain_ratio=m["unshared_plain"] / m["peft_plain"], step_ratio=m["unshared_step"] / m["shared_step"])))


main()
