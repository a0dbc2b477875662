"""A GGUF model as a float32 Hugging Face folder, by transformers' own reader: the base for comparisons.

    venv/bin/python oracle/base_folder.py MODEL.gguf OUT MERGED

MERGED is a folder that `tunesmith merge` wrote for the same base: its tokenizer files are copied, because
transformers' GGUF reader does not know every pre-tokenizer (it splits SmolLM2's digits otherwise).
"""
import pathlib, shutil, sys
import torch
from transformers import AutoModelForCausalLM

gguf, out, merged = map(pathlib.Path, sys.argv[1:4])
read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
# What was read is plain float32, but still marked as quantised, which cannot be saved: its values go into an unmarked model.
config = type(read.config)(**{k: v for k, v in read.config.to_dict().items() if k != "quantization_config"})
plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
plain.load_state_dict(read.state_dict())
plain.save_pretrained(out)
for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
    shutil.copy(merged / name, out / name)
