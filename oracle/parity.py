"""Truth for one model: logits, loss, every adapter gradient and the first losses of a training run, in float32 on the CPU.

    venv/bin/python oracle/parity.py tiny  fixtures/parity-llama            # remakes the committed fixtures
    venv/bin/python oracle/parity.py FOLDER OUT [--examples FILE.json]      # a real model; OUT is judged by
    PARITY=OUT cargo test --release -p model -p train -- --nocapture pytorch threads

Versions used for the committed ones: torch 2.15.0, transformers 5.23.0, peft 0.21.2. Seeds are in the text.
"""
import argparse, json, pathlib, shutil
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, get_cosine_schedule_with_warmup

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SIZES = dict(vocab_size=96, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
TINY = {
    "parity-llama": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_theta=10000.0, tie_word_embeddings=True), {}),
    "parity-llama3": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0,
        low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32), tie_word_embeddings=False),
        dict(use_rslora=True, rank_pattern={"layers.1.self_attn.q_proj": 8}, alpha_pattern={"down_proj": 3})),
    "parity-mistral": (MistralForCausalLM, MistralConfig(**{**SIZES, "head_dim": 12}, rope_theta=1000.0, sliding_window=9,
        tie_word_embeddings=False), dict(target_modules=["q_proj", "v_proj", "up_proj"])),
}


def tiny_examples(seed):
    g = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randint(3, 96, (n,), generator=g).tolist()
    system = draw(20)
    out = []
    for i in range(6):
        ids = (system if i != 4 else draw(7)) + draw(int(torch.randint(3, 14, (1,), generator=g)))
        n = int(torch.randint(2, 9, (1,), generator=g))
        out.append(dict(ids=ids + draw(n), learned=[False] * len(ids) + [True] * n))
    out[5]["learned"][10:15] = [True] * 5  # supervised inside the shared beginning, by one example only
    out[2]["ids"] = list(out[1]["ids"]); out[2]["learned"] = list(out[1]["learned"])  # a duplicate
    return out


def batch_of(examples):
    width = max(len(e["ids"]) for e in examples)
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    labels = torch.full((len(examples), width), -100)
    mask = torch.zeros(len(examples), width, dtype=torch.long)
    for k, e in enumerate(examples):
        n = len(e["ids"])
        ids[k, :n] = torch.tensor(e["ids"]); mask[k, :n] = 1
        labels[k, :n] = torch.tensor([t if l else -100 for t, l in zip(e["ids"], e["learned"])])
    return ids, mask, labels


def forward(model, examples):
    ids, mask, labels = batch_of(examples)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    want = labels[:, 1:]
    picked = logits[want != -100]
    loss = torch.nn.functional.cross_entropy(picked, want[want != -100], reduction="mean")
    return picked, loss


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model"); p.add_argument("out", type=pathlib.Path)
    p.add_argument("--examples", help="JSON list of {ids, learned}; random ones without")
    p.add_argument("--steps", type=int, default=20); p.add_argument("--lr", type=float, default=1e-3)
    a = p.parse_args()
    shutil.rmtree(a.out, ignore_errors=True); a.out.mkdir(parents=True)
    extra = {}
    if a.model == "tiny":
        kind, config, extra = TINY[a.out.name]
        torch.manual_seed(7)
        model = kind(config).float()
        for q in model.parameters():  # norms away from ones, weights of a size that matters
            torch.nn.init.normal_(q, std=0.2) if q.dim() > 1 else torch.nn.init.uniform_(q, 0.5, 1.5)
        model.tie_weights(); model.save_pretrained(a.out / "model")
    else:
        model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
        (a.out / "model.txt").write_text(str(pathlib.Path(a.model).resolve()))
    examples = json.load(open(a.examples)) if a.examples else tiny_examples(3)
    model = get_peft_model(model, LoraConfig(**{**dict(r=4 if a.model == "tiny" else 16, lora_alpha=8 if a.model == "tiny" else 32,
        target_modules=TARGETS, lora_dropout=0.0, task_type="CAUSAL_LM"), **extra}))
    torch.manual_seed(11)
    for n, q in model.named_parameters():
        if "lora_" in n:
            torch.nn.init.normal_(q, std=0.1 if a.model == "tiny" else 0.02)
    model.save_pretrained(a.out / "adapter")
    model.eval()
    logits, loss = forward(model, examples)
    loss.backward()
    truth = {"logits": logits.detach().contiguous(), "loss": loss.detach().reshape(1)}
    for n, q in model.named_parameters():
        if q.requires_grad:
            truth["grad." + n.replace(".default", "")] = q.grad.clone()
    # The first losses of a run, as a training loop of transformers would make them.
    trained = [q for q in model.parameters() if q.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=a.lr, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, a.steps)
    losses, half = [], max(1, len(examples) // 2)
    for step in range(a.steps):
        part = examples[:half] if step % 2 == 0 else examples[half:]
        optimizer.zero_grad(); _, l = forward(model, part); l.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0); optimizer.step(); schedule.step(); losses.append(l.item())
    truth["losses"] = torch.tensor(losses, dtype=torch.float64)
    save_file(truth, a.out / "truth.safetensors")
    json.dump(dict(examples=examples, lr=a.lr, steps=a.steps, warmup=2, half=half), open(a.out / "batch.json", "w"))
    print(a.out, "loss", loss.item(), "losses", losses[0], "->", losses[-1])


main()
