"""What each method adds to a tiny model: a PEFT adapter, or the base quantised as other tools store it. Seeds 11 and 17.

Written for torch 2.15.0, transformers 5.23.0, peft 0.21.2, bitsandbytes 0.50.2, gguf 0.19.0.
"""
import json
import shutil
import bitsandbytes as bnb
import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import families

SPLIT = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS = {"phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"], "mixtral": ["q_proj", "k_proj", "v_proj", "o_proj"]}
CPU = dict(dtype=torch.float32, device_map="cpu")
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def adapter(folder, family, **settings):
    """A PEFT adapter with random values everywhere, magnitudes and saved modules away from those of the base."""
    model = families.model(family)
    model.load_state_dict(families.weights(family), strict=False)
    model.tie_weights()
    config = LoraConfig(**dict(r=4, lora_alpha=8, target_modules=TARGETS.get(family, SPLIT), lora_dropout=0.0, task_type="CAUSAL_LM") | settings)
    model = get_peft_model(model, config)
    g = torch.Generator().manual_seed(11)
    for name, p in model.named_parameters():
        if "lora_magnitude_vector" in name:
            p.data.mul_(0.7 + 0.6 * torch.rand(p.shape, generator=g))
        elif "modules_to_save" in name:
            p.data.add_(torch.randn(p.shape, generator=g) * 0.05)
        elif p.requires_grad:
            p.data.copy_(torch.randn(p.shape, generator=g) * 0.1)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    written = json.loads((folder / "adapter_config.json").read_text())
    written |= {k: sorted(v) for k, v in written.items() if isinstance(v, list)}  # PEFT's are sets, in another order each time
    (folder / "adapter_config.json").write_text(json.dumps(written, indent=2) + "\n")


def saved(folder, family, **settings):
    """The base as transformers saves it."""
    model = families.model(family)
    model.load_state_dict(families.weights(family), strict=False)
    model.tie_weights()
    model.save_pretrained(folder, **settings)


