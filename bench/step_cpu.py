"""A training step on the CPU, packed 4 x 256 tokens, LoRA r=16 on all linear layers: ours against PyTorch + PEFT, alternating.

    python bench/step_cpu.py STEP MODEL_FOLDER OUR_MODEL [--threads 2] [--rounds 3] [--steps 4] [--nf4]

STEP is the built example (`cargo build --release -p train --example step`), MODEL_FOLDER the float32 base as transformers reads
it, OUR_MODEL what ours reads (a folder or a GGUF file of the same model). The peer runs in a process of its own each round,
and is measured as ours is: median seconds of a step after the first, and VmHWM. With --nf4 the peer is bitsandbytes' NF4.
"""
import argparse, os, statistics, subprocess, sys, time


def peer(folder, threads, steps, nf4):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    quant = dict(quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                                        bnb_4bit_compute_dtype=torch.float32), device_map="cpu") if nf4 else {}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa", **quant)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=names, task_type="CAUSAL_LM"))
    model.train()
    ids = torch.randint(0, model.config.vocab_size, (4, 256))
    labels = ids.clone()
    labels[:, :128] = -100
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for _ in range(steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        print(f"{time.perf_counter() - began:.4f} s, loss {loss.item():.4f}", flush=True)
    peak = [l for l in open("/proc/self/status") if l.startswith("VmHWM")][0].split()[1]
    print("peak", int(peak) * 1024)


def measured(command, threads):
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    lines = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.splitlines()
    seconds = [float(l.split()[0]) for l in lines if " s, loss" in l][1:]
    return statistics.median(seconds), int([l for l in lines if l.startswith("peak")][0].split()[1])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("step"); p.add_argument("folder"); p.add_argument("ours")
    p.add_argument("--threads", type=int, default=2); p.add_argument("--rounds", type=int, default=3); p.add_argument("--steps", type=int, default=4)
    p.add_argument("--nf4", action="store_true"); p.add_argument("--peer", action="store_true")
    a = p.parse_args()
    if a.peer:
        return peer(a.folder, a.threads, a.steps, a.nf4)
    kind = "nf4" if a.nf4 else "f32"
    theirs = [sys.executable, __file__, a.step, a.folder, a.ours, "--peer", "--threads", str(a.threads), "--steps", str(a.steps)] + ["--nf4"] * a.nf4
    rounds = []
    for _ in range(a.rounds):
        mine = measured([a.step, a.ours, kind, str(a.threads), str(a.steps)], a.threads)
        peer_ = measured(theirs, a.threads)
        rounds.append((mine, peer_))
        print(f"{kind}: ours {mine[0]:.2f} s {mine[1] / 1e6:.0f} MB, PEFT {peer_[0]:.2f} s {peer_[1] / 1e6:.0f} MB: "
              f"{peer_[0] / mine[0]:.2f} times as fast, {mine[1] / peer_[1]:.2f} of the memory", flush=True)
    print(f"{kind}: median {statistics.median(t[0] / m[0] for m, t in rounds):.2f} times as fast, "
          f"{statistics.median(m[1] / t[1] for m, t in rounds):.2f} of the memory; {a.threads} threads, 1,024 tokens a step")


main()
