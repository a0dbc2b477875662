#!/usr/bin/env python3
"""Recall and precision of near-duplicates by kind of change, on a file with known copies.

Build first:  cargo build --release -p data --example near
Then:         bench/duplicates.py DIR [--least 0.5] [--contained 0.85]

DIR holds neardup_injected.jsonl.gz ({"id", "text"}), neardup_truth.jsonl.gz ({"id", "duplicate_of", "kind"})
and complaints_10000.jsonl.gz, whose real form letters are shown.
"""
import argparse, collections, gzip, json, pathlib, subprocess, tempfile

NEAR = pathlib.Path(__file__).resolve().parent.parent / "target/release/examples/near"


def rows(path):
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def near(rows, *words):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for row in rows:
            file.write(json.dumps({"id": row["id"], "text": row["text"]}) + "\n")
        file.flush()
        done = subprocess.run([NEAR, file.name, *words], capture_output=True, text=True, check=True)
    pairs = {}
    for line in done.stdout.splitlines():
        a, b, jaccard, contained = line.split("\t")
        pairs[frozenset((int(a), int(b)))] = (float(jaccard), float(contained))
    return pairs, json.loads(done.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--least", default="0.5")
    parser.add_argument("--contained", default="0.85")
    args = parser.parse_args()

    texts = {row["id"]: row for row in rows(args.dir / "neardup_injected.jsonl.gz")}
    truth = {row["id"]: row for row in rows(args.dir / "neardup_truth.jsonl.gz")}
    pairs, facts = near(texts.values(), args.least, args.contained)
    print(json.dumps(facts))
    # Two copies of one text are copies of each other too.
    source = {id: truth[id]["duplicate_of"] if id in truth else id for id in texts}
    right = {pair for pair in pairs if len({source[id] for id in pair}) == 1}
    wrong = [pair for pair in pairs if pair not in right]
    by = collections.defaultdict(lambda: [0, 0])
    for id, row in truth.items():
        hit = frozenset((id, row["duplicate_of"])) in pairs
        by[row["kind"]][0] += hit
        by[row["kind"]][1] += 1
    print("kind                 found  of  recall")
    for kind, (hit, all) in sorted(by.items()):
        print(f"{kind:20} {hit:5} {all:4}  {hit / all:.3f}")
    hit, all = sum(h for h, _ in by.values()), sum(n for _, n in by.values())
    print(f"{'all':20} {hit:5} {all:4}  {hit / all:.3f}   precision {len(right)}/{len(pairs)} = {len(right) / max(1, len(pairs)):.3f}")
    for id, row in truth.items():
        if frozenset((id, row["duplicate_of"])) not in pairs:
            print(f"\nmissed, {row['kind']}:\n  {texts[id]['text'][:300]!r}\n  {texts[row['duplicate_of']]['text'][:300]!r}")
    for pair in wrong[:20]:
        print(f"\nnot injected, jaccard and contained {pairs[pair]}:")
        for id in pair:
            print(f"  {texts[id]['text'][:300]!r}")

    real = {row["id"]: row for row in rows(args.dir / "complaints_10000.jsonl.gz")}
    pairs, facts = near(real.values(), args.least, args.contained)
    print("\nThe unfiltered file:", json.dumps(facts))
    parent = {id: id for id in real}

    def root(id):
        while parent[id] != id:
            id = parent[id]
        return id

    for pair in pairs:
        a, b = pair
        parent[root(a)] = root(b)
    groups = collections.Counter(root(id) for id in real)
    print("texts that hang together:", [n for _, n in groups.most_common(12)])
    for id, n in groups.most_common(4):
        print(f"\n{n} texts:")
        for member in [m for m in real if root(m) == id][:3]:
            print(f"  {real[member]['text'][:260]!r}")


if __name__ == "__main__":
    main()
