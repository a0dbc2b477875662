"""Contradictions among free-text answers: recall and precision on sets with known truth.

Usage: python bench/contradictions.py BINARY bank banking_documents.json.gz
       python bench/contradictions.py BINARY contracts clauses.jsonl.gz
       python bench/contradictions.py BINARY support support_sft.jsonl.gz
       python bench/contradictions.py BINARY forms support_pairs.jsonl.gz
BINARY is the example `meaning` of the crate data. The first three are real texts. Of each pair of rows the second has
another wording of question and answer; in half of the pairs (seeded) its number, date, negation or duty is changed too.
`bank` was used to settle thresholds, the others were not. `forms`: one question, answered in detail and by a canned
sentence; half of the questions have both answers, half only the detailed one.
"""

import gzip
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter

SEED = 11
ROWS = 400
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
OTHER = [("do not", "don't"), ("cannot", "can't"), ("is not", "isn't"), ("ensure", "make sure"), ("purchase", "buy"), ("customers", "clients"),
         ("receive", "get"), ("approximately", "about"), ("prior to", "before"), ("provide", "give"), ("additional", "further"), ("verify", "check"),
         ("in order to", "to"), ("however", "but"), ("assist", "help"), ("shall", "will"), ("written", "in writing")]
MONTHS = "January February March April May June July August September October November December".split()


def sentences(text):
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


def other_words(text, rng):
    """The same in other words: what is said stays."""
    for old, new in OTHER:
        if rng.random() < 0.7:
            text = re.sub(rf"\b{old}\b", new, text)
    if rng.random() < 0.5:
        text = re.sub(r"\$(\d+(?:\.\d+)?)\b(?![,.]\d)", r"\1 dollars", text)
    if rng.random() < 0.5:
        text = re.sub(r"\b([2-9]|1[0-2]) (days|months|years|hours|business days|weeks)\b", lambda m: f"{WORDS[int(m[1])]} {m[2]}", text)
    parts = sentences(text)
    if len(parts) > 2 and rng.random() < 0.5:
        place = rng.randrange(len(parts) - 1)
        parts[place], parts[place + 1] = parts[place + 1], parts[place]
    if rng.random() < 0.4:
        parts.insert(0, rng.choice(["Thanks for asking.", "Happy to help.", "Good question."]))
    if rng.random() < 0.4:
        parts.append(rng.choice(["Let us know if anything is unclear.", "We hope this helps.", "Please write again at any time."]))
    return " ".join(parts)


def other_question(text, rng):
    text = rng.choice(["Hello, ", "Hi! ", "Please: ", ""]) + text
    if rng.random() < 0.5:
        words = text.split(" ")
        long = [i for i, word in enumerate(words) if len(word) > 6 and word.isalpha()]
        if long:
            place, at = rng.choice(long), rng.randrange(1, 4)
            word = words[place]
            words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2:]
        text = " ".join(words)
    return text + rng.choice(["", " Thanks!", " Thank you."])


