#!/usr/bin/env python3
"""Peer baseline on a GPU: Unsloth's LoRA (r=16, alpha 32, all linear layers, bf16) on real tokenized examples.

    unsloth_packed.py make SHAPE                                        a random model of that shape in MODEL (default /tmp/random-SHAPE)
    unsloth_packed.py SHAPE BATCH_EXAMPLES STEPS IDS_JSONL [MODE] [CKPT]  measures; prints one JSON line

SHAPE: smollm2-135m | llama-3.1-8b. IDS_JSONL: a line an example, {"ids": [...], "learned": [0/1, ...]}; learned[i] says
that token i is to be predicted. STEPS are measured after three that are not; each takes the next BATCH_EXAMPLES examples.
MODE  packed (default)  whole examples in one row without padding, attention within each alone, in a bare loop: what
                        Unsloth's padding-free collator hands the model, without the Trainer around it
      padded            right-padded rows: Unsloth then compiles each transformer block as one region, which it does not
                        do for packed rows, so it can be the faster one where launching kernels is what takes the time
CKPT  false (default: fastest) | true | unsloth
XFORMERS=0 in the environment does not help PyPI's xformers find CUDA 12's runtime (what a plain `pip install` gives here).
Batches lie ready on the GPU before the clock starts. Nothing here reaches a network.
"""
import ctypes, importlib.abc, importlib.machinery, json, os, statistics, sys, time, types
from unittest.mock import MagicMock

os.environ.update(UNSLOTH_DISABLE_STATISTICS="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1")
os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", "/tmp/unsloth_compiled_cache")
SHAPES = {
    "llama-3.1-8b": dict(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                         num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=8192,
                         rope_theta=500000.0, tie_word_embeddings=False),
    "smollm2-135m": dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                         num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
                         rope_theta=100000.0, tie_word_embeddings=True),
}
WARM = 3


def folder(shape):
    return os.environ.get("MODEL", f"/tmp/random-{shape}")


def make(shape):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    vocab, out = SHAPES[shape]["vocab_size"], folder(shape)
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(vocab)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="t1", eos_token="t2", pad_token="t3", unk_token="t0",
                            model_max_length=8192, padding_side="left").save_pretrained(out)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        LlamaForCausalLM(LlamaConfig(**SHAPES[shape], bos_token_id=1, eos_token_id=2, pad_token_id=3)).save_pretrained(
            out, max_shard_size="4GB")


