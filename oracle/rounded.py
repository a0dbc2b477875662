"""What bfloat16 costs PyTorch: the error of every gradient, as the measure for ours, in fixtures/matrix/rounded.json.

    venv/bin/python oracle/rounded.py fixtures              # after oracle/matrix.py, which empties fixtures/matrix
    venv/bin/python oracle/rounded.py fixtures OUT plain    # another way of running, elsewhere: `plain` or `eager`

Versions used: torch 2.15.0, transformers 5.23.0, peft 0.21.2, bitsandbytes 0.50.2. Draws no numbers of its own; models, examples and
adapters are those of the matrix (seeds 7, 3, 5 and 11). Seed 19 for the test of products.

**What is run** is what a user of transformers' or TRL's trainer with `bf16=True` runs: the folder opened with dtype bfloat16
(rotary tables stay float32), SDPA attention as is the default, PEFT's adapter in float32 as is the default, and the model's forward
pass under `torch.autocast`, outputs widened to float32, as accelerate does. Autocast rounds A and B when they are used, so an
adapter held in bfloat16 gives the same numbers. Without autocast (`plain`) the update is computed in float32, and with eager
attention scores are rounded before the softmax; LoRA's errors in families without experts were 0.97 times as large with the former
(root mean square over all tensors) and 1.07 times with the latter. In `full` the weights are bfloat16; gradients are added up in
float32. In `nf4` the values that bitsandbytes decodes are rounded to bfloat16, as it does itself before it multiplies.

**The truth** is float64 for the same model, so with the base already rounded to bfloat16: models are published so, and that
rounding would otherwise stand in both errors that are compared (31 % of the square of PyTorch's in LoRA) and hide a part of ours.
NF4's decoded values are not rounded in the truth.

**Fair at this size.** Rounding in a tiny model is a small sample: in one step, the error of one tensor was 0.52 to 1.88 times as
large with `plain` as with `autocast`, which are equally good. Another order of examples draws no new sample (each row is rounded as
before, and sums are float32), so each cell is asked 16 times about other tokens: draw k has every token of the examples k further
round the vocabulary, of which the first three are left out. An error is the root mean square over the draws of |g - truth| /
|truth|. The ratio of those was 0.81 to 1.15 over the 140 tensors of LoRA (0.94 to 1.26 for eager attention), so a bound of 1.5 for
every single tensor refuses what is worse, and no luck. Examples are computed one by one, as in the matrix, and their gradients
added in float32.

Mixtral's figures are of another kind: a rounded router sends some tokens to another expert, and gradients jump. In them two ways of
PyTorch differed by a factor of up to 3 (dpo), in spite of all draws.
"""
import json
import pathlib
import sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

import families
import methods
import truth

DRAWS = 16
METHODS = ["full", "lora", "dora", "dpo", "nf4"]


def moved(batch, by, vocab):
    """The batch with every token `by` further round the vocabulary, whose first three have a meaning of their own."""
    turn = lambda ids: [3 + (i - 3 + by) % (vocab - 3) for i in ids]
    return dict(examples=[e | dict(ids=turn(e["ids"])) for e in batch["examples"]],
                pairs=[{side: turn(ids) for side, ids in p.items()} for p in batch["pairs"]])


def alone(batch, objective):
    """The batch as batches of one, each with its share of the loss."""
    if objective is truth.preference:
        return [(dict(pairs=[p]), 1 / len(batch["pairs"])) for p in batch["pairs"]]
    learned = [sum(e["learned"][1:]) for e in batch["examples"]]
    return [(dict(examples=[e]), n / sum(learned)) for e, n in zip(batch["examples"], learned)]


def asked(model, objective, batch):
    """Loss and gradients of a batch, computed one by one and added in float64 (the truth) or float32."""
    loss, grads = 0.0, {}
    for part, share in alone(batch, objective):
        model.zero_grad()
        one, _, more = truth.asked(model, objective, part)
        loss += share * one.item()
        for name, g in more.items():
            g = share * (g if g.dtype == torch.float64 else g.float())
            grads[name] = grads[name] + g if name in grads else g
    return loss, grads


