"""Makes the golden files beside it, except bnb.safetensors, which make_bnb.py makes: bitsandbytes is not needed here.

Versions: Python 3.11, numpy 2.4.6, gguf 0.19.0, safetensors 0.8.0, peft 0.21.2, transformers 5.23.0, torch 2.15.0.
Seed 20261123 for everything random. Run in this folder: python make.py
The judges are those packages; nothing here is computed by the code under test.
"""

import json

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from gguf import quants
from peft import LoraConfig, get_peft_model
from peft.utils.other import get_pattern_key
from safetensors.numpy import save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

rng = np.random.default_rng(20261123)


def blocks():
    """Random blocks of each type with finite scales, and what gguf's own dequantiser makes of them."""
    scales = {  # byte offsets of the half-precision numbers in a block
        Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0],
        Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208], Q.F16: [], Q.BF16: [],
    }
    tensors = {}
    for kind, places in scales.items():
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        count = 3 if elements > 1 else 64
        raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for at in places:
            raw[:, at : at + 2] = rng.normal(0, 0.1, (count, 1)).astype(np.float16).view(np.uint8)
        if kind == Q.F16:
            raw = rng.normal(0, 1, (count, 1)).astype(np.float16).view(np.uint8)
        if kind == Q.BF16:
            raw[:, 1] &= 0xBF  # no exponent of all ones
        tensors[kind.name + ".stored"] = raw.reshape(-1)
        tensors[kind.name + ".values"] = quants.dequantize(raw, kind).reshape(-1).astype(np.float32)
    save_file(tensors, "blocks.safetensors")


def encoded():
    """Values of many sizes and what gguf's own quantiser makes of them; its own seed, so that nothing else moves."""
    own = np.random.default_rng(20261125)
    x = own.normal(0, 0.05, (64, 64)).astype(np.float32)
    x[1] *= 1e-4  # scales that are subnormal halves
    x[2] *= 1e5
    x[3] = 0.0
    x[4, :32] = np.float32(0.3)  # all of one size
    x[5, ::2] = -x[5, 1::2]  # two of the largest size, of either sign
    x[6] = (own.integers(-254, 255, 64) / 2).astype(np.float32)  # halfway cases of Q8_0
    x[6, ::32] = 127.0
    x[7] = (own.integers(-16, 17, 64) / 2).astype(np.float32)  # halfway cases of Q4_0
    x[7, ::32] = -8.0
    x[8, 1:32] = 0.0
    x[9] = np.float32(-0.0)
    tensors = {"values": x}
    for kind in (Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0):
        tensors[kind.name] = quants.quantize(x, kind).view(np.uint8).reshape(-1)
    save_file(tensors, "encoded.safetensors")


VOCAB, HIDDEN, HEADS, KV, FFN = 12, 32, 4, 2, 32


