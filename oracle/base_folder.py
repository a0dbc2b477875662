"""A GGUF model as a float32 Hugging Face folder, by transformers' own reader: the base for comparisons.

    venv/bin/python oracle/base_folder.py MODEL.gguf OUT MERGED

MERGED is a folder that `tunesmith merge` wrote for the same base: its tokenizer files are copied, because
transformers' GGUF reader does not know every pre-tokenizer (it splits SmolLM2's digits otherwise).
"""
import pathlib, shutil, sys
import torch
from transformers import AutoModelForCausalLM

gguf, out, merged = map(pathlib.Path, sys.argv[1:4])
AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).save_pretrained(out)
for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
    shutil.copy(merged / name, out / name)