def number(text, rng):
    found = list(re.finditer(r"(?<![\w#./-])\$?(\d{1,4})(?:\.\d+)?(?= ?(?:%|percent|days?|months?|years?|hours?|minutes?|weeks?|business|dollars|customers?|accounts?|cards?)|(?<=\$\d)|(?<=\$\d\d)|(?<=\$\d\d\d))", text))
    if not found:
        return None
    place = rng.choice(found)
    value = int(place[1])
    new = rng.choice([v for v in (value * 2, value + 5, value + 1, max(1, value // 2)) if v != value])
    return text[:place.start(1)] + str(new) + text[place.end(1):]


def date(text, rng):
    found = list(re.finditer(rf"\b({'|'.join(MONTHS)}) (\d{{1,2}})\b", text))
    if not found:
        return None
    place = rng.choice(found)
    day = int(place[2]) % 28 + 1
    return text[:place.start(2)] + str(day) + text[place.end(2):]


def negation(text, rng):
    swaps = [(r"\bcannot\b", "can"), (r"\bmay not\b", "may"), (r"\bshall not\b", "shall"), (r"\bdoes not\b", "does"), (r"\bis not\b", "is"),
             (r"\bwill not\b", "will"), (r"\bmust not\b", "must"), (r"\bcan\b(?! not)", "cannot"), (r"\bwill\b(?! not)", "will not"),
             (r"\bshall\b(?! not)", "shall not"), (r"\bmust\b(?! not)", "must not"), (r"\bis\b(?! not)", "is not"), (r"\bare\b(?! not)", "are not")]
    fit = [swap for swap in swaps if re.search(swap[0], text)]
    if not fit:
        return None
    # What was denied is affirmed first: there are fewer of these.
    old, new = next((swap for swap in fit if "not" in swap[0][:12] and "(?!" not in swap[0]), rng.choice(fit))
    return re.sub(old, new, text, count=1)


def duty(text, rng):
    return re.sub(r"\bmust\b(?! not)", "may", text, count=1) if re.search(r"\bmust\b(?! not)", text) else None


def changed(text, rng):
    kinds = [("number", number), ("date", date), ("negation", negation), ("duty", duty)]
    rng.shuffle(kinds)
    kinds.sort(key=lambda kind: kind[0] == "negation")  # numbers, dates and duties are rarer, so they come first
    for name, change in kinds:
        new = change(text, rng)
        if new is not None and new != text:
            return name, new
    return None


def base(kind, path):
    if kind == "bank":
        for doc in json.load(gzip.open(path)):
            for part in re.split(r"\n(?=## )", doc["content"]):
                heading, _, body = part.partition("\n")
                text = " ".join(sentences(body)[:5])
                if 80 < len(text) < 900:
                    yield f"What do the rules say about {heading.strip('# ').lower()} in \"{doc['title']}\"?", text
    elif kind == "contracts":
        seen = set()
        for line in gzip.open(path):
            row = json.loads(line)
            text = " ".join(row["text"].split())
            if 80 < len(text) < 900 and text not in seen:
                seen.add(text)
                yield f"What does our contract say on {row['category'].lower()} where it begins with \"{' '.join(text.split()[:7])}\"?", text
    else:
        for line in gzip.open(path):
            row = json.loads(line)
            yield row["instruction"], row["response"]


def planted(kind, path):
    rng = random.Random(SEED)
    rows, pairs = [], {}
    all_rows = list(base(kind, path))
    rng.shuffle(all_rows)
    for question, answer in all_rows:
        if len(rows) >= 2 * ROWS:
            break
        change = changed(answer, rng)
        if change is None:
            continue
        one, two, wrong = f"r{len(rows)}", f"r{len(rows) + 1}", rng.random() < 0.5
        rows.append({"id": one, "instruction": question, "response": answer})
        rows.append({"id": two, "instruction": other_question(question, rng), "response": other_words(change[1] if wrong else answer, rng)})
        if wrong:
            pairs[one, two] = change[0]
    return rows, pairs


def forms(path):
    rng = random.Random(SEED)
    rows, pairs = [], {}
    for line in gzip.open(path):
        row = json.loads(line)
        one = f"r{len(rows)}"
        rows.append({"id": one, "instruction": row["prompt"], "response": row["detailed"]})
        if rng.random() < 0.5:
            pairs[one, f"r{len(rows)}"] = "form"
            rows.append({"id": f"r{len(rows)}", "instruction": row["prompt"], "response": row["canned"]})
    return rows, pairs


def main():
    binary, kind, path = sys.argv[1:4]
    rows, pairs = forms(path) if kind == "forms" else planted(kind, path)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        out = subprocess.run([binary, "contradiction", file.name], check=True, capture_output=True, text=True).stdout
    findings = [json.loads(line) for line in out.splitlines()]
    groups = [set(finding["examples"]) for finding in findings]
    found = {pair for pair in pairs if any(set(pair) <= group for group in groups)}
    right = [any(set(pair) <= group for pair in pairs) for group in groups]
    print(f"{kind}: {len(rows)} rows, {len(pairs)} contradictions; recall {len(found) / len(pairs):.3f}, "
          f"precision {sum(right) / max(1, len(right)):.3f} over {len(groups)} cards; largest card {max(map(len, groups), default=0)} rows")
    for name, count in sorted(Counter(pairs.values()).items()):
        print(f"  {name:9s} {sum(pairs[p] == name for p in found)} of {count}")
    by = {row["id"]: row for row in rows}
    if len(sys.argv) > 4:
        for pair in sorted(set(pairs) - found)[:int(sys.argv[4])]:
            print("MISSED", pairs[pair], *[f"\n   {by[i]['instruction'][:200]}\n   {by[i]['response'][:900]}" for i in pair])
        for finding in [f for f, ok in zip(findings, right) if not ok][:int(sys.argv[4])]:
            print("FALSE", finding["score"], finding["evidence"][:1200])


main()