def dequantised(packed, state):
    """What bitsandbytes reads back. Its CPU code starts a block at every row (0.50.2), which is right only for rows of whole
    blocks; the format flattens the matrix. So it is asked for a matrix whose rows are the blocks."""
    shape = state.shape
    state.shape = torch.Size([shape.numel() // state.blocksize, state.blocksize])
    assert state.shape.numel() == shape.numel()
    values = bnb.functional.dequantize_4bit(packed.reshape(-1, 1), state).reshape(shape)
    state.shape = shape
    return values


def quantised(folder, base, **settings):
    """The base quantised by bitsandbytes as transformers saves it; returns the weights that it has after opening that again."""
    model = AutoModelForCausalLM.from_pretrained(base, quantization_config=BitsAndBytesConfig(**settings), **CPU)
    model.save_pretrained(folder)
    return read_back(folder)[0]


def read_back(folder):
    """The weights of a quantised folder in float32, and the names of those that are quantised in it."""
    model = AutoModelForCausalLM.from_pretrained(folder, **CPU)
    weights, coded = {n: p.data for n, p in model.named_parameters()}, []
    for name, module in model.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            weights[f"{name}.weight"] = dequantised(module.weight.data, module.weight.quant_state)
        elif isinstance(module, bnb.nn.Linear8bitLt):
            weights[f"{name}.weight"] = bnb.functional.int8_vectorwise_dequant(module.weight.data, module.weight.SCB)
        else:
            continue
        coded.append(f"{name}.weight")
    return weights, coded


def quantised_experts(folder, base, four_bit):
    """Mixtral as transformers 4 saved it, where every expert and the router were linear layers of their own. transformers 5
    leaves fused experts unquantised, so the parts come from bitsandbytes itself."""
    folder.mkdir(parents=True)
    stored, weights = {}, load_file(base / "model.safetensors")
    for name, t in weights.items():
        if t.dim() != 2 or "embed_tokens" in name or "lm_head" in name:
            stored[name] = t
        elif four_bit:
            packed, state = bnb.functional.quantize_4bit(t, blocksize=64, quant_type="nf4", compress_statistics=True)
            stored |= {name: packed} | {f"{name}.{k}": v for k, v in state.as_dict(packed=True).items()}
            weights[name] = dequantised(packed, state)
        else:
            stored[name], scales, _ = bnb.functional.int8_vectorwise_quant(t)
            weights[name] = bnb.functional.int8_vectorwise_dequant(stored[name], scales)
            stem = name.removesuffix("weight")
            stored |= {f"{stem}SCB": scales, f"{stem}weight_format": torch.tensor(0, dtype=torch.uint8)}
    save_file({k: t.contiguous() for k, t in stored.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    bits = dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True) if four_bit else dict(load_in_8bit=True)
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = BitsAndBytesConfig(**bits).to_dict()
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    shutil.copy(base / "generation_config.json", folder)
    return families.parameter_names(weights)


ARCHITECTURE = {"phi3": gguf.MODEL_ARCH.PHI3, "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}


def paired(t, heads):
    """Rows as llama.cpp wants them for architecture llama: the two of a rotated pair side by side."""
    return t.reshape(heads, 2, t.shape[0] // heads // 2, *t.shape[1:]).swapaxes(1, 2).reshape(t.shape)


def blocks(kind, values, rng):
    """A matrix as stored in this type. gguf cannot quantise to K-quants: their blocks are random, with scales of a sane size."""
    if kind == Q.F32:
        return values
    if kind == Q.F16:
        return values.astype(np.float16)
    if kind not in (Q.Q4_K, Q.Q6_K):
        return gguf.quants.quantize(values, kind)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (values.size // elements, size), dtype=np.uint8)
    # Q4_K: scale and offset of up to 63 steps and 15 levels each; Q6_K: scales of ±127 for levels of ±32.
    for at, scale in [(0, 3e-4), (2, 2e-3)] if kind == Q.Q4_K else [(208, 3e-5)]:
        raw[:, at:at + 2] = (rng.uniform(0.5, 1.5, (len(raw), 1)) * scale).astype(np.float16).view(np.uint8)
    return raw.reshape(values.shape[0], -1)


def gguf_file(path, family, kinds):
    """The base as a GGUF file, its matrices in `kinds` in turn; returns the weights that the file holds. Rows that do not
    fill blocks are stored as F16, as llama.cpp's own quantiser does."""
    config = families.configs()[family][1]
    arch = ARCHITECTURE.get(family, gguf.MODEL_ARCH.LLAMA)
    names, rng = gguf.get_tensor_name_map(arch, config.num_hidden_layers), np.random.default_rng(17)
    w = gguf.GGUFWriter(str(path), gguf.MODEL_ARCH_NAMES[arch])
    sizes(w, family, config)
    weights, tensors = {}, families.weights(family)
    for name, t in (grouped(tensors) if family == "mixtral" else tensors).items():
        stem, _, ending = name.rpartition(".")
        values = t.numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(stem.rpartition(".")[2])
        turned = arch == gguf.MODEL_ARCH.LLAMA and heads
        kind = Q.F32 if values.ndim == 1 or "gate_inp" in name else kinds[len(weights) % len(kinds)]
        if kind != Q.F32 and values.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
            kind = Q.F16
        stored = blocks(kind, paired(values, heads) if turned else values, rng)
        target = name if name.startswith("blk.") else f"{names.get_name(stem)}.{ending}"
        w.add_tensor(target, stored, raw_dtype=kind)
        back = stored if kind == Q.F32 else gguf.quants.dequantize(stored, kind).astype(np.float32)
        if turned:  # the rows back where transformers has them
            back = back.reshape(heads, -1, 2, back.shape[-1]).swapaxes(1, 2).reshape(back.shape)
        weights[name] = torch.from_numpy(back.reshape(values.shape).copy())
    for name, factors in rope_factors(family).items():
        w.add_tensor(name, np.array(factors, dtype=np.float32))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    return ungrouped(weights) if family == "mixtral" else weights


def sizes(w, family, c):
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w.add_name("tiny"); w.add_block_count(c.num_hidden_layers); w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size); w.add_feed_forward_length(c.intermediate_size); w.add_vocab_size(c.vocab_size)
    w.add_head_count(c.num_attention_heads); w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps); w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_key_length(head); w.add_value_length(head)
    w.add_rope_dimension_count(int(head * c.rope_parameters.get("partial_rotary_factor", 1.0)))
    w.add_bos_token_id(1); w.add_eos_token_id(2)
    if getattr(c, "sliding_window", None):
        w.add_sliding_window(c.sliding_window)
    if family == "mixtral":
        w.add_expert_count(c.num_local_experts); w.add_expert_used_count(c.num_experts_per_tok)
    if family == "phi3":
        original = c.rope_parameters["original_max_position_embeddings"]
        w.add_rope_scaling_orig_ctx_len(original)
        w.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(c.max_position_embeddings / original) / np.log(original))))


def rope_factors(family):
    """What llama.cpp divides rotary frequencies by, where it does not follow from the metadata."""
    config = families.configs()[family][1]
    if family == "phi3":
        return {f"rope_factors_{length}.weight": config.rope_parameters[f"{length}_factor"] for length in ("long", "short")}
    if family != "llama3":
        return {}
    scaled = families.model(family).model.rotary_emb.inv_freq.double().numpy()
    plain = config.rope_parameters["rope_theta"] ** -(np.arange(len(scaled)) / len(scaled))
    return {"rope_freqs.weight": plain / scaled}


def grouped(tensors):
    """Mixtral's layers with llama.cpp's names for router and stacked experts."""
    out = {}
    for name, t in tensors.items():
        block = "blk." + name.split(".")[2] if name.startswith("model.layers.") else ""
        if name.endswith("experts.gate_up_proj"):
            out[f"{block}.ffn_gate_exps.weight"], out[f"{block}.ffn_up_exps.weight"] = (h.contiguous() for h in t.chunk(2, dim=1))
        elif name.endswith("experts.down_proj"):
            out[f"{block}.ffn_down_exps.weight"] = t
        else:
            out[f"{block}.ffn_gate_inp.weight" if name.endswith("mlp.gate.weight") else name] = t
    return out


def ungrouped(tensors):
    """The inverse of `grouped`."""
    out = {n: t for n, t in tensors.items() if not n.startswith("blk.")}
    for name, t in tensors.items():
        block = f"model.layers.{name.split('.')[1]}.mlp."
        if name.endswith("ffn_gate_exps.weight"):
            out[block + "experts.gate_up_proj"] = torch.cat([t, tensors[name.replace("gate_exps", "up_exps")]], dim=1)
        elif name.endswith("ffn_down_exps.weight"):
            out[block + "experts.down_proj"] = t
        elif name.endswith("ffn_gate_inp.weight"):
            out[block + "gate.weight"] = t
    return out
