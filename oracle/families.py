"""Tiny models of every family with random weights, and the sequences that all methods are asked about. Seeds 3, 5 and 7.

Written for torch 2.15.0 and transformers 5.23.0.
"""
import torch
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM,
                          Phi3Config, Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

SIZES = dict(vocab_size=48, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
# Examples of 23 to 40 tokens: some are longer than the original 32, one has 33 and so is long by its last token alone.
LONGROPE = dict(rope_type="longrope", rope_theta=100.0, partial_rotary_factor=0.75, original_max_position_embeddings=32,
                short_factor=[1.0, 1.1, 1.3], long_factor=[1.5, 2.5, 4.0])


def configs():
    """By family: the class, and its configuration made anew, since transformers computes rotary tables from it."""
    small = lambda **more: SIZES | more
    return {
        "llama": (LlamaForCausalLM, LlamaConfig(**small(rope_theta=10000.0, tie_word_embeddings=True))),
        "llama3": (LlamaForCausalLM, LlamaConfig(**small(rope_parameters=LLAMA3))),
        "mistral": (MistralForCausalLM, MistralConfig(**small(head_dim=12, rope_theta=1000.0, sliding_window=9))),
        "phi3": (Phi3ForCausalLM, Phi3Config(**small(rope_parameters=LONGROPE, original_max_position_embeddings=32, sliding_window=17))),
        "mixtral": (MixtralForCausalLM, MixtralConfig(**small(intermediate_size=32, rope_theta=1000.0, num_local_experts=4,
                    num_experts_per_tok=2, router_aux_loss_coef=0.02))),
        "qwen2": (Qwen2ForCausalLM, Qwen2Config(**small(rope_theta=1000.0, rms_norm_eps=1e-6, tie_word_embeddings=True))),
        "qwen3": (Qwen3ForCausalLM, Qwen3Config(**small(head_dim=12, rope_theta=1000.0, rms_norm_eps=1e-6))),
        # Rows of 256, as K-quants need them; everything else small.
        "wide": (LlamaForCausalLM, LlamaConfig(**small(hidden_size=256, intermediate_size=256, num_hidden_layers=1))),
    }


def model(family, dtype=torch.float32):
    """The model without its weights, in evaluation mode, with the plain implementations of attention and experts."""
    kind, config = configs()[family]
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    config.dtype = dtype
    return kind(config).to(dtype).eval()


def weights(family):
    """Random weights by parameter name; matrices of a size that matters, norms away from one, biases away from zero."""
    g = torch.Generator().manual_seed(7)
    out = {}
    for name, p in model(family).named_parameters():
        normal = torch.randn(p.shape, generator=g)
        wide = 0.05 if family == "wide" else 0.2
        out[name] = normal * wide if p.dim() > 1 else normal * 0.3 if name.endswith("bias") else torch.rand(p.shape, generator=g) + 0.5
    return out


def examples(vocab):
    """Eight sequences: a common beginning, a duplicate, one of another beginning, supervised tokens inside the common beginning."""
    g = torch.Generator().manual_seed(3)
    draw = lambda n: torch.randint(3, vocab, (n,), generator=g).tolist()
    system, out = draw(20), []
    for i, (middle, answer) in enumerate([(3, 4), (9, 2), (9, 2), (6, 7), (11, 5), (12, 8), (5, 6), (7, 8)]):
        prompt = (draw(7) if i == 4 else system) + draw(middle)
        out.append(dict(ids=prompt + draw(answer), learned=[False] * len(prompt) + [True] * answer))
    out[2] = dict(ids=list(out[1]["ids"]), learned=list(out[1]["learned"]))
    out[5]["learned"][10:15] = [True] * 5  # by one example only
    out[7]["learned"][25] = False  # a gap between supervised tokens
    return out


def pairs(vocab):
    """Five prompts, each with a chosen and a rejected answer; in one pair the answers begin alike, one prompt stands alone."""
    g = torch.Generator().manual_seed(5)
    draw = lambda n: torch.randint(3, vocab, (n,), generator=g).tolist()
    system, out = draw(18), []
    for i, (middle, chosen, rejected) in enumerate([(3, 4, 6), (8, 7, 2), (5, 5, 5), (2, 1, 9), (9, 6, 3)]):
        out.append(dict(prompt=(draw(6) if i == 3 else system) + draw(middle), chosen=draw(chosen), rejected=draw(rejected)))
    out[2]["rejected"][:3] = out[2]["chosen"][:3]
    return out


def stored_names(family, tensors):
    """Renames parameters of transformers 5 to what is stored: Mixtral's experts one by one, gate, down and up as w1, w2 and w3."""
    if family != "mixtral":
        return tensors
    out = {}
    for name, t in tensors.items():
        moe = name.split(".mlp.")[0] + ".block_sparse_moe."
        if name.endswith("experts.gate_up_proj"):
            for e, both in enumerate(t):
                out[f"{moe}experts.{e}.w1.weight"], out[f"{moe}experts.{e}.w3.weight"] = both.chunk(2)
        elif name.endswith("experts.down_proj"):
            out |= {f"{moe}experts.{e}.w2.weight": down for e, down in enumerate(t)}
        else:
            out[name.replace(".mlp.gate.", ".block_sparse_moe.gate.")] = t
    return out


def parameter_names(tensors):
    """The inverse of `stored_names`."""
    out, experts = {}, {}
    for name, t in tensors.items():
        if ".experts." not in name:
            out[name.replace(".block_sparse_moe.gate.", ".mlp.gate.")] = t
            continue
        layer, _, rest = name.partition(".block_sparse_moe.experts.")
        expert, part, _ = rest.split(".")
        experts.setdefault(layer, {}).setdefault(part, {})[int(expert)] = t
    for layer, parts in experts.items():
        stack = lambda part: torch.stack([parts[part][e] for e in sorted(parts[part])])
        out[f"{layer}.mlp.experts.gate_up_proj"] = torch.cat([stack("w1"), stack("w3")], dim=1)
        out[f"{layer}.mlp.experts.down_proj"] = stack("w2")
    return out
