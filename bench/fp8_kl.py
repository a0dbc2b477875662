#!/usr/bin/env python3
"""What 8-bit floats do to a small model before it learns: loss and KL divergence on answers, by what is rounded and how.

    python3 bench/fp8_kl.py FOLDER_OF_SMOLLM2_GGUF BANKING77_PROJECT [EXAMPLES]

BANKING77_PROJECT is what bench/banking77.py wrote. Needs torch, transformers, gguf, accelerate and a GPU. Operands of the
layers' products are rounded to e4m3 and back in float32 (torch's own conversion); nothing here is our engine.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, project = map(pathlib.Path, sys.argv[1:3])
count = int(sys.argv[3]) if len(sys.argv) > 3 else 96
gguf = next(folder.glob("*.gguf")).name
tok = AutoTokenizer.from_pretrained(folder, gguf_file=gguf)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf, dtype=torch.float32).cuda().eval()
system = (project / "system.txt").read_text()


def tokens(row):
    asked = tok(f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{row['instruction']}<|im_end|>\n<|im_start|>assistant\n").input_ids
    said = tok(f"{row['response']}<|im_end|>").input_ids
    return torch.tensor([asked + said]).cuda(), len(asked)


examples = [tokens(json.loads(line)) for line in (project / "test.jsonl").open()][:count]
linears = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "lm_head" not in n}
exact = {n: m.weight.data.clone() for n, m in linears.items()}
rounding, means, bias = {}, {}, {}
counting = True


def replace(name, linear):
    def forward(x):
        if counting:
            total, rows = means.get(name, (0, 0))
            means[name] = total + x.reshape(-1, x.shape[-1]).sum(0), rows + x.numel() // x.shape[-1]
        y = torch.nn.functional.linear(rounding[name](x) if name in rounding else x, linear.weight)
        return y + bias[name] if name in bias else y

    linear.forward = forward


def e4m3(x, block=None):
    """Rows, or blocks of them, scaled so that their largest value is 448."""
    shape = x.shape
    if block:
        x = torch.nn.functional.pad(x, (0, -shape[-1] % block)).unflatten(-1, (-1, block))
    scale = x.abs().amax(-1, keepdim=True) / 448
    scale = torch.where(scale == 0, 1, scale)
    rounded = (x / scale).to(torch.float8_e4m3fn).float() * scale
    return rounded.flatten(-2)[..., : shape[-1]] if block else rounded


@torch.no_grad()
def outputs():
    for ids, asked in examples:
        logits = model(ids, logits_to_keep=ids.shape[1] - asked + 1).logits[0, :-1]
        yield torch.log_softmax(logits, -1), ids[0, asked:]


def measure(name, weight, activation, centred=False):
    rounding.clear(), bias.clear()
    for n, linear in linears.items():
        linear.weight.data.copy_(weight(exact[n]) if weight else exact[n])
        if activation:
            rounding[n] = activation
        if centred:  # the mean of what rounding the weight does to the output is given back as a bias
            bias[n] = (exact[n] - linear.weight.data) @ means[n]
    kl = loss = before = rows = 0
    for (p, wanted), q in zip(outputs(), base):
        kl += (q.exp() * (q - p)).sum().item()
        loss -= p.gather(1, wanted[:, None]).sum().item()
        before -= q.gather(1, wanted[:, None]).sum().item()
        rows += len(wanted)
    print(f"{name:32} loss {loss / rows:.4f} ({100 * (loss / before - 1):+.2f} %)  KL {kl / rows:.5f}", flush=True)


for n, m in linears.items():
    replace(n, m)
base = [p for p, _ in outputs()]
counting = False
means = {n: total / rows for n, (total, rows) in means.items()}
row, b128, b32 = e4m3, lambda x: e4m3(x, 128), lambda x: e4m3(x, 32)
twice = lambda x: row(x) + row(x - row(x))
bf16 = lambda x: x.to(torch.bfloat16).float()
measure("bf16", bf16, bf16)
measure("weights, a scale a row", row, None)
measure("activations, a scale a row", None, row)
measure("both, a scale a row", row, row)
measure("weights, blocks of 128", b128, None)
measure("activations, blocks of 128", None, b128)
measure("both, blocks of 128", b128, b128)
measure("both, blocks of 32", b32, b32)
measure("weights as two terms, rows", twice, row)
measure("both rows, centred", row, row, centred=True)