def opened(root, cell, way):
    """A cell's model and adapter as users run them in bfloat16, and the weights that count as exact."""
    attention = "eager" if way == "eager" else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(root / cell["family"] / "model", dtype=torch.bfloat16, attn_implementation=attention)
    exact = {n: p.detach().float() for n, p in model.named_parameters()}
    if cell["method"] == "nf4":
        decoded, coded = methods.read_back(root / cell["model"])
        exact |= {n: decoded[n] for n in coded}
        model.load_state_dict({n: w.bfloat16() for n, w in exact.items()}, strict=False)
        model.tie_weights()
    if cell["adapter"]:
        model = PeftModel.from_pretrained(model, str(root / cell["adapter"]), is_trainable=True)
    trained = {p.dtype for p in model.parameters() if p.requires_grad}
    assert trained == {torch.float32 if cell["adapter"] else torch.bfloat16}, trained
    assert all(b.dtype == torch.float32 for n, b in model.named_buffers() if "inv_freq" in n)
    if way != "plain":
        model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
    return model.eval(), exact


def measured(root, cell, way):
    """One cell: the truth's loss of each draw, and PyTorch's errors over all draws."""
    model, exact = opened(root, cell, way)
    adapter = cell["adapter"] and root / cell["adapter"]
    true = truth.opened(cell["family"], exact, adapter, torch.float64)
    objective = truth.preference if cell["method"] == "dpo" else truth.supervised
    batch = json.loads((root / cell["family"] / "batch.json").read_text())
    losses, errors, shapes = [], {}, {}
    for draw in range(DRAWS):
        these = moved(batch, draw, families.configs()[cell["family"]][1].vocab_size)
        with truth.float64():
            loss, grads = asked(true, objective, these)
        found, ours = asked(model, objective, these)
        losses.append(loss)
        errors.setdefault("loss", []).append(abs(found - loss) / abs(loss))
        ours, grads = (truth.stored(cell["family"], adapter, g) for g in (ours, grads))
        for name, g in grads.items():
            shapes[name] = list(g.shape)
            errors.setdefault(name, []).append(truth.far(ours[name], g))
    mean = {n: float(f"{torch.tensor(e, dtype=torch.float64).square().mean().sqrt().item():.3g}") for n, e in errors.items()}
    assert all(1e-6 < e < 1 for e in mean.values()), mean
    tensors = {n: dict(shape=shapes[n], error=mean[n]) for n in shapes}
    return dict(family=cell["family"], method=cell["method"], truth=losses, loss=mean["loss"], tensors=tensors)


def products_are_summed_in_float32():
    """And rounded once, as on a GPU. On a CPU where PyTorch does otherwise its errors would be no measure."""
    g = torch.Generator().manual_seed(19)
    x, w = (torch.randn(n, 512, generator=g).bfloat16() for n in (300, 40))
    exact = x.double() @ w.double().T
    error, least = truth.far(torch.nn.functional.linear(x, w), exact), truth.far(exact.bfloat16(), exact)
    assert error < 1.01 * least, (error, least)


def main():
    products_are_summed_in_float32()
    root = pathlib.Path(sys.argv[1]) / "matrix"
    out, way = (pathlib.Path(sys.argv[2]), sys.argv[3]) if len(sys.argv) > 2 else (root / "rounded.json", "autocast")
    torch.set_num_threads(1)  # one order of every sum, as in the matrix
    lines = []
    for cell in json.loads((root / "cells.json").read_text()):
        if cell["method"] in METHODS:
            row = measured(root, cell, way)
            lines.append(json.dumps(row))
            worst = max(row["tensors"], key=lambda n: row["tensors"][n]["error"])
            print(row["family"], row["method"], "loss", row["loss"], "worst", worst, row["tensors"][worst]["error"], flush=True)
    versions = {name: sys.modules[name].__version__ for name in ("torch", "transformers", "peft", "bitsandbytes")}
    head = json.dumps(dict(way=way, versions=versions, seeds=[7, 3, 5, 11], draws=DRAWS))[1:-1]
    out.write_text("{" + head + ', "cells": [\n' + ",\n".join(lines) + "\n]}\n")


main()
