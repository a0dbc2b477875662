"""A tiny Llama with a tokenizer and a chat template, for tests of whole commands: fixtures/tiny-chat (random weights, seed 5).

    venv/bin/python oracle/tiny_chat.py fixtures/tiny-chat

Versions used for the committed one: torch 2.15.0, transformers 5.23.0, tokenizers as transformers pins it.
"""
import json, pathlib, shutil, sys
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
TEXT = ['{"intent": "refund", "urgent": true}', '{"intent": "invoice", "urgent": false}', "Answer with JSON: intent and urgent.",
        "My order has not arrived and I want my money back.", "Please send the invoice again.", "system user assistant"]


def main():
    out = pathlib.Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True); out.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(TEXT * 4, trainers.BpeTrainer(vocab_size=320, special_tokens=special,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.save(str(out / "tokenizer.json"))
    json.dump({"bos_token": special[1], "eos_token": special[2], "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE},
              open(out / "tokenizer_config.json", "w"), indent=1)
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=32, intermediate_size=56, num_hidden_layers=2,
                                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, rope_theta=10000.0,
                                         tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)).float()
    for p in model.parameters():  # weights of a size that matters
        torch.nn.init.normal_(p, std=0.1) if p.dim() > 1 else torch.nn.init.ones_(p)
    model.tie_weights(); model.save_pretrained(out)
    for f in sorted(out.iterdir()):
        f.chmod(0o644); print(f.name, f.stat().st_size)


main()
