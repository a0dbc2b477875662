"""The banking77 recipe as a Tunesmith project.

    python3 bench/banking77.py OUT DATA [N_TRAIN] [N_TEST]

DATA holds train.csv.gz and test.csv.gz of BANKING77 (CC BY 4.0, github.com/PolyAI-LDN/task-specific-datasets).
The sample, prompt and settings are those of the PEFT run that reached 61.7 % (SmolLM2-135M, 1,000 examples, one seed).
"""
import csv, gzip, io, json, pathlib, random, sys

out, data = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
n_train, n_test = (int(a) for a in (sys.argv[3:5] + ["1000", "300"])[:2]) if len(sys.argv) > 4 else (1000, 300)
read = lambda name: list(csv.DictReader(io.TextIOWrapper(gzip.open(data / name), encoding="utf8")))
train, test = read("train.csv.gz"), read("test.csv.gz")
labels = sorted({r["category"] for r in train})
system = 'Classify the banking customer\'s message. Answer with JSON only: {"intent": one of the list}.\nIntents: ' + ", ".join(labels)
random.Random(0).shuffle(train); random.Random(1).shuffle(test)
out.mkdir(parents=True, exist_ok=True)
seen = {" ".join(r["text"].lower().split()) for r in train[:n_train]}
for name, rows in (("train.jsonl", train[:n_train]), ("test.jsonl", test[:n_test])):
    with open(out / name, "w") as f:
        for r in rows:
            f.write(json.dumps({"instruction": r["text"], "response": json.dumps({"intent": r["category"]})}, ensure_ascii=False) + "\n")
print("test questions that are also trained on:", sum(" ".join(r["text"].lower().split()) in seen for r in test[:n_test]))
(out / "system.txt").write_text(system)
(out / "schema.json").write_text(json.dumps({"type": "object", "properties": {"intent": {"enum": labels}}, "required": ["intent"], "additionalProperties": False}))
(out / "tunesmith.toml").write_text("""[model]
base = "smollm2-135m-instruct"

[data]
train = "train.jsonl"
eval = "test.jsonl"
system = "system.txt"
schema = "schema.json"
label = "intent"

[train]
epochs = 2
lr = 1e-3
batch = 16
seed = 0

[eval]
few_shot = 0
max_new_tokens = 48
""")
