#!/usr/bin/env python3
"""Documents a second and peak memory of near-duplicates at equal recall, beside rensa, text-dedup and datatrove.

    pip install rensa text-dedup datatrove        (into an environment outside of the repository)
    cargo build --release -p data --example near
    bench/near_speed.py make complaints_10000.jsonl.gz 40000 docs.jsonl
    bench/near_speed.py run docs.jsonl --rounds 3
    bench/near_speed.py grow complaints_10000.jsonl.gz 10000 100000 1000000

`make` changes three words in ten of real texts, so that no two are near, and adds a tenth of near copies, in which
one word in twenty is misspelt. All look for three-word runs by 32 bands of 4 rows; a copy counts as found when it or
its original is reported. Every tool reads the same file with the same cores, in turn; times are wall and CPU seconds of
the whole process without the start of Python, where there is one.
"""
import argparse, gzip, json, os, pathlib, random, resource, subprocess, sys, tempfile, time

NEAR = pathlib.Path(__file__).resolve().parent.parent / "target/release/examples/near"
BANDS, ROWS, WIDTH = 32, 4, 3
CORES = os.cpu_count()


def make(source, count, out):
    random.seed(11)
    with gzip.open(source, "rt") as file:
        texts = [json.loads(line)["text"].split() for line in file]
    words = [word for text in texts for word in text]
    copies = count // 11
    firsts = count - copies
    with open(out, "w") as file:
        def write(id, text, of=-1):
            file.write(json.dumps({"id": id, "text": text, "of": of}) + "\n")

        kept = {}
        for id in range(firsts):
            text = list(texts[id % len(texts)])
            for at in random.sample(range(len(text)), len(text) * 3 // 10):
                text[at] = random.choice(words)
            # Copies are of texts that have words enough to be near after a misspelling.
            if id % 10 == 0 and len(kept) < copies and len(text) >= 20:
                kept[id] = list(text)
            write(id, " ".join(text))
        for n, (of, text) in enumerate(kept.items()):
            for at in random.sample(range(len(text)), max(1, len(text) // 20)):
                text[at] = text[at] + "q"
            write(firsts + n, " ".join(text), of)


def truth(path):
    with open(path) as file:
        rows = [json.loads(line) for line in file]
    return len(rows), [(row["id"], row["of"]) for row in rows if row["of"] >= 0]


def rensa(path):
    from rensa import RMinHash, RMinHashLSH
    began = time.time()
    with open(path) as file:
        rows = [json.loads(line) for line in file]
    sets = []
    for row in rows:
        words = row["text"].lower().split()
        sets.append([" ".join(words[at : at + WIDTH]) for at in range(max(1, len(words) - WIDTH + 1))])
    matrix = RMinHash.digest_matrix_from_token_sets(sets, BANDS * ROWS, 42)
    flags = RMinHashLSH(0.5, BANDS * ROWS, BANDS).query_duplicate_flags_matrix_one_shot(matrix)
    seconds = time.time() - began
    return seconds, {row["id"] for row, flag in zip(rows, flags) if flag}


def removed(path, kept):
    with open(path) as file:
        return {json.loads(line)["id"] for line in file} - kept


def text_dedup(path):
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        words = f"--path json --data_files {path} --split train --cache_dir {folder}/cache --output {folder}/out --column text --ngram {WIDTH}"
        words += f" --min_length 1 --num_perm {BANDS * ROWS} --b {BANDS} --r {ROWS} --threshold 0.5 --hash_func xxh3 --hash_bits 64 --batch_size 1000 --num_proc {CORES}"
        subprocess.run([sys.executable, "-m", "text_dedup.minhash", *words.split()], check=True, capture_output=True)
        seconds = time.time() - began
        import datasets
        kept = {row for row in datasets.load_from_disk(f"{folder}/out")["id"]}
        return seconds, removed(path, kept)


def datatrove(path):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/in")
        # It gives a core a file at least.
        with open(path) as file:
            lines = file.readlines()
        for part in range(CORES):
            with open(f"{folder}/in/{part}.jsonl", "w") as file:
                # Ids have to be text, and 0 would be none.
                file.writelines(line.replace('"id": ', '"id": "d', 1).replace(", ", '", ', 1) for line in lines[part::CORES])
        config = MinhashConfig(n_grams=WIDTH, num_buckets=BANDS, hashes_per_bucket=ROWS)
        reader = JsonlReader(f"{folder}/in")
        run = lambda pipeline, tasks: LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=CORES, logging_dir=f"{folder}/log{time.time()}").run()
        began = time.time()
        run([reader, MinhashDedupSignature(f"{folder}/sig", config=config)], CORES)
        run([MinhashDedupBuckets(f"{folder}/sig", f"{folder}/bkt", config=config)], BANDS)
        run([MinhashDedupCluster(f"{folder}/bkt", f"{folder}/ids", config=config)], 1)
        run([reader, MinhashDedupFilter(f"{folder}/ids"), JsonlWriter(f"{folder}/out", compression=None)], CORES)
        seconds = time.time() - began
        kept = set()
        for name in pathlib.Path(f"{folder}/out").glob("*.jsonl"):
            kept |= {int(json.loads(line)["id"][1:]) for line in open(name)}
        return seconds, removed(path, kept)


def ours(path, *words):
    began = time.time()
    done = subprocess.run([NEAR, path, "0.5", *words], capture_output=True, text=True, check=True)
    seconds = time.time() - began
    ids = {int(id) for line in done.stdout.splitlines() for id in line.split("\t")[:2]}
    return seconds, ids, json.loads(done.stderr)


TOOLS = {"rensa": rensa, "text-dedup": text_dedup, "datatrove": datatrove, "tunesmith": lambda path: ours(path, "-"), "tunesmith+contained": lambda path: ours(path)}


def one(name, path):
    found = TOOLS[name](path)
    n, copies = truth(path)
    hit = sum(id in found[1] or of in found[1] for id, of in copies)
    use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({
        "tool": name, "documents": n, "seconds": round(found[0], 2), "a_second": round(n / found[0]), "cpu": round(sum(u.ru_utime + u.ru_stime for u in use[1 if name.startswith("tunesmith") else 0 :]), 1),
        "peak_mb": max(u.ru_maxrss for u in use[1 if name.startswith("tunesmith") else 0 :]) // 1024, "recall": round(hit / len(copies), 4), "reported": len(found[1]), **(found[2] if len(found) > 2 else {}),
    }), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "run", "one", "grow"])
    parser.add_argument("words", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.what == "make":
        make(args.words[0], int(args.words[1]), args.words[2])
    elif args.what == "one":
        one(*args.words)
    elif args.what == "run":
        for _ in range(args.rounds):
            for name in TOOLS:
                subprocess.run([sys.executable, __file__, "one", name, args.words[0]])
    else:
        for count in args.words[1:]:
            with tempfile.TemporaryDirectory() as folder:
                make(args.words[0], int(count), f"{folder}/docs.jsonl")
                subprocess.run([sys.executable, __file__, "one", "tunesmith+contained", f"{folder}/docs.jsonl"])


if __name__ == "__main__":
    main()
