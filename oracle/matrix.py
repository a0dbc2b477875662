"""The matrix of families and methods: tiny random models with the truth about each, in fixtures/matrix.

    venv/bin/python oracle/matrix.py fixtures           # remakes fixtures/matrix
    venv/bin/python oracle/matrix.py OUT phi3 mixtral   # some families, elsewhere

What the cells are stands in fixtures/README.md, where their files lie in fixtures/matrix/cells.json.
Versions used: torch 2.15.0, transformers 5.23.0, peft 0.21.2, bitsandbytes 0.50.2, gguf 0.19.0. Seeds 3, 5, 7, 11, 13, 17.
"""
import json
import pathlib
import shutil
import sys
import torch
from gguf import GGMLQuantizationType as Q
from safetensors.torch import save_file

import families
import methods
import truth

FAMILIES = ["llama", "llama3", "mistral", "phi3", "mixtral", "qwen2", "qwen3"]
# What the plain adapter of a family looks like where it is not rank 4 and alpha 8 on every linear layer.
LORA = {
    "llama3": dict(use_rslora=True, rank_pattern={"layers.1.self_attn.q_proj": 8}, alpha_pattern={"down_proj": 3}),
    "mistral": dict(target_modules=["q_proj", "v_proj", "up_proj"]),
    "mixtral": dict(target_parameters=methods.EXPERTS),
}
NF4 = dict(load_in_4bit=True, bnb_4bit_quant_type="nf4")
AUX = 0.02


class Family:
    """One family's folder, and the cells made in it so far."""

    def __init__(self, root, name):
        self.name, self.root, self.folder, self.cells = name, root, root / name, []
        self.weights = families.weights(name)
        vocab = families.configs()[name][1].vocab_size
        self.batch = dict(examples=families.examples(vocab), pairs=families.pairs(vocab))
        methods.saved(self.folder / "model", name)
        (self.folder / "batch.json").write_text(json.dumps(self.batch) + "\n")

    def adapter(self, name, **settings):
        methods.adapter(self.folder / name, self.name, **settings)
        return name

    def cell(self, method, model="model", adapter=None, weights=None, aux=0.0, also=()):
        """Asks for the truth and notes the cell; `also` are further models that hold the same weights."""
        objective = truth.preference if method == "dpo" else lambda *a: truth.supervised(*a, aux=aux)
        where = adapter and self.folder / adapter
        if weights and self.name != "wide":  # rounding alone tells a quantised base from the plain one: a wrong scale would show here
            far = {n: truth.far(weights[n], w) for n, w in self.weights.items()}
            assert max(far.values()) < 0.15, far
        tensors, grads, error = truth.judged(self.name, weights or self.weights, where, objective, self.batch, constants="dora" in method)
        grads = truth.stored(self.name, where, grads)
        save_file(tensors | {f"grad.{n}": g.float().contiguous() for n, g in grads.items()}, self.folder / f"{method}.safetensors")
        for place in (model, *also):
            self.cells.append(dict(family=self.name, method=method, model=f"{self.name}/{place}", adapter=adapter and f"{self.name}/{adapter}",
                                   objective="dpo" if method == "dpo" else "supervised", aux=aux, gradients=len(grads),
                                   loss=tensors["loss"].item(), float32=float(f"{error:.1e}")))
            print(self.cells[-1], flush=True)


def common(f):
    """The cells that every family has."""
    f.cell("full")
    plain = f.adapter("adapter-lora", **LORA.get(f.name, {}))
    f.cell("lora", adapter=plain)
    dora = f.adapter("adapter-dora", use_dora=True)
    f.cell("dora", adapter=dora)
    f.cell("dpo", adapter=plain)
    weights = methods.quantised(f.folder / "model-nf4", f.folder / "model", bnb_4bit_use_double_quant=True, **NF4)
    f.cell("nf4", "model-nf4", plain, weights)
    weights = methods.quantised(f.folder / "model-int8", f.folder / "model", load_in_8bit=True)
    f.cell("int8", "model-int8", plain, weights)
    weights = methods.gguf_file(f.folder / "model.gguf", f.name, [Q.Q8_0, Q.Q4_0, Q.Q4_1])
    f.cell("gguf", "model.gguf", plain, weights)


def special(f):
    """Cells of one family only."""
    if f.name == "llama":
        weights = methods.quantised(f.folder / "model-nf4-plain", f.folder / "model", **NF4)
        f.cell("nf4-plain", "model-nf4-plain", "adapter-lora", weights)
        f.cell("nf4-dora", "model-nf4-plain", "adapter-dora", weights)
    if f.name == "qwen3":
        f.cell("lora-saved", adapter=f.adapter("adapter-saved", target_modules=["q_proj", "down_proj"], modules_to_save=["lm_head", "embed_tokens"]))
    if f.name == "mixtral":
        methods.saved(f.folder / "model-fused", f.name, save_original_format=False)
        f.cell("full-aux", aux=AUX, also=["model-fused"])
        f.cell("lora-aux", adapter="adapter-lora", aux=AUX)
        f.cell("lora-gate-up", adapter=f.adapter("adapter-gate-up", target_modules=[], target_parameters=methods.EXPERTS[:1]))
        for method, four_bit in [("nf4-experts", True), ("int8-experts", False)]:
            weights = methods.quantised_experts(f.folder / f"model-{method}", f.folder / "model", four_bit)
            f.cell(method, f"model-{method}", "adapter-lora", weights)
        refused(f, target_parameters=methods.EXPERTS, use_dora=True)
        refused(f, target_parameters=methods.EXPERTS, lora_dropout=0.1)


def refused(f, **settings):
    """PEFT cannot make this adapter, which is why there is no cell for it."""
    try:
        f.adapter("refused", **settings)
    except ValueError as reason:
        print("PEFT refuses", settings, reason)
    else:
        raise AssertionError(f"PEFT can do {settings} now: it deserves a cell")


def wide(f):
    """K-quants, which need rows of 256: no plain model is kept, the file is the base."""
    shutil.rmtree(f.folder / "model")
    plain = f.adapter("adapter-lora", r=2)
    weights = methods.gguf_file(f.folder / "model.gguf", f.name, [Q.Q4_K, Q.Q6_K])
    f.cell("gguf-k", "model.gguf", plain, weights)


def main():
    out, names = pathlib.Path(sys.argv[1]), sys.argv[2:] or [*FAMILIES, "wide"]
    torch.set_num_threads(1)  # one order of every sum; the models are too small for more
    root = out / "matrix"
    shutil.rmtree(root, ignore_errors=True)
    cells = []
    for name in names:
        f = Family(root, name)
        wide(f) if name == "wide" else (common(f), special(f))
        cells += f.cells
    lines = ",\n".join(json.dumps(c) for c in cells)
    (root / "cells.json").write_text(f"[\n{lines}\n]\n")
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


main()
