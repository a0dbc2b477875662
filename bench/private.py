"""How much personal data of real chats is found, and how much of what is found is any: MultiDoGO's slots, all three domains.

    cargo build --release -p data --example private
    python3 bench/private.py FOLDER [--half tune|report] [--show LABEL] [--binary PATH]

FOLDER holds finance.jsonl.gz, insurance.jsonl.gz and software.jsonl.gz: rows of split, conversation, turn, utterance and slots (one
label a token), customers' turns only, as in awslabs/multi-domain-goal-oriented-dialogues-dataset (CDLA-Permissive-1.0). Dialogues whose
id has an even SHA-256 are for tuning, the others are reported. With CSV files `text` columns are read and everything found is printed by
kind: banking77 and the like hold next to no personal data, so it is mostly false alarms.

A slot is found if spans of any kind cover at least half of its tokens, and found as its kind if spans of that kind do. A span is right
if it shares a token with a slot of a person. Slots are labelled by hand and not always: see what is counted as false with --show.
Python 3.11 and its library alone.
"""

import argparse
import collections
import csv
import gzip
import hashlib
import json
import pathlib
import subprocess
import tempfile

DOMAINS = ("finance", "insurance", "software")
# Slots of a person, and the kinds that fit them.
PERSONAL = {
    "name": {"name"},
    "address": {"address"},
    "ssn": {"national_id"},
    "card_number": {"card", "account"},
    "account_number": {"account", "iban"},
    "target_account_number": {"account", "iban"},
    "phone_number": {"phone"},
    "email_address": {"email"},
    "policyid": {"account"},
    "claimid": {"account"},
    "password": {"secret"},
}


def half(conversation):
    return "tune" if hashlib.sha256(conversation.encode()).digest()[-1] % 2 == 0 else "report"


def dialogues(path):
    talks = collections.OrderedDict()
    for line in gzip.open(path, "rt"):
        row = json.loads(line)
        if not row["utterance"] or not row["slots"]:
            continue
        tokens, labels = row["utterance"].split(" "), row["slots"].split(" ")
        if len(tokens) == len(labels):
            talks.setdefault(row["conversation"], []).append((tokens, labels))
    return talks


def found(binary, rows):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for name, texts in rows:
            file.write(json.dumps({"id": name, "texts": texts}) + "\n")
        file.flush()
        out = subprocess.run([binary, file.name], check=True, capture_output=True, text=True).stdout
    return [json.loads(line)["found"] for line in out.splitlines()]


def covered(tokens, spans):
    """For each token the kinds of the spans over it; for each span its tokens."""
    at, kinds, members = 0, [], [[] for _ in spans]
    for index, token in enumerate(tokens):
        over = set()
        for number, (start, end, kind, *_) in enumerate(spans):
            if start < at + len(token) and end > at and token:
                over.add(kind)
                members[number].append(index)
        kinds.append(over)
        at += len(token) + 1
    return kinds, members


def entities(labels):
    runs, start = [], 0
    for at in range(1, len(labels) + 1):
        if at == len(labels) or labels[at] != labels[start]:
            if labels[start] in PERSONAL:
                runs.append((labels[start], range(start, at)))
            start = at
    return runs


def measure(domain, folder, which, binary, show):
    talks = [(name, turns) for name, turns in dialogues(folder / f"{domain}.jsonl.gz").items() if half(name) == which]
    answers = found(binary, [(name, [" ".join(tokens) for tokens, _ in turns]) for name, turns in talks])
    slots, hit, typed = (collections.Counter() for _ in range(3))
    spans_of, right, exact, bulk = (collections.Counter() for _ in range(4))
    for (_, turns), answer in zip(talks, answers):
        for (tokens, labels), spans in zip(turns, answer):
            kinds, members = covered(tokens, spans)
            for label, run in entities(labels):
                slots[label] += 1
                any_kind = sum(bool(kinds[i]) for i in run) * 2 >= len(run)
                hit[label] += any_kind
                typed[label] += sum(bool(kinds[i] & PERSONAL[label]) for i in run) * 2 >= len(run)
                if show == label and not any_kind:
                    print(f"  missed {label}: {' '.join(tokens)[:140]!r} slot {' '.join(tokens[i] for i in run)!r}")
            for span, inside in zip(spans, members):
                spans_of[span[2]] += 1
                good = any(labels[i] in PERSONAL for i in inside)
                right[span[2]] += good
                exact[span[2]] += any(span[2] in PERSONAL.get(labels[i], ()) for i in inside)
                if not good and show == f"false:{span[2]}":
                    print(f"  false {span[2]} {' '.join(tokens)[span[0]:span[1]]!r} ({span[4]}) in {' '.join(tokens)[:100]!r}: {' '.join(sorted(set(labels) - {'O'}))}")
    share = lambda part, whole: f"{part / whole:.3f}" if whole else "    -"
    print(f"\n{domain}, half `{which}`: {len(talks)} dialogues")
    print(f"  {'slot':22} {'count':>6} {'recall':>7} {'as its kind':>12}")
    for label in sorted(slots, key=slots.get, reverse=True):
        print(f"  {label:22} {slots[label]:6} {share(hit[label], slots[label]):>7} {share(typed[label], slots[label]):>12}")
    numbers = [label for label in slots if label not in ("name", "address")]
    print(f"  {'all with a form':22} {sum(slots[n] for n in numbers):6} {share(sum(hit[n] for n in numbers), sum(slots[n] for n in numbers)):>7}")
    print(f"  {'kind':22} {'spans':>6} {'precision':>9} {'of its slot':>11}")
    for kind in sorted(spans_of, key=spans_of.get, reverse=True):
        print(f"  {kind:22} {spans_of[kind]:6} {share(right[kind], spans_of[kind]):>9} {share(exact[kind], spans_of[kind]):>11}")
    numbers = [kind for kind in spans_of if kind not in ("name", "address")]
    print(f"  {'all with a form':22} {sum(spans_of[n] for n in numbers):6} {share(sum(right[n] for n in numbers), sum(spans_of[n] for n in numbers)):>9}")


def texts_of(path):
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    if ".csv" in path.name:
        return [row.get("text") or next(iter(row.values())) for row in csv.DictReader(opened)]
    rows = (json.loads(line) for line in opened)
    return [text for row in rows for text in row.values() if isinstance(text, str)]


def alarms(path, binary, show):
    texts = texts_of(path)
    kinds, rows = collections.Counter(), 0
    for text, (spans,) in zip(texts, found(binary, [(str(at), [text]) for at, text in enumerate(texts)])):
        rows += bool(spans)
        for start, end, kind, sure, why in spans:
            kinds[kind] += 1
            if show in (kind, "all"):
                print(f"  {kind} {text[start:end]!r} ({why}, {sure}) in {text[max(0, start - 40):end + 20]!r}")
    print(f"{path.name}: {len(texts)} texts, {sum(map(len, texts)) / 1e6:.2f} million characters; something in {rows}: {dict(kinds.most_common())}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    parser.add_argument("--half", choices=("tune", "report"), default="report")
    parser.add_argument("--show", default="")
    parser.add_argument("--binary", default="target/release/examples/private")
    asked = parser.parse_args()
    for path in asked.paths:
        if path.is_dir():
            for domain in DOMAINS:
                measure(domain, path, asked.half, asked.binary, asked.show)
        else:
            alarms(path, asked.binary, asked.show)


main()
