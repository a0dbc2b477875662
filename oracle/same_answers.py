"""Do PEFT and transformers read what Tunesmith wrote? Logits of the adapter, and greedy text of the merged folder.

    venv/bin/python oracle/same_answers.py BASE RUN HELDOUT.jsonl SYSTEM.txt [N]

BASE is the base in float32 (oracle/base_folder.py), RUN a run folder with adapter/, merged/ and eval/outputs.jsonl.
Prints: the largest relative difference between the logits of PEFT (base + our adapter) and of the merged folder, and on
how many of N held-out prompts transformers' greedy text from the merged folder equals the text of our own generation.
"""
import json, pathlib, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, run, held, system = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], open(sys.argv[4]).read().rstrip()
n = int(sys.argv[5]) if len(sys.argv) > 5 else 20
tokenizer = AutoTokenizer.from_pretrained(run / "merged")
merged = AutoModelForCausalLM.from_pretrained(run / "merged", dtype=torch.float32).eval()
tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), run / "adapter").eval()
ours = {(o["id"], o["arm"]): o["output"] for o in map(json.loads, open(run / "eval/outputs.jsonl"))}
worst, same = 0.0, 0
for i, line in enumerate(open(held)):
    if i == n: break
    row = json.loads(line)
    chat = [{"role": "system", "content": system}, {"role": "user", "content": row["instruction"]}]
    ids = tokenizer(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False), add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        a, b = tuned(input_ids=ids).logits, merged(input_ids=ids).logits
        worst = max(worst, ((a - b).norm() / a.norm()).item())
        text = tokenizer.decode(merged.generate(ids, max_new_tokens=64, do_sample=False)[0, ids.shape[1]:], skip_special_tokens=True)
    want = next(v for (id, arm), v in ours.items() if id.endswith(f":{i + 1}") and arm == "tuned")
    same += text == want
    if text != want: print(row.get("id"), repr(text), repr(want))
print(f"logits: PEFT(base + adapter) against merged, worst relative difference {worst:.1e}; same greedy text on {same} of {n} prompts")
