"""Gaps of a training set: whole intents of Banking77 are left out of it, the test questions are the production sample.

Usage: python bench/coverage.py BINARY train.csv.gz test.csv.gz
A left-out intent counts as named when of the typical inputs that some gap shows most belong to it. A gap is false when most
of its inputs belong to intents that are in the training set.
"""

import collections
import csv
import gzip
import json
import random
import subprocess
import sys
import tempfile


def read(path):
    return [(row["text"], row["category"]) for row in csv.DictReader(gzip.open(path, "rt", newline=""))]


def write(rows, file):
    file.writelines(json.dumps({"id": str(i), "text": text}) + "\n" for i, (text, _) in enumerate(rows))
    file.flush()


def main():
    binary, train, test = sys.argv[1], read(sys.argv[2]), read(sys.argv[3])
    intents = sorted({intent for _, intent in train})
    share = collections.Counter(intent for _, intent in test)
    for count in (0, 1, 3, 5, 10):
        for seed in range(1 if count == 0 else 4):
            out = set(random.Random(100 * count + seed).sample(intents, count))
            kept = [row for row in train if row[1] not in out]
            with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as a, tempfile.NamedTemporaryFile("w", suffix=".jsonl") as b:
                write(kept, a)
                write(test, b)
                lines = subprocess.run([binary, "coverage", a.name, b.name], check=True, capture_output=True, text=True).stdout.splitlines()
            gaps = [json.loads(line) for line in lines]
            whole, gaps = gaps[0], gaps[1:]
            named, false, largest = set(), 0, 0
            for gap in gaps:
                of = [test[int(i)][1] for i in gap["examples"]]
                typical, times = collections.Counter(of[:5]).most_common(1)[0]
                if typical in out and times >= 3:
                    named.add(typical)
                false += sum(intent in out for intent in of) <= len(of) / 2
            due = {intent for intent in out if share[intent] >= 0.01 * len(test)}
            print(f"{count} left out, seed {seed}: named {len(named & due)} of {len(due)}, gaps {len(gaps)}, false {false}; missed {sorted(due - named)}")
            if seed == 0:
                print("   ", whole["evidence"])


main()
