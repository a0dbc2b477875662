"""Duplicates that maintainers found: recall among 10 candidates, ours beside the cosine of plain MiniLM.

Usage: python bench/semantic.py BINARY issues.jsonl.gz duplicates.csv [embeddings.npy]
The embeddings are those of `summary + newline + description`, in the order of the file. Each link counts from both ends.
"""

import csv
import gzip
import json
import subprocess
import sys
import tempfile


def recall(name, near, links):
    hits = [(b in near[a]) + (a in near[b]) for a, b in links]
    print(f"{name:12s} recall at 10: {sum(hits) / 2 / len(links):.3f} from each end, {sum(h > 0 for h in hits) / len(links):.3f} from either")


def main():
    rows = [json.loads(line) for line in gzip.open(sys.argv[2])]
    known = {row["issue_id"] for row in rows}
    lines = list(csv.reader(open(sys.argv[3])))[1:]
    links = sorted({(a, b.strip()) for a, many in lines for b in many.split(",") if a in known and b.strip() in known and a != b.strip()})
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for row in rows:
            file.write(json.dumps({"id": row["issue_id"], "text": f"{row['summary'] or ''}\n{row['description'] or ''}"}) + "\n")
        file.flush()
        out = subprocess.run([sys.argv[1], "candidates", file.name], check=True, capture_output=True, text=True).stdout
    near = {found["id"]: set(found["candidates"]) for found in map(json.loads, out.splitlines())}
    print(f"{len(rows)} issues, {len(links)} links")
    recall("tunesmith", near, links)
    if len(sys.argv) > 4:
        import numpy as np

        vectors = np.load(sys.argv[4])
        likeness = vectors @ vectors.T
        np.fill_diagonal(likeness, -1)
        best = np.argsort(-likeness, axis=1)[:, :10]
        ids = [row["issue_id"] for row in rows]
        recall("MiniLM", {ids[i]: {ids[j] for j in best[i]} for i in range(len(ids))}, links)


main()