def tiny_llama():
    """One layer, GGUF as a converter writes it (Q and K with paired rows), and the same in Hugging Face layout."""
    head = HIDDEN // HEADS
    shapes = {
        "model.embed_tokens": (VOCAB, HIDDEN),
        "model.layers.0.input_layernorm": (HIDDEN,),
        "model.layers.0.post_attention_layernorm": (HIDDEN,),
        "model.layers.0.self_attn.q_proj": (HIDDEN, HIDDEN),
        "model.layers.0.self_attn.k_proj": (KV * head, HIDDEN),
        "model.layers.0.self_attn.v_proj": (KV * head, HIDDEN),
        "model.layers.0.self_attn.o_proj": (HIDDEN, HIDDEN),
        "model.layers.0.mlp.gate_proj": (FFN, HIDDEN),
        "model.layers.0.mlp.up_proj": (FFN, HIDDEN),
        "model.layers.0.mlp.down_proj": (HIDDEN, FFN),
        "model.norm": (HIDDEN,),
    }
    # Halves are exact in both files; the embedding goes through Q8_0 and is stored as that type decodes.
    hf = {k + ".weight": rng.normal(0, 0.2, s).astype(np.float16) for k, s in shapes.items()}
    embedding = quants.quantize(hf["model.embed_tokens.weight"].astype(np.float32), Q.Q8_0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
    w = gguf.GGUFWriter("tiny_llama.gguf", "llama")
    w.add_name("tiny")
    w.add_block_count(1)
    w.add_context_length(64)
    w.add_embedding_length(HIDDEN)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(head)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(VOCAB)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(["<|end|>"] + [chr(97 + i) for i in range(VOCAB - 2)] + ["ab"])
    w.add_token_types([3] + [1] * (VOCAB - 1))
    w.add_token_scores([float(-i) for i in range(VOCAB)])
    w.add_token_merges(["a b"])
    w.add_eos_token_id(0)
    w.add_add_bos_token(False)
    w.add_chat_template("{{ messages }}")
    for name, value in hf.items():
        stem = name.removesuffix(".weight")
        target = names.get_name(stem) + ".weight"
        if stem.endswith(("q_proj", "k_proj")):
            n = HEADS if stem.endswith("q_proj") else KV
            value = value.reshape(n, 2, head // 2, HIDDEN).swapaxes(1, 2).reshape(value.shape)
        if stem == "model.embed_tokens":
            w.add_tensor(target, embedding, raw_dtype=Q.Q8_0)
        else:
            w.add_tensor(target, value if value.ndim > 1 else value.astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    hf["model.embed_tokens.weight"] = quants.dequantize(embedding, Q.Q8_0).astype(np.float32)
    save_file(hf, "tiny_llama.safetensors", metadata={"format": "pt"})


def configs():
    """config.json in the newer spelling, one for each family, as transformers writes it."""
    small = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2)
    llama3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=64)
    longrope = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.1, 1.2],
                    long_factor=[2.0, 3.0, 4.0], partial_rotary_factor=0.75)
    made = {
        "llama": LlamaConfig(**small, rope_parameters=llama3, tie_word_embeddings=True, attention_bias=True,
                             architectures=["LlamaForCausalLM"], dtype="bfloat16"),
        "mistral": MistralConfig(**small, head_dim=16, sliding_window=32, architectures=["MistralForCausalLM"]),
        "phi3": Phi3Config(**small, rope_parameters=longrope, original_max_position_embeddings=32, pad_token_id=0,
                           architectures=["Phi3ForCausalLM"]),
        "mixtral": MixtralConfig(**small, num_local_experts=4, num_experts_per_tok=2, router_aux_loss_coef=0.02,
                                 architectures=["MixtralForCausalLM"]),
        "qwen2": Qwen2Config(**small, architectures=["Qwen2ForCausalLM"]),
        "qwen3": Qwen3Config(**small, head_dim=16, architectures=["Qwen3ForCausalLM"]),
    }
    out = {name: json.loads(c.to_json_string(use_diff=False)) for name, c in made.items()}
    json.dump(out, open("configs.json", "w"), indent=1)


def adapters():
    """adapter_config.json as PEFT saves it, and for many settings which modules PEFT adapts, at what rank and scale."""
    base = dict(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=3, num_attention_heads=2)
    lists = ["q_proj", "v_proj"]
    settings = [
        dict(target_modules=lists),
        dict(target_modules="all-linear", r=4),
        dict(target_modules=r".*\.(0|2)\.self_attn\.(q|k)_proj"),
        dict(target_modules=r"model\.layers\.(?!1\.).*(up|down)_proj"),
        dict(target_modules=["proj", "down_proj", "model.layers.1.self_attn.o_proj"]),
        dict(target_modules=["q_proj", "up_proj"], exclude_modules=["layers.1.self_attn.q_proj"]),
        dict(target_modules="all-linear", exclude_modules=r".*mlp.*"),
        dict(target_modules=["q_proj", "k_proj"], layers_to_transform=[0, 2]),
        dict(target_modules=["q_proj"], layers_to_transform=1, layers_pattern="layers"),
        dict(target_modules=["q_proj", "lm_head"], modules_to_save=["lm_head"]),
        dict(target_modules=["q_proj", "k_proj", "v_proj"], r=16, lora_alpha=32, use_rslora=True,
             rank_pattern={"k_proj": 4, r"model.layers.0.*": 2}, alpha_pattern={"layers.1.self_attn.k_proj": 8}),
        dict(target_modules=["q_proj", "k_proj"], rank_pattern={r"^model.layers.1.self_attn.q_proj": 5,
             "1.self_attn.k_proj": 6, "proj": 7}, alpha_pattern={r".*\.2\..*": 1, "k_proj": 3}),
    ]
    cases = []
    for i, setting in enumerate(settings):
        config = LoraConfig(task_type="CAUSAL_LM", **setting)
        if i == 10:
            config.save_pretrained(".")
        written = json.loads(json.dumps(config.to_dict(), default=lambda o: sorted(o) if isinstance(o, set) else str(o)))
        model = LlamaForCausalLM(LlamaConfig(**base))
        linear = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
        peft = get_peft_model(model, config)
        found = {n.removeprefix("base_model.model."): [m.r["default"], m.scaling["default"]]
                 for n, m in peft.named_modules() if hasattr(m, "lora_A")}
        cases.append(dict(config=written, linear=linear, adapted=found))
    json.dump(cases, open("adapters.json", "w"), indent=None, separators=(",", ":"))


blocks()
encoded()
tiny_llama()
configs()
adapters()