class Stub(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for packages that Unsloth imports, are not installed, and this work does not use."""
    missing = []

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in self.missing:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__, module.__version__ = [], "9.9"

        def attribute(name):
            if name.startswith("__"):
                raise AttributeError(name)
            return MagicMock()
        module.__getattr__ = attribute
        return module

    def exec_module(self, module):
        pass


def preload_cudart():
    """PyPI's xformers is built for CUDA 12 against PyTorch's stable interface: beside a PyTorch for CUDA 13 only the
    runtime library is missing. Without xformers Unsloth attends segment by segment, which is not the best it can."""
    for place in sys.path:
        library = os.path.join(place or ".", "libcudart.so.12")
        if os.path.exists(library):
            ctypes.CDLL(library)
            return


def import_unsloth():
    if os.environ.get("XFORMERS", "1") != "0":
        preload_cudart()
    sys.meta_path.append(Stub())
    for _ in range(12):
        try:
            import unsloth
            return unsloth
        except ModuleNotFoundError as fault:
            name = (fault.name or "").split(".")[0]
            if not name or name in Stub.missing:
                raise
            Stub.missing.append(name)
            print("stubbed", name, file=sys.stderr)
            for loaded in [m for m in sys.modules if m.startswith("unsloth")]:
                del sys.modules[loaded]
    raise SystemExit("too many missing packages: " + " ".join(Stub.missing))


def examples_of(path, vocab):
    """(ids, labels) of each line; the first token of an example is never a target."""
    found = []
    with open(path) as lines:
        for line in lines:
            if not line.strip():
                continue
            e = json.loads(line)
            ids, learned = e["ids"], e["learned"]
            if len(ids) != len(learned) or max(ids) >= vocab:
                raise SystemExit(f"line {len(found) + 1} of {path}: {len(ids)} ids, {len(learned)} marks, largest id {max(ids)}")
            found.append((ids, [-100] + [i if l else -100 for i, l in zip(ids[1:], learned[1:])]))
    if not found:
        raise SystemExit(f"{path} holds no example")
    return found


def batches_of(examples, size, count):
    """The next `size` examples, `count` times; starts over at the end of the file."""
    at = 0
    for _ in range(count):
        yield [examples[(at + k) % len(examples)] for k in range(size)]
        at += size


def packed(batch, torch):
    lengths = [len(ids) for ids, _ in batch]
    row = lambda parts: torch.tensor([[x for part in parts for x in part]], device="cuda")
    labels = row(l for _, l in batch)
    return dict(input_ids=row(i for i, _ in batch), labels=labels, position_ids=row(range(n) for n in lengths),
                packed_seq_lengths=torch.tensor(lengths, dtype=torch.int32), num_items_in_batch=(labels != -100).sum())


def padded(batch, torch, pad=3, multiple=16):
    width = -(-max(len(ids) for ids, _ in batch) // multiple) * multiple
    rows = lambda parts: torch.tensor(parts, device="cuda")
    labels = rows([l + [-100] * (width - len(l)) for _, l in batch])
    return dict(input_ids=rows([i + [pad] * (width - len(i)) for i, _ in batch]), labels=labels,
                attention_mask=rows([[1] * len(i) + [0] * (width - len(i)) for i, _ in batch]),
                num_items_in_batch=(labels != -100).sum())


def bare_loop(model, batches, form, torch):
    """Seconds of every step, and the last loss."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    inputs = [form(b, torch) for b in batches]
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for given in inputs:
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(**given).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times, loss.item()


def measure(shape, size, steps, path, mode="packed", ckpt="false"):
    unsloth = import_unsloth()
    import torch
    from unsloth import FastLanguageModel
    examples = examples_of(path, SHAPES[shape]["vocab_size"])
    batches = list(batches_of(examples, size, WARM + steps))
    longest = max(2048, -(-max(len(ids) for ids, _ in examples) // 64) * 64)
    model, tokenizer = FastLanguageModel.from_pretrained(folder(shape), max_seq_length=longest, dtype=torch.bfloat16,
                                                         load_in_4bit=False, local_files_only=True)
    checkpointing = {"unsloth": "unsloth", "true": True, "false": False}[ckpt]
    model = FastLanguageModel.get_peft_model(
        model, r=16, lora_alpha=32, lora_dropout=0, bias="none", random_state=0, use_gradient_checkpointing=checkpointing,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
    model.train()
    times, loss = bare_loop(model, batches, {"packed": packed, "padded": padded}[mode], torch)
    tokens = [sum(len(ids) for ids, _ in b) for b in batches]
    measured = times[WARM:]
    step = statistics.median(measured)
    try:
        from unsloth.utils.attention_dispatch import select_attention_backend
        attention = select_attention_backend(mode != "padded")
    except Exception as fault:
        attention = f"unknown ({type(fault).__name__})"
    rate = statistics.median(n / t for n, t in zip(tokens[WARM:], measured))
    print(json.dumps(dict(
        examples_s=round(size / step, 2), tokens_s=round(rate), peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2),
        step_ms=round(step * 1e3, 2), step_ms_least=round(min(measured) * 1e3, 2), step_ms_most=round(max(measured) * 1e3, 2),
        peer="unsloth", version=unsloth.__version__, shape=shape, mode=mode, ckpt=ckpt, batch_examples=size, steps=steps,
        tokens_per_step=round(statistics.mean(tokens)), attention=attention, loss=round(loss, 4), stubbed=Stub.missing,
        first_step_s=round(times[0], 1))), flush=True)


if __name__ == "__main__":
    a = sys.argv[1:]
    if len(a) == 2 and a[0] == "make" and a[1] in SHAPES:
        make(a[1])
    elif 4 <= len(a) <= 6 and a[0] in SHAPES:
        measure(a[0], int(a[1]), int(a[2]), a[3], *a[4:])
    else:
        raise SystemExit(__doc__)
